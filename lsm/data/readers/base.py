"""What a reader promises: which stored arrays are inputs, coordinates and targets; nothing else."""

from __future__ import annotations

import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from lsm.data import readers
from lsm.data.store import Store
from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec

#: Names of the axes of a lattice.
AXES = ("x", "y", "z")


class Reader(ABC):
    """Decode the stored arrays of one sample.

    A subclass takes its options in the constructor and holds no file.
    """

    #: Stored arrays that :meth:`decode` needs.
    fields: tuple[str, ...]

    @abstractmethod
    def spec(self, store: Store) -> FieldSpec:
        """The fields as this reader decodes them from ``store``."""

    @abstractmethod
    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """One sample, in float32, from the stored arrays of one sample."""


def as_names(option: str, names: Any) -> tuple[str, ...]:
    """Names of stored arrays, as an option lists them.

    Raises:
        InputError: it is no list of at least one name.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise InputError(
            f"{option} of the reader is {names!r}, expected a list of stored arrays such as [{names or 'a'}]"
        )
    return tuple(names)


def require_one_shape(store: Store, names: Sequence[str]) -> None:
    """Check that stored arrays are values at the same sites.

    Raises:
        InputError: one has another shape than the first, or more than three axes.
    """
    described = store.fields
    for name in names:
        shape, first = described[name].shape, described[names[0]].shape
        if shape != first or not 1 <= len(shape) <= len(AXES):
            beside = "" if name == names[0] else f" and {names[0]} of shape {first}"
            raise InputError(
                f"{store.path} holds {name} of shape {shape}{beside} a sample; "
                f"the reader takes arrays of one shape, of 1 to {len(AXES)} axes"
            )


def available_readers() -> list[str]:
    """Names of all readers."""
    return sorted(module.name for module in pkgutil.iter_modules(readers.__path__) if module.name != "base")


def make_reader(config: Mapping[str, Any]) -> Reader:
    """Build a reader from ``{name, **options}``.

    The name is a module of ``lsm.data.readers`` that defines one reader, ``grid`` its ``GridReader``.

    Raises:
        InputError: there is no such reader, or it has no such option.
    """
    if not isinstance(config, Mapping) or "name" not in config:
        raise InputError(
            f"reader is {config}, expected {{name: NAME, ...}} with one of: {', '.join(available_readers())}"
        )
    options = dict(config)
    name = options.pop("name")
    if name not in available_readers():
        raise InputError(f"reader {name!r} is unknown; choose one of: {', '.join(available_readers())}")
    module = import_module(f"lsm.data.readers.{name}")
    reader = getattr(module, name.title().replace("_", "") + "Reader")
    try:
        return reader(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(reader).parameters) or "no options"
        raise InputError(f"reader {name} takes {known}; it was given {', '.join(options) or 'none'}") from error


def channels(store: Store, names: Sequence[str]) -> tuple[Channel, ...]:
    """A channel for each of these stored arrays."""
    described = store.fields
    return tuple(Channel(name, described[name].unit) for name in names)


def select(
    stored: np.ndarray, resolution: int | Sequence[int] | None, num_axes: int | None = None, periodic: bool = False
) -> np.ndarray:
    """An even selection of stored sites.

    Args:
        stored: ``(*sites, ...)``.
        resolution: sites wanted along each axis, or one number for all; all that are stored if None.
        num_axes: how many leading axes are sites; all by default.
        periodic: the last site is followed by the first; else the first and the last site are both selected.
    Raises:
        InputError: no whole stride leads from the stored to the wanted sites, or there are too many or few numbers.
    """
    if resolution is None:
        return stored
    sites = stored.shape[:num_axes]
    wanted = [resolution] * len(sites) if isinstance(resolution, int) else resolution
    if not isinstance(wanted, Sequence) or not all(type(number) is int for number in wanted):
        raise InputError(f"resolution is {resolution}, expected a whole number, or one an axis such as [64,64]")
    if len(wanted) != len(sites):
        raise InputError(
            f"resolution {wanted} has {len(wanted)} numbers, the stored sites {sites} have {len(sites)} axes"
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
