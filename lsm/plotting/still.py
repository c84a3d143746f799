"""Fields at rest: a row per target channel, with input, truth, prediction and absolute error side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_GAP,
    LABEL_SIZE,
    View,
    add_bar,
    axis_labels,
    label_of,
    label_rim,
    lay_out,
    set_title,
    view_of,
)
from lsm.plotting.painting import abscissa, colour_scale, draw_mesh, error_scale, is_line, paint, spread_lines
from lsm.plotting.scene import Scene, masked

#: Truth and prediction of one channel, ``(*sites)`` each.
_Pair = tuple[np.ma.MaskedArray, np.ma.MaskedArray]

#: Distance in inches of the lines of a mesh that is drawn as an input.
MESH_SPACING = 0.05


def draw_still(scene: Scene, title: str) -> Figure:
    """Draw one sample of fields at rest; see :func:`lsm.plotting.draw_sample`."""
    drawn = scene.has_target
    pairs = [
        (masked(truth.numpy(), drawn), masked(predicted.numpy(), drawn))
        for truth, predicted in zip(scene.sample.targets.unbind(-1), scene.prediction.unbind(-1), strict=True)
    ]
    draw = _draw_lines if is_line(drawn, scene.coords) else _draw_planes
    return draw(scene, pairs, title)


def _draw_planes(scene: Scene, pairs: Sequence[_Pair], title: str) -> Figure:
    coords = scene.coords
    view = view_of(scene.display, [] if coords is None else [coords])
    columns = {
        "input": BAR_GAP if scene.fields else BARE_GAP,
        "truth": BARE_GAP,
        "prediction": BAR_GAP,
        "absolute error": BAR_GAP,
    }
    figure, axes = _panels(scene, view, columns, title)
    _draw_inputs(scene, axes[:, 0], view)
    seen = scene.display.in_window(coords)
    for (_, left, middle, right), channel, (truth, predicted) in zip(axes, scene.spec.targets, pairs, strict=False):
        error = np.ma.abs(predicted - truth)
        scale = colour_scale([truth[seen]], [predicted[seen]])
        paint(left, truth, coords, scale, view.finest)
        add_bar(middle, view, paint(middle, predicted, coords, scale, view.finest), label_of(channel))
        add_bar(right, view, paint(right, error, coords, error_scale([error[seen]]), view.finest), label_of(channel))
    for axis in figure.axes:
        view.apply(axis)
    return figure


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


def _draw_lines(scene: Scene, pairs: Sequence[_Pair], title: str) -> Figure:
    x = abscissa(scene.has_target, scene.coords)
    view = View(None, line=True)
    columns = {"input": LABEL_GAP, "truth and prediction": LABEL_GAP, "absolute error": BARE_GAP}
    figure, axes = _panels(scene, view, columns, title)
    _draw_input_lines(scene, axes[:, 0], x)
    for (_, both, right), channel, (truth, predicted) in zip(axes, scene.spec.targets, pairs, strict=False):
        both.plot(x, truth, color="k", label="truth")
        both.plot(x, predicted, color="C1", linestyle="--", label="prediction")
        right.plot(x, np.ma.abs(predicted - truth), color="C3")
        right.set_ylim(bottom=0.0)
        for axis in (both, right):
            axis.set_ylabel(label_of(channel), fontsize=LABEL_SIZE)
    axes[0, 1].legend(fontsize="small")
    for axis in figure.axes:
        view.apply(axis)
    return figure


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


def _panels(scene: Scene, view: View, columns: Mapping[str, float], title: str) -> tuple[Figure, np.ndarray]:
    """Rows for inputs and targets; columns by name, with the room to the right of each. Panels without content are removed."""
    inputs = len(scene.fields) + (scene.coords is not None)
    targets = len(scene.spec.targets)
    row_gaps = [BARE_GAP] * (max(targets, inputs) - 1)
    figure, axes = lay_out(view, row_gaps, list(columns.values()), scene.headline(title))
    for axis, name in zip(axes[0], columns, strict=True):
        set_title(axis, name)
    for axis in [*axes[inputs:, 0], *axes[targets:, 1:].ravel()]:
        axis.remove()
    label_rim(axes, axis_labels(scene.spec, scene.display), only_left=not view.line)
    return figure, axes
