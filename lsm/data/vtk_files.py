"""VTK meshes of unknown origin, read by meshio within limits of memory."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lsm.data.store import MAX_SAMPLE_BYTES
from lsm.data.structured_vtk import read_structured, sites_of, write_structured
from lsm.errors import InputError
from lsm.extras import require
from lsm.files import reading, whole_file

SUFFIXES = (".vtu", ".vts", ".vtk")

#: Points of a lattice whose size alone is in the file; meshio makes about 100 bytes of each.
_MOST_POINTS = MAX_SAMPLE_BYTES // 50

#: Where a ``.vtk`` file gives the size of a lattice, as meshio understands it. What follows may be such a place again.
_DIMENSIONS = re.compile(rb"^\s*dimensions(?=\s+(\S+)\s+(\S+)\s+(\S+))", re.IGNORECASE | re.MULTILINE)
_COORDINATES = re.compile(rb"^\s*[xyz]_coordinates(?=\s+(\S+))", re.IGNORECASE | re.MULTILINE)

#: Where it says how many points, cells or values follow; each takes a byte at least.
_COUNTS = re.compile(
    rb"^\s*(?:points|cells|cell_types|point_data|cell_data|[xyz]_coordinates)(?=\s+(\S+))", re.IGNORECASE | re.MULTILINE
)


class _Bounded:
    """A decompressor with the interface of the module ``zlib`` or ``lzma``, of as many bytes in all as a sample may have.

    Args:
        make: makes an object that decompresses a stream.
    """

    def __init__(self, make: Any) -> None:
        self._make, self._left = make, int(MAX_SAMPLE_BYTES)

    def decompress(self, data: bytes) -> bytes:
        """The whole stream.

        Raises:
            ValueError: it exceeds the limit.
        """
        found: bytes = self._make().decompress(data, self._left + 1)
        self._left -= len(found)
        if self._left < 0:
            raise ValueError(f"its arrays hold more than {MAX_SAMPLE_BYTES:.3g} bytes")
        return found


def read_mesh(path: Path) -> Any:
    """A mesh as meshio describes it, with points ``(n, 3)``.

    Args:
        path: a ``.vtu``, ``.vts`` or ``.vtk`` file, regular.
    Raises:
        InputError: the file is damaged or holds more than a sample may have, or meshio is not installed.
    """
    require("meshio", "vtk", f"reading {path.suffix} files")
    with reading(path, path.suffix), _bounded_decompression():
        if path.suffix == ".vtk":
            _require_size(path)
        if path.suffix == ".vts":
            return read_structured(path)
        # meshio.read would end the process on a damaged file.
        return import_module(f"meshio.{path.suffix[1:]}").read(str(path))


@contextmanager
def _bounded_decompression() -> Iterator[None]:
    """meshio decompresses whatever a file holds; no argument of it sets a limit."""
    module: Any = import_module("meshio.vtu._vtu")
    before = module.zlib, module.lzma
    module.zlib, module.lzma = _Bounded(zlib.decompressobj), _Bounded(lzma.LZMADecompressor)
    try:
        yield
    finally:
        module.zlib, module.lzma = before


def _require_size(path: Path) -> None:
    """Refuse a ``.vtk`` file whose sizes exceed the limits; the first two lines are its version and a title of any words."""
    content = b"".join(path.read_bytes().split(b"\n", 2)[2:])
    for sizes in (*_DIMENSIONS.findall(content), _COORDINATES.findall(content)):
        if prod(map(abs, _numbers(sizes))) > _MOST_POINTS:
            raise ValueError(f"it is a lattice of more than {_MOST_POINTS:.3g} points")
    if any(count > len(content) for count in _numbers(_COUNTS.findall(content))):
        raise ValueError("it is shorter than its numbers of points and cells say")


def _numbers(words: Iterable[bytes]) -> Iterator[int]:
    """Those of some words that are whole numbers, as meshio reads them."""
    for word in words:
        with suppress(ValueError):
            yield int(word.decode())


def write_mesh(path: Path, like: Path, fields: Mapping[str, np.ndarray]) -> None:
    """Write values at the points of another VTK file, with its points and cells.

    Args:
        path: a ``.vtu``, ``.vts`` or ``.vtk`` file to make.
        like: the other file; of a ``.vts`` file one of the same kind.
        fields: ``(points,)`` by name.
    Raises:
        InputError: a structured grid is to be made of a mesh without structure.
    """
    if path.suffix == ".vts" and like.suffix != ".vts":
        raise InputError(
            f"{path}: a .vts output takes its lattice from a .vts input; choose an output in {like.suffix}"
        )
    meshio = require("meshio", "vtk", f"writing {path.suffix} files")
    mesh = read_mesh(like)
    values = {**mesh.point_data, **fields}
    with whole_file(path) as file:
        if path.suffix == ".vts":
            write_structured(Path(file.name), sites_of(like), mesh.points, values)
        else:
            made = meshio.Mesh(mesh.points, mesh.cells, point_data=values)
            meshio.write(Path(file.name), made, file_format=path.suffix[1:])
