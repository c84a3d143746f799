"""Several VTK files of the same fields, one sample each, as arrays of many samples, in the order of :func:`files_of`.

``coords`` ``(samples, n, d)`` are the points, in the plane if all have the same third coordinate; the fields at the points have
their names in the files. Samples with fewer points than the largest end with NaN, see :mod:`lsm.data.ragged`. Cells are not used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from lsm.data.array_files import ArrayInFile, ArraysInFile
from lsm.data.ragged import NUM_POINTS
from lsm.data.vtk_files import SUFFIXES, read_mesh
from lsm.errors import InputError
from lsm.files import require_regular, sha256


def is_mesh_set(path: Path) -> bool:
    """Whether a path names several files: a folder, or a pattern such as ``meshes/*.vtu``."""
    return path.is_dir() or (any(sign in str(path) for sign in "*?[") and not path.exists())


def files_of(path: Path) -> list[Path]:
    """The VTK files of a folder or of a pattern, in the order of their names, in which ``m_2`` comes before ``m_10``.

    The samples are counted in this order, by ``data.splits`` and by ``file_sample`` in tables of errors.

    Raises:
        FileNotFoundError: there are none.
    """
    found = path.iterdir() if path.is_dir() else map(Path, glob(str(path)))
    files = sorted((file for file in found if file.suffix in SUFFIXES), key=_place)
    if not files:
        raise FileNotFoundError(f"{path} names no file {', '.join(SUFFIXES)}")
    return files


def _place(file: Path) -> tuple[Any, Path]:
    """By what files are sorted: digits in their names, and in those of their folders, count as numbers."""
    words = (re.split("([0-9]+)", part) for part in file.parts)  # every second one is a number
    return [[int(word) if index % 2 else word for index, word in enumerate(part)] for part in words], file


def digest_of(path: Path) -> str:
    """SHA-256 checksum of a file, or of the files of a set, in hexadecimal digits."""
    if not is_mesh_set(path):
        return sha256(path)
    return hashlib.sha256("".join(map(sha256, files_of(path))).encode()).hexdigest()


class _MeshSet:
    """The files, of which all are read once to learn their sizes, and then a block at a time.

    Args:
        files: at least one.
    Attributes:
        counts: ``(samples,)``, points of each sample.
        shapes: of one point, of each field that all files hold, by name.
        others: by name, why something is no field of all files.
    Raises:
        InputError: a file is damaged, or a field has another shape in it.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.others: dict[str, str] = {}
        counts, heights = [], []
        for number, file in enumerate(files):
            mesh = self._read(file)
            held = _fields_of(mesh)
            known = held if number == 0 else self.shapes
            for name in {*mesh.point_data, *mesh.cell_data, *known} - {*held}:
                self.others.setdefault(
                    name, f"{name} is no field of real numbers at the points of {file}{_at_cells(name, mesh)}"
                )
            for name in {*held} - {*known}:
                self.others.setdefault(name, f"{name} is no field of {files[0]}, as it is of {file}")
            self.shapes = {name: shape for name, shape in known.items() if name in held}
            for name, shape in self.shapes.items():
                if held[name] != shape:
                    raise InputError(
                        f"{file} holds {name} of shape {held[name]} at a point, other files of shape {shape}"
                    )
            counts.append(len(mesh.points))
            heights += [mesh.points[:, 2].min(), mesh.points[:, 2].max()]
        self.counts = np.array(counts)
        self.shapes["coords"] = (2 if min(heights) == max(heights) else 3,)
        self._block: tuple[tuple[int, int], list[Any]] = ((0, 0), [])

    def _read(self, file: Path) -> Any:
        require_regular(file)
        mesh = read_mesh(file)
        if not len(mesh.points) or mesh.points.shape[1] != 3:
            raise InputError(f"{file} holds points of shape {mesh.points.shape}, expected (n, 3)")
        return mesh

    def values(self, name: str, start: int, stop: int) -> np.ndarray:
        """``(stop - start, n, ...)``, NaN behind the points of a sample; files are kept for the other fields of the block."""
        if self._block[0] != (start, stop):
            self._block = (start, stop), [self._read(file) for file in self.files[start:stop]]
        shape = self.shapes[name]
        found = np.full((stop - start, int(self.counts.max()), *shape), np.nan)
        for place, mesh in zip(found, self._block[1], strict=True):
            at_points = mesh.points[:, : shape[0]] if name == "coords" else mesh.point_data[name]
            place[: len(mesh.points)] = at_points
        return found


def _fields_of(mesh: Any) -> dict[str, tuple[int, ...]]:
    """Shape at one point of each field of real numbers, by name."""
    return {
        name: values.shape[1:]
        for name, values in mesh.point_data.items()
        if values.dtype.kind in "iufb" and name.isprintable()
    }


def _at_cells(name: str, mesh: Any) -> str:
    """Where a file holds the field instead, if at all, and what to do."""
    return ", but of its cells; ParaView's filter Cell Data to Point Data moves it" if name in mesh.cell_data else ""


class _MeshArray:
    """One field of a set, which looks like an array in a file."""

    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    def __init__(self, meshes: _MeshSet, name: str) -> None:
        self._meshes, self.name = meshes, name
        self.shape = (len(meshes.files), int(meshes.counts.max()), *meshes.shapes[name])

    def __getitem__(self, samples: Any) -> np.ndarray:
        """Values of some samples, given as a slice."""
        start, stop, _ = samples.indices(self.shape[0])
        return self._meshes.values(self.name, start, stop)


@contextmanager
def open_mesh_set(path: Path) -> Iterator[ArraysInFile]:
    """The arrays of the files of a folder or of a pattern.

    Raises:
        FileNotFoundError: there are no such files.
        InputError: one is damaged, or they do not fit together.
    """
    meshes = _MeshSet(files_of(path))
    arrays: dict[str, Any] = {name: _MeshArray(meshes, name) for name in ("coords", *meshes.shapes)}
    if len(set(meshes.counts)) > 1:
        arrays[NUM_POINTS] = ArrayInFile(path, NUM_POINTS, meshes.counts)
    yield ArraysInFile(arrays, meshes.others)
