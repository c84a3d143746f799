"""Arrays in MATLAB v5 files of unknown origin: described by the headers, read when their values are needed.

scipy reads cells and structs by recursions that end in crashes, and takes the sizes in headers as they are; only dense numeric
arrays, which hold as much as their headers say, reach it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import Counter
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import matfile_version

from lsm.errors import InputError
from lsm.files import reading

#: MATLAB's classes of dense arrays of numbers.
_NUMERIC = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}

#: MATLAB's code of a compressed variable.
_COMPRESSED = 15

#: Bytes of a complex number in double precision, the largest.
_LARGEST_NUMBER = 16

#: Bytes for type, shape and name of a variable.
_HEADER_SIZE = 1 << 16

#: Bytes that are uncompressed at a time.
_PIECE = 1 << 20


class Mat5File:
    """The variables of a file, by their headers.

    Args:
        path: a regular file.
    Raises:
        InputError: it is no MATLAB file of version 5, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading(path, "a MATLAB file"):
            if matfile_version(str(path))[0] != 1:
                raise InputError(f"{path} is not a MATLAB file of version 5 or 7.3")
            self._described = scipy.io.whosmat(path)

    @property
    def names(self) -> list[str]:
        """Names of all variables, whatever they hold."""
        return [name for name, *_ in self._described]

    def numeric_names(self) -> list[str]:
        """Names of the dense arrays of numbers."""
        return [name for name, _, kind in self._described if kind in _NUMERIC]

    def array(self, name: str) -> Mat5Array:
        """A variable, of the shape that its header says; its values are not read yet.

        Raises:
            InputError: it is no dense array of numbers, or there are several of this name.
        """
        if (count := Counter(self.names)[name]) > 1:
            raise InputError(f"{self._path} has {count} variables {name!r}; it is damaged: download it again")
        position = self.names.index(name)
        _, shape, kind = self._described[position]
        if kind not in _NUMERIC:
            raise InputError(f"{self._path} ({name}) is of MATLAB class {kind}, expected a dense array of numbers")
        return Mat5Array(self._path, name, position, shape)


class Mat5Array:
    """A variable, whose values are read as a whole and kept until :meth:`release`.

    Args:
        path: the file.
        name: its name.
        position: number of variables before it.
        shape: as its header says.
    """

    def __init__(self, path: Path, name: str, position: int, shape: tuple[int, ...]) -> None:
        self._path, self._name, self._position, self.shape = path, name, position, shape

    @cached_property
    def dtype(self) -> np.dtype:
        """Type of the values, which are read but not kept."""
        return self._read().dtype

    def release(self) -> None:
        """Forget the values; they are read again when they are needed."""
        self.__dict__.pop("_values", None)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Values.

        Raises:
            InputError: the variable is damaged.
        """
        return self._values[index]

    @cached_property
    def _values(self) -> np.ndarray:
        return self._read()

    def _read(self) -> np.ndarray:
        with reading(self._path, "a MATLAB file"):
            self._require_true_size()
            values = scipy.io.loadmat(self._path, variable_names=[self._name])[self._name]
            if values.shape != self.shape:
                raise ValueError(f"{self._name} has shape {values.shape}, its header says {self.shape}")
            return values

    def _require_true_size(self) -> None:
        """Check, before memory is allocated, that the variable has about the size of its header."""
        least = prod(self.shape)
        most = least * _LARGEST_NUMBER + _HEADER_SIZE
        with self._path.open("rb") as file:
            start = file.read(128)
            order = "<" if start.endswith(b"IM") else ">"
            for position in range(self._position + 1):
                kind, size = struct.unpack(f"{order}II", file.read(8))
                if position < self._position:
                    file.seek(size, os.SEEK_CUR)
            found = _inflated_size(file, size, most) if kind == _COMPRESSED else size
        if not least <= found <= most:
            raise ValueError(f"{self._name} holds {found} bytes or more, which {least} numbers cannot have")


def _inflated_size(file: Any, size: int, limit: int) -> int:
    """Bytes, uncompressed, of ``size`` compressed bytes of a file, or a number beyond the limit; uses little memory."""
    inflater, total, waiting = zlib.decompressobj(), 0, b""
    while total <= limit and not inflater.eof and (waiting or size > 0):
        if not waiting:
            waiting = file.read(min(size, _PIECE))
            size -= _PIECE
        total += len(inflater.decompress(waiting, _PIECE))
        waiting = inflater.unconsumed_tail
    return total
