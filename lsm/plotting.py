"""Pictures of fields: input, truth, prediction and error, from a specification and arrays. Knows no trainer and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation
from torch import Tensor

from lsm.fields import Channel, FieldBatch, FieldSpec

#: Frames that are drawn of a field that changes in time.
MAX_FRAMES = 4

ERROR_COLOURS = "magma_r"


@dataclass(frozen=True)
class Snapshot:
    """One scalar field at one time, true and predicted.

    Args:
        label: name and unit.
        truth, prediction: ``(*sites)``, a plane of them.
        truth_at, prediction_at: ``(*sites, 2)``, where the sites lie; None on a regular grid.
    """

    label: str
    truth: np.ndarray
    prediction: np.ndarray
    truth_at: np.ndarray | None
    prediction_at: np.ndarray | None


def draw_sample(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, title: str) -> Figure:
    """Draw one sample beside its prediction.

    A field at rest gives a row a target channel: input, truth, prediction, absolute error. A field in motion gives a
    column a frame, with truth, prediction and absolute error below one another. Truth and prediction share their colours.

    Args:
        spec: the fields.
        sample: inputs, truth and coordinates, without a batch axis.
        prediction: ``(*sites, c_out)``, in physical units.
        title: headline.
    """
    if spec.autoregressive or "time" in spec.axes:
        return _draw_frames(spec, _frames(spec, sample, prediction.numpy()), title)
    return _draw_static(spec, sample, prediction.numpy(), title)


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)


def label_of(channel: Channel) -> str:
    """Name and unit, for people."""
    name = channel.name.replace("_", " ")
    return name if channel.unit == "1" else f"{name} [{channel.unit}]"


def _frames(spec: FieldSpec, sample: FieldBatch, prediction: np.ndarray) -> list[Snapshot]:
    truth = sample.targets.numpy()
    if spec.autoregressive:
        chosen = _spread(truth.shape[-1])
        coords = None if sample.coords is None else sample.coords.numpy()
        return [Snapshot(label_of(spec.targets[i]), truth[..., i], prediction[..., i], coords, coords) for i in chosen]
    axis = spec.axes.index("time")
    snapshots = []
    for frame in _spread(spec.sites[axis]):
        true, predicted = (np.take(field, frame, axis=axis) for field in (truth, prediction))
        positions = list(spec.positions) if spec.positions else None
        moving = [i for i in range(len(spec.targets)) if positions is None or i not in positions]
        snapshots.append(
            Snapshot(
                f"|{', '.join(spec.targets[i].name for i in moving)}|, frame {frame}",
                np.linalg.norm(true[..., moving], axis=-1),
                np.linalg.norm(predicted[..., moving], axis=-1),
                true[..., positions] if positions else None,
                predicted[..., positions] if positions else None,
            )
        )
    return snapshots


def _spread(count: int) -> list[int]:
    """Some of ``count`` frames, evenly spread, the last one included."""
    return sorted(
        {round(i) for i in np.linspace(0 if count <= MAX_FRAMES else count / MAX_FRAMES - 1, count - 1, MAX_FRAMES)}
    )


def _draw_static(spec: FieldSpec, sample: FieldBatch, prediction: np.ndarray, title: str) -> Figure:
    rows = len(spec.targets)
    coords = None if sample.coords is None else sample.coords.numpy()
    width, height = _panel_size(spec, coords)
    figure = Figure(figsize=(4 * (width + 0.9) + 0.3, rows * (height + 0.55) + 0.5), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for row, channel in enumerate(spec.targets):
        truth = sample.targets[..., row].numpy()
        predicted = prediction[..., row]
        _draw_input(axes[row, 0], spec, sample, coords)
        scale = colour_scale([truth, predicted])
        for axis, name, values in ((axes[row, 1], "truth", truth), (axes[row, 2], "prediction", predicted)):
            _panel(axis, spec, values, coords, f"{name}: {label_of(channel)}", scale)
        error = np.abs(predicted - truth)
        _panel(axes[row, 3], spec, error, coords, "absolute error", {"vmin": 0.0, "cmap": ERROR_COLOURS})
    horizontal, vertical = spec.axes if spec.geometry == "grid" else ("x", "y")
    for axis in axes[-1]:
        axis.set_xlabel(horizontal)
    for axis in axes[:, 0]:
        axis.set_ylabel(vertical)
    figure.suptitle(title)
    return figure


def _draw_frames(spec: FieldSpec, snapshots: Sequence[Snapshot], title: str) -> Figure:
    width, height = _panel_size(spec, snapshots[-1].truth_at)
    columns = len(snapshots)
    figure = Figure(figsize=(columns * (width + 0.2) + 1.4, 3 * (height + 0.35) + 0.6), layout="constrained")
    axes = figure.subplots(3, columns, squeeze=False, sharex=True, sharey=True)
    scale = colour_scale([field for s in snapshots for field in (s.truth, s.prediction)])
    worst = max(float(np.abs(s.prediction - s.truth).max()) for s in snapshots)
    error_scale = {"vmin": 0.0, "vmax": worst, "cmap": ERROR_COLOURS}
    for column, shot in enumerate(snapshots):
        drawn = [
            paint(axes[0, column], spec, shot.truth, shot.truth_at, scale),
            paint(axes[1, column], spec, shot.prediction, shot.prediction_at, scale),
            paint(axes[2, column], spec, np.abs(shot.prediction - shot.truth), shot.truth_at, error_scale),
        ]
        axes[0, column].set_title(shot.label)
    for row, name in enumerate(("truth", "prediction", "absolute error")):
        axes[row, 0].set_ylabel(name)
        figure.colorbar(drawn[row], ax=list(axes[row]), pad=0.01, fraction=0.03)
    figure.suptitle(title)
    return figure


def _draw_input(axis: Axes, spec: FieldSpec, sample: FieldBatch, coords: np.ndarray | None) -> None:
    """The first input channel; where the input is the geometry itself, the mesh or the cloud."""
    if spec.geometry == "points" and coords is not None:
        axis.scatter(coords[:, 0], coords[:, 1], s=2, color="0.25", linewidths=0)
        axis.set_title("input: points")
        _frame(axis, spec, coords)
    elif spec.geometry == "mesh" and coords is not None:
        _draw_mesh(axis, coords)
        axis.set_title("input: mesh")
        _frame(axis, spec, coords)
    else:
        values = sample.inputs[..., 0].numpy()
        _panel(axis, spec, values, coords, f"input: {label_of(spec.inputs[0])}", colour_scale([values]))


def _draw_mesh(axis: Axes, coords: np.ndarray, lines: int = 33) -> None:
    """Some lines of a structured mesh, its boundary included."""
    for one_way in (coords, coords.swapaxes(0, 1)):
        for index in np.unique(np.linspace(0, len(one_way) - 1, lines).round().astype(int)):
            axis.plot(*one_way[index].T, color="0.25", linewidth=0.4)


def _panel(
    axis: Axes, spec: FieldSpec, values: np.ndarray, coords: np.ndarray | None, title: str, scale: dict[str, Any]
) -> None:
    drawn = paint(axis, spec, values, coords, scale)
    axis.set_title(title)
    axis.figure.colorbar(drawn, ax=axis, pad=0.02, fraction=0.046)


def paint(axis: Axes, spec: FieldSpec, values: np.ndarray, coords: np.ndarray | None, scale: dict[str, Any]) -> Any:
    """Draw one scalar field in the plane it lies in; return what a colour bar needs."""
    drawn: Any
    if coords is None:
        drawn = axis.imshow(values.T, origin="lower", extent=(0, 1, 0, 1), interpolation="nearest", **scale)
    elif values.ndim == 2:
        drawn = axis.pcolormesh(coords[..., 0], coords[..., 1], values, shading="gouraud", rasterized=True, **scale)
    else:
        drawn = axis.tripcolor(triangulate(coords), values, shading="gouraud", rasterized=True, **scale)
    _frame(axis, spec, coords)
    return drawn


def _frame(axis: Axes, spec: FieldSpec, coords: np.ndarray | None) -> None:
    axis.set_aspect("equal")
    axis.tick_params(labelsize="small")
    if spec.window is not None:
        axis.set_xlim(*spec.window[0])
        axis.set_ylim(*spec.window[1])
    elif coords is not None:
        axis.set_xlim(coords[..., 0].min(), coords[..., 0].max())
        axis.set_ylim(coords[..., 1].min(), coords[..., 1].max())


def triangulate(coords: np.ndarray, longest: float = 4.0) -> Triangulation:
    """Triangles between the points of a cloud, with holes left blank.

    Args:
        coords: ``(n, 2)``.
        longest: triangles with an edge longer than this many times the median longest edge span a hole and are left out.
    """
    triangulation = Triangulation(coords[:, 0], coords[:, 1])
    corners = coords[triangulation.triangles]
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max(axis=1)
    triangulation.set_mask(edges > longest * np.median(edges))
    return triangulation


def colour_scale(fields: Sequence[np.ndarray]) -> dict[str, Any]:
    """Common limits and colours: diverging about zero for fields of both signs, else sequential."""
    low, high = min(float(field.min()) for field in fields), max(float(field.max()) for field in fields)
    if low < 0 < high and min(-low, high) > 0.25 * max(-low, high):
        return {"vmin": -max(-low, high), "vmax": max(-low, high), "cmap": "RdBu_r"}
    return {"vmin": low, "vmax": high, "cmap": "viridis"}


def _panel_size(spec: FieldSpec, coords: np.ndarray | None) -> tuple[float, float]:
    """Inches of one panel, in the proportions of what it shows."""
    if spec.window is not None:
        spans = [high - low for low, high in spec.window]
    elif coords is not None:
        spans = list(np.ptp(coords.reshape(-1, 2), axis=0))
    else:
        spans = [1.0, 1.0]
    ratio = float(np.clip(spans[1] / spans[0], 0.25, 2.0))
    return (3.0, 3.0 * ratio) if ratio <= 1 else (3.0 / ratio, 3.0)
