"""Errors of one or several models: their distribution over the samples, and their parts such as bands or frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lsm.conformal import Coverage
from lsm.plotting.curve import spell
from lsm.plotting.layout import LABEL_SIZE, TICK_SIZE, TITLE_SIZE, set_plain_ticks

#: Mean, and lower and upper end of its interval.
Interval = tuple[float, float, float]

#: Largest errors in units of the smallest one up to which the axis of a histogram is linear.
_LINEAR = 20.0

_MOST_BINS = 40


def draw_histogram(errors: Mapping[str, np.ndarray], metric: str, title: str) -> Figure:
    """Number of samples by their error; a dashed line marks the mean of each model.

    Args:
        errors: ``(n,)`` by the name of the model.
        metric: name of the error.
        title: headline.
    """
    figure, axes = _figure(title)
    together = np.concatenate([*errors.values()])
    low, high = float(together.min()), float(together.max())
    logarithmic = low > 0 and high > _LINEAR * low
    count = int(np.clip(round(2 * len(together) ** 0.5), 5, _MOST_BINS))
    edges = (
        np.geomspace(low, high, count + 1)
        if logarithmic
        else np.linspace(low, high if high > low else low + 1, count + 1)
    )
    filled = len(errors) == 1
    for number, (label, values) in enumerate(errors.items()):
        colour, mean = f"C{number}", float(values.mean())
        style = {"histtype": "stepfilled", "alpha": 0.7} if filled else {"histtype": "step"}
        axes.hist(values, edges.tolist(), color=colour, label=label, **style)
        axes.axvline(mean, color="black" if filled else colour, linestyle="--", linewidth=1, label=f"mean {mean:.3g}")
    if logarithmic:
        axes.set_xscale("log")
        set_plain_ticks(axes.xaxis)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, spell(metric), "samples")
    return figure


def draw_parts(parts: Mapping[str, Mapping[str, Interval]], names: Sequence[str], metric: str, title: str) -> Figure:
    """Bars of a mean error in parts, with the interval of each mean.

    Args:
        parts: mean and interval, three scalars, by the name of the model and of the part; a model may lack a part.
        names: of the parts, in order.
        metric: name of the error.
        title: headline.
    """
    figure, axes = _figure(title)
    width = 0.8 / len(parts)
    for number, (label, means) in enumerate(parts.items()):
        places = [place for place, name in enumerate(names) if name in means]
        shift = (number - (len(parts) - 1) / 2) * width
        middle, low, high = np.array([means[names[place]] for place in places]).reshape(-1, 3).T
        axes.bar(np.array(places) + shift, middle, width, color=f"C{number}", label=label)
        reach = np.maximum([middle - low, high - middle], 0)
        axes.errorbar(np.array(places) + shift, middle, reach, fmt="none", ecolor="black", elinewidth=1, capsize=3)
    axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(bottom=0)
    axes.margins(x=0.1)
    _label(axes, "", spell(metric.partition("_per_")[0]))
    return figure


def draw_frames(parts: Mapping[str, Mapping[str, Interval]], names: Sequence[str], metric: str, title: str) -> Figure:
    """A mean error against the frame, with the interval of each mean as a band; arguments as of :func:`draw_parts`."""
    figure, axes = _figure(title)
    for number, (label, means) in enumerate(parts.items()):
        places = [_number(name) for name in names if name in means]
        middle, low, high = np.array([means[name] for name in names if name in means]).reshape(-1, 3).T
        axes.plot(places, middle, marker=".", linewidth=1, color=f"C{number}", label=label)
        axes.fill_between(places, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    _label(axes, "frame", spell(metric.partition("_per_")[0]))
    return figure


def draw_reliability(coverage: Coverage, fields: Sequence[str], title: str) -> Figure:
    """Share of test samples inside bands against the probability that the bands state.

    Args:
        coverage: shares ``(levels, fields)`` of bands of several levels.
        fields: names of the target fields.
        title: headline.
    """
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=TITLE_SIZE)
    axes.fill_between(
        coverage.levels, *np.transpose(coverage.expected()), color="0.88", linewidth=0, label="95 % range"
    )
    axes.plot([0, 1], [0, 1], color="0.5", linewidth=0.8)
    for number, name in enumerate(fields):
        of = f" of {name.replace('_', ' ')}" if len(fields) > 1 else ""
        style: dict[str, Any] = {"color": f"C{number}", "linewidth": 1, "markersize": 4}
        axes.plot(coverage.levels, coverage.site[:, number], marker="o", label=f"sites{of}", **style)
        axes.plot(coverage.levels, coverage.field[:, number], "--", marker="s", label=f"whole field{of}", **style)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    _label(axes, "probability that the band states", "share of the test sites or samples inside")
    axes.legend(fontsize=TICK_SIZE, loc="upper left")
    return figure


def _number(name: str) -> int:
    """Of a frame, such as 11 of ``frame 11``."""
    return int(name.rpartition(" ")[2])


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=TITLE_SIZE)
    return figure, axes


def _label(axes: Axes, horizontal: str, vertical: str) -> None:
    axes.set_xlabel(horizontal, fontsize=LABEL_SIZE)
    axes.set_ylabel(vertical, fontsize=LABEL_SIZE)
    axes.tick_params(which="both", labelsize=TICK_SIZE)
    axes.grid(which="major", axis="y", linewidth=0.3)
    axes.set_axisbelow(True)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=TICK_SIZE)
