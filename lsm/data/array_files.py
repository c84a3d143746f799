"""Arrays by name in files of several formats, read and written block by block, so that they may exceed the memory.

``.npz``, ``.npy``, ``.h5`` and ``.mat`` hold arrays ``(samples, ...)``; a VTK file holds one sample.
Knows no solver.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib import format as npy

from lsm.data import hdf5, vtk_files
from lsm.data.hdf5 import (
    MAX_MEMBERS,
    member_names,
    open_dataset,
    open_group,
    open_hdf5,
    read_attribute,
    require_true_sizes,
)
from lsm.data.matlab5 import Mat5File
from lsm.data.store import MAX_SAMPLE_BYTES, has_schema
from lsm.errors import InputError
from lsm.files import reading, require_regular, require_space, whole_file, write_whole

#: The name of the only array of a ``.npy`` file.
NAMELESS = ""

FORMATS = (".npz", ".npy", *hdf5.SUFFIXES, ".mat", *vtk_files.SUFFIXES)

#: Under this name files keep how their fields were made.
_RECORD = "provenance"

#: Names and units have at most so many characters, and an array of them so many bytes.
_LONGEST_LABEL, _MOST_LABELS = 100, 1 << 16


def require_format(path: Path) -> None:
    """Check a file's suffix.

    Raises:
        InputError: no such files can be read and written.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path} has an unknown file type; use one of {', '.join(FORMATS)}")


class ArraysInFile(dict[str, "ArrayInFile"]):
    """The arrays of real numbers in a file, of any shape, by name.

    Args:
        arrays: by name.
        others: by name, a sentence that says why something else in the file is no such array: texts, objects, other types.
    """

    def __init__(self, arrays: Mapping[str, ArrayInFile], others: Mapping[str, str]) -> None:
        super().__init__(arrays)
        self.others = dict(others)


@contextmanager
def open_arrays(path: Path) -> Iterator[ArraysInFile]:
    """Open the arrays of a file, of any shape; the file may come from anybody.

    What else the file holds does no harm; :attr:`ArraysInFile.others` says what it is.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is damaged, of another format, or holds no numbers.
    """
    require_format(path)
    require_regular(path)
    with ExitStack() as stack:
        with reading(path, path.suffix):
            arrays, others = stack.enter_context(_READERS[path.suffix](path))
            if not arrays:
                raise InputError(next(iter(others.values()), f"{path} holds no array of numbers"))
            if unprintable := [name for name in arrays if not name.isprintable()]:
                raise InputError(f"{path} holds an array {unprintable[0]!r}, whose name cannot be printed")
        found = {name: ArrayInFile(path, name, array) for name, array in arrays.items()}
        yield ArraysInFile(found, {name: why for name, why in others.items() if name not in found})


def _no_numbers(path: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: f"{name} in {path} is not an array of real numbers" for name in names}


def _as_text(label: Any) -> Any:
    """Texts of fixed length, as MATLAB and Fortran write them, are bytes, filled up with blanks."""
    return label.decode(errors="surrogateescape").strip() if isinstance(label, bytes) else label


def _is_label(text: Any) -> bool:
    return isinstance(text, str) and text.isprintable() and 0 < len(text) <= _LONGEST_LABEL


class ArrayInFile:
    """An array of an open file; slices of the first axis are read.

    Args:
        path: the file.
        name: of the array.
        array: has a shape and reads blocks.
        is_vector: whether an array with one row or one column is taken as a vector ``(n,)``.
    """

    def __init__(self, path: Path, name: str, array: Any, is_vector: bool = False) -> None:
        self.path, self.name, self.values, self._is_vector = path, name, array, is_vector
        self.shape: tuple[int, ...] = (prod(array.shape),) if is_vector else tuple(array.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels, as the file says; empty if it does not.

        A ``.npz`` file says them in an array of text called ``NAME_names``, where NAME is this array; an HDF5 file in the
        attribute ``names`` of the array.
        """
        return self._labels("names")

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the channels, or one unit for all: in ``NAME_units``, or in the attribute ``units`` or ``unit``."""
        return self._labels("units") or self._labels("unit")

    def _labels(self, kind: str) -> tuple[str, ...]:
        with reading(self.path, self.path.suffix):
            if isinstance(self.values, _Member):
                found = self.values.labels(kind)
            else:
                dataset = getattr(self.values, "dataset", self.values)
                found = read_attribute(self.path, dataset, kind) if isinstance(dataset, h5py.Dataset) else None
            labels = [_as_text(label) for label in np.asarray(() if found is None else found, dtype=object).ravel()]
        return tuple(labels) if all(_is_label(label) for label in labels) else ()

    def __getitem__(self, block: slice | tuple[()]) -> np.ndarray:
        """Values of some samples, or of an array without axes by ``()``.

        Raises:
            InputError: the file is damaged there, or holds other values than real numbers.
        """
        index: Any = block
        if self._is_vector:
            index = (0, block) if self.values.shape[0] == 1 else (block, 0)
        with reading(self.path, self.path.suffix):
            values = np.asarray(self.values[index])
            if values.dtype.kind not in "iufb":
                raise InputError(f"{self.path} holds {self.name} of type {values.dtype}, expected real numbers")
            return values


def as_vector(array: Any) -> Any:
    """A row or a column of a MATLAB file as a vector ``(n,)``, since MATLAB has no vectors; any other array as it is."""
    is_of_matlab = isinstance(array, ArrayInFile) and array.path.suffix == ".mat"
    if is_of_matlab and len(array.shape) == 2 and 1 in array.shape:
        return ArrayInFile(array.path, array.name, array.values, is_vector=True)
    return array


#: Arrays of real numbers by name, and by name sentences about others; those about arrays that are there have no meaning.
_Found = tuple[dict[str, Any], dict[str, str]]


@contextmanager
def _open_npy(path: Path) -> Iterator[_Found]:
    yield {NAMELESS: npy.open_memmap(path, mode="r")}, {}


class _Member:
    """One array in a ``.npz`` archive, read from the beginning to the end.

    Args:
        archive: the archive.
        name: of the member.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        self._rewind()

    def _rewind(self) -> None:
        self._stream, self._position = self._archive.open(self._name), 0
        read = npy.read_array_header_1_0 if npy.read_magic(self._stream) == (1, 0) else npy.read_array_header_2_0
        self.shape, fortran, self.dtype = read(self._stream)
        shorter = self._size(self.shape) > self._size_of_data() and not self.dtype.hasobject
        if min(self.shape, default=0) < 0 or shorter:
            raise ValueError(f"{self._name} is shorter than its header says")
        self._fortran = fortran and len(self.shape) > 1

    @property
    def problem(self) -> str:
        """Why it is not an array of real numbers that can be read, in words; empty if it is one."""
        if self.dtype.hasobject:
            return "holds objects; save plain numbers or texts"
        if self.dtype.kind not in "iufb":
            return "is not an array of real numbers"
        return "is in Fortran order; save np.ascontiguousarray(array)" if self._fortran else ""

    def __getitem__(self, block: slice | tuple[()]) -> np.ndarray:
        if not self.shape:
            self._rewind()
            return np.frombuffer(self._rows(1), self.dtype).reshape(())
        start, stop, _ = (slice(None) if isinstance(block, tuple) else block).indices(self.shape[0])
        if start < self._position:
            self._rewind()
        for _ in range(self._position, start):
            self._rows(1)
        self._position = stop
        return np.frombuffer(self._rows(stop - start), self.dtype).reshape(stop - start, *self.shape[1:])

    def labels(self, kind: str) -> np.ndarray | None:
        """Texts in the member ``NAME_names`` or ``NAME_units`` of the archive, where NAME is this member; None without it.

        Raises:
            InputError: they are objects.
        """
        name = f"{self._name.removesuffix('.npy')}_{kind}.npy"
        if name not in self._archive.namelist():
            return None
        member = _Member(self._archive, name)
        if member.dtype.hasobject:
            raise InputError(f"{name.removesuffix('.npy')} in {self._archive.filename} {member.problem}")
        texts = member.dtype.kind == "U" and not member._fortran and member._size(member.shape) <= _MOST_LABELS
        return member[()] if texts else None

    def _size_of_data(self) -> int:
        """Bytes after the header, as the archive says."""
        return self._archive.getinfo(self._name).file_size - self._stream.tell()

    def _size(self, shape: Sequence[int]) -> int:
        return prod(shape) * self.dtype.itemsize

    def _rows(self, count: int) -> bytes:
        size = self._size((count, *self.shape[1:]))
        data = self._stream.read(size)
        if len(data) < size:
            raise ValueError(f"{self._name} is shorter than its header says")
        return data


@contextmanager
def _open_npz(path: Path) -> Iterator[_Found]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) > MAX_MEMBERS or len(set(names)) < len(names):
            raise InputError(f"{path} holds {len(names)} arrays, expected at most {MAX_MEMBERS} of different names")
        members = {name.removesuffix(".npy"): _Member(archive, name) for name in names}
        others = {name: f"{name} in {path} {member.problem}" for name, member in members.items()}
        yield {name: member for name, member in members.items() if not member.problem}, others


@dataclass(frozen=True)
class _Reversed:
    """An array of a MATLAB v7.3 file, whose axes HDF5 shows in reverse."""

    dataset: h5py.Dataset

    @property
    def shape(self) -> tuple[int, ...]:
        return self.dataset.shape[::-1]

    def __getitem__(self, index: slice | tuple[slice | int, ...]) -> np.ndarray:
        """Values at an index of the first axis, or of all axes."""
        reverse = index[::-1] if isinstance(index, tuple) else (..., index)
        return self.dataset[reverse].transpose()

    def __setitem__(self, block: slice, values: np.ndarray) -> None:
        self.dataset[..., block] = values.transpose()


@contextmanager
def _open_hdf5(path: Path) -> Iterator[_Found]:
    """The arrays of the file; of a store those of its group ``fields``."""
    with open_hdf5(path) as file:
        group = open_group(path, file, "fields") if has_schema(path, file) else file
        names = member_names(path, group)
        arrays, others = {}, _no_numbers(path, names)
        for name in names:
            try:
                if isinstance(group.get(name, getlink=True), h5py.HardLink) and isinstance(group[name], h5py.Group):
                    others[name] = (
                        f"{name} in {path} is a group (in MATLAB a struct, cell or sparse array); "
                        "give its arrays names of their own, outside groups"
                    )
                elif _holds_numbers(group, name):
                    dataset = open_dataset(path, group, name, MAX_SAMPLE_BYTES)
                    require_true_sizes(path, dataset, MAX_SAMPLE_BYTES)
                    arrays[name] = dataset
            except InputError as error:
                others[name] = str(error)
        yield arrays, others


def _holds_numbers(group: h5py.Group, name: str) -> bool:
    """Whether a member is an array of numbers; what links to other files is not opened."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        return False
    return isinstance(group[name], h5py.Dataset) and group[name].dtype.kind in "iufb"


@contextmanager
def _open_mat(path: Path) -> Iterator[_Found]:
    if h5py.is_hdf5(path):
        with _open_hdf5(path) as (arrays, others):
            others |= _no_numbers(path, arrays)
            numbers = {name: item for name, item in arrays.items() if item.attrs.get("MATLAB_class") != b"char"}
            yield {name: _Reversed(item) for name, item in numbers.items()}, others
    else:
        variables = Mat5File(path)
        yield {name: variables.array(name) for name in variables.numeric_names()}, _no_numbers(path, variables.names)


@contextmanager
def _open_vtk(path: Path) -> Iterator[_Found]:
    mesh = vtk_files.read_mesh(path)
    positions = dict(zip("xyz", mesh.points.T, strict=False))
    yield {name: values[None] for name, values in {**positions, **mesh.point_data}.items()}, {}


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    **dict.fromkeys(hdf5.SUFFIXES, _open_hdf5),
    ".mat": _open_mat,
    **dict.fromkeys(vtk_files.SUFFIXES, _open_vtk),
}


@contextmanager
def write_arrays(
    path: Path, shapes: Mapping[str, tuple[int, ...]], units: Mapping[str, str], record: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Make a file of float32 arrays that appears whole or not at all.

    Args:
        path: a ``.npz``, ``.npy``, ``.h5`` or ``.mat`` file (v7.3); a ``.npy`` file holds one array.
        shapes: of the arrays by name.
        units: of the arrays by name.
        record: plain data stored with them as JSON when the block ends, in ``PATH.json`` beside a ``.npy`` file.
    Yields:
        Objects to whose slices of the first axis values are assigned.
    Raises:
        InputError: an array has the name under which the file holds the record.
    """
    if _RECORD in shapes and path.suffix in (".npz", ".mat"):
        raise InputError(
            f"{path} cannot hold a field named {_RECORD}, which is the name of its record; write a .h5 file"
        )
    size = 4 * sum(map(prod, shapes.values()))
    require_space(path, 2 * size if path.suffix == ".npz" else size)
    with whole_file(path) as file, _WRITERS[path.suffix](Path(file.name), shapes, units, record, path.suffix) as arrays:
        yield arrays
    if path.suffix == ".npy":
        write_record(path, record)


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write what belongs to a file that cannot hold it, as ``PATH.json``."""
    write_whole(path.with_name(path.name + ".json"), json.dumps(record, indent=2) + "\n")


@contextmanager
def _write_npy(
    path: Path, shapes: Mapping[str, tuple[int, ...]], units: Mapping[str, str], record: Mapping[str, Any], suffix: str
) -> Iterator[dict[str, Any]]:
    ((name, shape),) = shapes.items()
    array = _mapped(path, shape)
    yield {name: array}
    array.flush()


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new ``.npy`` file as an array; its space is reserved, since a full disk would end the process when pages are written."""
    array = npy.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@contextmanager
def _write_npz(
    path: Path, shapes: Mapping[str, tuple[int, ...]], units: Mapping[str, str], record: Mapping[str, Any], suffix: str
) -> Iterator[dict[str, Any]]:
    # An archive takes one member after the other: blocks of several arrays go to files of their own first.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}") as folder:
        places = {name: Path(folder) / f"{index}.npy" for index, name in enumerate(shapes)}
        arrays = {name: _mapped(place, shapes[name]) for name, place in places.items()}
        yield arrays
        for array in arrays.values():
            array.flush()
        np.save(Path(folder) / "record.npy", np.array(json.dumps(record)))
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            for name, place in {**places, _RECORD: Path(folder) / "record.npy"}.items():
                archive.write(place, f"{name}.npy")


@contextmanager
def _write_hdf5(
    path: Path, shapes: Mapping[str, tuple[int, ...]], units: Mapping[str, str], record: Mapping[str, Any], suffix: str
) -> Iterator[dict[str, Any]]:
    matlab = suffix == ".mat"
    with h5py.File(path, "w", userblock_size=512 if matlab else 0, locking=False) as file:  # locked by whole_file
        made: dict[str, Any] = {}
        for name, shape in shapes.items():
            made[name] = file.create_dataset(name, shape[::-1] if matlab else shape, "float32")
            made[name].attrs["unit"] = units[name]
            if matlab:
                made[name].attrs["MATLAB_class"] = np.bytes_("single")
        yield {name: _Reversed(dataset) for name, dataset in made.items()} if matlab else made
        if matlab:
            letters = file.create_dataset(_RECORD, data=np.array([[ord(c) for c in json.dumps(record)]], "u2").T)
            letters.attrs["MATLAB_class"], letters.attrs["MATLAB_int_decode"] = np.bytes_("char"), np.int32(2)
        file.attrs[_RECORD] = json.dumps(record)
    if matlab:
        mark_as_matlab(path)


_WRITERS: dict[str, Callable[..., Any]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    **dict.fromkeys((*hdf5.SUFFIXES, ".mat"), _write_hdf5),
}


def mark_as_matlab(path: Path) -> None:
    """Make an HDF5 file with a user block one that MATLAB recognises: 116 bytes of text, a version, a mark of the byte order."""
    now = datetime.now(timezone.utc)
    text = f"MATLAB 7.3 MAT-file, Platform: Python, Created on: {now:%a %b %d %H:%M:%S %Y} HDF5 schema 1.00 ."
    with path.open("r+b") as raw:
        raw.write(text.encode().ljust(116)[:116] + bytes(8) + b"\x00\x02IM")
