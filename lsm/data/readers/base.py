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
    """Decode the stored arrays of one sample to fields ``(*sites, c)``.

    A subclass takes its options in the constructor and opens no file. It says in :meth:`describe` which fields it makes, in
    :meth:`decode` how, and in :meth:`find_problem` which stored arrays it cannot take.
    """

    #: Where the sites lie.
    geometry: ClassVar[Geometry]

    #: Stored arrays that :meth:`decode` needs.
    fields: tuple[str, ...]

    #: Those of them that are one number per sample.
    parameters: tuple[str, ...] = ()

    def spec(self, store: Store) -> FieldSpec:
        """The fields ``(*sites, c)`` as this reader decodes them from ``store``.

        Raises:
            InputError: the reader cannot take the stored arrays; the message says which and why.
        """
        if problem := self.find_problem(store):
            raise InputError(f"{store.path} holds {problem}")
        return self.describe(store)

    def find_problem(self, store: Store) -> str | None:
        """The first reason against the stored arrays and their shapes, in words; None without one."""
        for name in self.parameters:
            if (shape := store.fields[name].shape) != ():
                return f"{name} of shape {shape} per sample; a parameter is one number"
        return None

    @abstractmethod
    def describe(self, store: Store) -> FieldSpec:
        """The fields ``(*sites, c)`` that the stored arrays contain, when nothing is wrong with these."""

    @abstractmethod
    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """One sample, in float32, from the stored arrays of one sample.

        Args:
            arrays: ``(*sites, ...)`` by name, without a sample axis, in the stored units.
        Returns:
            Inputs and targets ``(*sites, c)``, without a sample axis.
        """


def find_unequal_shapes(store: Store, names: Sequence[str], trailing: int = 0) -> str | None:
    """Why stored arrays are no values ``(*sites, ...)`` at the same sites of a lattice, in words; None if they are.

    Args:
        store: holds the arrays.
        names: of the arrays.
        trailing: axes after those of the lattice, such as one of frames.
    """
    least, most = 1 + trailing, len(AXES) + trailing
    shapes = {name: store.fields[name].shape for name in names}
    first = shapes[names[0]]
    for name, shape in shapes.items():
        if shape != first or not least <= len(shape) <= most:
            other = "" if name == names[0] else f" and {names[0]} of shape {first}"
            takes = f"the reader takes arrays of one shape, with {least} to {most} axes"
            return f"{name} of shape {shape}{other} per sample; {takes}"
    return None


def channels(store: Store, names: Sequence[str]) -> tuple[Channel, ...]:
    """A channel for each of these stored arrays ``(samples, *sites)``."""
    described = store.fields
    return tuple(Channel(name, described[name].unit) for name in names)


def as_tensor(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays ``(*sites)``, one per channel, as one float32 tensor ``(*sites, c)``."""
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
    strides = [_strides(size, periodic) for size in sites]
    if problem := _find_problem(wanted, sites, strides):
        raise InputError(problem)
    return stored[tuple(slice(None, None, fits[target]) for fits, target in zip(strides, wanted, strict=True))]


def _strides(stored: int, periodic: bool) -> dict[int, int]:
    """The even selections of the stored sites of one axis: stride by number of selected sites."""
    intervals = stored if periodic else stored - 1
    return {-(-stored // stride): stride for stride in range(1, max(stored, 2)) if intervals % stride == 0}


def _find_problem(wanted: Sequence[int], sites: Sequence[int], strides: Sequence[Mapping[int, int]]) -> str | None:
    """Why the wanted sites cannot be chosen evenly spaced from the stored ones, in words."""
    if len(wanted) != len(sites):
        return f"resolution {list(wanted)} has {len(wanted)} numbers, the stored sites {sites} have {len(sites)} axes"
    for axis, stored, target, fits in zip(AXES, sites, wanted, strides, strict=False):
        if target not in fits:
            possible = ", ".join(map(str, fits))
            told = f"{target} evenly spaced sites cannot be chosen from the {stored} stored along {axis}"
            return f"{told}; possible numbers are {possible}"
    return None


def make_reader(config: Mapping[str, Any]) -> Reader:
    """A reader from ``{name: ..., option: ...}``; see :meth:`lsm.registry.Registry.make`."""
    return READERS.make(config)
