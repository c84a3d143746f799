"""Reading and writing arrays in ``.npy`` files and MATLAB files: v5, and v7.3, which is HDF5 with reversed axes.

Owns the file formats and what protects against damaged and hostile files; it knows no benchmark.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io
from scipy.io.matlab import matfile_version

from lsm.data.array_files import mark_as_matlab
from lsm.data.hdf5 import damage_reported, member_names, open_dataset, open_hdf5, require_true_sizes
from lsm.data.store import MAX_SAMPLE_BYTES
from lsm.errors import InputError, explained
from lsm.files import require_regular, whole_file

MatVersion = Literal["5", "7.3"]

#: MATLAB's names of numpy types, where the two differ; a v7.3 file records the name with each array.
_MATLAB_CLASSES = {"float32": "single", "float64": "double"}

#: MATLAB's classes of dense arrays of numbers; scipy reads others with recursions that end in crashes.
_NUMERIC = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}

#: MATLAB's code of a compressed variable in a v5 file.
_COMPRESSED = 15

#: Bytes of a complex number in double precision, the largest.
_LARGEST_NUMBER = 16

#: Bytes for type, shape and name of a variable in a v5 file.
_HEADER_SIZE = 1 << 16

#: Bytes that are uncompressed at a time.
_PIECE = 1 << 20

#: Bytes of a file that may be missing on the disk.
_LONGEST_GAP = 1 << 20


@contextmanager
def open_array(path: Path, variable: str | None, axes: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Open one array; its shape is known at once, its values are read on access.

    The file is not trusted: only this array is read, and only if it is dense, numeric and stored in the file itself.

    Args:
        path: a ``.npy`` file, or a ``.mat`` file of version 5 or 7.3.
        variable: name of the array in a ``.mat`` file; None for a ``.npy`` file.
        axes: names of the axes in the order in which MATLAB or numpy show them.
    Yields:
        An object with ``shape`` and ``dtype`` that is sliced like an array, and the names of its axes in the order of the
        file.
    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is damaged, of another kind, or does not contain the variable as a dense numeric array.
    """
    require_regular(path)
    if variable is None:
        yield _map_npy(path), axes
    elif h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            _require_variable(path, variable, member_names(path, file))
            dataset = open_dataset(path, file, variable, MAX_SAMPLE_BYTES)
            require_true_sizes(path, dataset, MAX_SAMPLE_BYTES)
            yield _Hdf5Array(path, dataset), axes[::-1]
    else:
        yield _Mat5Array(path, variable), axes


def _reading(path: Path, kind: str) -> AbstractContextManager[None]:
    """Turn the many exceptions of readers on damaged files into one; files that may not be read stay an OSError."""
    return explained(f"{path} cannot be read as {kind}", Exception, "it is damaged: download it again")


def _map_npy(path: Path) -> np.ndarray:
    with _reading(path, ".npy"):
        _require_no_gap(path)
        return np.lib.format.open_memmap(path, mode="r")


def _require_no_gap(path: Path) -> None:
    """Refuse a file whose space was reserved but never written, as interrupted downloads leave it; it reads as zeros."""
    with path.open("rb") as file:
        size, position = os.fstat(file.fileno()).st_size, 0
        while position < size:
            gap = os.lseek(file.fileno(), position, os.SEEK_HOLE)
            position = _end_of_gap(file.fileno(), gap, size)
            # Compressing file systems keep short runs of zeros as gaps.
            if position - gap > _LONGEST_GAP:
                raise ValueError(f"it was not written completely, nothing from byte {gap} on")


def _end_of_gap(descriptor: int, gap: int, size: int) -> int:
    try:
        return size if gap >= size else os.lseek(descriptor, gap, os.SEEK_DATA)
    except OSError:  # no more data
        return size


class _Hdf5Array:
    """A dataset of a MATLAB v7.3 file."""

    def __init__(self, path: Path, dataset: h5py.Dataset) -> None:
        self._path, self._dataset = path, dataset
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        with damage_reported(self._path):
            return np.asarray(self._dataset[index])


class _Mat5Array:
    """A variable of a MATLAB v5 file: described by the headers, and read whole when its type or values are needed."""

    def __init__(self, path: Path, variable: str) -> None:
        self._path, self._variable = path, variable
        with _reading(path, "a MATLAB file"):
            if matfile_version(str(path))[0] != 1:
                raise InputError(f"{path} is not a MATLAB file of version 5 or 7.3")
            described = scipy.io.whosmat(path)
        names, kinds = [name for name, *_ in described], {name: kind for name, _, kind in described}
        _require_variable(path, variable, names, kinds)
        self._position = names.index(variable)
        _, self.shape, _ = described[self._position]

    @property
    def dtype(self) -> np.dtype:
        return self._values.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._values[index]

    @cached_property
    def _values(self) -> np.ndarray:
        with _reading(self._path, "a MATLAB file"):
            self._require_true_size()
            values = scipy.io.loadmat(self._path, variable_names=[self._variable])[self._variable]
            if values.shape != self.shape:
                raise ValueError(f"{self._variable} has shape {values.shape}, its header says {self.shape}")
            return values

    def _require_true_size(self) -> None:
        """Check that a compressed variable has at most the size of its header, before scipy allocates memory for it."""
        limit = prod(self.shape) * _LARGEST_NUMBER + _HEADER_SIZE
        with self._path.open("rb") as file:
            start = file.read(128)
            order = "<" if start.endswith(b"IM") else ">"
            for position in range(self._position + 1):
                kind, size = struct.unpack(f"{order}II", file.read(8))
                if position < self._position:
                    file.seek(size, os.SEEK_CUR)
            if kind == _COMPRESSED and _inflates_beyond(file, size, limit):
                raise ValueError(f"{self._variable} holds more than the {limit} bytes that its header allows")


def _inflates_beyond(file: Any, size: int, limit: int) -> bool:
    """Whether ``size`` compressed bytes of a file are more than ``limit`` bytes uncompressed; uses little memory."""
    inflater, total, waiting = zlib.decompressobj(), 0, b""
    while total <= limit and not inflater.eof and (waiting or size > 0):
        if not waiting:
            waiting = file.read(min(size, _PIECE))
            size -= _PIECE
        total += len(inflater.decompress(waiting, _PIECE))
        waiting = inflater.unconsumed_tail
    return total > limit


def _require_variable(path: Path, variable: str, found: Sequence[str], kinds: Mapping[str, str] | None = None) -> None:
    if problem := _find_problem(variable, found, kinds or {}):
        raise InputError(f"{path} {problem}")


def _find_problem(variable: str, found: Sequence[str], kinds: Mapping[str, str]) -> str | None:
    """The first reason against reading a variable, in words: from the names in the file, and the MATLAB classes if known."""
    if variable not in found:
        names = ", ".join(sorted(found)) or "none"
        return f"has no variable {variable!r}, only {names}; is it the published file?"
    if found.count(variable) > 1:
        return f"has {found.count(variable)} variables {variable!r}; it is damaged: download it again"
    if kinds.get(variable, "double") not in _NUMERIC:
        return f"({variable}) is of MATLAB class {kinds[variable]}, expected a dense array of numbers"
    return None


def write_array(path: Path, arrays: Mapping[str | None, np.ndarray], mat_version: MatVersion) -> None:
    """Write a ``.npy`` or ``.mat`` file under a temporary name and rename it when it is complete.

    Args:
        path: ends in ``.npy`` (then ``arrays`` has one entry, None) or ``.mat``.
        arrays: arrays by variable name.
        mat_version: version of a ``.mat`` file.
    """
    with whole_file(path) as file:
        if path.suffix == ".npy":
            np.save(file, arrays[None])
        elif mat_version == "5":
            scipy.io.savemat(file, {str(name): values for name, values in arrays.items()})
        else:
            _write_mat73(Path(file.name), arrays)


def _write_mat73(path: Path, arrays: Mapping[str | None, np.ndarray]) -> None:
    with h5py.File(path, "w", userblock_size=512, locking=False) as file:  # locked by whole_file
        for name, values in arrays.items():
            dataset = file.create_dataset(str(name), data=values.transpose())
            dataset.attrs["MATLAB_class"] = np.bytes_(_MATLAB_CLASSES.get(str(values.dtype), str(values.dtype)))
    mark_as_matlab(path)
