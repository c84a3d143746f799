"""Which stored arrays become inputs, coordinates, codes and targets, by values that tell every site apart."""

import numpy as np
import pytest
import torch
from tiny import batch, make_solver, spec

from lsm.data.readers.base import READERS, make_reader
from lsm.data.store import Store, StoredField, StoreWriter
from lsm.errors import InputError, OptionError
from lsm.fields import FieldSpec, Frames


@pytest.fixture
def store_of(tmp_path):
    """Makes a store of one sample and returns it with its arrays."""

    def make(**shapes):
        fields = {name: StoredField(shape, f"unit of {name}", "", "float64") for name, shape in shapes.items()}
        start, arrays = 0, {}
        for name, shape in shapes.items():
            arrays[name] = start + np.arange(np.prod(shape), dtype="f8").reshape(shape)
            start += 1000
        with StoreWriter(tmp_path / "store.h5", "any", fields, 1, {}) as writer:
            writer.write(0, arrays)
        return Store(tmp_path / "store.h5"), arrays

    return make


def decode(config, store, arrays):
    """Specification and sample, checked against each other."""
    reader = make_reader(config)
    assert set(reader.fields) <= set(arrays)
    fields, sample = reader.spec(store), reader.decode({name: arrays[name] for name in reader.fields})
    sample.check(fields)
    assert FieldSpec.from_dict(fields.to_dict()) == fields
    assert sample.inputs.dtype == sample.targets.dtype == torch.float32
    return fields, sample


@pytest.mark.parametrize("shape", [(9,), (9, 7), (9, 7, 5)])
def test_grid_of_any_rank(shape, store_of):
    store, arrays = store_of(a=shape, b=shape, u=shape)
    config = {"name": "grid", "inputs": ["b", "a"], "targets": ["u"], "mask": "a"}
    fields, sample = decode(config, store, arrays)
    np.testing.assert_array_equal(sample.inputs, np.stack([arrays["b"], arrays["a"]], axis=-1))
    assert arrays["a"].flat[0] == 0 != arrays["u"].flat[0], "outside of the mask"
    np.testing.assert_array_equal(sample.targets[..., 0], arrays["u"] * (arrays["a"] != 0))
    assert fields.sites == shape
    assert [(c.name, c.unit) for c in fields.inputs] == [("b", "unit of b"), ("a", "unit of a")]
    assert fields.mask == 1


@pytest.mark.parametrize(
    ("resolution", "chosen"),
    [(3, np.s_[::4, ::3]), ([5, 7], np.s_[::2, :]), ([9, 3], np.s_[:, ::3]), ([2, 2], np.s_[::8, ::6])],
)
def test_grid_at_another_resolution(resolution, chosen, store_of):
    store, arrays = store_of(a=(9, 7), u=(9, 7))
    config = {"name": "grid", "inputs": ["a"], "targets": ["u"], "resolution": resolution}
    _, sample = decode(config, store, arrays)
    np.testing.assert_array_equal(sample.inputs[..., 0], arrays["a"][chosen])
    np.testing.assert_array_equal(sample.targets[..., 0], arrays["u"][chosen])


@pytest.mark.parametrize(
    ("resolution", "named"),
    [
        (4, "4 evenly spaced sites cannot be chosen from the 9 stored along x; possible numbers are 9, 5, 3, 2$"),
        ([9, 5], "5 evenly spaced sites .* along y"),
        ([9], "2 axes"),
    ],
)
def test_a_resolution_that_does_not_fit_is_named(resolution, named, store_of):
    store, _ = store_of(a=(9, 7), u=(9, 7))
    reader = make_reader({"name": "grid", "inputs": ["a"], "targets": ["u"], "resolution": resolution})
    with pytest.raises(InputError, match=named):
        reader.spec(store)


def test_mesh_takes_its_coordinates_as_inputs(store_of):
    store, arrays = store_of(x=(5, 3), y=(5, 3), mach=(5, 3), p=(5, 3))
    config = {"name": "mesh", "coordinates": ["x", "y"], "targets": ["p", "mach"]}
    fields, sample = decode(config, store, arrays)
    np.testing.assert_array_equal(sample.inputs, np.stack([arrays["x"], arrays["y"]], axis=-1))
    assert torch.equal(sample.coords, sample.inputs)
    np.testing.assert_array_equal(sample.targets, np.stack([arrays["p"], arrays["mach"]], axis=-1))
    assert (fields.geometry, fields.axes, [c.name for c in fields.inputs]) == ("mesh", ("x", "y"), ["x", "y"])
    _, coarse = decode(config | {"resolution": [3, 2]}, store, arrays)
    np.testing.assert_array_equal(coarse.coords[..., 1], arrays["y"][::2, ::2])


def test_points_with_and_without_a_code(store_of):
    store, arrays = store_of(points=(6, 2), stress=(6,), radius=(4,))
    config = {"name": "points", "points": "points", "targets": ["stress"]}
    fields, sample = decode(config | {"code": "radius"}, store, arrays)
    np.testing.assert_array_equal(sample.coords, arrays["points"])
    np.testing.assert_array_equal(sample.inputs, arrays["points"])
    np.testing.assert_array_equal(sample.targets[:, 0], arrays["stress"])
    np.testing.assert_array_equal(sample.code, arrays["radius"])
    assert (fields.code, fields.in_channels, fields.sites) == (4, 2, (6,))
    fields, sample = decode(config, store, arrays)
    assert (fields.code, sample.code) == (0, None)


def test_frames_are_split_into_past_and_future(store_of):
    store, arrays = store_of(w=(8, 8, 6))
    config = {"name": "frames", "targets": ["w"], "num_inputs": 2, "num_targets": 3}
    fields, sample = decode(config, store, arrays)
    np.testing.assert_array_equal(sample.inputs, arrays["w"][..., :2])
    np.testing.assert_array_equal(sample.targets, arrays["w"][..., 2:5])
    assert (fields.frames, fields.out_channels) == (Frames(2, 3), 1)
    assert fields.target_names == ("w at frame 3", "w at frame 4", "w at frame 5")
    assert fields.targets[0].unit == "unit of w"
    with pytest.raises(InputError, match="3 evenly spaced sites .* along x"):
        make_reader(config | {"resolution": 3}).spec(store)
    with pytest.raises(InputError, match=r"holds 6 frames of w.*2 inputs and 5 targets"):
        make_reader(config | {"num_targets": 5}).spec(store)


@pytest.mark.parametrize(("periodic", "stored"), [(True, 8), (False, 7)])
def test_sites_of_a_period_are_selected_without_its_end(periodic, stored, store_of):
    """Otherwise both ends are selected."""
    store, arrays = store_of(a=(stored, stored), w=(stored, stored, 4))
    chosen = {"resolution": 4, "periodic": periodic}
    fields, frames = decode({"name": "frames", **READ["frames"], **chosen}, store, arrays)
    np.testing.assert_array_equal(frames.inputs, arrays["w"][::2, ::2, :2])
    assert (fields.sites, fields.periodic) == ((4, 4), periodic)
    fields, grid = decode({"name": "grid", "inputs": ["a"], "targets": ["a"], **chosen}, store, arrays)
    np.testing.assert_array_equal(grid.targets[..., 0], arrays["a"][::2, ::2])
    assert (fields.sites, fields.periodic) == ((4, 4), periodic)


def test_frames_of_several_fields_are_ordered_by_frame_and_then_by_field(store_of):
    store, arrays = store_of(u=(4, 4, 5), v=(4, 4, 5))
    config = {"name": "frames", "targets": ["v", "u"], "num_inputs": 2, "num_targets": 3}
    fields, sample = decode(config, store, arrays)
    for frame in range(5):
        part, channel = (sample.inputs, 2 * frame) if frame < 2 else (sample.targets, 2 * (frame - 2))
        np.testing.assert_array_equal(part[..., channel], arrays["v"][..., frame])
        np.testing.assert_array_equal(part[..., channel + 1], arrays["u"][..., frame])
    assert [(c.name, c.unit) for c in fields.inputs] == [("v", "unit of v"), ("u", "unit of u")]
    assert fields.inputs == fields.targets
    assert fields.target_names[:2] == ("v at frame 3", "u at frame 3")


def test_frames_in_space(store_of):
    store, arrays = store_of(u=(4, 2, 3, 5), v=(4, 2, 3, 5))
    fields, _ = decode({"name": "frames", "targets": ["v", "u"], "num_inputs": 2, "num_targets": 1}, store, arrays)
    assert (fields.sites, fields.axes) == ((4, 2, 3), ("x", "y", "z"))


READ = {
    "grid": {"inputs": ["a"], "targets": ["u"]},
    "mesh": {"coordinates": ["a", "b"], "targets": ["u"]},
    "points": {"points": "where", "targets": ["stress"]},
    "frames": {"targets": ["w"], "num_inputs": 2, "num_targets": 2},
}


@pytest.mark.parametrize("name", READ)
def test_stored_scalars_are_parameters(name, store_of):
    """In the order in which they are named; they are no fields."""
    shapes = {"a": (4, 3), "b": (4, 3), "u": (4, 3), "w": (4, 3, 4), "where": (6, 2), "stress": (6,)}
    store, arrays = store_of(mach=(), angle=(), **shapes)
    config = {"name": name, **READ[name]}
    plain_fields, plain = decode(config, store, arrays)
    fields, sample = decode(config | {"parameters": ["angle", "mach"]}, store, arrays)
    assert sample.parameters.tolist() == [arrays["angle"], arrays["mach"]]
    assert [(c.name, c.unit) for c in fields.parameters] == [("angle", "unit of angle"), ("mach", "unit of mach")]
    assert torch.equal(sample.inputs, plain.inputs)
    assert (plain.parameters, plain_fields.parameters) == (None, ())
    with pytest.raises(InputError, match=r"holds .* per sample; a parameter is one number"):
        make_reader(config | {"parameters": ["u"]}).spec(store)


@pytest.mark.parametrize("name", ["mesh", "points"])
def test_further_inputs_follow_the_coordinates(name, store_of):
    store, arrays = store_of(a=(6, 4), b=(6, 4), u=(6, 4), more=(6, 4), where=(6, 2), stress=(6,), load=(6,))
    extra = "more" if name == "mesh" else "load"
    fields, sample = decode({"name": name, **READ[name], "inputs": [extra]}, store, arrays)
    assert [c.name for c in fields.inputs] == (["a", "b", "more"] if name == "mesh" else ["x", "y", "load"])
    np.testing.assert_array_equal(sample.inputs[..., 2], arrays[extra])
    assert torch.equal(sample.coords, sample.inputs[..., :2])


def test_points_in_space(store_of):
    store, arrays = store_of(where=(6, 3), stress=(6,))
    fields, sample = decode({"name": "points", **READ["points"]}, store, arrays)
    assert (fields.space_dim, [c.name for c in fields.inputs]) == (3, ["x", "y", "z"])
    np.testing.assert_array_equal(sample.coords, arrays["where"])


#: How the data set Plasticity is read.
FORGED = {
    "name": "grid",
    "inputs": ["die"],
    "targets": ["deformation"],
    "components": {"deformation": ["x", "y", "u_x", "u_y"]},
    "axes": ["x", "y", "time"],
}


def test_the_die_is_repeated_over_depth_and_time(store_of):
    store, arrays = store_of(die=(5,), deformation=(5, 3, 2, 4))
    fields, sample = decode(FORGED, store, arrays)
    for j in range(3):
        for t in range(2):
            np.testing.assert_array_equal(sample.inputs[:, j, t, 0], arrays["die"])
    np.testing.assert_array_equal(sample.targets, arrays["deformation"])
    assert fields.axes == ("x", "y", "time")
    assert [c.name for c in fields.targets] == ["x", "y", "u_x", "u_y"]
    assert {c.unit for c in fields.targets} == {"unit of deformation"}
    _, coarse = decode(FORGED | {"resolution": [3, 2, 2]}, store, arrays)
    np.testing.assert_array_equal(coarse.targets, arrays["deformation"][::2, ::2, :])
    np.testing.assert_array_equal(coarse.inputs[:, 1, 1, 0], arrays["die"][::2])
    with pytest.raises(InputError, match="holds 4 components of deformation; named are x, y"):
        make_reader(FORGED | {"components": {"deformation": ["x", "y"]}}).spec(store)


def test_a_mask_behind_components_is_its_own_channel(store_of):
    store, arrays = store_of(flow=(5, 3, 2), solid=(5, 3), u=(5, 3))
    config = {"name": "grid", "inputs": ["flow", "solid"], "targets": ["u"], "components": {"flow": ["vx", "vy"]}}
    fields, sample = decode(config | {"mask": "solid"}, store, arrays)
    np.testing.assert_array_equal(sample.inputs[..., fields.mask], arrays["solid"])
    with pytest.raises(OptionError, match="^mask is flow, which has several components"):
        make_reader(config | {"mask": "flow"})


def test_unknown_readers_and_options_are_named():
    with pytest.raises(InputError, match="reader 'meshes' is unknown.*frames, grid, mesh, points"):
        make_reader({"name": "meshes"})
    known = "inputs, targets, components, axes, parameters, resolution, mask"
    with pytest.raises(OptionError, match=f"strid is no option of GridReader; its options: {known}"):
        make_reader({"name": "grid", "inputs": ["a"], "targets": ["u"], "strid": 2})
    with pytest.raises(OptionError, match="mask is m, expected one of the inputs a, b"):
        make_reader({"name": "grid", "inputs": ["a", "b"], "targets": ["u"], "mask": "m"})
    assert READERS.names() == ["frames", "grid", "mesh", "points"]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("grid", "inputs is missing, expected a list, each item a text"),
        ({"inputs": ["a"]}, "expected a name and options; names: frames, grid, mesh, points"),
        ({"name": "grid", "inputs": "a", "targets": ["b"]}, "inputs is a, expected a list, each item a text"),
        ({"name": "grid", "inputs": ["a"], "targets": []}, r"targets is \[\], expected a list"),
        ({"name": "mesh", "coordinates": "a", "targets": ["b"]}, "coordinates is a, expected a list"),
        ({"name": "points", "points": "a", "targets": "b"}, "targets is b, expected a list"),
        ({"name": "points", "points": ["a"], "targets": ["b"]}, r"points is \['a'\], expected a text"),
        ({"name": "frames", "targets": ["a"], "num_inputs": 0, "num_targets": 1}, "num_inputs is 0, expected a whole"),
        ({"name": "frames", "targets": ["a", "c"], "num_inputs": 1, "num_targets": 1}, r"holds c of shape \(5, 3\)"),
        ({"name": "grid", "inputs": ["a"], "targets": ["c"]}, r"holds a of shape \(4, 3\) and c of shape \(5, 3\)"),
        ({"name": "grid", "inputs": ["a"], "targets": ["b", "e"]}, r"holds e of shape \(4,\) and b of shape \(4, 3\)"),
        ({"name": "grid", "inputs": ["d"], "targets": ["d"]}, r"holds d of shape \(2, 2, 2, 2\) per .* 1 to 3 axes"),
        ({"name": "grid", "inputs": ["a"], "targets": ["b"], "axes": ["x"]}, "axes is x, expected 2 names"),
        (
            {"name": "frames", "targets": ["e"], "num_inputs": 1, "num_targets": 1},
            r"holds e of shape \(4,\) .* 2 to 4 axes",
        ),
        ({"name": "mesh", "coordinates": ["a", "c"], "targets": ["b"]}, r"holds c of shape \(5, 3\)"),
        ({"name": "points", "points": "a", "targets": ["b"]}, r"takes points \(n, d\) of 1 to 3 .* arrays \(n,\)"),
        ({"name": "points", "points": "f", "targets": ["e"]}, r"takes points \(n, d\) of 1 to 3 coordinates"),
    ],
)
def test_arrays_that_do_not_fit_are_named(config, named, store_of):
    store, _ = store_of(a=(4, 3), b=(4, 3), c=(5, 3), d=(2, 2, 2, 2), e=(4,), f=(4, 5))
    with pytest.raises(InputError, match=named):
        make_reader(config).spec(store)


def test_predictions_are_masked_in_physical_units():
    """Zero where the mask is, not the target's mean, and untouched elsewhere."""
    fields = spec(inputs=2, mask=1)
    samples = batch(fields)
    samples.inputs[..., 1] = (samples.inputs[..., 1] > 0).float()
    solver = make_solver(fields, inputs="none")
    solver.target_normalizer.mean += 5.0
    found = solver.eval()(samples)
    unmasked = solver.target_normalizer.decode(solver.model(samples.inputs))
    mask = samples.inputs[..., 1:] > 0
    assert torch.equal(found[~mask], torch.zeros_like(found[~mask]))
    assert torch.equal(found[mask], unmasked[mask])
    assert found[mask].abs().min() > 0
