"""Arrays in ``.npy`` and MATLAB files: v5, and v7.3, which is HDF5 with reversed axes."""

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

#: MATLAB's name of a numpy type, which a v7.3 file states beside every array, where the two differ.
_MATLAB_CLASSES = {"float32": "single", "float64": "double"}


@contextmanager
def open_array(path: Path, variable: str | None, axes: tuple[str, ...]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Open one array, lazily where its format allows it.

    Args:
        path: a ``.npy`` file, or a ``.mat`` file of either kind.
        variable: name of the array in a ``.mat`` file.
        axes: names of its axes as MATLAB or numpy show them.
    Yields:
        Something that is sliced like an array, and the names of its axes as it lies there.
    Raises:
        InputError: the file is damaged, of another kind, or lacks the variable.
    """
    if variable is None:
        yield _map_npy(path), axes
    elif h5py.is_hdf5(path):
        with _open_hdf5(path) as file:
            _require_variable(path, variable, list(file))
            if not isinstance(file[variable], h5py.Dataset):
                raise InputError(f"{path} ({variable}) is a cell, a struct or sparse, expected a full array of numbers")
            yield file[variable], axes[::-1]
    else:
        yield _load_mat5(path, variable), axes


def _map_npy(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # numpy raises errors of many kinds on damaged headers
        raise InputError(f"{path} cannot be read as .npy ({error}); it is damaged: fetch it again") from error


def _open_hdf5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except PermissionError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read as MATLAB v7.3 ({error}); it is truncated: fetch it again") from error


def _load_mat5(path: Path, variable: str) -> np.ndarray:
    try:
        names = [name for name, *_ in scipy.io.whosmat(path)]
        arrays = scipy.io.loadmat(path, variable_names=[variable])
    except PermissionError:
        raise
    except Exception as error:  # scipy raises errors of many kinds on damaged files
        raise InputError(f"{path} cannot be read as a MATLAB file ({error}); it is damaged: fetch it again") from error
    _require_variable(path, variable, names)
    return arrays[variable]


def _require_variable(path: Path, variable: str, found: Sequence[str]) -> None:
    if variable not in found:
        names = ", ".join(sorted(found)) or "none"
        raise InputError(f"{path} has no variable {variable!r}, only {names}; is it the published file?")


def write_array(path: Path, arrays: Mapping[str | None, np.ndarray], mat_version: MatVersion) -> None:
    """Write a ``.npy`` or ``.mat`` file that appears whole or not at all.

    Args:
        path: ends in ``.npy`` (then there is one array, under None) or ``.mat``.
        arrays: by their variable name.
        mat_version: which kind of ``.mat`` file.
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
    # MATLAB knows its files by 116 bytes of text, a version and an endianness mark in the user block.
    now = datetime.now(timezone.utc)
    text = f"MATLAB 7.3 MAT-file, Platform: Python, Created on: {now:%a %b %d %H:%M:%S %Y} HDF5 schema 1.00 ."
    with path.open("r+b") as raw:
        raw.write(text.encode().ljust(116)[:116] + bytes(8) + b"\x00\x02IM")
