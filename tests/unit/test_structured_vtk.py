"""Structured grids: files that VTK 9.7 wrote, and our own.

The files hold 5 x 4 points, ``u`` = 0, 1, .. and ``v`` (three components) at the points, and ``c`` at the cells, with numbers in
the ways in which VTK writes them.
"""

from pathlib import Path

import numpy as np
import pytest

from lsm.data.structured_vtk import lattice_cells, sites_of, write_structured
from lsm.data.vtk_files import read_mesh

FILES = sorted(Path(__file__).with_name("structured").glob("*.vts"))


def lattice():
    x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 2, 4), indexing="ij")
    return np.stack([x.flatten(order="F"), y.flatten(order="F"), np.zeros(20)], axis=-1)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_vtk(path):
    mesh = read_mesh(path)
    assert sites_of(path) == (5, 4)
    np.testing.assert_allclose(mesh.points, lattice())
    assert np.array_equal(mesh.point_data["u"], np.arange(20))
    assert np.array_equal(mesh.point_data["v"], np.arange(60).reshape(20, 3))
    assert set(mesh.point_data) == {"u", "v"}
    (cells,) = mesh.cells
    assert (cells.type, len(cells.data)) == ("quad", 12)


@pytest.mark.parametrize("sites", [(5,), (5, 4), (3, 1, 4), (2, 3, 4)])
def test_written_and_read_again(sites, tmp_path):
    random = np.random.default_rng(0)
    points, values = random.random((np.prod(sites), 3)), random.random((np.prod(sites), 2))
    write_structured(tmp_path / "a.vts", sites, points, {"w": values})
    mesh = read_mesh(tmp_path / "a.vts")
    assert sites_of(tmp_path / "a.vts") == tuple(size for size in sites if size > 1)
    assert np.array_equal(mesh.points, points)
    assert np.array_equal(mesh.point_data["w"], values)


def test_cells_lie_between_neighbours_in_one_sense_of_rotation():
    name, corners = lattice_cells((5, 4))
    x, y = np.moveaxis(lattice()[corners][..., :2], -1, 0)
    area = 0.5 * (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    assert name == "quad"
    np.testing.assert_allclose(area, 1 / 4 * 2 / 3)
