"""What is known about the fields of a benchmark, and one batch of them.

Owns names, units and shapes. It knows no model, no file and no benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

import torch
import torch.nn.functional as functional
from annotated_types import Interval
from torch import Tensor

from lsm.errors import InputError
from lsm.registry import Count, Index, check_value

Geometry = Literal["grid", "mesh", "points"]


@dataclass(frozen=True)
class Channel:
    """One scalar: its name, and its unit ("1" if dimensionless)."""

    name: str
    unit: str = "1"


@dataclass(frozen=True)
class Frames:
    """How many successive frames a roll-out starts from, and how many it predicts.

    Args:
        inputs: frames that the model sees at once, ``(*sites, inputs * fields)``.
        targets: frames that follow, ``(*sites, targets * fields)``; each is predicted from the ``inputs`` frames before it.
    """

    inputs: int
    targets: int


@dataclass(frozen=True)
class FieldSpec:
    """Which fields go in and come out, and at which sites they are known.

    Args:
        geometry: "grid" (regular lattice), "mesh" (structured, curvilinear) or "points" (a cloud).
        sites: number of sites along each axis; one number for a point cloud, the largest one of ``ragged`` clouds.
        axes: a name for each axis of ``sites``.
        inputs: fields given to the model; in a roll-out, those of one frame.
        targets: fields to predict; in a roll-out, those of one frame.
        code: length of a vector that describes the whole sample (a shape code), 0 without one.
        parameters: scalars that describe the whole sample, such as a viscosity or a Mach number.
        frames: for a roll-out, the number of frames; the predicted frame is appended to the inputs, the oldest one dropped,
            and the next frame predicted. Channels are ordered by frame, then by field.
        mask: index of the input field that is 1 where the targets exist and 0 elsewhere; predictions are multiplied by it.
        space: dimension of the space in which a point cloud lies.
        ragged: whether the clouds of different samples have different numbers of points; see :attr:`FieldBatch.mask`.
        periodic: whether the fields of a grid are periodic along all axes: the last site is followed by the first.

    Example:
        >>> spec = FieldSpec("grid", (64, 64), ("x", "y"), (Channel("w"),), (Channel("w"),), frames=Frames(10, 5))
        >>> spec.in_channels, spec.out_channels, spec.target_channels
        (10, 1, 5)
    """

    geometry: Geometry
    sites: tuple[int, ...]
    axes: tuple[str, ...]
    inputs: tuple[Channel, ...]
    targets: tuple[Channel, ...]
    code: int = 0
    parameters: tuple[Channel, ...] = ()
    frames: Frames | None = None
    mask: int | None = None
    space: int = 2
    ragged: bool = False
    periodic: bool = False

    def __post_init__(self) -> None:
        if self.geometry not in get_args(Geometry):
            raise ValueError(f"geometry {self.geometry!r} is none of {get_args(Geometry)}")
        if len(self.axes) != len(self.sites):
            raise ValueError(f"{len(self.axes)} axis names {self.axes} for sites {self.sites}")
        if not self.inputs or not self.targets:
            raise ValueError("a specification needs at least one input and one target field")
        if self.frames is not None and self.inputs != self.targets:
            raise ValueError("a roll-out predicts the fields that it starts from: inputs and targets must be equal")
        if self.mask is not None and not 0 <= self.mask < len(self.inputs):
            raise ValueError(f"mask {self.mask} is no index of the {len(self.inputs)} inputs")
        if self.ragged and self.geometry != "points":
            raise ValueError(f"only point clouds can be ragged, not a {self.geometry}")

    @property
    def input_channels(self) -> int:
        """Channels of :attr:`FieldBatch.inputs`, ``(b, *sites, c)``."""
        return len(self.inputs) * (self.frames.inputs if self.frames else 1)

    @property
    def target_channels(self) -> int:
        """Channels of :attr:`FieldBatch.targets`, ``(b, *sites, c)``, and of a whole prediction."""
        return len(self.targets) * (self.frames.targets if self.frames else 1)

    @property
    def in_channels(self) -> int:
        """Channels that a model receives: inputs and scalar parameters."""
        return self.input_channels + len(self.parameters)

    @property
    def out_channels(self) -> int:
        """Channels ``c`` that one call of a model returns, ``(b, *sites, c)``: the targets, in a roll-out those of one frame."""
        return len(self.targets)

    @property
    def target_names(self) -> tuple[str, ...]:
        """A name for each target channel, such as ``vorticity at frame 11``; frames are counted from the first input."""
        if self.frames is None:
            return tuple(channel.name for channel in self.targets)
        return tuple(f"{channel.name} at {frame}" for frame in self.frame_names for channel in self.targets)

    @property
    def frame_names(self) -> tuple[str, ...]:
        """A name for each predicted frame, such as ``frame 11``; none for fields at rest.

        Frames of a roll-out are counted from 1, the first input; those of an axis ``time`` from 0.
        """
        if self.frames is not None:
            first, count = self.frames.inputs + 1, self.frames.targets
        else:
            first, count = 0, self.sites[self.axes.index("time")] if "time" in self.axes else 0
        return tuple(f"frame {number}" for number in range(first, first + count))

    @property
    def space_dim(self) -> int:
        """Length ``space`` of coordinates ``(*sites, space)``: dimension of the lattice, or of the space of a cloud."""
        return self.space if self.geometry == "points" else len(self.sites)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, fit for a checkpoint that is loaded without running code."""
        return _as_lists(asdict(self))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FieldSpec:
        """The inverse of :meth:`to_dict`.

        Raises:
            OptionError: an entry is missing or of another kind.
        """
        plain = {"ragged": False, "periodic": False, **plain}  # older checkpoints do not name them
        for name, annotation in _PLAIN.items():
            check_value(name, plain.get(name), annotation)
        channels = {
            name: tuple(Channel(**channel) for channel in plain[name]) for name in ("inputs", "targets", "parameters")
        }
        frames = plain["frames"] and Frames(**plain["frames"])
        sites, axes = tuple(plain["sites"]), tuple(plain["axes"])
        return cls(**{**plain, **channels, "frames": frames, "sites": sites, "axes": axes})


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


#: Kinds of the entries of :meth:`FieldSpec.to_dict`.
_PLAIN = {
    "geometry": str,
    **dict.fromkeys(("inputs", "targets", "parameters"), Sequence[Mapping[str, str]]),
    "sites": Sequence[Count],
    "axes": Sequence[str],
    "code": Index,
    "frames": Mapping[str, Count] | None,
    "mask": Index | None,
    "space": Annotated[int, Interval(ge=1, le=3)],
    "ragged": bool,
    "periodic": bool,
}


@dataclass
class FieldBatch:
    """A batch of samples; without the leading axis, one sample.

    Clouds with different numbers of points are padded with zeros at the end when they are stacked; :attr:`mask` says which points
    exist. A single sample has its own points only.

    Args:
        inputs: ``(b, *sites, c_in)``, in physical units.
        targets: ``(b, *sites, c_out)``, in physical units.
        coords: ``(b, *sites, d)``, where the sites lie, for meshes and point clouds.
        code: ``(b, k)``, a vector that describes the whole sample.
        parameters: ``(b, p)``, scalars that describe the whole sample, in physical units.
        mask: ``(b, n)``, True where a point of a ragged cloud exists; None if all do.

    Example:
        >>> batch = FieldBatch(inputs=torch.zeros(8, 64, 64, 1), targets=torch.zeros(8, 64, 64, 1))
        >>> len(batch), batch.sample(0).inputs.shape
        (8, torch.Size([64, 64, 1]))
    """

    inputs: Tensor
    targets: Tensor
    coords: Tensor | None = None
    code: Tensor | None = None
    parameters: Tensor | None = None
    mask: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def map(self, change: Callable[[Tensor], Tensor]) -> FieldBatch:
        """The batch with every tensor ``(b, ...)`` changed by the same function."""
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in vars(self).items()}
        return FieldBatch(**changed)

    def to(self, *args: Any, **kwargs: Any) -> FieldBatch:
        """As :meth:`torch.Tensor.to`, for every tensor ``(b, ...)`` of the batch; the mask stays one of truth values."""
        moved = self.map(lambda tensor: tensor.to(*args, **kwargs))
        return moved if moved.mask is None else replace(moved, mask=moved.mask.bool())

    def pin_memory(self) -> FieldBatch:
        """As :meth:`torch.Tensor.pin_memory`, for every tensor ``(b, ...)`` of the batch."""
        return self.map(lambda tensor: tensor.pin_memory())

    def sample(self, index: int) -> FieldBatch:
        """One sample, ``(*sites, c)`` without the leading axis and without padding."""
        alone = self.map(lambda tensor: tensor[index])
        if alone.mask is None:
            return alone
        kept: dict[str, Any] = {
            name: None if field is None else field[alone.mask] for name, field in alone._at_points().items()
        }
        return replace(alone, **kept)

    def _at_points(self) -> dict[str, Tensor | None]:
        """What has an axis of sites, by name."""
        return {name: getattr(self, name) for name in ("inputs", "targets", "coords", "mask")}

    def real(self, values: Tensor) -> Tensor:
        """Values ``(b, *sites, c)`` without padding: those of all points of all ragged clouds as one sample, ``(1, m, c)``."""
        return values if self.mask is None else values[self.mask].unsqueeze(0)

    def exists(self, spec: FieldSpec) -> Tensor | None:
        """Where the targets exist, ``(b, *sites, 1)``: 1 at points of ragged clouds and inside a mask; None for everywhere."""
        if self.mask is not None:
            return self.mask.unsqueeze(-1)
        return None if spec.mask is None else self.inputs[..., spec.mask, None]

    def real_share(self) -> Tensor | float:
        """Share of the sites of each sample that are no padding: ``(b,)`` of ragged clouds, else 1."""
        return 1.0 if self.mask is None else self.mask.to(self.targets.dtype).mean(dim=1)

    def select(self, positions: Tensor) -> FieldBatch:
        """The samples at ``positions`` ``(n,)``, integers on the batch's device, as a batch."""
        return self.map(lambda tensor: tensor.index_select(0, positions))

    def every_site(self, stride: int) -> FieldBatch:
        """Every ``stride``-th site along each axis of all fields ``(b, *sites, c)`` and coordinates; code and parameters stay."""
        coords = None if self.coords is None else every_site(self.coords, stride)
        inputs, targets = (every_site(field, stride) for field in (self.inputs, self.targets))
        mask = None if self.mask is None else self.mask[:, ::stride]
        return FieldBatch(inputs, targets, coords, self.code, self.parameters, mask)

    @staticmethod
    def stack(samples: Sequence[FieldBatch]) -> FieldBatch:
        """Collate single samples ``(*sites, c)`` into a batch ``(b, *sites, c)``; those with a mask are padded to the longest.

        Example:
            >>> sample = FieldBatch(inputs=torch.zeros(64, 2), targets=torch.zeros(64, 1))
            >>> FieldBatch.stack([sample, sample]).inputs.shape
            torch.Size([2, 64, 2])
        """
        if samples[0].mask is not None:
            longest = max(len(sample.inputs) for sample in samples)
            samples = [sample.padded(longest) for sample in samples]
        columns = {field.name: [getattr(sample, field.name) for sample in samples] for field in fields(FieldBatch)}
        stacked: dict[str, Any] = {
            name: None if column[0] is None else torch.stack(column) for name, column in columns.items()
        }
        return FieldBatch(**stacked)

    def padded(self, count: int) -> FieldBatch:
        """One cloud ``(n, c)`` as ``(count, c)``: with zeros that the mask excludes."""
        missing = count - len(self.inputs)

        def longer(field: Tensor | None) -> Tensor | None:
            return None if field is None else functional.pad(field, (*[0, 0] * (field.dim() - 1), 0, missing))

        padded: dict[str, Any] = {name: longer(field) for name, field in self._at_points().items()}
        return replace(self, **padded)

    def cropped(self, count: int) -> FieldBatch:
        """Ragged clouds ``(b, n, c)`` as ``(b, count, c)``, without padding behind the largest one; other batches stay."""
        if self.mask is None:
            return self
        points: dict[str, Any] = {
            name: None if field is None else field[:, :count].contiguous() for name, field in self._at_points().items()
        }
        return replace(self, **points)

    def check(self, spec: FieldSpec) -> None:
        """Compare one sample with its specification.

        Raises:
            InputError: a shape differs from what ``spec`` says.
        """
        spec = replace(spec, sites=tuple(self.inputs.shape[:1])) if spec.ragged else spec
        expected = {**shapes(spec), "targets": (*spec.sites, spec.target_channels)}
        for name, shape in expected.items():
            value = getattr(self, name)
            found = None if value is None else tuple(value.shape)
            if shape is not None and found != shape:
                raise InputError(f"{name} of a sample have shape {found}, expected {shape}; check the reader's options")


def given_channels(spec: FieldSpec) -> dict[str, tuple[Channel, ...]]:
    """What a solver is given of a sample, by the names of :class:`FieldBatch`: fields of a frame, parameters, the code as one."""
    code = (Channel("code"),) if spec.code else ()
    return {"inputs": spec.inputs, "parameters": spec.parameters, "code": code}


def every_site(field: Tensor, stride: int) -> Tensor:
    """Every ``stride``-th site along each axis, from the first one: ``(b, *sites, c)`` to ``(b, *ceil(sites / stride), c)``.

    Example:
        >>> every_site(torch.arange(5).reshape(1, 5, 1), 2).flatten()
        tensor([0, 2, 4])
    """
    for axis in range(1, field.dim() - 1):
        field = field[(slice(None),) * axis + (slice(None, None, stride),)]
    return field


def shapes(spec: FieldSpec) -> dict[str, tuple[int, ...] | None]:
    """The shape of all that a solver receives of one sample, by the names of :class:`FieldBatch`; None for what it does not use.

    That of the inputs is ``(*sites, c_in)``.
    """
    return {
        "inputs": (*spec.sites, spec.input_channels),
        "coords": (*spec.sites, spec.space_dim) if spec.geometry != "grid" else None,
        "code": (spec.code,) if spec.code else None,
        "parameters": (len(spec.parameters),) if spec.parameters else None,
    }
