"""Files for ParaView, opened again."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from tiny import batch, moving, spec

from lsm.conformal import Band
from lsm.data.structured_vtk import sites_of
from lsm.data.vtk_files import read_mesh
from lsm.fields import Channel
from lsm.plotting import Display
from lsm.plotting.vtk import save_fields


def sample_of(fields):
    sample = batch(fields).sample(0)
    return sample, sample.targets + 1


def same(found, expected):
    np.testing.assert_array_equal(found, np.asarray(expected).flatten(order="F"))


def test_a_lattice_has_cells_between_its_sites(tmp_path):
    fields = spec(sites=(4, 3), inputs=2, targets=2)
    sample, prediction = sample_of(fields)
    (path,) = save_fields(tmp_path / "a", fields, Display(), sample, prediction)
    mesh = read_mesh(path)
    assert (path.suffix, sites_of(path)) == (".vts", (4, 3))
    assert (mesh.points[:4, 1] == 0).all(), (
        "the first axis is the fastest, as VTK numbers the points of a structured grid"
    )
    np.testing.assert_allclose(mesh.points[:4, 0], [0, 1 / 3, 2 / 3, 1])
    (cells,) = mesh.cells
    assert (cells.type, len(cells.data)) == ("quad", 3 * 2)
    x, y = np.moveaxis(mesh.points[cells.data][..., :2], -1, 0)
    area = 0.5 * (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)
    np.testing.assert_allclose(area, 1 / 6, err_msg="all corners in one sense of rotation")
    same(mesh.point_data["out1_truth"], sample.targets[..., 1])
    same(mesh.point_data["out1_prediction"], prediction[..., 1])
    same(mesh.point_data["out0_error"], (prediction - sample.targets)[..., 0])
    same(mesh.point_data["in1"], sample.inputs[..., 1])


def test_a_volume_has_cells_of_its_volume(tmp_path):
    fields = spec(sites=(3, 4, 2), axes=("x", "y", "z"))
    (path,) = save_fields(tmp_path / "a", fields, Display(), *sample_of(fields))
    mesh = read_mesh(path)
    (cells,) = mesh.cells
    corners = mesh.points[cells.data]
    edges = corners[:, [1, 3, 4]] - corners[:, :1]
    np.testing.assert_allclose(np.linalg.det(edges).sum(), 1.0)


def test_a_cloud_has_triangles_without_its_holes(tmp_path):
    angle = torch.linspace(0, 2 * torch.pi, 41)[:-1]
    places = torch.cat([radius * torch.stack([angle.cos(), angle.sin()], dim=-1) for radius in (0.8, 0.9, 1.0)])
    fields = spec("points", (len(places),), inputs=2)
    sample = replace(batch(fields).sample(0), coords=places)
    (path,) = save_fields(tmp_path / "a", fields, Display(), sample, sample.targets)
    mesh = read_mesh(path)
    np.testing.assert_allclose(mesh.points[:, :2], places, rtol=1e-6)
    middles = mesh.points[mesh.cells_dict["triangle"]].mean(axis=1)
    assert np.linalg.norm(middles, axis=1).min() > 0.7
    assert not mesh.point_data["out0_error"].any()


def test_a_cloud_on_a_line_has_vertices(tmp_path):
    fields = spec("points", (5,), inputs=2)
    sample = replace(batch(fields).sample(0), coords=torch.linspace(0, 1, 5)[:, None].expand(-1, 2))
    (path,) = save_fields(tmp_path / "a", fields, Display(), sample, sample.targets)
    np.testing.assert_array_equal(read_mesh(path).cells_dict["vertex"].ravel(), range(5))


@pytest.mark.parametrize("fields", [moving(2, 3), spec("mesh", (4, 3, 3), axes=("x", "y", "time"), targets=1)])
def test_fields_in_motion_have_a_file_for_each_time(fields, tmp_path):
    sample, prediction = sample_of(fields)
    if fields.geometry == "mesh":
        sample = replace(sample, coords=sample.coords[..., :2])
    band = Band(0.9, "site", np.full(sample.targets.shape, 0.5, dtype=np.float32), fields, 9)
    collection, *files = save_fields(tmp_path / "a", fields, Display(), sample, prediction, band)
    listed = [entry.attrib for entry in ElementTree.parse(collection).iter("DataSet")]
    assert [(entry["timestep"], entry["file"]) for entry in listed] == [(str(i), f.name) for i, f in enumerate(files)]
    for time, file in enumerate(files):
        mesh = read_mesh(file)
        truth = sample.targets[..., time] if fields.frames else sample.targets[:, :, time, 0]
        same(mesh.point_data["out0_truth"], truth)
        assert (mesh.point_data["out0_half_width"] == 0.5).all()
    assert len(files) == 3


def test_a_mesh_that_moves_lies_at_its_true_positions(tmp_path):
    fields = spec(sites=(3, 3, 2), axes=("x", "y", "time"), targets=2)
    fields = replace(fields, targets=(Channel("px"), Channel("py")))
    sample, prediction = sample_of(fields)
    _, first, second = save_fields(tmp_path / "a", fields, Display(positions=("px", "py")), sample, prediction)
    for time, file in enumerate((first, second)):
        np.testing.assert_allclose(
            read_mesh(file).points[:, :2], sample.targets[:, :, time].transpose(0, 1).reshape(-1, 2)
        )


def test_several_models_are_named(tmp_path):
    fields = spec()
    sample, prediction = sample_of(fields)
    (path,) = save_fields(tmp_path / "a", fields, Display(), sample, {"a": prediction, "b": 2 * prediction})
    same(read_mesh(path).point_data["out0_error_b"], 2 * prediction - sample.targets)
