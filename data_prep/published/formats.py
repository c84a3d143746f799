"""Reading and writing arrays in ``.npy`` files and MATLAB files: v5, and v7.3, which is HDF5 with reversed axes.

Owns the file formats; it knows no benchmark and no store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io

from lsm.errors import InputError
from lsm.files import whole_file

MatVersion = Literal["5", "7.3"]

#: MATLAB's names of numpy types, where the two differ; a v7.3 file records the name with each array.
_MATLAB_CLASSES = {"float32": "single", "float64": "double"}


@contextmanager
def open_array(path: Path, variable: str | None, axes: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Open one array; its values are read on access where the format allows it.

    Args:
        path: a ``.npy`` file, or a ``.mat`` file of version 5 or 7.3.
        variable: name of the array in a ``.mat`` file; None for a ``.npy`` file.
        axes: names of the axes in the order in which MATLAB or numpy show them.
    Yields:
        An object that is sliced like an array, and the names of its axes in the order of the file.
    Raises:
        InputError: the file is damaged, of another kind, or does not contain the variable.
    """
    if variable is None:
        yield _map_npy(path), axes
    elif h5py.is_hdf5(path):
        with _open_hdf5(path) as file:
            _require_variable(path, variable, list(file))
            if not isinstance(file[variable], h5py.Dataset):
                raise InputError(
                    f"{path} ({variable}) is a cell, a struct or sparse, expected a dense array of numbers"
                )
            yield file[variable], axes[::-1]
    else:
        yield _load_mat5(path, variable), axes


@contextmanager
def _reading(path: Path, kind: str) -> Iterator[None]:
    """Turn the many exceptions of readers on damaged files into one; files that may not be read stay an OSError."""
    try:
        yield
    except PermissionError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be read as {kind} ({error}); it is damaged: download it again") from error


def _map_npy(path: Path) -> np.ndarray:
    with _reading(path, ".npy"):
        return np.lib.format.open_memmap(path, mode="r")


def _open_hdf5(path: Path) -> h5py.File:
    with _reading(path, "MATLAB v7.3"):
        return h5py.File(path, "r")


def _load_mat5(path: Path, variable: str) -> np.ndarray:
    with _reading(path, "a MATLAB file"):
        names = [name for name, *_ in scipy.io.whosmat(path)]
        arrays = scipy.io.loadmat(path, variable_names=[variable])
    _require_variable(path, variable, names)
    return arrays[variable]


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
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            dataset = file.create_dataset(str(name), data=values.transpose())
            dataset.attrs["MATLAB_class"] = np.bytes_(_MATLAB_CLASSES.get(str(values.dtype), str(values.dtype)))
    # MATLAB recognises its files by the first bytes: 116 bytes of text, a version and a mark of the byte order.
    now = datetime.now(timezone.utc)
    text = f"MATLAB 7.3 MAT-file, Platform: Python, Created on: {now:%a %b %d %H:%M:%S %Y} HDF5 schema 1.00 ."
    with path.open("r+b") as raw:
        raw.write(text.encode().ljust(116)[:116] + bytes(8) + b"\x00\x02IM")
