"""``benchmark=custom``: from a file of arrays to a trained model, its errors, pictures and predictions."""

import h5py
import meshio
import numpy as np
import pytest
import torch

from experiments.app import plain
from experiments.inspect import with_file
from experiments.own_data import complete
from lsm.data.datamodule import FieldDataModule
from lsm.data.readers.base import make_reader
from lsm.data.store import Store
from lsm.errors import InputError
from lsm.model import MODELS
from lsm.training import callbacks

QUICK = ("benchmark=custom", "trainer.accelerator=cpu", "trainer.max_epochs=1", "metrics=[relative_l2]")


def smooth(rng, *sites, count=20):
    """Random waves ``(count, *sites)`` of mean 2."""
    axes = np.meshgrid(*(np.linspace(0, 1, size) for size in sites), indexing="ij", sparse=True)
    waves = [sum(np.cos(3 * rng.random() * axis + rng.random()) for axis in axes) for _ in range(count)]
    return 2 + np.stack(waves) / len(sites)


def arrays_of(kind):
    rng = np.random.default_rng(0)
    if kind == "grid":
        inputs = smooth(rng, 16, 12)
        return {"inputs": inputs, "targets": inputs**2, "parameters": rng.random(20)}
    if kind == "frames":
        return {"targets": smooth(rng, 12, 12, 5)}
    sites = (12, 10) if kind == "mesh" else (30,)
    coords = rng.random((20, *sites, 3 if kind == "space" else 2)) * 100 - 20
    arrays = {"coords": coords, "targets": 1 + coords.sum(axis=-1) ** 2, "inputs": smooth(rng, *sites)}
    if kind == "ragged":
        arrays = {name: padded(values) for name, values in arrays.items()}
        arrays["nodes"] = arrays.pop("coords")
    return arrays


def padded(values):
    """NaN behind the first 11 to 30 points."""
    return np.where(
        (np.arange(30) < np.arange(11, 31)[:, None]).reshape(20, 30, *[1] * (values.ndim - 2)), values, np.nan
    )


SMALL = {
    "grid": ("model.width=8",),
    "mesh": ("model=unet", "model.width=4", "model.num_scales=2", "recipe=paper"),
    "points": ("model.width=8", "model.num_scales=1", "model.projection.resolution=24"),
    "ragged": ("model=flare", "model.width=8", "model.num_blocks=1", "model.num_latents=4", "data.coords=[nodes]"),
    "space": ("model=lsm2", "model.width=8", "model.depth=1"),
    "frames": ("model.width=8", "model.num_scales=1", "data.frames=[2,2]"),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow if kind in ("mesh", "points") else ()) for kind in SMALL]
)
def test_from_a_file_to_predictions(kind, place, command, capsys, monkeypatch):
    arrays = arrays_of(kind)
    np.savez("my data.npz", **arrays)
    file = "data.file='my data.npz'"
    result = command("train", *QUICK, file, *SMALL[kind], "run_dir=run")
    told = capsys.readouterr().out
    assert "my data.npz is read as " in told
    assert "data.splits={train:[0,16],validation:[16,18],test:[18,20]}" in told
    config = torch.load(result.last, weights_only=True)["lsm"]["run"]["config"]
    assert (config["preset"], config["benchmark"]["name"], config["trainer"]["max_epochs"]) == ("own", "my_data", 1)
    (place / "my data.npz").unlink()  # the run no longer needs the file
    if kind == "mesh":
        assert command("train", "resume=run", "trainer.max_epochs=2").metrics
    errors = command("evaluate", "checkpoint=run", "device=cpu", "metrics=[relative_l2]")
    assert errors["relative_l2"]["num_samples"] == 2
    assert np.isfinite(errors["relative_l2"]["mean"])
    assert " of my data.npz, counted from 0" in capsys.readouterr().out
    if kind == "grid":
        (place / "elsewhere").mkdir()
        with monkeypatch.context() as patch:
            patch.chdir(place / "elsewhere")
            there = command("evaluate", "checkpoint=../run", "device=cpu", "metrics=[relative_l2]")
        assert there["relative_l2"] == errors["relative_l2"]
    if kind == "frames":
        arrays = {"target": arrays["targets"][..., :2]}
    np.savez("new.npz", **{name: values for name, values in arrays.items() if name != "targets"})
    output = command("predict", "checkpoint=run", "input=new.npz", "output=out.npz", "device=cpu")
    predicted = np.load(output)["target"]
    assert predicted.shape == (
        (*arrays_of(kind)["targets"].shape[:-1], 2) if kind == "frames" else arrays["targets"].shape
    )
    if kind != "frames":
        np.testing.assert_array_equal(np.isnan(predicted), np.isnan(arrays["targets"]))
    if kind in ("ragged", "space"):
        assert len(command("visualize", "checkpoint=run", "samples=[0]", "device=cpu", "dpi=20")) >= 1


def test_samples_are_drawn_into_splits_by_seed(place, compose):
    np.savez("my.npz", **arrays_of("grid"))
    orders = []
    for more in ((), (), ("data.split_seed=1",), ("data.splits={train:[0,10],validation:[10,12],test:[12,20]}",)):
        options = ("benchmark=custom", "data.file=my.npz", *more)
        cfg, found, _ = complete(compose("train", *options), options)
        assert cfg == compose("train", *found), "what was found is what a user could have typed"
        with Store(cfg.data.path) as store:
            order = store.bookkeeping()["sample"].tolist()
            assert np.array_equal(store.field("input")[3], arrays_of("grid")["inputs"][order[3]].astype("f4"))
            orders.append(order)
        data = FieldDataModule(cfg.data.path, make_reader(cfg.benchmark.reader), plain(cfg.data.splits))
        assert data.origins("test") == ("my.npz", order[slice(*data.splits["test"])])
    assert sorted(orders[0]) == list(range(20)) != orders[0]
    assert orders[0] == orders[1] != orders[2]
    assert orders[3] == list(range(20)), "typed splits are those of the file"
    assert cfg.data.splits.train == [0, 10]
    assert len(list((place / "data").glob("my_*.h5"))) == 3


def test_a_store_of_another_reading_is_not_taken(place, compose, monkeypatch):
    """As from a version of lsm that took a last axis of five for one of channels."""
    fields = np.random.default_rng(0).random((20, 8, 7, 5))
    np.savez("my.npz", inputs=fields, targets=fields)
    options = ("benchmark=custom", "data.file=my.npz")
    with monkeypatch.context() as patch:
        patch.setattr("lsm.data.layout_search._MOST_CHANNELS", 5)
        complete(compose("train", *options), options)
    cfg, *_ = complete(compose("train", *options), options)
    data = FieldDataModule(cfg.data.path, make_reader(cfg.benchmark.reader), plain(cfg.data.splits))
    assert data.spec.sites == (8, 7, 5)


@pytest.mark.parametrize("kind", ["frames", "grid"])
def test_periodic_data_are_so_for_the_reader_and_the_model(kind, place, compose):
    np.savez("my.npz", **arrays_of(kind))

    def found(*more):
        options = ("benchmark=custom", "data.file=my.npz", *more)
        cfg, *_ = complete(compose("train", *options), options)
        fields = FieldDataModule(cfg.data.path, make_reader(cfg.benchmark.reader), plain(cfg.data.splits)).spec
        return MODELS.make(plain(cfg.model), fields), fields

    frames = ("data.frames=[2,2]",) if kind == "frames" else ()
    model, fields = found("model=lsm2", *frames)
    assert (model.periodic, fields.periodic) == (False, False)
    assert set(found("model=ffno", *frames)[0].padding) == {8}
    said = ("data.periodic=true", *frames)
    model, fields = found("model=lsm2", *said)
    assert (model.periodic, fields.periodic) == (True, True)
    assert not any(any(found(f"model={family}", *said)[0].padding) for family in ("fno", "ffno"))
    assert set(found("model=fno", "model.padding=2", *said)[0].padding) == {2}, "what is typed counts"
    assert not found("model=lsm2", "model.periodic=false", *said)[0].periodic


def test_files_and_fields_have_any_names(place, compose):
    """Those in other alphabets, and words that Hydra reads as a truth value or a number."""
    names = {"inputs": ["true", "température"], "targets": ["null"]}
    arrays = arrays_of("grid")
    for file in ("Wärme.npz", "nan.npz"):
        np.savez(file, true=arrays["inputs"], température=arrays["inputs"], null=arrays["targets"])
        options = ("benchmark=custom", f"data.file='{file}'")
        options += ('data.inputs=["true","température"]', 'data.targets=["null"]')
        cfg, *_ = complete(compose("train", *options), options)
        assert cfg.benchmark.name == file.removesuffix(".npz")
        assert {role: cfg.benchmark.reader[role] for role in names} == names


def test_several_fields_count_equally(place, compose):
    arrays = arrays_of("grid")
    for targets, several in (([arrays["targets"]], False), ([arrays["targets"], 1e-6 * arrays["targets"]], True)):
        np.savez("my.npz", **arrays | {"targets": np.stack(targets, axis=-1)})
        options = ("benchmark=custom", "data.file=my.npz")
        cfg, _, _ = complete(compose("train", *options), options)
        assert cfg.equal_fields is several
        _, resumed, _ = complete(compose("train", *options), options, resumed=True)
        assert not [
            option for option in resumed if option.startswith(("equal_fields", "metrics", "model.", "trainer."))
        ]
        assert list(cfg.metrics) == (["relative_l2_by_field"] if several else ["relative_l2"])


def test_batches_are_those_of_the_recipe_as_far_as_they_suit(place, compose):
    np.savez("my.npz", inputs=np.zeros((400, 4, 4)), targets=np.ones((400, 4, 4)))

    def batch_and_loss(*more):
        options = ("benchmark=custom", "data.file=my.npz", *more)
        cfg, *_ = complete(compose("train", *options), options)
        return cfg.data.batch_size, cfg.loss.name

    assert batch_and_loss() == (4, "sobolev")
    assert batch_and_loss("recipe=quick") == (16, "weighted_sum")
    assert batch_and_loss("data.batch_size=7") == (7, "sobolev")


@pytest.mark.parametrize("model", ["lsm2", "vit", "transolver", "flare"])
def test_a_code_that_a_family_does_not_use_is_refused(model, place, compose):
    arrays = {
        "coords": np.random.default_rng(0).random((20, 30, 2)),
        "targets": np.ones((20, 30)),
        "radii": np.ones((20, 5)),
    }
    np.savez("my.npz", **arrays)
    options = ("benchmark=custom", "data.file=my.npz", f"model={model}")
    for role in ("code=radii", "parameters=[radii]"):
        roles = (*options, f"data.{role}")
        if role.startswith("code"):
            with pytest.raises(InputError, match=f"a code vector, which model={model} does not use; .*codes: lsm$"):
                complete(compose("train", *roles), roles)
            assert complete(compose("train", *roles), roles, resumed=True), "an older run can go on"
        else:
            assert len(complete(compose("train", *roles), roles)[0].benchmark.reader.parameters) == 5


def test_sizes_follow_the_splits_that_are_typed(place, compose):
    np.savez("my.npz", inputs=np.zeros((400, 4, 4)), targets=np.ones((400, 4, 4)))

    def found(*more):
        options = ("benchmark=custom", "data.file=my.npz", *more)
        return complete(compose("train", *options), options)[0]

    few = "data.splits={train:[0,50],validation:[50,60],test:[60,70]}"
    drawn = found("data.fractions=[0.125,0.5,0.375]").trainer.max_epochs
    assert found(few).trainer.max_epochs == drawn > found().trainer.max_epochs, "50 samples take more epochs than 320"
    with pytest.raises(InputError, match=r"test=\[60,5000\] reaches beyond the 400 samples of my.npz"):
        found(few, "data.splits.test=[60,5000]")
    with pytest.raises(InputError, match=r"train is 5, expected \[first, end\)"):
        found(few, "data.splits.train=5")
    np.savez("my.npz", inputs=np.zeros((2, 4, 4)), targets=np.ones((2, 4, 4)))
    assert found("data.splits={train:[0,1],validation:[1,1],test:[1,2]}").data.splits.test == [1, 2]


def test_units_of_a_file_and_a_resumed_run_with_its_file(place, command, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(callbacks, "update_bn", lambda batches, *_: calls.append(len(list(batches))))
    arrays = arrays_of("grid")
    with h5py.File("my.h5", "w") as file:
        file["k"], file["T"] = arrays["inputs"], arrays["targets"]
        file["T"].attrs["unit"] = "K"
    options = (*QUICK, "data.file=my.h5", "data.inputs=[k]", "data.targets=[T]", *SMALL["grid"], "run_dir=run")
    options += ("recipe=paper", "batch_norm_batches=20")
    result = command("train", *options, "resume=auto")
    spec = torch.load(result.last, weights_only=True)["lsm"]["spec"]
    assert calls == [4], "the statistics of batch norm are re-estimated, once an epoch, from all 16 training samples"
    assert (spec["inputs"][0], spec["targets"][0]) == ({"name": "k", "unit": "1"}, {"name": "T", "unit": "K"})
    assert command("train", *options, "resume=auto").metrics == {}, "nothing is left to do"
    with h5py.File("my.h5", "a") as file:
        file["T"][0] += 1
    with pytest.raises(InputError, match="holds other data than"):
        command("train", *options, "resume=auto", "trainer.max_epochs=2")
    (place / "my.h5").unlink()
    assert command("train", *options, "resume=auto", "trainer.max_epochs=2").metrics, "the store is enough"
    assert "my.h5 does not exist; the run continues with the store" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="my.h5 does not exist"):
        command("train", *options[:-3], "run_dir=new", "resume=auto")


REFUSED = {
    "no file": ((), "benchmark=custom takes a file of arrays: add data.file=FILE"),
    "a file that is not there": (("data.file=gone.npz",), "gone.npz does not exist"),
    "one array": (
        ("data.file=one.npy",),
        "one.npy cannot be used as training data; give a file .npz, .h5, .hdf5, .mat",
    ),
    "other names": (("data.file=other.npz",), "other.npz: no array is named targets; the arrays are a"),
    "a value that is missing": (
        ("data.file=hole.npz",),
        "target in hole.npz contains NaN or infinity in sample 7; replace the value or remove the sample$",
    ),
    "a sample at rest": (
        ("data.file=rest.npz",),
        "the true fields of sample 7 in rest.npz are zero everywhere, .* remove the sample",
    ),
    "no samples": (("data.file=empty.npz",), r"empty.npz holds no samples: its targets have shape \(0, 16, 12\)"),
    "fractions": (("data.file=my.npz", "data.fractions=[0.5,0.1]"), "expected three that sum to 1"),
    "a volume for a model of the plane": (
        ("data.file=space.npz",),
        "flare, lsm2, transolver and vit take clouds in 1 to 3 dimensions",
    ),
    "a role of another kind": (("data.file=my.npz", "data.inputs=3"), "data.inputs is 3, expected a list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mistakes_are_named(name, place, command):
    options, words = REFUSED[name]
    arrays = arrays_of("grid")
    np.savez("my.npz", **arrays)
    np.savez("space.npz", **arrays_of("space"))
    np.savez("other.npz", a=arrays["inputs"])
    np.save("one.npy", arrays["inputs"])
    np.savez("empty.npz", **{name: values[:0] for name, values in arrays.items()})
    arrays["targets"][7, 3, 3] = np.nan
    np.savez("hole.npz", **arrays)
    arrays["targets"][7] = 0
    np.savez("rest.npz", **arrays)
    with pytest.raises((InputError, FileNotFoundError), match=words):
        command("train", *QUICK, *options, "run_dir=run")


def test_the_file_is_the_word_that_is_no_option():
    words = ["--config-dir", "my_conf", "my.npz", "sample=3"]
    assert with_file(words) == ["--config-dir", "my_conf", "file=my.npz", "sample=3"]
    assert with_file(["Messungen_März"]) == ['file="Messungen_März"']


def test_a_file_is_inspected(place, command, capsys):
    arrays = arrays_of("mesh")
    arrays["inputs"][2, 0, :3] = np.nan
    np.savez("my.npz", **arrays)
    assert command("inspect", "file=my.npz").read_bytes()[1:4] == b"PNG"
    told = capsys.readouterr().out
    assert "20 samples, read as a structured mesh of 12 x 10 sites: x, y, input -> target" in told
    command("inspect", "file=my.npz", "data.coords=[]", "picture=null")
    assert "read as a grid of 12 x 10 sites: input -> target\n" in capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if line.startswith("inputs")]
    assert line.split()[1:6] == ["20", "x", "12", "x", "10"]
    assert line.endswith("3 NaN in 1 sample")
    finite = arrays["inputs"][np.isfinite(arrays["inputs"])]
    assert [float(word) for word in line.split()[7:10]] == pytest.approx(
        [finite.min(), finite.mean(), finite.max()], rel=1e-5
    )
    assert command("inspect", "file=my.npz", "data.targets=[targets,inputs]", "data.inputs=[gone]") is None
    assert "cannot be trained on as it is: my.npz: inputs: no array is called gone" in capsys.readouterr().out


def test_one_array_without_a_name_cannot_be_trained_on(place, command, capsys):
    np.save("a.npy", np.ones((20, 8, 8)))
    assert command("inspect", "file=a.npy") is None
    told = capsys.readouterr().out
    assert "cannot be trained on as it is: a.npy holds one array without a name; write all arrays to one file" in told
    assert "inputs=inputs, targets=targets" in told


def test_a_store_is_inspected(place, command, darcy_store, capsys):
    assert command("inspect", f"file={darcy_store}", "sample=8").is_file()
    told = capsys.readouterr().out
    assert "store of darcy, 9 samples" in told
    assert "permeability  9 x 25 x 25" in told
    with pytest.raises(InputError, match="sample=9 is not in the file, which has 0 to 8"):
        command("inspect", f"file={darcy_store}", "sample=9")


def test_from_vtk_meshes_to_a_mesh_with_predictions(place, command):
    (place / "meshes").mkdir()
    for number in range(6):
        points = np.random.default_rng(number).random((9 + number, 3)) * [1, 1, 0]
        flow = np.sin(3 * points)
        data = {"flow": flow, "heat": 1 + flow.sum(axis=1)}
        meshio.write(f"meshes/{number}.vtu", meshio.Mesh(points, [("vertex", [[0]])], point_data=data))
    options = ("data.file=meshes", "data.inputs=[flow]", "data.targets=[heat]", "data.fractions=[0.6,0.2,0.2]")
    command(
        "train", *QUICK, *options, "model=vit", "model.width=8", "model.num_layers=1", "model.heads=2", "run_dir=run"
    )
    output = command("predict", "checkpoint=run", "input=meshes/5.vtu", "output=out.vtu", "device=cpu")
    assert meshio.read(output).point_data["heat"].shape == (14,)
