"""Errors against the time of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lsm.plotting.curve import spell
from lsm.plotting.layout import LABEL_SIZE, TICK_SIZE, TITLE_SIZE

#: At most so many panels side by side.
_COLUMNS = 4


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
    rows = ceil(len(panels) / _COLUMNS)
    columns = ceil(len(panels) / rows)
    figure = Figure(figsize=(3.0 * columns + 0.4, 2.6 * rows + 0.5), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    models = list(dict.fromkeys(model for courses in panels.values() for model in courses))
    for axes, (title, courses) in zip(places, panels.items(), strict=False):
        for model, course in courses.items():
            _draw_course(axes, model, course, f"C{models.index(model)}")
        if title in goals:
            axes.axhline(goals[title], color="0.5", linewidth=0.8, linestyle="--", label=f"end of {reference}")
        _finish(axes, title)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    handles = {label: line for axes in places for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), fontsize=TICK_SIZE, ncols=len(handles), loc="outside upper center")
    figure.supxlabel("time of the device, s", fontsize=LABEL_SIZE)
    figure.supylabel(f"{spell(metric)}, validation", fontsize=LABEL_SIZE)
    return figure


def _draw_course(axes: Axes, model: str, course: Course, colour: str) -> None:
    axes.loglog(course.seconds, course.errors, color=colour, linewidth=1.2, label=model)
    axes.fill_between(course.seconds, course.lowest, course.highest, color=colour, alpha=0.2, linewidth=0)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=TITLE_SIZE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="both", labelsize=TICK_SIZE)
    axes.grid(which="major", linewidth=0.3)
