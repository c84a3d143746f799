"""Many VTK files as training data."""

import meshio
import numpy as np
import pytest

from lsm.data.layout import Roles
from lsm.data.mesh_set import digest_of, files_of
from lsm.data.own_file import open_own_file
from lsm.errors import InputError

ROLES = Roles(inputs=["load"], targets=["velocity"])


def write(folder, number, count, space=2, cells=None, **more):
    """A mesh of triangles that share the first point."""
    random = np.random.default_rng(number)
    points = np.concatenate([random.random((count, space)), np.full((count, 3 - space), 0.5)], axis=1)
    triangles = [("triangle", [[0, i, i + 1] for i in range(1, count - 1)])]
    data = {"velocity": random.random((count, 3)), "load": points[:, 0] ** 2, **more}
    path = folder / f"case_{number}.{'vtk' if number % 2 else 'vtu'}"
    meshio.write(path, meshio.Mesh(points, triangles, point_data=data, cell_data=cells))
    return points, data


@pytest.mark.parametrize("counts", [(5, 5, 5), (5, 8, 4)])
@pytest.mark.parametrize("space", [2, 3])
def test_meshes_become_clouds(counts, space, tmp_path):
    written = [write(tmp_path, number, count, space) for number, count in enumerate(counts)]
    (tmp_path / "notes.txt").write_text("no mesh")
    with open_own_file(tmp_path, ROLES) as file, open_own_file(tmp_path / "case_*.vt?", ROLES) as pattern:
        number = "5" if len(set(counts)) == 1 else "4 to 8"
        assert file.layout.describe() == pattern.layout.describe()
        assert file.layout.describe() == (
            f"clouds of {number} points in {space} dimensions: points, load -> velocity_1, velocity_2, velocity_3"
        )
        whole = file.columns(0, 3)
        for name, values in file.columns(1, 3).items():
            np.testing.assert_array_equal(values, whole[name][1:])
    for place, (points, data) in enumerate(written):
        count = len(points)
        np.testing.assert_allclose(whole["points"][place, :count], points[:, :space], rtol=1e-6)
        np.testing.assert_allclose(whole["load"][place, :count], data["load"], rtol=1e-6)
        np.testing.assert_allclose(whole["velocity_3"][place, :count], data["velocity"][:, 2], rtol=1e-6)
        if "num_points" in whole:
            assert whole["num_points"][place] == count
    assert ("num_points" in whole) == (len(set(counts)) > 1)


def test_the_digest_is_that_of_all_files(tmp_path):
    write(tmp_path, 0, 5)
    write(tmp_path, 2, 5)
    first = digest_of(tmp_path)
    assert first == digest_of(tmp_path / "*.vtu")
    write(tmp_path, 2, 6)
    assert digest_of(tmp_path) != first


def test_numbers_in_names_count_as_numbers(tmp_path):
    names = ["m_1.vtu", "m_2.vtu", "m_02.vtu", "m_10.vtu", "m_10_a.vtu", "m_b.vtu", "m_٣.vtu", "²_m_.vtu", "3.vtu"]
    for name in names:
        (tmp_path / name).touch()
    expected = ["3.vtu", "m_1.vtu", "m_02.vtu", "m_2.vtu", "m_10.vtu", "m_10_a.vtu", "m_b.vtu", "m_٣.vtu", "²_m_.vtu"]
    assert [file.name for file in files_of(tmp_path)] == expected
    assert [file.name for file in files_of(tmp_path / "m_*.vtu")] == expected[1:-1]


def test_samples_have_the_order_of_their_numbers(tmp_path):
    written = [write(tmp_path, number, 5)[1]["load"] for number in range(0, 24, 2)]
    with open_own_file(tmp_path, ROLES) as file:
        np.testing.assert_allclose(file.columns(0, 12)["load"], written, rtol=1e-6)


def test_numbers_of_folders_count_as_numbers(tmp_path):
    for folder in ("10", "9", "9b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mesh.vtu").touch()
    assert [file.parent.name for file in files_of(tmp_path / "*" / "mesh.vtu")] == ["9", "9b", "10"]


def refused(path, words, roles=ROLES):
    with pytest.raises((InputError, FileNotFoundError), match=words), open_own_file(path, roles):
        pass


def test_files_that_do_not_fit_are_named(tmp_path):
    refused(tmp_path, r"names no file \.vtu, \.vts, \.vtk")
    write(tmp_path, 0, 5)
    write(tmp_path, 2, 5, load=np.ones((5, 2)))
    refused(tmp_path, r"case_2.vtu holds load of shape \(2,\) at a point, other files of shape \(\)")
    (tmp_path / "case_2.vtu").write_text("<VTKFile>")
    refused(tmp_path, "case_2.vtu cannot be read as .vtu .*damaged")
    (tmp_path / "case_2.vtu").unlink()
    no_heat = Roles(inputs=["heat"], targets=["velocity"])
    refused(tmp_path, "inputs: no array is called heat; the arrays are coords, velocity, load", no_heat)
    write(tmp_path, 2, 5, heat=np.ones(5))
    refused(tmp_path, "^heat is no field of .*case_0.vtu, as it is of .*case_2.vtu$", no_heat)
    write(tmp_path, 0, 5, heat=np.ones(5))
    write(tmp_path, 4, 5, cells={"heat": [np.ones(3)]})
    told = "^heat is no field of real numbers at the points of .*case_4.vtu, but of its cells; ParaView's filter"
    refused(tmp_path, told, no_heat)
