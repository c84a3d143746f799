"""From files of inputs to files of predictions, in all formats, block by block."""

import errno
import io
import json
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from tiny import batch, make_solver, model_config, moving, scalars, spec

from lsm.conformal import Band
from lsm.data.array_files import open_arrays, write_arrays
from lsm.data.input_file import expected_arrays, open_inputs
from lsm.data.layout import Roles
from lsm.data.own_file import open_own_file
from lsm.data.structured_vtk import sites_of, write_structured
from lsm.data.vtk_files import read_mesh
from lsm.errors import InputError
from lsm.fields import Channel
from lsm.prediction import RangeCheck, predict_file
from lsm.solver import build_solver
from lsm.template import write_template

CLOUD = spec("points", (9,), inputs=2, code=3, parameters=scalars("mach"))
FIELDS = {
    "grid": (spec(inputs=2, targets=2), {}),
    "mesh": (spec("mesh", inputs=3), {}),
    "points": (CLOUD, {"projection": {"modes": 3, "resolution": 8}}),
    "frames": (moving(fields=2, parameters=scalars("viscosity")), {}),
}
SUFFIXES = (".npz", ".h5", ".hdf5", ".mat")


def solver_of(name="grid"):
    fields, options = FIELDS[name]
    solver = make_solver(fields, **options)
    solver.fit_normalizers(lambda: [batch(fields, 6)])
    return solver.eval()


def samples_of(solver, size=7):
    """Arrays by name, and the same samples as arguments of ``predict``."""
    fields, samples = solver.spec, batch(solver.spec, size, seed=1)
    if fields.geometry != "grid":
        samples.coords = samples.inputs[..., : fields.space_dim]
    columns = samples.inputs.reshape(size, *fields.sites, -1, len(fields.inputs)).numpy()
    columns = columns if fields.frames else columns[..., 0, :]
    named = {channel.name: columns[..., index] for index, channel in enumerate(fields.inputs)}
    named |= {"code": samples.code.numpy()} if fields.code else {}
    named |= {channel.name: samples.parameters[:, i].numpy() for i, channel in enumerate(fields.parameters)}
    given = {name: value for name, value in vars(samples).items() if name != "targets" and value is not None}
    return named, given


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            file.update(arrays)
    else:
        scipy.io.savemat(path, arrays)
    return path


def read(path):
    with open_arrays(path) as arrays:
        return {name: np.array(array[: array.shape[0]]) for name, array in arrays.items()}


def by_field(solver, prediction):
    fields = solver.spec
    columns = prediction.reshape(*prediction.shape[:-1], -1, len(fields.targets))
    columns = columns if fields.frames else columns[..., 0, :]
    return {channel.name: columns[..., index] for index, channel in enumerate(fields.targets)}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_is_predicted_block_by_block(name, suffix, tmp_path):
    solver = solver_of(name)
    named, given = samples_of(solver)
    target = tmp_path / f"out{suffix}"
    starts = []
    predict_file(
        solver, write(tmp_path / f"in{suffix}", named), target, {}, batch_size=3, track=lambda s: starts.extend(s) or s
    )
    assert starts == [0, 3, 6]
    found, expected = read(target), by_field(solver, solver.predict(**given))
    assert found.keys() == expected.keys()
    for field, values in expected.items():
        assert found[field].dtype == np.float32
        np.testing.assert_allclose(found[field], values, rtol=0, atol=1e-5 * np.abs(values).max())


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_the_arrays_of_predict_are_taken_too(suffix, tmp_path):
    solver = solver_of("grid")
    _, given = samples_of(solver)
    source = tmp_path / f"in{suffix}"
    if suffix == ".npy":
        np.save(source, given["inputs"].numpy())
    else:
        np.savez(source, inputs=given["inputs"].numpy())
    predict_file(solver, source, tmp_path / "out.npy", {"commit": "abc"}, batch_size=4)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), solver.predict(**given), rtol=0, atol=1e-5)
    record = json.loads((tmp_path / "out.npy.json").read_text())
    assert record["commit"] == "abc"
    assert record["fields"] == {"out0": "1", "out1": "1"}


def test_one_sample_needs_no_axis_of_samples(tmp_path):
    solver = solver_of("frames")
    named, given = samples_of(solver, 1)
    expected = solver.predict(**given)
    for suffix in SUFFIXES:
        source = write(tmp_path / f"in{suffix}", {name: values[0] for name, values in named.items()})
        predict_file(solver, source, tmp_path / f"out{suffix}.npz", {})
        found = np.load(tmp_path / f"out{suffix}.npz")[solver.spec.targets[0].name]
        np.testing.assert_allclose(found, expected.reshape(1, 6, 5, 4, 2)[..., 0], rtol=0, atol=1e-6)


def test_of_more_frames_the_first_are_taken(tmp_path):
    """So that the file of a training can be predicted."""
    solver = solver_of("frames")
    named, given = samples_of(solver)
    later = np.full((7, 6, 5, 4), np.nan)
    longer = {
        name: np.concatenate([array, later], axis=-1) if array.ndim > 1 else array for name, array in named.items()
    }
    check = predict_file(solver, write(tmp_path / "in.npz", longer), tmp_path / "out.npz", {}, batch_size=3)
    assert check.notes == [f"{name} has 7 frames, of which the first 3 are taken" for name in ("out0", "out1")]
    for name, expected in by_field(solver, solver.predict(**given)).items():
        np.testing.assert_allclose(
            np.load(tmp_path / "out.npz")[name], expected, rtol=0, atol=1e-5 * np.abs(expected).max()
        )
    short = {**named, "out0": named["out0"][..., :2]}
    with pytest.raises(InputError, match=r"holds out0 \(7, 6, 5, 2\)"):
        predict_file(solver, write(tmp_path / "in.npz", short), tmp_path / "no.npz", {})


def test_an_input_of_the_first_axes_is_repeated(tmp_path):
    solver = solver_of("grid")
    named, _ = samples_of(solver)
    profile = named["in1"][:, :, 0]
    whole = {**named, "in1": np.repeat(profile[:, :, None], 5, axis=2)}
    for name, arrays in (("short", {**named, "in1": profile}), ("long", whole)):
        predict_file(solver, write(tmp_path / f"{name}.npz", arrays), tmp_path / f"{name}_out.npz", {})
    short, long = (np.load(tmp_path / f"{name}_out.npz")["out0"] for name in ("short", "long"))
    assert np.array_equal(short, long)


def test_predictions_carry_units_and_provenance(tmp_path):
    solver = solver_of("grid")
    named, _ = samples_of(solver)
    source = write(tmp_path / "in.npz", named)
    for suffix in SUFFIXES:
        predict_file(solver, source, tmp_path / f"out{suffix}", {"checkpoint": "best.ckpt"})
    for suffix in (".h5", ".mat"):
        with h5py.File(tmp_path / f"out{suffix}") as file:
            assert file["out0"].attrs["unit"] == "1"
            record = json.loads(file.attrs["provenance"])
            if suffix == ".mat":
                letters = "".join(map(chr, file["provenance"][:, 0]))
                assert json.loads(letters) == record
                assert file["out0"].attrs["MATLAB_class"] == b"single"
    assert (tmp_path / "out.mat").read_bytes().startswith(b"MATLAB 7.3 MAT-file")
    assert json.loads(str(np.load(tmp_path / "out.npz")["provenance"])) == record
    assert record["checkpoint"] == "best.ckpt"
    assert record["input"] == "in.npz"


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_a_field_called_as_the_record_is_refused(suffix, tmp_path):
    path = tmp_path / f"out{suffix}"
    told = "cannot hold a field named provenance, .*; write a .h5 file"
    with pytest.raises(InputError, match=told), write_arrays(path, {"provenance": (2, 3)}, {"provenance": "1"}, {}):
        pass
    assert not path.exists()
    with write_arrays(tmp_path / "out.h5", {"provenance": (2, 3)}, {"provenance": "1"}, {"a": 1}) as arrays:
        arrays["provenance"][:] = 7.0
    assert (read(tmp_path / "out.h5")["provenance"] == 7).all()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_template_is_a_file_of_inputs(name, suffix, tmp_path):
    solver = solver_of(name)
    template = tmp_path / f"template{suffix}"
    made = write_template(solver, template, num_samples=3)
    assert made == {field: (3, *shape) for field, shape in expected_arrays(solver.spec).items()}
    assert {field: values.shape for field, values in read(template).items()} == made
    assert predict_file(solver, template, tmp_path / f"out{suffix}", {}).warnings() == []
    assert all(np.isfinite(values).all() for values in read(tmp_path / f"out{suffix}").values())


def test_a_template_leaves_the_solver_on_its_device(tmp_path, monkeypatch):
    solver, moved, cpu = solver_of("points"), [], torch.nn.Module.cpu
    monkeypatch.setattr(torch.nn.Module, "cpu", lambda module: [moved.append(module), cpu(module)][1])
    write_template(solver, tmp_path / "template.npz")
    assert not {*map(id, moved)} & {*map(id, solver.modules())}


@pytest.mark.parametrize("known", [True, False])
def test_a_template_of_a_mesh_is_a_regular_lattice(known, tmp_path):
    solver = solver_of("mesh")
    if known:
        solver.ranges["inputs"][:2] = [[-2.0, 3.0], [0.0, 1.0]]
    else:
        solver.ranges = {}
    write_template(solver, tmp_path / "template.npz")
    x, y = (read(tmp_path / "template.npz")[name] for name in ("in0", "in1"))
    assert (np.diff(x, axis=1) > 0).all()
    assert (np.diff(y, axis=2) > 0).all()
    for distances in (np.diff(x, 2, axis=1), np.diff(y, 2, axis=2), np.diff(x, axis=2), np.diff(y, axis=1)):
        np.testing.assert_allclose(distances, 0, atol=1e-6)
    if known:
        assert (x.min(), x.max(), y.min(), y.max()) == (-2, 3, 0, 1)


def test_fields_by_name_count_before_an_array_of_inputs(tmp_path):
    solver = solver_of()
    named, _ = samples_of(solver)
    alone, beside = write(tmp_path / "a.npz", named), write(tmp_path / "b.npz", named | {"inputs": np.ones((3, 2))})
    for path in (alone, beside):
        predict_file(solver, path, path.with_suffix(".h5"), {})
    np.testing.assert_equal(read(tmp_path / "a.h5"), read(tmp_path / "b.h5"))


def test_inputs_outside_the_range_of_training_are_named(tmp_path):
    solver = solver_of("points")
    named, _ = samples_of(solver)
    inside = {name: np.zeros_like(values) for name, values in named.items()}
    (low, high) = solver.ranges["inputs"][1]
    inside["in1"][:, 0], inside["in1"][:, 1] = low, high
    assert predict_file(solver, write(tmp_path / "in.npz", inside), tmp_path / "a.npz", {}).warnings() == []
    inside["in1"][[1, 5], 3] = 9.0
    inside["mach"][6] = -7.0
    check = predict_file(solver, write(tmp_path / "in.npz", inside), tmp_path / "b.npz", {}, batch_size=4)
    assert check.samples == {"in1": 2, "mach": 1}
    record = json.loads(str(np.load(tmp_path / "b.npz")["provenance"]))
    assert record["outside_training_range"] == check.warnings()
    assert check.warnings()[0] == (
        f"in1 of 2 samples leaves the range of the training data: {low:.6g} to 9, trained on {low:.6g} to {high:.6g}"
    )


def test_inputs_on_another_grid_are_named_or_interpolated(tmp_path):
    solver = solver_of("grid")
    solver.ranges = {}
    named, _ = samples_of(solver)
    larger = {name: np.repeat(values, 2, axis=1) if values.ndim > 2 else values for name, values in named.items()}
    source = write(tmp_path / "in.npz", larger)
    sites, others = (" x ".join(map(str, shape)) for shape in (solver.spec.sites, larger["in0"].shape[1:]))
    told = predict_file(solver, source, tmp_path / "a.npz", {}).warnings()
    assert told == [
        f"the inputs have {others} sites, the training had {sites}; training_grid=true interpolates between them"
    ]
    assert predict_file(solver, source, tmp_path / "b.npz", {}, training_grid=True).warnings() == []
    plain, through = (read(tmp_path / f"{name}.npz")["out0"] for name in "ab")
    assert plain.shape == through.shape == larger["in0"].shape
    assert not np.allclose(plain, through)


def test_an_interpolated_prediction_has_no_band(tmp_path):
    """Not even one that was calibrated on the sites of the inputs, which is of predictions without interpolation."""
    solver = solver_of("grid")
    named, given = samples_of(solver)

    def band_at(*sites):
        return Band(0.9, "field", np.ones((*sites, 2), "f4"), replace(solver.spec, sites=sites), 9)

    larger = {name: np.repeat(values, 2, axis=1) for name, values in named.items()}
    source, target = write(tmp_path / "in.npz", larger), tmp_path / "out.npz"
    told = r"the inputs have 12 x 5 sites, the training had 6 x 5; predict without bands, or remove training_grid"
    with pytest.raises(InputError, match=told) as caught:
        predict_file(solver, source, target, {}, band=band_at(12, 5), training_grid=True)
    assert caught.value.options == ("level",)
    assert not target.exists()
    predict_file(solver, source, target, {}, band=band_at(12, 5))
    source = write(tmp_path / "in.npz", named)
    predict_file(solver, source, target, {}, band=band_at(6, 5), training_grid=True)
    np.testing.assert_allclose(read(target)["out0_high"], solver.predict(**given)[..., 0] + 1, rtol=0, atol=1e-5)


def test_a_band_has_limits_where_targets_exist(tmp_path):
    fields = spec(inputs=2, mask=1)
    solver = make_solver(fields).eval()
    inputs = np.random.default_rng(0).random((3, 6, 5, 2), dtype="f4")
    inputs[..., 1] = inputs[..., 1] > 0.5
    inputs[:, 0, :2, 1] = [[1, 0], [0, 0], [1, 0]]
    exists = inputs[..., 1] > 0
    half_width = np.ones((6, 5, 1), "f4")
    half_width[0, :2] = np.inf  # the second of these sites has no target in these samples
    np.savez(tmp_path / "in.npz", inputs=inputs)
    check = predict_file(
        solver,
        tmp_path / "in.npz",
        tmp_path / "out.npz",
        {},
        batch_size=2,
        band=Band(0.9, "site", half_width, fields, 9),
    )
    found = read(tmp_path / "out.npz")
    assert (found["out0"][~exists] == 0).all()
    for name, sign in (("out0_low", -1), ("out0_high", 1)):
        expected = found["out0"] + sign * np.where(exists, half_width[..., 0], 0)
        np.testing.assert_array_equal(found[name], expected)
    assert check.notes == [
        "the band of 2 samples is infinite at some sites, where too few calibration samples have a target"
    ]


def test_the_ranges_are_those_of_all_batches_also_without_normalisation():
    fields = spec(inputs=2)
    solver = make_solver(fields, inputs="none")
    batches = [batch(fields, 3, seed) for seed in range(3)]
    solver.fit_normalizers(lambda: batches)
    values = torch.cat([part.inputs for part in batches]).reshape(-1, 2)
    assert solver.ranges["inputs"] == [[c.min().item(), c.max().item()] for c in values.T]


@pytest.mark.parametrize("kind", ["none", "channel"])
def test_codes_have_a_range_too(kind, tmp_path):
    fields = spec("points", (24,), inputs=2, code=3)
    model = model_config() | {"projection": {"resolution": 8, "modes": 4}}
    solver = build_solver({"model": model, "normalization": {"code": kind}}, fields)
    samples = batch(fields, 6)
    samples.code = 0.2 + 0.2 * torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    solver.fit_normalizers(lambda: [samples])
    write_template(solver, tmp_path / "template.npz")
    code = read(tmp_path / "template.npz")["code"]
    assert (samples.code.amin(0).numpy() <= code).all()
    assert (code <= samples.code.amax(0).numpy()).all()
    given = {"inputs": samples.inputs.numpy(), "code": samples.code.numpy() * np.array([[1, 1, 1]] * 5 + [[1, 9, 1]])}
    check = RangeCheck(solver)
    check.add(given)
    assert check.samples == {"code": 1}
    assert check.warnings()[0].startswith("code of 1 samples leaves the range of the training data")


def test_a_solver_of_unknown_ranges_warns_of_nothing(tmp_path):
    solver = solver_of("grid")
    solver.ranges = {}
    named, _ = samples_of(solver)
    assert predict_file(solver, write(tmp_path / "in.npz", named), tmp_path / "out.npz", {}).warnings() == []


def refused(tmp_path, arrays, message, suffix=".npz", target="out.npz"):
    with pytest.raises(InputError, match=message):
        predict_file(solver_of("grid"), write(tmp_path / f"in{suffix}", arrays), tmp_path / target, {})
    assert [path.name for path in tmp_path.iterdir()] == [f"in{suffix}"]


def test_files_that_do_not_fit_are_refused_and_leave_nothing(tmp_path):
    named, _ = samples_of(solver_of("grid"))
    refused(tmp_path, {"in0": named["in0"]}, r"lacks in1 \(it holds in0\); template=FILE")
    refused(tmp_path, {**named, "in1": named["in1"][:3]}, "with the same number of samples")
    for other in (named["in1"][:, :3, :3], named["in1"][:, :1], named["in1"][:, :, :1]):
        refused(
            tmp_path, {**named, "in1": other}, "holds in0 .*, in1 .*; expected are .*, and fields on the same sites"
        )
    refused(tmp_path, {"in0": np.ones((7, 12, 5)), "in1": np.ones((7, 6))}, "and fields on the same sites")
    refused(tmp_path, {**named, "in1": named["in1"][..., None, None]}, r"expected are in0 \(samples, 6, 5\)")
    refused(tmp_path, {name: values[:0] for name, values in named.items()}, "same number of samples")
    bad = named["in1"].copy()
    bad[4, 2, 2] = np.nan
    refused(tmp_path, {**named, "in1": bad}, "in1 of sample 4 in .* is not finite")
    refused(tmp_path, named, "has an unknown file type", target="out.csv")
    refused(tmp_path, named, "is the file of inputs", target="in.npz")
    refused(tmp_path, named, "a VTK output takes its points from a VTK input", target="out.vtu")


def test_damaged_files_are_named(tmp_path):
    for name in ("in.npz", "in.npy", "in.h5", "in.mat"):
        (tmp_path / name).write_bytes(b"no such format" * 20)
        with pytest.raises(InputError, match=rf"{name} cannot be read as"):
            predict_file(solver_of("grid"), tmp_path / name, tmp_path / "out.npz", {})
    np.save(tmp_path / "objects.npy", np.array([{}, None], dtype=object))
    with pytest.raises(InputError, match="cannot be read as"):
        predict_file(solver_of("grid"), tmp_path / "objects.npy", tmp_path / "out.npz", {})
    np.savez(tmp_path / "objects.npz", in0=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="holds objects"):
        predict_file(solver_of("grid"), tmp_path / "objects.npz", tmp_path / "out.npz", {})


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_member_is_read_as_a_stream(save, tmp_path, monkeypatch):
    """What is read at once is one block, not the array."""
    values = np.arange(600, dtype=np.float32).reshape(100, 3, 2)
    save(tmp_path / "a.npz", a=values)
    with open_arrays(tmp_path / "a.npz") as arrays:
        sizes, rows = [], arrays["a"].values._rows
        monkeypatch.setattr(arrays["a"].values, "_rows", lambda count: sizes.append(count) or rows(count))
        parts = [arrays["a"][start : start + 30] for start in range(0, 100, 30)]
        assert np.array_equal(np.concatenate(parts), values)
        assert sizes == [30, 30, 30, 10]
        assert np.array_equal(arrays["a"][5:7], values[5:7])


@pytest.mark.parametrize("suffix", [".vtu", ".vtk"])
def test_points_of_a_vtk_file(suffix, tmp_path):
    meshio = pytest.importorskip("meshio")
    fields = spec("points", (9,), inputs=2)
    fields = fields.from_dict({**fields.to_dict(), "inputs": [{"name": "x", "unit": "m"}, {"name": "y", "unit": "m"}]})
    solver = make_solver(fields, projection={"modes": 3, "resolution": 8}).eval()
    points = np.random.default_rng(0).random((9, 3))
    triangles = [("triangle", np.array([[0, 1, 2], [3, 4, 5]]))]
    meshio.write(tmp_path / f"in{suffix}", meshio.Mesh(points, triangles))
    predict_file(solver, tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", {"checkpoint": "best.ckpt"})
    found = meshio.read(tmp_path / f"out{suffix}")
    expected = solver.predict(points[:, :2], points[:, :2])[..., 0]
    np.testing.assert_allclose(found.point_data["out0"], expected, rtol=0, atol=1e-5)
    assert np.array_equal(found.cells[0].data, triangles[0][1])
    assert json.loads((tmp_path / f"out{suffix}.json").read_text())["checkpoint"] == "best.ckpt"


@pytest.mark.parametrize(
    "title", ["Points with temperature", "Cells of a beam", "dimensions in all directions", "points 9999"]
)
def test_a_vtk_file_may_have_any_title(title, tmp_path):
    meshio = pytest.importorskip("meshio")
    points = np.random.default_rng(0).random((4, 3))
    meshio.write(tmp_path / "in.vtk", meshio.Mesh(points, [("triangle", [[0, 1, 2]])], {"points": np.arange(4.0)}))
    version, _, rest = (tmp_path / "in.vtk").read_bytes().split(b"\n", 2)
    (tmp_path / "in.vtk").write_bytes(b"\n".join([version, title.encode(), rest]))
    assert np.array_equal(read_mesh(tmp_path / "in.vtk").points, points)


def test_words_that_are_no_numbers_hide_no_size_of_a_vtk_file(tmp_path):
    pytest.importorskip("meshio")
    lattice = b"METADATA\ndimensions\n\nDIMENSIONS 2000 2000 2000\nORIGIN 0 0 0\nSPACING 1 1 1\n"
    (tmp_path / "in.vtk").write_bytes(b"# vtk DataFile Version 3.0\n\nASCII\nDATASET STRUCTURED_POINTS\n" + lattice)
    with pytest.raises(InputError, match="it is a lattice of more than"):
        read_mesh(tmp_path / "in.vtk")


def test_a_lattice_in_a_vtk_file_has_its_first_axis_fastest(tmp_path):
    meshio = pytest.importorskip("meshio")
    solver = solver_of("grid")
    named, given = samples_of(solver, 1)
    points = np.stack([*np.meshgrid(np.arange(6.0), np.arange(5.0), indexing="ij"), np.zeros((6, 5))], axis=-1)
    data = {name: values[0].flatten(order="F") for name, values in named.items()}
    flat = points.transpose(1, 0, 2).reshape(-1, 3)
    meshio.write(tmp_path / "in.vtu", meshio.Mesh(flat, [("vertex", np.arange(30)[:, None])], point_data=data))
    predict_file(solver, tmp_path / "in.vtu", tmp_path / "out.vtu", {})
    found = meshio.read(tmp_path / "out.vtu").point_data["out1"]
    np.testing.assert_allclose(found.reshape(5, 6).T, solver.predict(**given)[0, ..., 1], rtol=0, atol=1e-5)

    write_structured(tmp_path / "in.vts", (6, 5), flat, data)
    predict_file(solver, tmp_path / "in.vts", tmp_path / "out.vts", {})
    assert sites_of(tmp_path / "out.vts") == (6, 5)
    assert np.array_equal(read_mesh(tmp_path / "out.vts").point_data["out1"], found)
    predict_file(solver, tmp_path / "in.vts", tmp_path / "cells.vtu", {})
    (cells,) = meshio.read(tmp_path / "cells.vtu").cells
    assert (cells.type, len(cells.data)) == ("quad", 20)
    write_structured(tmp_path / "turned.vts", (5, 6), flat, data)
    with pytest.raises(InputError, match=r"is a structured grid of \(5, 6\) points, the solver takes \(6, 5\)"):
        predict_file(solver, tmp_path / "turned.vts", tmp_path / "no.vts", {})
    with pytest.raises(
        InputError, match=r"no.vts: a .vts output takes its lattice from a .vts input; choose an output in .vtu"
    ):
        predict_file(solver, tmp_path / "in.vtu", tmp_path / "no.vts", {})


def test_predict_in_batches_equals_predict_at_once():
    solver = solver_of("points")
    _, given = samples_of(solver)
    whole = solver.predict(**given)
    np.testing.assert_allclose(solver.predict(**given, batch_size=3), whole, rtol=0, atol=1e-6 * np.abs(whole).max())
    assert np.array_equal(solver.predict(**given, device="cpu"), whole)
    with pytest.raises(InputError, match=r"as many samples in each array, found \{'inputs': 7, .*'code': 2"):
        solver.predict(**{**given, "code": given["code"][:2]})


def test_an_error_of_those_who_use_the_arrays_is_not_taken_for_damage(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    full = OSError(errno.ENOSPC, "No space left on device", "out.npz")
    with pytest.raises(OSError, match="No space left") as caught, open_arrays(tmp_path / "a.npz"):
        raise full
    assert caught.value is full


def test_an_array_that_ends_early_is_named_with_its_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        header = io.BytesIO()
        np.save(header, np.ones(300))
        archive.writestr("a.npy", header.getvalue()[:-8])
    told = r"a\.npz cannot be read as \.npz \(a\.npy is shorter than its header says\)"
    with pytest.raises(InputError, match=told), open_arrays(tmp_path / "a.npz"):
        pass


def test_an_array_that_is_damaged_is_named_with_its_file_when_it_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(30_000))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[100_000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with open_arrays(tmp_path / "a.npz") as arrays, pytest.raises(InputError, match=r"a\.npz cannot be read as \.npz"):
        arrays["a"][:]


def test_channels_of_an_array_are_found_by_their_number(tmp_path):
    fields = replace(spec(inputs=2), inputs=(Channel("flow_1"), Channel("flow_2")))
    solver = make_solver(fields).eval()
    flow = np.random.default_rng(0).random((3, 6, 5, 2))
    np.savez(tmp_path / "in.npz", flow=flow)
    predict_file(solver, tmp_path / "in.npz", tmp_path / "out.npz", {})
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["out0"], solver.predict(flow)[..., 0])
    np.savez(tmp_path / "in.npz", flow=flow[..., :1])
    with pytest.raises(InputError, match="lacks flow_2"):
        predict_file(solver, tmp_path / "in.npz", tmp_path / "out.npz", {})


def sizes_and_inputs(path, fields, roles=None):
    with open_inputs(path, fields, roles) as inputs:
        return inputs.num_samples, inputs.block(0, inputs.num_samples)["inputs"]


@pytest.mark.parametrize("geometry", ["grid", "mesh"])
def test_one_sample_on_as_many_sites_along_each_axis_is_one(geometry, tmp_path):
    fields = spec(geometry, sites=(6, 6), inputs=3)
    values = np.random.default_rng(0).random((6, 6, 6, 3), dtype="f4")
    np.savez(tmp_path / "one.npz", **{f"in{index}": values[0, ..., index] for index in range(3)})
    np.savez(tmp_path / "six.npz", **{f"in{index}": values[..., index] for index in range(3)})
    for name, expected in (("one", values[:1]), ("six", values)):
        found, inputs = sizes_and_inputs(tmp_path / f"{name}.npz", fields)
        assert found == len(expected)
        assert np.array_equal(inputs, expected)


@pytest.mark.parametrize("geometry", ["mesh", "points"])
@pytest.mark.parametrize("others", [("parameters",), ("load",), ("code",), ("load", "parameters"), ()])
def test_samples_that_share_their_sites_are_counted(geometry, others, tmp_path):
    sites = (6, 5) if geometry == "mesh" else (9,)
    random = np.random.default_rng(0)
    whole = {"parameters": random.random((4, 2)), "load": random.random((4, *sites)), "code": random.random((4, 3))}
    fields = spec(geometry, sites, code=3 if "code" in others else 0)
    names = ("x", "y", *(["load"] if "load" in others else []))
    scalars = ("a", "b") if "parameters" in others else ()
    fields = replace(fields, inputs=tuple(map(Channel, names)), parameters=tuple(map(Channel, scalars)))
    coords = random.random((*sites, 2))
    count = 4 if others else 1
    for places in ({"coords": coords}, {"x": coords[..., 0], "y": coords[..., 1]}):
        np.savez(
            tmp_path / "in.npz", **places, **{name: whole[name] for name in others}, targets=random.random((4, *sites))
        )
        found, inputs = sizes_and_inputs(tmp_path / "in.npz", fields)
        assert found == count
        np.testing.assert_allclose(inputs[..., :2], np.broadcast_to(coords, (count, *sites, 2)), rtol=1e-6)


#: Files of 20 samples with as many sites along the last axis as the solver has input channels: geometry, sites, fields besides
#: the coordinates, and shapes.
AS_MANY_SITES = {
    "coordinates of all samples": ("mesh", (60, 3), ("load",), {"coords": (60, 3, 2), "inputs": (20, 60, 3)}),
    "coordinates of each sample": ("mesh", (60, 3), ("load",), {"coords": (20, 60, 3, 2), "inputs": (20, 60, 3)}),
    "an array per coordinate": ("mesh", (60, 3), ("load",), {"x": (60, 3), "y": (60, 3), "inputs": (20, 60, 3)}),
    "another mesh": ("mesh", (50, 4), ("load",), {"coords": (60, 3, 2), "inputs": (20, 60, 3)}),
    "a cloud": ("points", (3,), ("load",), {"coords": (3, 2), "inputs": (20, 3)}),
    "a grid of one channel": ("grid", (60, 1), ("load",), {"inputs": (20, 60, 1)}),
    "a grid of one channel, without a name": ("grid", (60, 1), ("load",), {"": (20, 60, 1)}),
}


@pytest.mark.parametrize("scalars", [(), ("parameter",)])
@pytest.mark.parametrize("name", AS_MANY_SITES)
def test_sites_are_not_taken_for_channels(name, scalars, tmp_path):
    geometry, sites, names, shapes = AS_MANY_SITES[name]
    random = np.random.default_rng(0)
    arrays = {key: random.random(shape, dtype="f4") for key, shape in shapes.items()}
    field = arrays.get("inputs", arrays.get(""))
    places = ("x", "y") if geometry != "grid" else ()
    fields = replace(spec(geometry, sites), inputs=tuple(map(Channel, (*places, *names))))
    if "" in shapes:
        np.save(tmp_path / "in.npy", field)
        assert np.array_equal(sizes_and_inputs(tmp_path / "in.npy", fields)[1][..., -1], field)
        return
    fields = replace(fields, parameters=tuple(map(Channel, scalars)))
    np.savez(tmp_path / "in.npz", **arrays, **({"parameters": np.arange(20.0)} if scalars else {}))
    found, inputs = sizes_and_inputs(tmp_path / "in.npz", fields)
    assert found == 20
    assert np.array_equal(inputs[..., -1], field)
    if "coords" in arrays:
        assert np.array_equal(inputs[..., :2], np.broadcast_to(arrays["coords"], (*field.shape, 2)))


def test_the_coordinates_tell_one_sample_with_channels_from_several_without(tmp_path):
    fields = replace(spec("mesh", (60, 3)), inputs=tuple(map(Channel, ("x", "y", "load"))))
    whole = np.random.default_rng(0).random((20, 60, 3), dtype="f4")
    np.savez(tmp_path / "in.npz", inputs=whole, coords=whole[..., :2])
    found, inputs = sizes_and_inputs(tmp_path / "in.npz", fields)
    assert found == 1
    assert np.array_equal(inputs, whole[None])


@pytest.mark.parametrize("scalars", [(), ("parameter",)])
def test_one_field_for_a_solver_of_several_is_refused(scalars, tmp_path):
    """Even with as many sites along the last axis as there are fields."""
    names = ("input_1", "input_2", "input_3")
    fields = replace(spec(sites=(60, 3)), inputs=tuple(map(Channel, names)), parameters=tuple(map(Channel, scalars)))
    np.savez(tmp_path / "in.npz", inputs=np.ones((20, 60, 3)), **({"parameters": np.ones(20)} if scalars else {}))
    with pytest.raises(InputError, match=r"lacks input_1, input_2, input_3 \(it holds inputs"):
        sizes_and_inputs(tmp_path / "in.npz", fields)


def test_one_sample_may_have_an_axis_for_its_one_channel(tmp_path):
    values = np.random.default_rng(0).random((6, 5, 1), dtype="f4")
    for name in ("conductivity", "inputs"):
        np.savez(tmp_path / "in.npz", **{name: values})
        found, inputs = sizes_and_inputs(tmp_path / "in.npz", replace(spec(), inputs=(Channel("conductivity"),)))
        assert found == 1
        assert np.array_equal(inputs, values[None])


def test_several_files_of_inputs_are_refused(tmp_path):
    (tmp_path / "meshes").mkdir()
    for source in (tmp_path / "meshes", tmp_path / "*.vtu"):
        with pytest.raises(InputError, match=r"give one file of inputs at a time, \.npz, .*\.vtu"):
            predict_file(solver_of(), source, tmp_path / "out.npz", {})


LIKE_TRAINING = {
    "a parameter by its name": ({"inputs": (3, 6, 5, 2), "viscosity": (3,)}, "grid", ("a", "b"), ("viscosity",)),
    "parameters as a vector": ({"inputs": (3, 6, 5, 2), "parameters": (3,)}, "grid", ("a", "b"), ("parameter",)),
    "one channel on an axis": ({"conductivity": (3, 6, 5, 1)}, "grid", ("conductivity",), ()),
    "shared sites": ({"coords": (6, 5, 2), "load": (3, 6, 5, 1)}, "mesh", ("x", "y", "load"), ()),
}


@pytest.mark.parametrize("name", LIKE_TRAINING)
def test_files_are_laid_out_as_those_for_training(name, tmp_path):
    shapes, geometry, names, scalars = LIKE_TRAINING[name]
    fields = spec(geometry, (6, 5))
    fields = replace(fields, inputs=tuple(map(Channel, names)), parameters=tuple(map(Channel, scalars)))
    np.savez(tmp_path / "in.npz", **{key: np.random.default_rng(0).random(shape) for key, shape in shapes.items()})
    with open_inputs(tmp_path / "in.npz", fields, Roles(parameters=scalars or None)) as inputs:
        block = inputs.block(0, 3)
    assert block["inputs"].shape == (3, 6, 5, len(names))
    assert ("parameters" in block) == bool(scalars)


def test_training_data_of_other_names_are_found(tmp_path):
    random = np.random.default_rng(0)
    flow, nodes, radii, forces = (random.random(shape) for shape in ((4, 9, 2), (4, 9, 2), (4, 3), (4, 2)))
    names = tuple(map(Channel, ("x", "y", "u", "v")))
    fields = replace(spec("points", (9,), code=3), inputs=names, parameters=(Channel("input_1"), Channel("input_2")))
    arrays = {"flow": flow, "nodes": nodes, "radii": radii, "inputs": forces, "T": flow[..., 0]}
    np.savez(tmp_path / "named.npz", **arrays, flow_names=["u", "v"])
    np.savez(tmp_path / "plain.npz", **arrays)
    roles = Roles(coords=["nodes"], code="radii", parameters=["inputs"])
    for name, said in (("named", roles), ("plain", replace(roles, names={"flow": ["u", "v"]}))):
        with open_inputs(tmp_path / f"{name}.npz", fields, said) as inputs:
            block = inputs.block(1, 4)
        expected = {
            "inputs": np.concatenate([nodes, flow], axis=-1),
            "coords": nodes,
            "code": radii,
            "parameters": forces,
        }
        for key, values in expected.items():
            np.testing.assert_array_equal(block[key], values[1:].astype("f4"))
    with pytest.raises(InputError, match=r"it holds flow, nodes, radii, inputs, T\)"):
        sizes_and_inputs(tmp_path / "plain.npz", fields)


def test_what_has_no_role_in_a_file_does_no_harm(tmp_path):
    values = np.arange(12.0).reshape(4, 3)
    objects = np.array([{}] * 99, dtype=object)
    np.savez(tmp_path / "a.npz", a=values, turned=values.T, valid=values > 3, objects=objects)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["valid"] = values, np.full(4, b"yes")
        file.create_dataset("kind", data=values > 3, dtype=h5py.enum_dtype({"wall": 0, "inflow": 1}, basetype="i1"))
        file.create_dataset("packed", data=values, compression="lzf")
    problems = {
        "a.npz": {
            "turned": r"is in Fortran order; save np.ascontiguousarray\(",
            "objects": "objects; save plain numbers",
        },
        "a.h5": {
            "valid": "not an array of real numbers",
            "kind": "type int8, expected plain",
            "packed": r'by lzf \(HDF5 filter 32000\); save it with compression="gzip"',
        },
    }
    for name, others in problems.items():
        path = tmp_path / name
        with open_arrays(path) as arrays:
            assert np.array_equal(arrays["a"][:], values)
            assert arrays.others.keys() == others.keys()
        for array, words in others.items():
            with pytest.raises(InputError, match=words) as told:
                sizes_and_inputs(path, replace(spec(sites=(3,)), inputs=(Channel(array),)))
            assert name in str(told.value)
            assert array in str(told.value)
            assert "damaged" not in str(told.value)
            with pytest.raises(InputError, match=words), open_own_file(path, Roles(inputs=[array], targets=["a"])):
                pass


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_only_of_a_store_the_group_of_fields_is_read(suffix, tmp_path):
    """Others may call anything so: an array, or a group beside the arrays."""
    path, values = tmp_path / f"a{suffix}", np.arange(12.0).reshape(4, 3)
    kinds = {
        "array": ({"fields": values}, {}),
        "group": ({"fields/b": values}, {}),
        "schema of another": ({"fields/b": values}, {"schema": ["lsm-store", "1"]}),
        "store": ({"fields/b": values}, {"schema": "lsm-store"}),
    }
    found = {}
    for kind, (more, attributes) in kinds.items():
        with h5py.File(path, "w", userblock_size=512) as file:
            file.update({"a": values, **more})
            file.attrs.update(attributes)
        with open_arrays(path) as arrays:
            found[kind] = (set(arrays), set(arrays.others))
            expected = values.T if suffix == ".mat" else values
            assert all(np.array_equal(array[:], expected) for array in arrays.values())
    assert found == {
        "array": ({"a", "fields"}, set()),
        "group": ({"a"}, {"fields"}),
        "schema of another": ({"a"}, {"fields"}),
        "store": ({"b"}, set()),
    }


def test_names_and_units_beside_an_array(tmp_path):
    values = np.zeros((3, 4, 2))
    labels = {"flow_names": ["u", "v"], "flow_units": np.array("m/s")}
    odd = {
        "b_names": np.array([b"u"]),
        "c_names": ["a\nb"],
        "d_names": ["x" * 101],
        "e_units": ["x" * 9] * 9999,
        "f_names": 3.0,
    }
    np.savez(tmp_path / "a.npz", flow=values, **labels, **dict.fromkeys("bcdef", values), **odd)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["flow"] = file["b"] = values
        file["flow"].attrs["names"], file["flow"].attrs["units"] = ["u", "v"], "m/s"
        file["b"].attrs["unit"], file["b"].attrs["names"] = "K", 3
        file["fixed"], file["latin"] = values, values
        file["fixed"].attrs["names"] = np.array([b"u", "\u03c4".encode()], dtype="S8")
        file["fixed"].attrs["units"], file["latin"].attrs["units"] = np.bytes_(b"m/s  "), np.bytes_(b"\xb0C")
    with open_arrays(tmp_path / "a.npz") as text, open_arrays(tmp_path / "a.h5") as attributes:
        for arrays in (text, attributes):
            assert (arrays["flow"].names, arrays["flow"].units) == (("u", "v"), ("m/s",))
        assert all((text[name].names, text[name].units) == ((), ()) for name in "bcdef"), (
            "what is no label says nothing"
        )
        assert (attributes["b"].names, attributes["b"].units) == ((), ("K",))
        assert (attributes["fixed"].names, attributes["fixed"].units) == (("u", "\u03c4"), ("m/s",))
        assert attributes["latin"].units == ()
        assert np.array_equal(text["flow"][1:], values[1:])
