"""VTK's structured grids, ``.vts``, by way of the unstructured grids that meshio reads and writes.

Both are XML with the same elements for points and values at them. A structured grid says how many points it has along each axis,
the first one fastest; an unstructured grid lists cells.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

#: Cells of a lattice by its dimension: their name in meshio, and the steps from the first corner to each of the others.
_CELLS: dict[int, tuple[str, list[tuple[int, ...]]]] = {
    0: ("vertex", [()]),
    1: ("line", [(0,), (1,)]),
    2: ("quad", [(0, 0), (1, 0), (1, 1), (0, 1)]),
    3: ("hexahedron", [(*corner, z) for z in (0, 1) for corner in ((0, 0), (1, 0), (1, 1), (0, 1))]),
}

#: An unstructured grid needs a cell; this one stands for those of the lattice.
_ONE_CELL = """<Cells>
<DataArray type="Int64" Name="connectivity" format="ascii">0</DataArray>
<DataArray type="Int64" Name="offsets" format="ascii">1</DataArray>
<DataArray type="UInt8" Name="types" format="ascii">1</DataArray>
</Cells>"""

#: Where values begin that are no XML; they reach to the end of the file.
_APPENDED = b"<AppendedData"


def read_structured(path: Path) -> Any:
    """A structured grid as a mesh of meshio: points ``(n, 3)``, the first axis fastest, values at them, and the cells between.

    Raises:
        ValueError: the file is damaged, or holds a grid in several pieces.
    """
    root, rest = _parse(path)
    sites = _sites(root)
    grid, piece = _grid(root)
    root.set("type", "UnstructuredGrid")
    grid.tag, grid.attrib = "UnstructuredGrid", {}
    piece.attrib = {"NumberOfPoints": str(prod(sites)), "NumberOfCells": "1"}
    _hide_cell_data(piece)
    piece.append(ElementTree.fromstring(_ONE_CELL))
    with tempfile.NamedTemporaryFile(suffix=".vtu") as file:
        file.write(ElementTree.tostring(root).removesuffix(b"</VTKFile>") + rest)
        file.flush()
        mesh = import_module("meshio.vtu").read(file.name)
    if len(mesh.points) != prod(sites):
        raise ValueError(f"it has {len(mesh.points)} points, expected {' x '.join(map(str, sites))}")
    return import_module("meshio").Mesh(mesh.points, [lattice_cells(sites)], point_data=mesh.point_data)


def _hide_cell_data(piece: ElementTree.Element) -> None:
    """Put values at cells where meshio does not read them; in raw data it passes over them only if they are described."""
    (points,) = piece.findall("Points/DataArray")
    for values in piece.findall("CellData"):
        piece.remove(values)
        points.append(values)


def write_structured(path: Path, sites: tuple[int, ...], points: np.ndarray, fields: Mapping[str, np.ndarray]) -> None:
    """Write a structured grid.

    Args:
        path: the file, which is overwritten.
        sites: points along each of at most three axes.
        points: ``(n, 3)``, the first axis fastest.
        fields: values ``(n, ...)`` at the points by name.
    """
    meshio = import_module("meshio")
    meshio.write(path, meshio.Mesh(points, [("vertex", [[0]])], point_data=dict(fields)), file_format="vtu")
    root, _ = _parse(path)
    extent = " ".join(f"0 {size - 1}" for size in (*sites, 1, 1)[:3])
    root.set("type", "StructuredGrid")
    (grid,) = root.findall("UnstructuredGrid")
    (piece,) = grid.findall("Piece")
    grid.tag, grid.attrib, piece.attrib = "StructuredGrid", {"WholeExtent": extent}, {"Extent": extent}
    for cells in piece.findall("Cells"):
        piece.remove(cells)
    path.write_bytes(ElementTree.tostring(root, xml_declaration=True))


def sites_of(path: Path) -> tuple[int, ...]:
    """Numbers of points along the axes of a structured grid, without axes of a single point."""
    return _sites(_parse(path)[0])


def lattice_cells(sites: tuple[int, ...]) -> tuple[str, np.ndarray]:
    """Cells ``(m, corners)`` between neighbouring sites, which are numbered with the first axis fastest, and their name."""
    numbers = np.arange(prod(sites)).reshape(sites, order="F")
    name, steps = _CELLS[len(sites)]
    corners = [
        numbers[tuple(slice(step, size - 1 + step) for step, size in zip(corner, sites, strict=True))]
        for corner in steps
    ]
    return name, np.stack(corners, axis=-1).reshape(-1, len(steps))


def _parse(path: Path) -> tuple[ElementTree.Element, bytes]:
    """The XML of a file without what is appended to it, and the rest of the file behind the last element."""
    head, mark, tail = path.read_bytes().partition(_APPENDED)
    end = b"</VTKFile>"
    return ElementTree.fromstring(head + end if mark else head), mark + tail if mark else end


def _grid(root: ElementTree.Element) -> tuple[ElementTree.Element, ElementTree.Element]:
    pieces = root.findall("StructuredGrid/Piece")
    if len(pieces) != 1:
        raise ValueError(f"it has {len(pieces)} structured pieces, expected 1; save it in one piece, or as .vtu")
    return root.findall("StructuredGrid")[0], pieces[0]


def _sites(root: ElementTree.Element) -> tuple[int, ...]:
    ends = [int(number) for number in _grid(root)[1].get("Extent", "").split()]
    sizes = [last - first + 1 for first, last in zip(ends[::2], ends[1::2], strict=True)]
    if len(sizes) != 3 or min(sizes) < 1:
        raise ValueError(f"its extent is {ends}, expected first and last numbers along three axes")
    return tuple(size for size in sizes if size > 1)
