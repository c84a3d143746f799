"""Exported folders: read again, refused when damaged, and computed by other tools."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from test_checkpoint import CASES, solver_of
from tiny import batch, moving, solver_config, spec

import lsm
from experiments.app import plain
from experiments.export import _check_kinds
from experiments.runs import NO_PART, difference, essence
from lsm.checkpoint import Checkpoint
from lsm.errors import InputError
from lsm.export import FORMATS, export
from lsm.extras import require
from lsm.fields import shapes
from lsm.solver import build_solver

RUN = {
    "config": {
        "benchmark": {"name": "heat"},
        "preset": "quick",
        "seed": 3,
        "run_dir": "/home/somebody/run",
        "data": {"path": "/home/somebody/heat.h5", "splits": {"train": [0, 5]}},
    },
    "overrides": ["run_dir=/home/somebody/run"],
    "choices": {},
}
DATA = {"store": "/home/somebody/heat.h5", "num_samples": 9, "provenance": {"solver": "mine: a # b"}}
SUMMARY = {"num_samples": 2, "mean": 0.125, "std": 0.5, "median": 0.25, "worst": 0.75, "worst_sample": 1}
METRICS = {"split": "test", "sites": [6, 5], "relative_l2": SUMMARY}


def exported(tmp_path, name="grid", run=RUN, **options):
    solver = solver_of(name)
    export(Checkpoint(solver, run, DATA, 4, tmp_path / "best.ckpt"), tmp_path / "folder", **options)
    return solver, tmp_path / "folder"


@pytest.mark.parametrize("name", CASES)
def test_a_folder_predicts_identically(name, tmp_path):
    solver, folder = exported(tmp_path, name)
    loaded = lsm.load(folder)
    samples = batch(solver.spec, seed=1)
    assert torch.equal(loaded.solver(samples), solver(samples))
    assert loaded.solver.spec == solver.spec
    assert loaded.solver.config == solver.config
    assert loaded.solver.ranges == solver.ranges
    assert loaded.solver.ranges["inputs"]
    assert not loaded.solver.training
    assert loaded.epoch == 4
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}


def test_no_place_on_this_machine_is_handed_on(tmp_path):
    _, folder = exported(tmp_path)
    for name in ("config.json", "README.md"):
        assert "somebody" not in (folder / name).read_text()
    loaded = lsm.load(folder)
    assert loaded.run["config"]["data"] == {"path": "heat.h5", "splits": {"train": [0, 5]}}
    assert loaded.data == {**DATA, "store": "heat.h5"}


def test_a_folder_records_all_that_its_training_depends_on(tmp_path, compose):
    recipe = ("recipe=modern", "equal_fields=true", "batch_norm_batches=7", "recompute=true", "compile=inductor")
    config = plain(compose("train", "benchmark=navier_stokes", *recipe))
    _, folder = exported(tmp_path, run={"config": config, "overrides": [], "choices": {}})
    assert difference(essence(config), essence(lsm.load(folder).run["config"]), NO_PART) == ""


def test_the_card_says_what_is_known(tmp_path):
    _, folder = exported(tmp_path, metrics=METRICS, license="cc-by-4.0")
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    header = yaml.safe_load(front)
    assert header["license"] == "cc-by-4.0"
    assert header["model-index"][0]["results"][0]["metrics"] == [{"type": "relative_l2", "value": 0.125}]
    assert "| relative_l2 | 2 | 0.125 | 0.5 | 0.25 | 0.75 |" in text
    for fact in (
        "in0",
        "out2",
        "`heat`",
        "preset `quick`, seed 3, weights after epoch 5",
        "mine: a # b",
        "per site",
        "cc-by-4.0",
    ):
        assert fact in text


def test_a_field_may_be_called_as_an_entry_of_a_summary(tmp_path):
    metrics = {**METRICS, "relative_l2_per_channel": {"mean": SUMMARY, "std": SUMMARY}}
    _check_kinds(metrics)
    _, folder = exported(tmp_path, metrics=metrics)
    card = (folder / "README.md").read_text()
    assert "| relative_l2 | 2 | 0.125 |" in card
    assert "relative_l2_per_channel" not in card


def test_the_card_says_what_is_not_known(tmp_path):
    solver = build_solver(solver_config(), spec())
    export(Checkpoint(solver, {}, {}, None, tmp_path), tmp_path / "folder")
    _, front, text = (tmp_path / "folder/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "other"
    assert text.count("Not recorded.") == 2
    assert "Not measured" in text
    assert "range of the training data was not recorded" in text


def test_a_folder_with_files_is_not_overwritten(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/mine.txt").write_text("kept")
    with pytest.raises(InputError, match="holds files already"):
        exported(tmp_path)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine.txt"]


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(InputError, match="format 'tflite' is unknown; choose one of: onnx, safetensors, torch_export"):
        exported(tmp_path, format="tflite")


def damaged(folder, **changes):
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def replace_weights_by_pickle(folder):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(folder / "trap"),)

    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))


def drop_weight(folder):
    state = load_file(folder / "model.safetensors")
    state.pop("model.head.0.weight")
    save_file(state, folder / "model.safetensors")
    damaged(folder, sha256=None)


def flip_bit(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (folder / "model.safetensors").write_bytes(content)


DAMAGES = {
    "no description": (lambda folder: (folder / "config.json").unlink(), "holds no solver"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "safetensors only"),
    "pickle": (replace_weights_by_pickle, "damaged or no safetensors file"),
    "cut": (lambda folder: os.truncate(folder / "model.safetensors", 2000), "damaged or no safetensors file"),
    "huge": (lambda folder: os.truncate(folder / "config.json", 1 << 25), "expected at most"),
    "deep": (lambda folder: (folder / "config.json").write_text("[" * 100_000), "no JSON text that can be read"),
    "not a number": (lambda folder: (folder / "config.json").write_text('{"lsm": NaN}'), "NaN is no number of JSON"),
    "a list": (lambda folder: (folder / "config.json").write_text("[1]"), "is no JSON object"),
    "no entry": (lambda folder: (folder / "config.json").write_text("{}"), "lsm is None, expected a group of options"),
    "epoch": (lambda folder: damaged(folder, epoch="4"), "epoch is 4, expected a whole number"),
    "complex": (lambda folder: damaged(folder, complex=["model.head.0.weight"]), "does not hold as pairs"),
    "empty entry": (lambda folder: damaged(folder, lsm={}), "checkpoint schema None"),
    "entry is text": (lambda folder: damaged(folder, lsm="x"), "lsm is x, expected a group of options"),
    "flipped bit": (flip_bit, "its checksum is not the one"),
    "weight gone": (drop_weight, "does not describe a solver"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_hostile_folder_is_refused(damage, tmp_path):
    _, folder = exported(tmp_path)
    break_it, message = DAMAGES[damage]
    break_it(folder)
    with pytest.raises(InputError, match=message):
        lsm.load(folder)
    assert not (folder / "trap").exists()


@pytest.mark.parametrize("ranges", [{"inputs": [[0.0, 1.0]]}, {"inputs": 3}, {"other": []}, [1]])
def test_ranges_that_do_not_fit_are_refused(ranges, tmp_path):
    _, folder = exported(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    damaged(folder, lsm={**config["lsm"], "ranges": ranges})
    with pytest.raises(InputError, match="ranges|does not describe a solver"):
        lsm.load(folder)


def test_a_missing_extra_says_what_to_install():
    with pytest.raises(InputError, match=r"format x needs the package no_such; install it with .*models\[export\]"):
        require("no_such.part", "export", "format x")


def test_a_broken_package_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_one.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        require("broken_one", "export", "format x")


def arrays_of(solver, size):
    samples = batch(solver.spec, size, seed=size)
    used = [name for name, shape in shapes(solver.spec).items() if shape is not None]
    return {name: getattr(samples, name) for name in (*used, *(["mask"] if solver.spec.ragged else []))}


FOREIGN = {
    **CASES,
    "roll-out": (
        moving(num_inputs=3, num_targets=2),
        {"model": {"name": "fno", "width": 4, "modes": 2, "num_layers": 1}},
    ),
    "ffno": (spec("mesh", inputs=2), {"model": {"name": "ffno", "width": 4, "modes": 2, "num_layers": 2}}),
    "vit": (spec(), {"model": {"name": "vit", "width": 8, "num_layers": 1, "heads": 2}}),
    "transolver": (
        moving(num_inputs=3, num_targets=2),
        {"model": {"name": "transolver", "width": 8, "num_layers": 1, "heads": 2, "num_slices": 3, "reference": 2}},
    ),
    "lsm2": (spec(sites=(7, 6)), {"model": {"name": "lsm2", "width": 8, "num_scales": 2}}),
    "lsm2 on a cloud": (spec("points", sites=(9,), inputs=2), {"model": {"name": "lsm2", "width": 8, "depth": 1}}),
    "lsm2 on ragged clouds": (
        spec("points", sites=(9,), inputs=2, ragged=True),
        {"model": {"name": "lsm2", "width": 8, "depth": 1}},
    ),
    "flare": (
        spec("points", sites=(9,), inputs=2),
        {"model": {"name": "flare", "width": 8, "num_blocks": 1, "heads": 2, "num_latents": 3}},
    ),
}


@pytest.fixture
def foreign(monkeypatch):
    for name, case in FOREIGN.items():
        monkeypatch.setitem(CASES, name, case)


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "grid" else pytest.mark.slow) for name in FOREIGN]
)
def test_onnx_computes_the_same_for_any_number_of_samples(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    solver, folder = exported(tmp_path, name, format="onnx")
    session = runtime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 2, 5):
        arrays = arrays_of(solver, size)
        (found,) = session.run(["prediction"], {name: value.numpy() for name, value in arrays.items()})
        expected = solver.predict(**arrays)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert torch.equal(lsm.load(folder).solver(batch(solver.spec)), solver(batch(solver.spec)))


@pytest.mark.usefixtures("foreign")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "lsm2" else pytest.mark.slow) for name in FOREIGN]
)
def test_an_exported_program_computes_the_same_without_lsm(name, tmp_path):
    solver, folder = exported(tmp_path, name, format="torch_export")
    arrays = arrays_of(solver, 5)
    np.save(tmp_path / "expected.npy", solver.predict(**arrays))
    torch.save(list(arrays.values()), tmp_path / "arrays.pt")
    code = (
        "import sys, numpy, torch; sys.modules['lsm'] = None; program = torch.export.load(sys.argv[1]).module();"
        "found = program(*torch.load(sys.argv[2])); expected = torch.from_numpy(numpy.load(sys.argv[3]));"
        "torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)"
    )
    places = [folder / "model.pt2", tmp_path / "arrays.pt", tmp_path / "expected.npy"]
    subprocess.run([sys.executable, "-c", code, *places], check=True)


def test_all_formats_are_tried():
    assert FORMATS.names() == ["onnx", "safetensors", "torch_export"]
