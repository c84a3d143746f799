"""Checkpoints that an older version wrote: they are read, and predict what that version predicted.

``data/schema_1_*.ckpt.gz`` were trained for two epochs and written by the last version of schema 1 (commit f7841a2), with weights
then drawn anew from few different numbers, so that the compressed files are small. ``data/schema_1_predictions.json`` holds what
that version predicted for the inputs below.
"""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, load_config
from synthetic import write_synthetic_store

from lsm.checkpoint import SCHEMA, load, read
from lsm.data.readers.base import make_reader
from lsm.data.store import StoredField
from lsm.errors import InputError
from lsm.fields import Channel, Frames
from lsm.migration import migrate

DATA = Path(__file__).parent / "data"
NAMES = ("navier_stokes", "elasticity_p")

#: What the stores held, of six samples.
FIELDS = {
    "navier_stokes": {"vorticity": StoredField((6, 5, 6), "1", "")},
    "elasticity_p": {
        "points": StoredField((9, 2), "1", ""),
        "stress": StoredField((9,), "MPa", ""),
        "radius": StoredField((4,), "1", ""),
    },
}


def unpack(name, folder):
    """The checkpoint of schema 1 of a benchmark."""
    path = folder / "old.ckpt"
    path.write_bytes(gzip.decompress((DATA / f"schema_1_{name}.ckpt.gz").read_bytes()))
    return path


@pytest.fixture(params=NAMES)
def old(request, tmp_path):
    """Name of a benchmark and its checkpoint."""
    return request.param, unpack(request.param, tmp_path)


def numbers(source, *shape):
    """Uniform numbers in -1 .. 1, from a generator that is promised to stay the same."""
    return np.reshape([2 * source.random() - 1 for _ in range(np.prod(shape))], shape)


def inputs_of(name):
    source = random.Random(0)
    if name == "navier_stokes":
        return {"inputs": numbers(source, 6, 5, 3)}
    points = 0.5 + 0.5 * numbers(source, 9, 2)
    return {"inputs": points, "coords": points, "code": numbers(source, 4)}


def test_predictions_are_those_of_the_version_that_wrote_it(old):
    name, path = old
    expected = json.loads((DATA / "schema_1_predictions.json").read_text())[name]
    found = load(path).solver.predict(**inputs_of(name))
    # Single precision: other orders of summation change the predictions by less than 1e-6 of their size.
    np.testing.assert_allclose(found.flatten(), expected, rtol=2e-5)
    assert np.std(expected) > 0.05 * np.abs(expected).mean(), "predictions that are nearly constant show little"


def test_what_a_checkpoint_says_of_its_run_and_data(old):
    name, path = old
    checkpoint = load(path)
    run = checkpoint.run
    assert run["config"]["benchmark"]["name"] == name
    assert (run["config"]["preset"], run["config"]["seed"]) == ("quick", 0)
    assert run["config"]["data"]["splits"] == {"train": [0, 4], "validation": [4, 5], "test": [5, 6]}
    assert run["choices"]["model"] == "lsm"
    assert run["overrides"] is None
    assert checkpoint.data["num_samples"] == 6
    assert checkpoint.epoch == 1
    assert set(make_reader(run["config"]["benchmark"]["reader"]).fields) == set(FIELDS[name])


def test_frames_become_one_field(tmp_path):
    spec = load(unpack("navier_stokes", tmp_path)).solver.spec
    assert spec.inputs == spec.targets == (Channel("vorticity", "1"),)
    assert (spec.frames, spec.periodic) == (Frames(3, 2), True)
    assert spec.target_names == ("vorticity at frame 4", "vorticity at frame 5")


def test_an_old_checkpoint_is_evaluated(old, command, tmp_path):
    """On a store as its benchmark has it now; the reader's options of that time are understood."""
    name, path = old
    write_synthetic_store(tmp_path / "store.h5", name, FIELDS[name], 6)
    metrics = command("evaluate", f"checkpoint={path}", f"store={tmp_path / 'store.h5'}", "device=cpu")
    assert metrics["relative_l2"]["num_samples"] == 1
    assert metrics["relative_l2"]["mean"] > 0
    assert (metrics["benchmark"], metrics["epoch"], metrics["training_data"]["num_samples"]) == (name, 1, 6)


def described(reader, **spec):
    """A description of schema 1 with the parts that a reader and a specification determine."""
    channel = {"name": "u", "unit": "1"}
    fields = {
        "geometry": "grid",
        "sites": [4, 4, 3],
        "axes": ["x", "y", "time"],
        "inputs": [channel],
        "targets": [channel],
    }
    fields |= {
        "code": 0,
        "autoregressive": False,
        "positions": [0, 1],
        "window": None,
        "mask": None,
        "tool": None,
    } | spec
    model = {
        "width": 8,
        "patch": [2, 2, 1],
        "projection": {"name": "grid", "resolution": None},
        "trunk": {"name": "multiscale"},
        "block": {"name": "identity"},
    }
    run = {
        "benchmark": {"name": "any", "reader": reader},
        "preset": "paper",
        "seed": 3,
        "data": {"path": "data/any.h5"},
    }
    config = {"model": model, "normalization": {"inputs": "site", "targets": "none"}}
    return {"schema": 1, "config": config, "spec": fields, "run": run}


def test_the_reader_of_plasticity_became_the_one_of_its_benchmark():
    found = migrate(described({"name": "plasticity"}))["run"]["config"]["benchmark"]["reader"]
    assert found == load_config(ROOT / "conf/benchmark/plasticity.yaml")["reader"]


def test_options_for_pictures_are_left_out():
    reader = {"name": "mesh", "coordinates": ["x", "y"], "targets": ["mach"], "window": [[-1, 2], [-1, 1]]}
    found = migrate(described(reader))["run"]["config"]["benchmark"]["reader"]
    assert found == {"name": "mesh", "coordinates": ["x", "y"], "targets": ["mach"]}


def test_a_solver_of_schema_1():
    """Its trunk had a number of scales, five by default; coordinates were taken as they are."""
    found = migrate(described({"name": "plasticity"}))["solver"]
    assert found["normalization"] == {"inputs": "site", "targets": "none", "coords": "none"}
    expected = {"name": "lsm", "width": 8, "patch": [2, 2, 1], "num_scales": 5, "block": {"name": "identity"}}
    assert found["model"] == {**expected, "projection": {}}


def test_imported_weights_of_schema_1_have_no_run():
    old = described({"name": "plasticity"}) | {"run": {}}
    assert migrate(old)["run"] == {"config": {}, "overrides": None, "choices": {}}


@pytest.mark.parametrize(
    ("schema", "family", "option", "fits", "differs"),
    [
        (2, "lsm2", {"predict_change": True}, {"frames": {"inputs": 3, "targets": 2}}, {"frames": None}),
        (3, "transolver", {"lattice_coordinates": False}, {"geometry": "mesh"}, {"geometry": "grid"}),
        (4, "lsm2", {"point_blocks": True}, {"geometry": "points"}, {"geometry": "mesh"}),
        (3, "flare", {"lattice_coordinates": False}, {"geometry": "mesh"}, {"geometry": "points"}),
    ],
)
def test_what_became_an_option_keeps_its_former_value(schema, family, option, fits, differs):
    """LSM-2 predicted changes from the last frame, and had blocks on points; Transolver and FLARE knew no lattice of a mesh."""
    model, run = {"name": family, "periodic": True, "supervision": 0.0}, {"choices": {}}
    old = {"schema": schema, "solver": {"model": model}, "run": run | {"config": {"seed": 1, "model": model}}}
    new = model | option
    spec = fits | ({"periodic": True} if "frames" in fits else {})
    expected = {"schema": SCHEMA, "solver": {"model": new}, "run": run | {"config": {"seed": 1, "model": new}}}
    assert migrate(old | {"spec": fits}) == expected | {"spec": spec}
    assert migrate(old | {"run": {}, "spec": fits}) == expected | {"run": {}, "spec": spec}  # exported
    assert migrate(old | {"spec": differs}) == old | {"schema": SCHEMA, "spec": differs}


@pytest.mark.parametrize(
    ("model", "added"),
    [
        ({"name": "lsm2", "width": 8}, {"periodic": False, "supervision": 0.5}),
        ("fno", {"padding": 8}),
        ({"name": "ffno", "padding": 0}, {}),
        ({"name": "unet"}, {}),
    ],
)
def test_a_default_keeps_its_former_meaning(model, added):
    """What the options of a model left out in schema 6 is what the default was then."""
    complete = {"periodic": True, "padding": 0, "supervision": 0.0}
    for config in ({}, {"config": {"model": complete}}):
        found = migrate({"schema": 6, "solver": {"model": model}, "spec": {}, "run": config})
        named = {"name": model} if isinstance(model, str) else model
        assert found["solver"]["model"] == added | named
        assert found["run"] == config


@pytest.mark.parametrize(
    ("source", "model", "spec", "reader"),
    [
        ("the generator", {"name": "lsm"}, {"periodic": True}, {"periodic": True}),
        ("file", {"name": "lsm"}, {"periodic": False}, {}),
        ("file", {"name": "lsm2", "periodic": True}, {"periodic": True}, {}),
        ("file", {"name": "fno", "padding": 0}, {"periodic": True}, {}),
    ],
)
def test_roll_outs_of_schema_5_were_periodic(source, model, spec, reader):
    """Those of own data are if the user said so to the model, and keep the options from which their run is resumed."""
    known = {"solver": {"model": model}, "data": {"provenance": {"source": source}}}
    fields = {"frames": {"inputs": 3, "targets": 2}}
    config = {"benchmark": {"reader": {"name": "frames"}}, "model": model}
    found = migrate({"schema": 5, **known, "spec": fields, "run": {"config": config}})
    assert found["spec"] == fields | spec
    assert found["run"]["config"]["benchmark"]["reader"] == {"name": "frames"} | reader


def test_the_present_schema_is_left_as_it_is():
    present = {"schema": SCHEMA, "solver": {"model": {"name": "unet"}}, "spec": {}, "run": {}}
    assert migrate(present) == present


def test_codes_of_schema_7_were_not_normalised():
    data = {"normalization": {"inputs": "none"}}
    old = {"schema": 7, "solver": {"model": {"name": "lsm"}, **data}, "run": {"config": {"data": data}}}
    found = migrate(old | {"spec": {"code": 3}})
    for owner in (found["solver"], found["run"]["config"]["data"]):
        assert owner["normalization"] == {"inputs": "none", "code": "none"}
    assert migrate(old | {"run": {}, "spec": {"code": 3}})["run"] == {}
    assert migrate(old | {"spec": {"code": 0}}) == old | {"spec": {"code": 0}, "schema": SCHEMA}


def test_a_damaged_description_is_named(old):
    _, path = old
    content = torch.load(path, weights_only=True)
    del content["lsm"]["config"]["model"]["trunk"]
    torch.save(content, path)
    with pytest.raises(InputError, match=r"old\.ckpt does not describe a solver of this version: KeyError\('trunk'\)"):
        read(path)
