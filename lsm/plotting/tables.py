"""Pictures of a table of results: errors against the time of training, what a model costs, and what the table varies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log10, sqrt
from typing import Any, NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsm.plotting.curve import spell
from lsm.plotting.layout import LABEL_SIZE, TICK_SIZE, TITLE_SIZE, set_plain_ticks

Colour = tuple[float, float, float, float]

#: At most so many panels side by side.
_COLUMNS = 4

#: Width of a figure at the least, in inches, for the legend and the label below.
_LEAST_WIDTH = 5.0

#: Of the legend, in inches: height of a further row; width of an entry without its label, and of a character of the label.
_LEGEND_ROW, _LEGEND_ENTRY, _CHARACTER = 0.17, 0.5, 0.065

#: Diameter of the marker of the model that needs the most memory, in points.
_LARGEST = 22.0

_MIB = 2**20

#: Ratio of the ends of a logarithmic axis at the least, and to that of its points.
_NARROWEST, _ROOM = 6.0, 2.0


class Course(NamedTuple):
    """Errors in the course of a training, ``(epochs,)`` each.

    Args:
        seconds: time after each epoch.
        errors: mean over the seeds.
        lowest: the smallest of the seeds.
        highest: the largest of the seeds.
    """

    seconds: Sequence[float]
    errors: Sequence[float]
    lowest: Sequence[float]
    highest: Sequence[float]


class Efficiency(NamedTuple):
    """What a trained model costs, and how large its error is.

    Args:
        latency: seconds of the prediction of one sample.
        memory: peak memory of a training step in bytes.
        error: mean over the seeds.
        deviation: over the seeds; None of one seed.
    """

    latency: float
    memory: float
    error: float
    deviation: float | None


class Variation(NamedTuple):
    """Errors of one family at several values of an option.

    Args:
        values: of the option.
        errors: mean over the seeds at each value.
        deviations: over the seeds at each value; 0 of one seed.
    """

    values: list[float]
    errors: list[float]
    deviations: list[float]


def draw_learning(
    panels: Mapping[str, Mapping[str, Course]], goals: Mapping[str, float], reference: str, metric: str
) -> Figure:
    """Errors on the validation split against the time of training, both logarithmic, in a panel for each benchmark.

    Args:
        panels: for each benchmark, which is the panel's title, the course of each model by its label.
        goals: error at the end of the reference's training, by benchmark; a dashed line marks it.
        reference: label of the reference.
        metric: name of the error.
    """
    figure, places = _panels(panels)
    colours = _colours(panels.values())
    for title, axes in places.items():
        for model, course in panels[title].items():
            _draw_course(axes, model, course, colours[model])
        if title in goals:
            axes.axhline(goals[title], color="0.5", linewidth=0.8, linestyle="--", label=f"end of {reference}")
    _finish(figure, places, "time of the device, s", f"{spell(metric)}, validation")
    return figure


def draw_efficiency(panels: Mapping[str, Mapping[str, Efficiency]], metric: str) -> Figure:
    """Errors on the test split against the time of a prediction, both logarithmic, in a panel for each benchmark.

    The area of a marker is proportional to the peak memory of a training step, in all panels alike; the legend shows two sizes.

    Args:
        panels: for each benchmark, which is the panel's title, the models by their labels.
        metric: name of the error.
    """
    figure, places = _panels(panels)
    colours = _colours(panels.values())
    most = max(model.memory for models in panels.values() for model in models.values())
    for title, axes in places.items():
        for label, model in panels[title].items():
            _draw_model(axes, label, model, _LARGEST * sqrt(model.memory / most), colours[label])
        _widen(axes, list(panels[title].values()))
    largest = _round_down(most / _MIB)
    for memory in (largest / 10, largest):
        diameter = _LARGEST * sqrt(memory * _MIB / most)
        axes.plot([], [], "o", color="0.6", markersize=diameter, markeredgewidth=0, label=f"{memory:g} MiB")
    across = "prediction of one sample, ms\n(area of a marker: peak memory of a training step)"
    _finish(figure, places, across, f"{spell(metric)}, test")
    return figure


def draw_variation(
    panels: Mapping[str, Mapping[str, Variation]], levels: Mapping[str, Mapping[str, float]], varied: str, metric: str
) -> Figure:
    """Errors on the test split against an option, both logarithmic, in a panel for each benchmark.

    Args:
        panels: for each benchmark, which is the panel's title, the curve of each family by its name.
        levels: for each benchmark, errors that do not depend on the option, by label; dashed lines.
        varied: the option, in words.
        metric: name of the error.
    """
    figure, places = _panels(panels)
    colours = _colours([*panels.values(), *levels.values()])
    for title, axes in places.items():
        for label, curve in panels[title].items():
            order = sorted(range(len(curve.values)), key=curve.values.__getitem__)
            values, errors, deviations = ([column[index] for index in order] for column in curve)
            axes.errorbar(
                values, errors, deviations, color=colours[label], marker="o", markersize=3, linewidth=1.2, label=label
            )
        for label, level in levels.get(title, {}).items():
            axes.axhline(level, color=colours[label], linewidth=0.8, linestyle="--", label=label)
        errors = [error for curve in panels[title].values() for error in curve.errors]
        axes.set_ylim(_limits([*errors, *levels.get(title, {}).values()]))
    _finish(figure, places, varied, f"{spell(metric)}, test")
    return figure


def _panels(titles: Iterable[str]) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each title, in rows of equal length."""
    titles = list(titles)
    rows = ceil(len(titles) / _COLUMNS)
    columns = ceil(len(titles) / rows)
    size = max(3.0 * columns + 0.4, _LEAST_WIDTH), 2.6 * rows + 0.5
    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in places[len(titles) :]:
        axes.set_axis_off()
    return figure, dict(zip(titles, places, strict=False))


def _colours(panels: Iterable[Mapping[str, Any]]) -> dict[str, Colour]:
    """A colour for each label, the same in all panels."""
    labels = dict.fromkeys(label for panel in panels for label in panel)
    known = colormaps["tab10"] if len(labels) <= 10 else colormaps["tab20"]
    return {label: known(index % known.N) for index, label in enumerate(labels)}


def _draw_course(axes: Axes, model: str, course: Course, colour: Colour) -> None:
    axes.plot(course.seconds, course.errors, color=colour, linewidth=1.2, label=model)
    axes.fill_between(course.seconds, course.lowest, course.highest, color=colour, alpha=0.2, linewidth=0)


def _draw_model(axes: Axes, label: str, model: Efficiency, diameter: float, colour: Colour) -> None:
    place = 1e3 * model.latency, model.error
    axes.errorbar(*place, yerr=model.deviation or None, color=colour, linewidth=1.0, capsize=2)
    axes.plot(*place, "o", color=colour, markersize=diameter, alpha=0.5, markeredgewidth=0)
    axes.plot([], [], "o", color=colour, markersize=_LARGEST / 2, label=label)


def _round_down(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most ``value``."""
    power = 10.0 ** floor(log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value)


def _widen(axes: Axes, models: Sequence[Efficiency]) -> None:
    """Room around few points, enough for two labels of logarithmic axes; a deviation above the mean ends at the lower limit."""
    tops = [model.error + (model.deviation or 0.0) for model in models]
    axes.set_xlim(_limits([1e3 * model.latency for model in models]))
    axes.set_ylim(_limits([*(model.error for model in models), *tops]))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Ends of a logarithmic axis with room around the values."""
    half = sqrt(max(_ROOM * max(values) / min(values), _NARROWEST))
    middle = sqrt(min(values) * max(values))
    return middle / half, middle * half


def _finish(figure: Figure, places: Mapping[str, Axes], across: str, up: str) -> None:
    """Logarithmic axes, titles, and one legend for all panels."""
    handles: dict[str, Any] = {}
    for title, axes in places.items():
        axes.set_title(title, fontsize=TITLE_SIZE)
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            set_plain_ticks(axis)
        axes.tick_params(which="both", labelsize=TICK_SIZE)
        axes.grid(which="major", linewidth=0.3)
        handles |= {label: line for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    widest = _LEGEND_ENTRY + _CHARACTER * max(map(len, handles))
    columns = max(min(len(handles), int(figure.get_figwidth() / widest)), 1)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * (ceil(len(handles) / columns) - 1))
    figure.legend(handles.values(), handles.keys(), fontsize=TICK_SIZE, ncols=columns, loc="outside upper center")
    figure.supxlabel(across, fontsize=LABEL_SIZE)
    figure.supylabel(up, fontsize=LABEL_SIZE)
