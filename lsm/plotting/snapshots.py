"""Fields that change over time, as snapshots: the frames of a roll-out, or slices of a lattice that has a time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lsm.fields import Channel, FieldSpec
from lsm.plotting.layout import label_of
from lsm.plotting.panels import PREDICTION, Panel, panels_of
from lsm.plotting.scene import Scene, masked


@dataclass(frozen=True)
class Snapshot:
    """One scalar field at one time, true and predicted.

    Args:
        name: the time, such as "frame 3".
        panels: truth, predictions and errors; errors are absolute, of several channels the magnitude of their difference. All
            are at the sites of the truth but for the prediction of a mesh that moves.
        tool: ``(n, 2)``, the underside of the tool, if there is one.
    """

    name: str
    panels: list[Panel]
    tool: np.ndarray | None = None

    @property
    def truth(self) -> Panel:
        """The true field, ``(*sites)``."""
        return self.panels[0]


@dataclass(frozen=True)
class InputSnapshot:
    """One field that the model was given.

    Args:
        name: title of its panel.
        label: name and unit of the values.
        values: ``(*sites)``, masked where nothing is drawn; None where the tool shows them.
        at: ``(*sites, 2)``, where the sites lie; None on a regular grid.
        tool: ``(n, 2)``, the underside of the tool, if this input is its height.
    """

    name: str
    label: str
    values: np.ma.MaskedArray | None
    at: np.ndarray | None = None
    tool: np.ndarray | None = None


@dataclass(frozen=True)
class Series:
    """One quantity over time, and inputs to draw beside it.

    Args:
        label: name and unit of the quantity.
        snapshots: its truth and prediction, ``(*sites)`` each, at some times.
        inputs: at most three fields ``(*sites)`` that the model was given.
        continues_input: whether the input is the same quantity at an earlier time.
    """

    label: str
    snapshots: list[Snapshot]
    inputs: list[InputSnapshot]
    continues_input: bool


def in_motion(spec: FieldSpec) -> bool:
    """Whether a field ``(*sites, c)`` is drawn snapshot by snapshot; an axis of time and one of space are drawn as a plane."""
    return spec.frames is not None or ("time" in spec.axes and len(spec.axes) > 2)


def num_snapshots(spec: FieldSpec) -> int:
    """Snapshots of a field in motion."""
    return spec.frames.targets if spec.frames else spec.sites[spec.axes.index("time")]


def all_series(scene: Scene, which: Sequence[int]) -> list[Series]:
    """A series for each predicted quantity, see :func:`_quantities`, with the snapshots ``which``."""
    series = []
    for number, (label, channels) in enumerate(_quantities(scene)):
        snapshots = [_snapshot(scene, channels, index) for index in which]
        inputs = (
            [_last_input_frame(scene, number)] if scene.spec.frames else _inputs(scene)[3 * number : 3 * number + 3]
        )
        series.append(Series(label, snapshots, inputs, continues_input=scene.spec.frames is not None))
    return series


def _quantities(scene: Scene) -> list[tuple[str, list[int]]]:
    """Labels and target channels of what is drawn: each field but the positions of a mesh that moves.

    On such a mesh the components of a vector, ``u_x`` and ``u_y``, are one quantity, its magnitude ``|u|``.
    """
    positions, targets = scene.display.positions or (), scene.spec.targets
    groups: dict[tuple[str, str], list[int]] = {}
    for i, channel in enumerate(targets):
        stem, _, component = channel.name.rpartition("_")
        name = f"|{stem}|" if positions and stem and component in ("x", "y", "z") else channel.name
        if channel.name not in positions:
            groups.setdefault((name, channel.unit), []).append(i)
    if not groups:
        return [(label_of(channel), [i]) for i, channel in enumerate(targets)]
    return [
        (label_of(Channel(name, unit) if len(group) > 1 else targets[group[0]]), group)
        for (name, unit), group in groups.items()
    ]


def _snapshot(scene: Scene, channels: Sequence[int], index: int) -> Snapshot:
    drawn = _on_lattice(scene, scene.has_target, index)
    truth = _at(scene, scene.sample.targets, index)
    at = _coords_at(scene, truth, index)
    predictions: dict[str, Panel] = {}
    errors: dict[str, np.ma.MaskedArray] = {}
    for name, values in scene.predictions.items():
        predicted = _at(scene, values, index)
        place = _coords_at(scene, predicted, index)
        if at is not None and place is not None:
            place = np.where(np.isfinite(place), place, at)
        predictions[name] = Panel(PREDICTION, masked(_value(predicted, channels), drawn), place)
        errors[name] = masked(np.linalg.norm(predicted[..., channels] - truth[..., channels], axis=-1), drawn)
    width = None
    if scene.half_width is not None:
        width = masked(_value(_at(scene, scene.half_width, index), channels), drawn)
    panels = panels_of(Panel("truth", masked(_value(truth, channels), drawn), at), predictions, errors, width)
    return Snapshot(scene.spec.frame_names[index], panels, _tool_at(scene, index))


def _at(scene: Scene, values: Tensor, index: int) -> np.ndarray:
    """All fields ``(*sites, c)`` of one snapshot."""
    if scene.spec.frames:
        count = len(scene.spec.targets)
        return values[..., index * count : (index + 1) * count].numpy()
    return _on_lattice(scene, values.numpy(), index)


def _on_lattice(scene: Scene, values: np.ndarray, index: int) -> np.ndarray:
    """Values at one time, of a lattice that has a time axis; any others do not change."""
    return values if scene.spec.frames else np.take(values, index, axis=scene.spec.axes.index("time"))


def _coords_at(scene: Scene, fields: np.ndarray, index: int) -> np.ndarray | None:
    """Where the sites lie ``(*sites, 2)``: as the fields of a snapshot say, or else as the coordinates of the sample do."""
    if scene.display.positions:
        names = [channel.name for channel in scene.spec.targets]
        return fields[..., [names.index(name) for name in scene.display.positions]]
    coords = scene.coords
    return None if coords is None else _on_lattice(scene, coords, index)[..., :2]


def _value(fields: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """The value of one channel, the Euclidean norm of several: ``(*sites, c)`` to ``(*sites)``."""
    return fields[..., channels[0]] if len(channels) == 1 else np.linalg.norm(fields[..., channels], axis=-1)


def _last_input_frame(scene: Scene, field: int) -> InputSnapshot:
    """A field in the last frame before the first prediction."""
    inputs, spec = scene.sample.inputs, scene.spec
    last = spec.frames.inputs if spec.frames else 0
    fields = inputs[..., -len(spec.targets) :].numpy()
    values = masked(fields[..., field], scene.has_target)
    label = label_of(spec.targets[field])
    return InputSnapshot(f"input: frame {last}", label, values, _coords_at(scene, fields, 0))


def _inputs(scene: Scene) -> list[InputSnapshot]:
    """All input fields at time 0; the height of the tool is drawn as the tool above the sites at rest."""
    at = _coords_at(scene, _at(scene, scene.sample.targets, 0), 0)
    inputs = []
    for i in scene.fields:
        channel = scene.spec.inputs[i]
        name = f"input: {channel.name.replace('_', ' ')}"
        if scene.display.tool and channel.name == scene.display.tool.height:
            inputs.append(InputSnapshot(name, "", None, at, _tool_at(scene, 0)))
        else:
            values = masked(_on_lattice(scene, scene.sample.inputs[..., i].numpy(), 0))
            inputs.append(InputSnapshot(name, label_of(channel), values, at))
    return inputs


def _tool_at(scene: Scene, time: int) -> np.ndarray | None:
    """Underside ``(n, 2)`` of the tool at a time, if there is one."""
    tool = scene.display.tool
    if tool is None:
        return None
    channel = [field.name for field in scene.spec.inputs].index(tool.height)
    heights = scene.sample.inputs[..., channel].reshape(scene.spec.sites[0], -1)[:, 0].numpy()
    return np.stack([np.linspace(*tool.span, len(heights)), heights - tool.travel * time], axis=-1)
