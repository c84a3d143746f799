"""What a reader does: say which stored arrays are inputs, coordinates and targets. Nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lsm.data.store import Store
from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec, Geometry
from lsm.registry import Registry

#: Readers by the kind of data; a reader takes only options.
READERS: Registry = Registry("reader", home="lsm.data.readers")

#: Names of the axes of a lattice.
AXES = ("x", "y", "z")


class Reader(ABC):
    """Decode the stored arrays of one sample.

    A subclass takes its options in the constructor and opens no file.
    """

    #: Where the sites lie.
    geometry: ClassVar[Geometry]

    #: Stored arrays that :meth:`decode` needs.
    fields: tuple[str, ...]

    @abstractmethod
    def spec(self, store: Store) -> FieldSpec:
        """The fields as this reader decodes them from ``store``."""

    @abstractmethod
    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """One sample, in float32, from the stored arrays of one sample."""


def require_one_shape(store: Store, names: Sequence[str], trailing: int = 0) -> None:
    """Check that stored arrays are values at the same sites of a lattice.

    Args:
        store: holds the arrays.
        names: of the arrays.
        trailing: axes after those of the lattice, such as one of frames.
    Raises:
        InputError: one has another shape than the first, or the lattice has not one to three axes.
    """
    described = store.fields
    least, most = 1 + trailing, len(AXES) + trailing
    for name in names:
        shape, first = described[name].shape, described[names[0]].shape
        if shape != first or not least <= len(shape) <= most:
            other = "" if name == names[0] else f" and {names[0]} of shape {first}"
            raise InputError(
                f"{store.path} holds {name} of shape {shape}{other} per sample; "
                f"the reader takes arrays of one shape, with {least} to {most} axes"
            )


def channels(store: Store, names: Sequence[str]) -> tuple[Channel, ...]:
    """A channel for each of these stored arrays."""
    described = store.fields
    return tuple(Channel(name, described[name].unit) for name in names)


def parameter_channels(store: Store, names: Sequence[str]) -> tuple[Channel, ...]:
    """A channel for each of these stored scalars.

    Raises:
        InputError: one is not a scalar per sample.
    """
    for name in names:
        if (shape := store.fields[name].shape) != ():
            raise InputError(f"{store.path} holds {name} of shape {shape} per sample; a parameter is one number")
    return channels(store, names)


def as_tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays as the channels of one float32 tensor, on its last axis."""
    return torch.from_numpy(np.stack(arrays, axis=-1).astype(np.float32))


def as_parameters(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> Tensor | None:
    """Stored scalars ``(p,)``; None without any."""
    return as_tensor([arrays[name] for name in names]) if names else None


def select(
    stored: np.ndarray, resolution: int | Sequence[int] | None, num_axes: int | None = None, periodic: bool = False
) -> np.ndarray:
    """Evenly spaced sites of the stored ones.

    Args:
        stored: ``(*sites, ...)``.
        resolution: sites wanted along each axis, or one number for all; all stored sites if None.
        num_axes: number of leading axes that are sites; all by default.
        periodic: the last site is followed by the first; otherwise both the first and the last site are selected.
    Raises:
        InputError: no whole stride leads from the stored to the wanted sites, or the number of axes differs.
    """
    if resolution is None:
        return stored
    sites = stored.shape[:num_axes]
    wanted = [resolution] * len(sites) if isinstance(resolution, int) else resolution
    if len(wanted) != len(sites):
        raise InputError(
            f"resolution {list(wanted)} has {len(wanted)} numbers, the stored sites {sites} have {len(sites)} axes"
        )
    strides = [_stride(size, target, axis, periodic) for size, target, axis in zip(sites, wanted, AXES, strict=False)]
    return stored[tuple(slice(None, None, stride) for stride in strides)]


def _stride(stored: int, wanted: int, axis: str, periodic: bool) -> int:
    intervals = stored if periodic else stored - 1
    fits = {-(-stored // stride): stride for stride in range(1, max(stored, 2)) if intervals % stride == 0}
    if wanted not in fits:
        raise InputError(
            f"{wanted} sites along {axis} are no even selection of the stored {stored}; "
            f"possible are {', '.join(map(str, fits))}"
        )
    return fits[wanted]


def make_reader(config: Mapping[str, Any]) -> Reader:
    """A reader from ``{name: ..., option: ...}``; see :meth:`lsm.registry.Registry.make`."""
    return READERS.make(config)
