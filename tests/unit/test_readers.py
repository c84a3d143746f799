"""Which stored arrays become inputs, coordinates, codes and targets, by values that tell every site apart."""

import numpy as np
import pytest
import torch
from tiny import batch, solver_config, spec

from lsm.data.readers.base import available_readers, make_reader
from lsm.data.store import Store, StoredField, StoreWriter
from lsm.errors import InputError
from lsm.fields import FieldSpec
from lsm.solver import NeuralSolver


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
    np.testing.assert_array_equal(sample.targets[..., 0], arrays["u"])
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
    [(4, r"4 sites along x .* stored 9; possible are 9, 5, 3, 2"), ([9, 5], "5 sites along y"), ([9], "2 axes")],
)
def test_a_resolution_that_does_not_fit_is_named(resolution, named, store_of):
    store, _ = store_of(a=(9, 7), u=(9, 7))
    reader = make_reader({"name": "grid", "inputs": ["a"], "targets": ["u"], "resolution": resolution})
    with pytest.raises(InputError, match=named):
        reader.spec(store)


def test_mesh_takes_its_coordinates_as_inputs(store_of):
    store, arrays = store_of(x=(5, 3), y=(5, 3), mach=(5, 3), p=(5, 3))
    config = {"name": "mesh", "coordinates": ["x", "y"], "targets": ["p", "mach"], "window": [[-1, 2], [0, 1]]}
    fields, sample = decode(config, store, arrays)
    np.testing.assert_array_equal(sample.inputs, np.stack([arrays["x"], arrays["y"]], axis=-1))
    assert torch.equal(sample.coords, sample.inputs)
    np.testing.assert_array_equal(sample.targets, np.stack([arrays["p"], arrays["mach"]], axis=-1))
    assert (fields.geometry, fields.window) == ("mesh", ((-1, 2), (0, 1)))
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
    config = {"name": "frames", "field": "w", "num_inputs": 2, "num_targets": 3}
    fields, sample = decode(config, store, arrays)
    np.testing.assert_array_equal(sample.inputs, arrays["w"][..., :2])
    np.testing.assert_array_equal(sample.targets, arrays["w"][..., 2:5])
    assert fields.autoregressive
    assert fields.out_channels == 1
    assert [c.name for c in fields.targets] == ["w at frame 3", "w at frame 4", "w at frame 5"]
    _, coarse = decode(config | {"resolution": 4}, store, arrays)
    np.testing.assert_array_equal(coarse.inputs, arrays["w"][::2, ::2, :2])
    with pytest.raises(InputError, match="3 sites along x"):
        make_reader(config | {"resolution": 3}).spec(store)
    with pytest.raises(InputError, match=r"holds 6 frames of w.*2 inputs and 5 targets"):
        make_reader(config | {"num_targets": 5}).spec(store)


def test_the_die_is_repeated_over_depth_and_time(store_of):
    store, arrays = store_of(die=(5,), deformation=(5, 3, 2, 4))
    fields, sample = decode({"name": "plasticity"}, store, arrays)
    for j in range(3):
        for t in range(2):
            np.testing.assert_array_equal(sample.inputs[:, j, t, 0], arrays["die"])
    np.testing.assert_array_equal(sample.targets, arrays["deformation"])
    assert fields.axes == ("x", "y", "time")
    assert [c.name for c in fields.targets] == ["x", "y", "u_x", "u_y"]
    assert fields.positions == (0, 1)


def test_unknown_readers_and_options_are_named():
    with pytest.raises(InputError, match="reader 'meshes' is unknown.*frames, grid, mesh, plasticity, points"):
        make_reader({"name": "meshes"})
    with pytest.raises(InputError, match="reader grid takes inputs, targets, resolution, mask; it was given .*strid"):
        make_reader({"name": "grid", "inputs": ["a"], "targets": ["u"], "strid": 2})
    with pytest.raises(InputError, match="mask 'm' is none of the inputs a, b"):
        make_reader({"name": "grid", "inputs": ["a", "b"], "targets": ["u"], "mask": "m"})
    assert available_readers() == ["frames", "grid", "mesh", "plasticity", "points"]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("grid", "reader is grid, expected {name: NAME"),
        ({"inputs": ["a"]}, "expected {name: NAME, ...} with one of: frames, grid"),
        ({"name": "grid", "inputs": "a", "targets": ["b"]}, r"inputs of the reader is 'a', expected a list .* \[a\]"),
        ({"name": "grid", "inputs": ["a"], "targets": []}, "targets of the reader is"),
        ({"name": "mesh", "coordinates": "a", "targets": ["b"]}, "coordinates of the reader is 'a'"),
        ({"name": "points", "points": "a", "targets": "b"}, "targets of the reader is 'b'"),
        ({"name": "frames", "field": "a", "num_inputs": 0, "num_targets": 1}, "num_inputs is 0"),
        ({"name": "grid", "inputs": ["a"], "targets": ["c"]}, r"holds c of shape \(5, 3\) and a of shape \(4, 3\)"),
        ({"name": "grid", "inputs": ["d"], "targets": ["d"]}, "of 1 to 3 axes"),
        ({"name": "mesh", "coordinates": ["a", "c"], "targets": ["b"]}, r"holds c of shape \(5, 3\)"),
        ({"name": "points", "points": "a", "targets": ["e"]}, r"takes points \(n, 2\) and targets \(n,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_named(config, named, store_of):
    store, _ = store_of(a=(4, 3), b=(4, 3), c=(5, 3), d=(2, 2, 2, 2), e=(4,))
    with pytest.raises(InputError, match=named):
        make_reader(config).spec(store)


def test_predictions_are_masked_in_physical_units():
    """Zero where the mask is, not the target's mean, and untouched elsewhere."""
    fields = spec(inputs=2, mask=1)
    samples = batch(fields)
    samples.inputs[..., 1] = (samples.inputs[..., 1] > 0).float()
    torch.manual_seed(0)
    solver = NeuralSolver(solver_config(inputs="none"), fields)
    solver.target_normalizer.mean += 5.0
    found = solver.eval()(samples)
    unmasked = solver.target_normalizer.decode(solver.model(samples.inputs))
    mask = samples.inputs[..., 1:] > 0
    assert torch.equal(found[~mask], torch.zeros_like(found[~mask]))
    assert torch.equal(found[mask], unmasked[mask])
    assert found[mask].abs().min() > 0
