"""What is known about a benchmark's fields, and one batch of them.

Owns names, units and shapes. It knows no model, no file and no benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lsm.errors import InputError

Geometry = Literal["grid", "mesh", "points"]


@dataclass(frozen=True)
class Channel:
    """One scalar field: its name, and its unit ("1" where dimensionless)."""

    name: str
    unit: str = "1"


@dataclass(frozen=True)
class Tool:
    """A rigid tool above sites that move, coming down as time goes on; for pictures.

    Args:
        channel: the input channel that holds the height of its underside in frame 0, along the first axis.
        span: horizontal positions of the first and the last of these heights, which are evenly spaced.
        travel: how far it comes down from one frame to the next.
    """

    channel: int
    span: tuple[float, float]
    travel: float


@dataclass(frozen=True)
class FieldSpec:
    """Which fields go in and come out, and where they are known.

    Args:
        geometry: "grid" (regular lattice), "mesh" (structured, curvilinear) or "points" (a cloud).
        sites: how many sites there are along each axis; one number for a point cloud.
        axes: a name for each axis of ``sites``.
        inputs: channels handed to the model.
        targets: channels to predict.
        code: length of a vector that describes the whole sample (a shape code), 0 without one.
        autoregressive: the targets are successive frames of one field; the model predicts one frame, which is appended to
            the inputs (the oldest frame leaves) to predict the next.
        positions: for a mesh that moves, which two target channels say where its sites lie.
        window: for pictures, the part of the plane worth looking at, ``((x_low, x_high), (y_low, y_high))``.
        mask: the input channel that is 1 where the targets exist and 0 where they do not; predictions are multiplied by it.
        tool: for pictures of a mesh that moves, the tool that moves it.
    """

    geometry: Geometry
    sites: tuple[int, ...]
    axes: tuple[str, ...]
    inputs: tuple[Channel, ...]
    targets: tuple[Channel, ...]
    code: int = 0
    autoregressive: bool = False
    positions: tuple[int, int] | None = None
    window: tuple[tuple[float, float], tuple[float, float]] | None = None
    mask: int | None = None
    tool: Tool | None = None

    def __post_init__(self) -> None:
        if self.geometry not in get_args(Geometry):
            raise ValueError(f"geometry {self.geometry!r} is none of {get_args(Geometry)}")
        if len(self.axes) != len(self.sites):
            raise ValueError(f"{len(self.axes)} axis names {self.axes} for sites {self.sites}")
        if not self.inputs or not self.targets:
            raise ValueError("a specification needs at least one input and one target channel")
        if self.tool is not None and self.positions is None:
            raise ValueError("a tool needs a mesh that moves: positions say which targets they are")

    @property
    def in_channels(self) -> int:
        """Channels that the model receives."""
        return len(self.inputs)

    @property
    def out_channels(self) -> int:
        """Channels that one call of the model predicts."""
        return 1 if self.autoregressive else len(self.targets)

    @property
    def space_dim(self) -> int:
        """Dimension of the model's grid: that of the lattice, or of the plane that a cloud lies in."""
        return 2 if self.geometry == "points" else len(self.sites)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, fit for a checkpoint that is loaded without running code."""
        return _as_lists(asdict(self))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FieldSpec:
        """The inverse of :meth:`to_dict`."""
        return cls(
            geometry=plain["geometry"],
            sites=tuple(plain["sites"]),
            axes=tuple(plain["axes"]),
            inputs=tuple(Channel(**channel) for channel in plain["inputs"]),
            targets=tuple(Channel(**channel) for channel in plain["targets"]),
            code=plain["code"],
            autoregressive=plain["autoregressive"],
            positions=plain["positions"] and tuple(plain["positions"]),
            window=plain["window"] and tuple(tuple(limits) for limits in plain["window"]),
            mask=plain["mask"],
            tool=_tool(plain.get("tool")),
        )


def _tool(plain: Mapping[str, Any] | None) -> Tool | None:
    """A checkpoint older than tools has none."""
    return None if plain is None else Tool(plain["channel"], tuple(plain["span"]), plain["travel"])


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


@dataclass
class FieldBatch:
    """A batch of samples; without the leading axis, one sample.

    Args:
        inputs: ``(b, *sites, c_in)``, in physical units.
        targets: ``(b, *sites, c_out)``, in physical units.
        coords: ``(b, *sites, d)``, where the sites lie, for meshes and point clouds.
        code: ``(b, k)``, a vector that describes the whole sample.
    """

    inputs: Tensor
    targets: Tensor
    coords: Tensor | None = None
    code: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def _map(self, change: Callable[[Tensor], Tensor]) -> FieldBatch:
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in vars(self).items()}
        return FieldBatch(**changed)

    def to(self, *args: Any, **kwargs: Any) -> FieldBatch:
        """As :meth:`torch.Tensor.to`, for every tensor."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> FieldBatch:
        """As :meth:`torch.Tensor.pin_memory`, for every tensor."""
        return self._map(lambda tensor: tensor.pin_memory())

    def sample(self, index: int) -> FieldBatch:
        """One sample, without the leading axis."""
        return self._map(lambda tensor: tensor[index])

    def select(self, positions: Tensor) -> FieldBatch:
        """The samples at ``positions`` ``(n,)``, integers on the batch's device, as a batch."""
        return self._map(lambda tensor: tensor.index_select(0, positions))

    @staticmethod
    def stack(samples: Sequence[FieldBatch]) -> FieldBatch:
        """Collate single samples into a batch."""
        columns = {field.name: [getattr(sample, field.name) for sample in samples] for field in fields(FieldBatch)}
        stacked: dict[str, Any] = {
            name: None if column[0] is None else torch.stack(column) for name, column in columns.items()
        }
        return FieldBatch(**stacked)

    def check(self, spec: FieldSpec) -> None:
        """Compare one sample with its specification.

        Raises:
            InputError: a shape differs from what ``spec`` says.
        """
        expected = {
            "inputs": (*spec.sites, spec.in_channels),
            "targets": (*spec.sites, len(spec.targets)),
            "coords": (*spec.sites, spec.space_dim) if spec.geometry != "grid" else None,
            "code": (spec.code,) if spec.code else None,
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            found = None if value is None else tuple(value.shape)
            if shape is not None and found != shape:
                raise InputError(f"{name} of a sample have shape {found}, expected {shape}; check the reader's options")
