"""What a benchmark's reader promises: which stored arrays are inputs, coordinates and targets; nothing else."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from lsm.data import readers
from lsm.data.store import Store
from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec


class Reader(ABC):
    """Decode the stored arrays of one sample.

    A subclass takes its options in the constructor and holds no file.
    """

    #: Stored arrays that :meth:`decode` needs.
    fields: ClassVar[tuple[str, ...]]

    @abstractmethod
    def spec(self, store: Store) -> FieldSpec:
        """The fields as this reader decodes them from ``store``."""

    @abstractmethod
    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """One sample, in float32, from the stored arrays of one sample."""


def available_readers() -> list[str]:
    """Names of all benchmarks that have a reader."""
    return sorted(module.name for module in pkgutil.iter_modules(readers.__path__) if module.name != "base")


def make_reader(config: Mapping[str, Any]) -> Reader:
    """Build a reader from ``{name, **options}``.

    The name is a module of ``lsm.data.readers`` that defines one reader, ``darcy`` its ``DarcyReader``.

    Raises:
        InputError: there is no such reader, or it has no such option.
    """
    options = dict(config)
    name = options.pop("name")
    if name not in available_readers():
        raise InputError(f"reader {name!r} is unknown; choose one of: {', '.join(available_readers())}")
    module = import_module(f"lsm.data.readers.{name}")
    reader = getattr(module, name.title().replace("_", "") + "Reader")
    try:
        return reader(**options)
    except TypeError as error:
        raise InputError(f"reader {name} does not take these options: {options} ({error})") from error


def stride_to(stored: int, wanted: int | None, axis: str) -> int:
    """How many stored sites to step over so that ``wanted`` remain, first and last included.

    Raises:
        InputError: no whole stride leads from ``stored`` to ``wanted`` sites.
    """
    if wanted is None:
        return 1
    stride, rest = divmod(stored - 1, wanted - 1) if wanted > 1 else (0, 1)
    if rest or stride < 1:
        fits = [(stored - 1) // step + 1 for step in range(1, stored) if (stored - 1) % step == 0]
        raise InputError(
            f"{wanted} sites along {axis} are no even selection of the stored {stored}; possible are {', '.join(map(str, fits))}"
        )
    return stride
