"""Reading and writing arrays in ``.npy`` files and MATLAB files: v5, and v7.3, which is HDF5 with reversed axes.

Owns the file formats and what protects against damaged and hostile files; it knows no benchmark.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io

from lsm.data.array_files import mark_as_matlab
from lsm.data.hdf5 import damage_reported, member_names, open_dataset, open_hdf5, require_true_sizes
from lsm.data.matlab5 import Mat5File
from lsm.data.store import MAX_SAMPLE_BYTES
from lsm.errors import InputError
from lsm.files import reading, require_regular, whole_file

MatVersion = Literal["5", "7.3"]

#: MATLAB's names of numpy types, where the two differ; a v7.3 file records the name with each array.
_MATLAB_CLASSES = {"float32": "single", "float64": "double"}

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
        file = Mat5File(path)
        _require_variable(path, variable, file.names)
        yield file.array(variable), axes


def _map_npy(path: Path) -> np.ndarray:
    with reading(path, ".npy"):
        _require_no_gap(path)
        return np.lib.format.open_memmap(path, mode="r")


def _require_no_gap(path: Path) -> None:
    """Refuse a file whose space was reserved but never written, as interrupted downloads leave it; it reads as zeros.

    Some systems, such as Windows, do not tell.
    """
    if not hasattr(os, "SEEK_HOLE"):
        return
    with path.open("rb") as file:
        size, position = os.fstat(file.fileno()).st_size, 0
        while position < size:
            gap = os.lseek(file.fileno(), position, os.SEEK_HOLE)
            position = _end_of_gap(file.fileno(), gap, size)
            # Compressing file systems keep short runs of zeros as gaps.
            if position - gap > _LONGEST_GAP:
                raise ValueError(
                    f"it was not written completely, nothing from byte {gap} on; if these are zeros that a program left out, "
                    f"take a copy made by cp --sparse=never {path.name} COPY"
                )


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


def _require_variable(path: Path, variable: str, found: Sequence[str]) -> None:
    if variable not in found:
        names = ", ".join(sorted(found)) or "none"
        raise InputError(f"{path} has no variable {variable!r}, only {names}; is it the published file?")


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
