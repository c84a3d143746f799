"""Costs against the number of sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from lsm.plotting.layout import LABEL_SIZE, TICK_SIZE, TITLE_SIZE, set_plain_ticks
from lsm.scaling import PowerLaw

#: Costs of one model: number of sites, cost at each (None where it is unknown), and the fit if there is one.
Growth = tuple[Sequence[int], Sequence[float | None], PowerLaw | None]

#: Markers of the models, which also tell them apart in print without colours.
_MARKERS = "os^Dv<>P"

#: From this ratio of its ends on, the decades alone are the ticks of an axis.
_LONG_AXIS = 100

#: Colour of the guide, and the ratio of the number of sites at its ends.
_GUIDE, _GUIDED = "0.7", 64


def draw_scaling(panels: Mapping[str, Mapping[str, Growth]], title: str) -> Figure:
    """Costs against the number of sites, both logarithmic, in a panel for each cost; a grey guide has slope 1.

    Args:
        panels: for each cost, which labels its axis, the growth of each model.
        title: headline.
    """
    figure = Figure(figsize=(1.0 + 3.5 * len(panels), 4.2), layout="constrained")
    for axes, (label, growths) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for index, (model, growth) in enumerate(growths.items()):
            _draw_growth(axes, model, growth, f"C{index}", _MARKERS[index % len(_MARKERS)])
        _draw_guide(axes, growths)
        _finish(axes, label)
    figure.suptitle(title, fontsize=TITLE_SIZE)
    return figure


def _draw_growth(axes: Axes, model: str, growth: Growth, colour: str, marker: str) -> None:
    sites, costs, law = growth
    known = [(size, cost) for size, cost in zip(sites, costs, strict=True) if cost is not None]
    label = model if law is None else f"{model}, exponent {law.exponent:.2f}"
    axes.loglog(
        [size for size, _ in known],
        [cost for _, cost in known],
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.2,
        label=label,
    )


def _draw_guide(axes: Axes, growths: Mapping[str, Growth]) -> None:
    """A line of slope 1 at the largest sizes, below all curves, so that it crosses none of them."""
    points = [
        (size, cost)
        for sites, costs, _ in growths.values()
        for size, cost in zip(sites, costs, strict=True)
        if cost is not None
    ]
    if not points:
        return
    most = max(size for size, _ in points)
    least = max(min(size for size, _ in points), most / _GUIDED)
    factor = 0.7 * min(cost / size for size, cost in points if size >= least)
    axes.loglog([least, most], [factor * least, factor * most], color=_GUIDE, linewidth=1.5, zorder=0, label="slope 1")


def _finish(axes: Axes, label: str) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        if high < _LONG_AXIS * low:
            set_plain_ticks(axis)
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("number of sites", fontsize=LABEL_SIZE)
    axes.set_ylabel(label, fontsize=LABEL_SIZE)
    axes.tick_params(which="both", labelsize=TICK_SIZE)
    axes.grid(which="major", linewidth=0.3)
    axes.legend(fontsize=TICK_SIZE, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
