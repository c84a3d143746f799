"""A field in motion as a sequence of moments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.plotting.layout import label_of, with_unit
from lsm.plotting.plane import positions_of, shown, worth_showing


@dataclass(frozen=True)
class Moment:
    """One scalar field at one time, true and predicted.

    Args:
        name: which time.
        truth, prediction: ``(*sites)``, a plane of them, masked where there is nothing to show.
        error: ``(*sites)``, absolute; of several channels the magnitude of their difference.
        truth_at, prediction_at: ``(*sites, 2)``, where the sites lie; None on a regular grid.
        tool: ``(n, 2)``, the underside of the tool, where there is one.
    """

    name: str
    truth: np.ma.MaskedArray
    prediction: np.ma.MaskedArray
    error: np.ma.MaskedArray
    truth_at: np.ndarray | None = None
    prediction_at: np.ndarray | None = None
    tool: np.ndarray | None = None


@dataclass(frozen=True)
class Start:
    """What the model was given of a field in motion.

    Args:
        name: what it is.
        label: name and unit of the values.
        values: ``(*sites)``, a plane of them; None where the tool says all.
        at: ``(*sites, 2)``, where the sites lie; None on a regular grid.
        tool: ``(n, 2)``, the underside of the tool, where there is one.
    """

    name: str
    label: str
    values: np.ma.MaskedArray | None
    at: np.ndarray | None = None
    tool: np.ndarray | None = None


def in_motion(spec: FieldSpec) -> bool:
    """Whether a field is drawn moment by moment; one of time and one axis of space is drawn as one plane."""
    return spec.autoregressive or ("time" in spec.axes and len(spec.axes) > 2)


def num_moments(spec: FieldSpec) -> int:
    """Moments of a field in motion."""
    return len(spec.targets) if spec.autoregressive else spec.sites[spec.axes.index("time")]


def quantity_of(spec: FieldSpec) -> str:
    """Name and unit of what the moments show: ``vorticity`` for ``vorticity at frame 3``, ``|u|`` for ``u_x`` and ``u_y``."""
    if spec.autoregressive:
        common, unit = {channel.name.partition(" at ")[0] for channel in spec.targets}, spec.targets[0].unit
        return with_unit(common.pop().replace("_", " "), unit) if len(common) == 1 else ""
    values = [spec.targets[i] for i in _not_positions(spec)]
    if len(values) == 1:
        return label_of(values[0])
    names = [channel.name for channel in values]
    common = {name.rpartition("_")[0] for name in names}
    return with_unit(f"|{common.pop() if len(common) == 1 else ', '.join(names)}|", values[0].unit)


def moments(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, which: Iterable[int]) -> list[Moment]:
    """Some moments of a field in motion: its value, or the magnitude of several channels."""
    if spec.autoregressive:
        return [_frame(spec, sample, prediction, index) for index in which]
    return [_time(spec, sample, prediction, index) for index in which]


def start(spec: FieldSpec, sample: FieldBatch) -> Start:
    """The last frame before the first prediction; else the tool above the sites at rest, or the first input channel."""
    worth = worth_showing(spec, sample)
    if spec.autoregressive:
        values = shown(sample.inputs[..., -1].numpy(), worth)
        return Start(f"input: {_when(spec.inputs[-1])}", quantity_of(spec), values, positions_of(sample))
    at = _time(spec, sample, sample.targets, 0).truth_at
    if spec.tool is not None:
        name = spec.inputs[spec.tool.channel].name.replace("_", " ")
        return Start(f"input: {name}", "", None, at, _tool_at(spec, sample, 0))
    axis = spec.axes.index("time")
    values = shown(sample.inputs[..., 0].select(axis, 0).numpy(), np.take(worth, 0, axis=axis))
    return Start("input", label_of(spec.inputs[0]), values, at)


def _tool_at(spec: FieldSpec, sample: FieldBatch, time: int) -> np.ndarray | None:
    """Underside ``(n, 2)`` of the tool at a time, where there is one."""
    if spec.tool is None:
        return None
    heights = sample.inputs[..., spec.tool.channel].reshape(spec.sites[0], -1)[:, 0].numpy()
    return np.stack([np.linspace(*spec.tool.span, len(heights)), heights - spec.tool.travel * time], axis=-1)


def _frame(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, index: int) -> Moment:
    coords, worth = positions_of(sample), worth_showing(spec, sample)
    truth, predicted = (shown(values[..., index].numpy(), worth) for values in (sample.targets, prediction))
    return Moment(_when(spec.targets[index]), truth, predicted, np.ma.abs(predicted - truth), coords, coords)


def _when(channel: Channel) -> str:
    """``frame 3`` of a channel called ``vorticity at frame 3``."""
    return channel.name.partition(" at ")[2] or channel.name


def _time(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, index: int) -> Moment:
    axis = spec.axes.index("time")
    worth = np.take(worth_showing(spec, sample), index, axis=axis)
    truth, predicted = (field.select(axis, index).numpy() for field in (sample.targets, prediction))
    fixed = positions_of(sample)
    truth_at = predicted_at = None if fixed is None else np.take(fixed, index, axis=axis)[..., :2]
    if spec.positions is not None:
        truth_at, predicted_at = (field[..., list(spec.positions)] for field in (truth, predicted))
        predicted_at = np.where(np.isfinite(predicted_at), predicted_at, truth_at)
    fields = [field[..., _not_positions(spec)] for field in (truth, predicted)]
    error = np.linalg.norm(fields[1] - fields[0], axis=-1)
    true_value, value, error = (shown(field, worth) for field in (*map(_value, fields), error))
    return Moment(f"frame {index}", true_value, value, error, truth_at, predicted_at, _tool_at(spec, sample, index))


def _value(field: np.ndarray) -> np.ndarray:
    """Of one channel its value, of several their Euclidean norm: ``(*sites, c)`` to ``(*sites)``."""
    return field[..., 0] if field.shape[-1] == 1 else np.linalg.norm(field, axis=-1)


def _not_positions(spec: FieldSpec) -> list[int]:
    return [i for i in range(len(spec.targets)) if i not in (spec.positions or ())]
