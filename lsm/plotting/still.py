"""A field at rest: a row a target channel, with input, truth, prediction and absolute error beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
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
from lsm.plotting.plane import in_window, positions_of, shown, worth_showing

#: Truth and prediction of one channel, ``(*sites)`` each.
_Pair = tuple[np.ma.MaskedArray, np.ma.MaskedArray]

#: Distance in inches of the lines of a mesh that is drawn as an input.
MESH_SPACING = 0.05


def draw_still(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, title: str) -> Figure:
    """Draw one sample of a field at rest; see :func:`lsm.plotting.draw_sample`."""
    coords, worth = positions_of(sample), worth_showing(spec, sample)
    pairs = [
        (shown(sample.targets[..., i].numpy(), worth), shown(prediction[..., i].numpy(), worth))
        for i in range(len(spec.targets))
    ]
    draw = _draw_lines if is_line(worth, coords) else _draw_planes
    return draw(spec, sample, pairs, title)


def _draw_planes(spec: FieldSpec, sample: FieldBatch, pairs: Sequence[_Pair], title: str) -> Figure:
    coords = positions_of(sample)
    view = view_of(spec, [] if coords is None else [coords])
    seen = in_window(spec, coords)
    columns = {
        "input": BAR_GAP if spec.geometry == "grid" else BARE_GAP,
        "truth": BARE_GAP,
        "prediction": BAR_GAP,
        "absolute error": BAR_GAP,
    }
    figure, axes = _panels(spec, view, columns, title)
    if coords is None:
        for axis, channel, values in zip(axes[:, 0], spec.inputs, sample.inputs.unbind(-1), strict=False):
            field = shown(values.numpy(), np.ones(values.shape, dtype=bool))
            add_bar(axis, view, paint(axis, field, coords, colour_scale([field])), label_of(channel))
    else:
        _draw_sites(axes[0, 0], spec, coords, view)
    for (_, left, middle, right), channel, (truth, predicted) in zip(axes, spec.targets, pairs, strict=False):
        error = np.ma.abs(predicted - truth)
        scale = colour_scale([truth[seen], predicted[seen]])
        paint(left, truth, coords, scale, view.finest)
        add_bar(middle, view, paint(middle, predicted, coords, scale, view.finest), label_of(channel))
        add_bar(right, view, paint(right, error, coords, error_scale([error[seen]]), view.finest), label_of(channel))
    for axis in figure.axes:
        view.apply(axis)
    return figure


def _draw_lines(spec: FieldSpec, sample: FieldBatch, pairs: Sequence[_Pair], title: str) -> Figure:
    x = abscissa(sample.inputs[..., 0].numpy(), positions_of(sample))
    view = View(None, line=True)
    columns = {"input": LABEL_GAP, "truth and prediction": LABEL_GAP, "absolute error": BARE_GAP}
    figure, axes = _panels(spec, view, columns, title)
    for axis, channel, values in zip(axes[:, 0], spec.inputs, sample.inputs.unbind(-1), strict=False):
        axis.plot(x, values.numpy(), color="0.3")
        axis.set_ylabel(label_of(channel), fontsize=LABEL_SIZE)
    for (_, both, right), channel, (truth, predicted) in zip(axes, spec.targets, pairs, strict=False):
        both.plot(x, truth, color="k", label="truth")
        both.plot(x, predicted, color="C1", linestyle="--", label="prediction")
        both.set_ylabel(label_of(channel), fontsize=LABEL_SIZE)
        right.plot(x, np.ma.abs(predicted - truth), color="C3")
        right.set_ylim(bottom=0.0)
    axes[0, 1].legend(fontsize="small")
    for axis in figure.axes:
        view.apply(axis)
    return figure


def _panels(spec: FieldSpec, view: View, columns: Mapping[str, float], title: str) -> tuple[Figure, np.ndarray]:
    """Rows for inputs and targets, columns by name with the room beside them; what has nothing to show is taken away."""
    inputs = len(spec.inputs) if spec.geometry == "grid" else 1
    figure, axes = lay_out(view, max(len(spec.targets), inputs), list(columns.values()), title)
    for axis, name in zip(axes[0], columns, strict=True):
        set_title(axis, name)
    for axis in [*axes[inputs:, 0], *axes[len(spec.targets) :, 1:].ravel()]:
        axis.remove()
    label_rim(axes, axis_labels(spec), only_left=not view.line)
    return figure, axes


def _draw_sites(axis: Axes, spec: FieldSpec, coords: np.ndarray, view: View) -> None:
    """Where the geometry itself is the input: the points of a cloud, or lines of a mesh."""
    axis.set_aspect("equal")
    if spec.geometry == "points":
        set_title(axis, "input: points")
        axis.scatter(coords[:, 0], coords[:, 1], s=2, color="0.2", linewidths=0)
        return
    set_title(axis, "input: mesh")
    seen = np.zeros(coords.shape[:-1], dtype=bool)
    seen[in_window(spec, coords)] = True
    lines = spread_lines(coords, MESH_SPACING * view.units_per_inch, seen)
    draw_mesh(axis, coords, lines, colors="0.2", linewidths=0.3)
