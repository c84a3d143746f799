"""Clouds with different numbers of points in files: padded with NaN, padded behind a stated number, or one after the other."""

import numpy as np
import pytest
import torch

from lsm.data.array_files import open_arrays
from lsm.data.datamodule import FieldDataModule
from lsm.data.layout import Roles
from lsm.data.own_file import open_own_file, write_store
from lsm.data.ragged import even_out
from lsm.data.readers.base import make_reader
from lsm.errors import InputError
from lsm.fields import Channel, FieldSpec
from lsm.prediction import RangeCheck, open_inputs, predict_file
from lsm.solver import build_solver

COUNTS = np.array([3, 1, 5, 4])


def samples():
    """Arrays of each sample alone: distinct numbers."""
    rows = np.arange(1.0, 1.0 + 3 * COUNTS.sum()).reshape(-1, 3)
    return np.split(rows, COUNTS.cumsum()[:-1])


def padded(fill):
    whole = np.full((4, 6, 3), fill)
    for place, rows in zip(whole, samples(), strict=True):
        place[: len(rows)] = rows
    return whole


def arrays_of(form):
    rows = np.concatenate(samples()) if form == "rows" else padded(np.nan if form == "nan" else -99.0)
    counts = {} if form == "nan" else {"num_points": COUNTS}
    return {"coords": rows[..., :2], "targets": rows[..., 2], "parameters": np.arange(4.0), **counts}


@pytest.fixture(params=["nan", "counts", "rows"])
def file(request, tmp_path):
    np.savez(tmp_path / "my.npz", **arrays_of(request.param))
    return tmp_path / "my.npz"


def test_every_form_becomes_the_same_batches(file, tmp_path):
    with open_own_file(file, Roles()) as own:
        assert own.layout.describe().startswith("clouds of 1 to 5 points in 2 dimensions: points -> target")
        write_store(own, tmp_path / "store.h5", [2, 0, 1, 3], {})
        reader = make_reader(own.layout.reader)
    data = FieldDataModule(tmp_path / "store.h5", reader, {"train": [0, 4], "validation": [4, 4], "test": [4, 4]})
    assert data.spec.ragged
    (batch,) = data.batches("train")
    assert batch.targets.shape == (4, 5, 1), "padded to the longest sample of the batch"
    for index, place in enumerate([1, 2, 0, 3]):
        sample, rows = batch.sample(index), torch.tensor(samples()[place], dtype=torch.float32)
        assert torch.equal(torch.cat([sample.coords, sample.targets], dim=-1), rows)
        assert sample.parameters.item() == place
    assert batch.real(batch.targets).shape == (1, COUNTS.sum(), 1)


def test_blocks_of_samples_are_those_of_the_whole_file(file):
    with open_arrays(file) as arrays:
        evened, counts = even_out(file, arrays, ["coords"])
        np.testing.assert_array_equal(counts, COUNTS)
        for name in ("coords", "targets"):
            whole = evened[name][:]
            assert whole.shape == evened[name].shape
            np.testing.assert_array_equal(np.concatenate([evened[name][0:1], evened[name][1:4]]), whole)
            assert whole.min() > 0, "no padding of the file is left: the last point is repeated"
            np.testing.assert_array_equal(whole[1], np.broadcast_to(whole[1, :1], whole[1].shape))


def test_predictions_have_the_padding_of_the_inputs(file, tmp_path):
    spec = FieldSpec(
        "points",
        (5,),
        ("point",),
        (Channel("x"), Channel("y")),
        (Channel("target"),),
        parameters=(Channel("parameter"),),
        ragged=True,
    )
    torch.manual_seed(0)
    solver = build_solver({"model": {"name": "vit", "width": 8, "num_layers": 1, "heads": 2}}, spec).eval()
    solver.ranges = {"inputs": [[1.0, 50.0]] * 2}  # of the real points
    check = predict_file(solver, file, tmp_path / "out.npz", {}, batch_size=3)
    assert isinstance(check, RangeCheck)
    assert check.warnings() == []
    found = np.load(tmp_path / "out.npz")["target"]
    for index, rows in enumerate(samples()):
        count = len(rows)
        alone = solver.predict(rows[:, :2], rows[:, :2], parameters=[float(index)])
        np.testing.assert_allclose(found[index, :count], alone[:, 0], rtol=1e-5, atol=1e-6)
        assert np.isnan(found[index, count:]).all()
    with open_inputs(file, spec) as inputs:
        assert inputs.block(1, 3)["mask"].sum(axis=1).tolist() == [1, 5]


@pytest.mark.parametrize("file", ["nan", "counts"], indirect=True)
def test_clouds_along_a_line_are_found_by_the_names_of_their_fields(file):
    arrays = dict(np.load(file))
    coords = arrays.pop("coords")
    spec = FieldSpec("points", (5,), ("point",), (Channel("x"), Channel("load")), (Channel("u"),), space=1, ragged=True)
    inputs = []
    for places in ({"coords": coords[..., :1]}, {"x": coords[..., 0]}):
        np.savez(file, **arrays, **places, load=arrays["targets"])
        with open_inputs(file, spec) as opened:
            inputs.append(opened.block(0, 4)["inputs"])
            assert opened.block(0, 4)["mask"].sum(axis=1).tolist() == COUNTS.tolist()
    assert np.array_equal(*inputs)


@pytest.mark.parametrize("form", ["nan", "counts", "rows"])
def test_clouds_along_a_line_are_read_by_the_name_of_their_coordinate(form, tmp_path):
    """The store, and the inputs of predictions, are those of coordinates with an axis of one coordinate."""
    arrays = arrays_of(form)
    coords, load = arrays.pop("coords"), arrays["targets"]
    found = []
    for name, values in {"coords": coords[..., :1], "s": coords[..., 0]}.items():
        np.savez(tmp_path / "my.npz", **arrays, load=load, **{name: values})
        roles = Roles(coords=[name], inputs=["load"])
        with open_own_file(tmp_path / "my.npz", roles) as own:
            assert own.layout.describe().startswith("clouds of 1 to 5 points in 1 dimension: points, load -> target")
            found.append(own.columns(0, 4))
        line = {"space": 1, "ragged": True, "parameters": (Channel("parameter"),)}
        spec = FieldSpec("points", (5,), ("point",), (Channel("x"), Channel("load")), (Channel("u"),), **line)
        with open_inputs(tmp_path / "my.npz", spec, roles) as inputs:
            found.append(inputs.block(0, 4))
    for first, second in (found[::2], found[1::2]):
        assert first.keys() == second.keys()
        assert all(np.array_equal(first[key], second[key]) for key in first)


def test_clouds_of_equal_size_are_not_ragged(tmp_path):
    np.savez(tmp_path / "my.npz", coords=np.ones((4, 6, 2)), targets=np.ones((4, 6)))
    with open_own_file(tmp_path / "my.npz", Roles()) as own:
        assert own.layout.points is None
        assert "num_points" not in own.layout.reader


@pytest.mark.parametrize("file", ["counts", "nan"], indirect=True)
def test_arrays_of_samples_are_not_taken_for_fields(file):
    """Even with as many numbers per sample as padded clouds have points."""
    scalars = np.arange(24.0).reshape(4, 6)
    np.savez(file, **{**dict(np.load(file)), "parameters": scalars, "mine": scalars + 1})
    for roles, expected in ((Roles(), scalars), (Roles(parameters=["mine"], code="parameters"), scalars + 1)):
        with open_own_file(file, roles) as own:
            columns = own.columns(0, 4)
            names = own.layout.reader["parameters"]
            np.testing.assert_array_equal(np.stack([columns[name] for name in names], axis=-1), expected)
            if roles.code:
                np.testing.assert_array_equal(columns["code"], scalars)


def holed(sample, point, name="coords"):
    arrays = arrays_of("nan")
    arrays[name][sample, point] = np.nan
    return arrays


MISTAKES = {
    "NaN between points": (holed(2, 1), "NaN between the coordinates of sample 2; NaN may only follow its last point"),
    "a sample without points": (holed(1, 0), "sample 1 in .* has no points; remove it"),
    "NaN in a field": (
        holed(3, 1, "targets"),
        "target in .* contains NaN or infinity in sample 3; .*; to mark unused points of a cloud, set their coordinates to NaN",
    ),
    "too many rows": (
        arrays_of("rows") | {"num_points": COUNTS + 1},
        "num_points lists 17 points in 4 samples, at most 6 each, but coordinates of shape",
    ),
    "no point": (
        arrays_of("rows") | {"num_points": COUNTS - 1},
        r"num_points \(4,\) in .* has to hold one whole number, at least 1, for each sample",
    ),
    "a large sample among many": (
        {"coords": np.ones((6000, 2)), "targets": np.ones(6000), "num_points": np.append(np.ones(3000, int), 3000)},
        "a sample in .* has 3000 points, the average is 2; remove that sample",
    ),
    "half a point": (
        arrays_of("rows") | {"num_points": COUNTS + 0.5},
        "has to hold one whole number, at least 1, for each sample",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named(name, tmp_path):
    arrays, words = MISTAKES[name]
    np.savez(tmp_path / "my.npz", **arrays)
    with pytest.raises(InputError, match=words), open_own_file(tmp_path / "my.npz", Roles()) as own:
        write_store(own, tmp_path / "store.h5", range(4), {})


@pytest.mark.parametrize("count", [0, 7, 2.5])
def test_a_store_with_another_number_of_points_is_refused(count):
    reader = make_reader({"name": "points", "points": "p", "targets": ["t"], "num_points": "n"})
    with pytest.raises(InputError, match="expected a whole number from 1 to the 6 stored points"):
        reader.decode({"p": np.ones((6, 2)), "t": np.ones(6), "n": np.float32(count)})
