"""Fields at rest: a row per target channel, with input, truth, prediction and absolute error side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_GAP,
    LABEL_SIZE,
    LEFT,
    TITLE_GAP,
    WIDEST,
    View,
    add_bar,
    label_of,
    label_rim,
    lay_out,
    set_title,
    view_of,
)
from lsm.plotting.painting import abscissa, colour_scale, draw_mesh, is_line, paint, spread_lines
from lsm.plotting.panels import ERROR, HALF_WIDTH, PREDICTION, Panel, panels_of, scales_of
from lsm.plotting.scene import Scene, masked

#: Distance in inches of the lines of a mesh that is drawn as an input.
MESH_SPACING = 0.05


def draw_still(scene: Scene, title: str) -> Figure:
    """Draw one sample ``(*sites, c)`` of fields at rest; see :func:`lsm.plotting.draw_sample`."""
    rows = [_row(scene, channel) for channel in range(len(scene.spec.targets))]
    draw = _draw_lines if is_line(scene.has_target, scene.coords) else _draw_planes
    return draw(scene, rows, title)


def _row(scene: Scene, channel: int) -> list[Panel]:
    """The panels of one target channel."""

    def shown(values: Tensor) -> np.ma.MaskedArray:
        return masked(values[..., channel].numpy(), scene.has_target)

    truth = Panel("truth", shown(scene.sample.targets), scene.coords)
    found = {name: Panel(PREDICTION, shown(values), scene.coords) for name, values in scene.predictions.items()}
    errors = {name: np.ma.abs(panel.values - truth.values) for name, panel in found.items()}
    return panels_of(truth, found, errors, None if scene.half_width is None else shown(scene.half_width))


def _draw_planes(scene: Scene, rows: Sequence[Sequence[Panel]], title: str) -> Figure:
    coords = scene.coords
    view = view_of(scene.display, [] if coords is None else [coords])
    # Neighbours of one scale share the bar to the right of the last one.
    has_bar = [panel.is_error != after.is_error for panel, after in pairwise(rows[0])] + [True]
    length = _line_length(view, len(rows[0]))
    starts = range(0, len(rows[0]), length)
    for start in starts[1:]:  # so does the last one of a line
        has_bar[start - 1] = True
    gaps = [BAR_GAP if any(has_bar[place::length]) else BARE_GAP for place in range(length)]
    titles = [[panel.name for panel in rows[0][start : start + length]] for start in starts]
    # In a single line the titles of the first row are those of the columns.
    titles += (titles if len(starts) > 1 else [[""] * length]) * (len(rows) - 1)
    figure, axes = _panels(scene, view, [BAR_GAP if scene.fields else BARE_GAP, *gaps], titles, title)
    _draw_inputs(scene, axes[:, 0], view)
    seen = scene.display.in_window(coords)
    for number, (channel, panels) in enumerate(zip(scene.spec.targets, rows, strict=True)):
        scales = scales_of(panels, seen=seen)
        places = axes[number * len(starts) : (number + 1) * len(starts), 1:].ravel()
        for axis, panel, bar in zip(places, panels, has_bar, strict=False):
            drawn = paint(axis, panel.values, coords, scales.of(panel), view.finest)
            if bar:
                add_bar(axis, view, drawn, label_of(channel))
    for axis in figure.axes:
        view.apply(axis)
    return figure


def _line_length(view: View, panels: int) -> int:
    """How many of the panels of a target channel stand in one line, so that the picture can be read on a page."""
    most = max(1, int((WIDEST - LEFT) / (view.size[0] + BARE_GAP)) - 1)
    return ceil(panels / ceil(panels / most))


def _draw_inputs(scene: Scene, column: np.ndarray, view: View) -> None:
    """The sites, unless they are a regular lattice, and below them the input fields."""
    coords, panels = scene.coords, list(column)
    if coords is not None:
        _draw_sites(panels.pop(0), scene, coords, view)
    seen = scene.display.in_window(coords)
    for axis, i in zip(panels, scene.fields, strict=False):
        field = masked(scene.sample.inputs[..., i].numpy())
        drawn = paint(axis, field, coords, colour_scale([field[seen]]), view.finest)
        add_bar(axis, view, drawn, label_of(scene.spec.inputs[i]))


def _draw_sites(axis: Axes, scene: Scene, coords: np.ndarray, view: View) -> None:
    """The points of a cloud, or lines of a mesh."""
    axis.set_aspect("equal")
    if scene.spec.geometry == "points":
        set_title(axis, "input: points")
        axis.scatter(coords[:, 0], coords[:, 1], s=2, color="0.2", linewidths=0)
        return
    set_title(axis, "input: mesh")
    seen = np.zeros(coords.shape[:-1], dtype=bool)
    seen[scene.display.in_window(coords)] = True
    lines = spread_lines(coords, MESH_SPACING * view.units_per_inch, seen)
    draw_mesh(axis, coords, lines, colors="0.2", linewidths=0.3)


def _draw_lines(scene: Scene, rows: Sequence[Sequence[Panel]], title: str) -> Figure:
    x = abscissa(scene.has_target, scene.coords)
    view = View(None, line=True)
    titles = [["truth and prediction", "absolute error"], *[["", ""]] * (len(rows) - 1)]
    figure, axes = _panels(scene, view, [LABEL_GAP, LABEL_GAP, BARE_GAP], titles, title)
    _draw_input_lines(scene, axes[:, 0], x)
    for number, (channel, panels) in enumerate(zip(scene.spec.targets, rows, strict=True)):
        both, right = axes[number, 1:]
        both.plot(x, panels[0].values, color="k", label="truth")
        for place, (name, prediction) in enumerate(scene.predictions.items()):
            _draw_line(both, right, x, panels[0], prediction[..., number].numpy(), name, f"C{place + 1}")
        if scene.half_width is not None:
            _draw_band(both, right, x, panels[1].values, panels[-1].values)
        right.set_ylim(bottom=0.0)
        for axis in (both, right):
            axis.set_ylabel(label_of(channel), fontsize=LABEL_SIZE)
    for axis in axes[0, 1:]:
        if len(axis.get_legend_handles_labels()[1]) > 1:
            axis.legend(fontsize="small")
    for axis in figure.axes:
        view.apply(axis)
    return figure


def _draw_line(
    both: Axes, right: Axes, x: np.ndarray, truth: Panel, predicted: np.ndarray, name: str, colour: str
) -> None:
    """A prediction beside the truth, and its error; of a single model the error has a colour of its own."""
    both.plot(x, predicted, color=colour, linestyle="--", label=name or PREDICTION)
    right.plot(x, np.ma.abs(predicted - truth.values), color=colour if name else "C3", label=name or ERROR)


def _draw_band(both: Axes, right: Axes, x: np.ndarray, predicted: np.ndarray, half_width: np.ndarray) -> None:
    limits = predicted - half_width, predicted + half_width
    both.fill_between(x, *limits, color="C1", alpha=0.25, linewidth=0, label="band")
    right.plot(x, half_width, color="0.5", linestyle=":", label=HALF_WIDTH)


def _draw_input_lines(scene: Scene, column: np.ndarray, x: np.ndarray) -> None:
    """The sites as ticks on a line, unless they are a regular lattice, and below them the input fields."""
    panels = list(column)
    if scene.coords is not None:
        axis = panels.pop(0)
        set_title(axis, f"input: {scene.spec.geometry}")
        axis.plot(x, np.zeros_like(x), "|", color="0.3")
        axis.set_yticks([])
    for axis, i in zip(panels, scene.fields, strict=False):
        axis.plot(x, scene.sample.inputs[..., i].numpy(), color="0.3")
        axis.set_ylabel(label_of(scene.spec.inputs[i]), fontsize=LABEL_SIZE)


def _panels(
    scene: Scene, view: View, gaps: Sequence[float], titles: Sequence[Sequence[str]], headline: str
) -> tuple[Figure, np.ndarray]:
    """A column of panels for the inputs, and to the right of it rows of panels for the targets; all others are removed.

    Args:
        scene: what is drawn.
        view: what the panels show.
        gaps: room to the right of each column, that of the inputs first.
        titles: of the panels in each row for the targets, empty for none.
        headline: of the figure.
    """
    inputs = len(scene.fields) + (scene.coords is not None)
    row_gap = TITLE_GAP if any(map(any, titles[1:])) else BARE_GAP
    row_gaps = [row_gap] * (max(len(titles), inputs) - 1)
    figure, axes = lay_out(view, row_gaps, gaps, scene.headline(headline), ["input", *titles[0]])
    set_title(axes[0, 0], "input")
    empty = list(axes[inputs:, 0])
    for row, names in zip_longest(axes[:, 1:], titles, fillvalue=()):
        for axis, name in zip(row, names, strict=False):
            set_title(axis, name)
        empty += list(row[len(names) :])
    for axis in empty:
        axis.remove()
    label_rim(axes, scene.axis_labels, only_left=not view.line)
    return figure, axes
