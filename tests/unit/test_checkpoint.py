import os
import pickle

import pytest
import torch
from tiny import batch, moving, scalars, solver_config, spec

import lsm
from lsm.checkpoint import SCHEMA, load, read, save
from lsm.errors import InputError
from lsm.solver import build_solver

CASES = {
    "grid": (spec(inputs=2, targets=3), solver_config(inputs="site", targets="site")),
    "frames": (moving(fields=2, parameters=scalars("viscosity")), solver_config(targets="none")),
    "fno": (spec("mesh", inputs=2), {"model": {"name": "fno", "width": 4, "modes": [3, 2], "num_layers": 2}}),
    "unet": (spec(sites=(8,)), {"model": {"name": "unet", "width": 4, "num_scales": 2}}),
    "points": (
        spec("points", (9,), inputs=2, code=3),
        solver_config(projection={"modes": 3, "resolution": 8, "rows": "reference"}),
    ),
}


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def solver_of(name="grid"):
    fields, config = CASES[name]
    torch.manual_seed(0)
    solver = build_solver(config, fields)
    solver.fit_normalizers(lambda: [batch(fields)])
    solver(batch(fields))  # in training mode: running statistics are no longer those of a new model
    return solver.eval()


@pytest.mark.parametrize("name", CASES)
def test_a_loaded_solver_predicts_identically(name, tmp_path):
    solver, path = solver_of(name), tmp_path / "solver.ckpt"
    run = {"config": {"seed": 3, "data": {"path": "store.h5"}}, "overrides": ["seed=3"], "choices": {"model": "lsm"}}
    save(solver, run, path)
    torch.manual_seed(99)
    loaded = lsm.load(path)
    samples = batch(solver.spec, seed=1)
    assert torch.equal(loaded.solver(samples), solver(samples))
    assert loaded.solver.spec == solver.spec
    assert loaded.solver.config == solver.config
    assert not loaded.solver.training
    assert (loaded.run, loaded.path, loaded.epoch, loaded.data) == (run, path, None, {})


def test_a_pickled_object_is_refused_and_its_code_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    inside = tmp_path / "inside.ckpt"
    save(solver_of(), {}, inside)
    content = torch.load(inside, weights_only=True)
    torch.save(content | {"extra": Trap(trap)}, inside)
    torch.save(Trap(trap), tmp_path / "alone.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Trap(trap)))
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.ckpt")
    for name in ("inside", "alone", "bare", "module"):
        with pytest.raises(InputError, match=rf"{name}\.ckpt.*refused"):
            load(tmp_path / f"{name}.ckpt")
    assert not trap.exists()
    torch.load(tmp_path / "alone.ckpt", weights_only=False)
    assert trap.exists(), "the trap itself does not work"


def test_another_schema_is_named(tmp_path):
    path = tmp_path / "old.ckpt"
    save(solver_of(), {}, path)
    content = torch.load(path, weights_only=True)
    content["lsm"]["schema"] = SCHEMA + 1
    torch.save(content, path)
    with pytest.raises(InputError, match=rf"schema {SCHEMA + 1}, this version reads schemas 1 to {SCHEMA}"):
        load(path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_called_damaged(keep, tmp_path):
    path = tmp_path / "cut.ckpt"
    save(solver_of(), {}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(InputError, match=r"cut\.ckpt"):
        load(path)


def test_a_folder_without_a_checkpoint_is_no_solver(tmp_path):
    with pytest.raises(InputError, match=r"holds no solver: neither checkpoints/best\.ckpt"):
        load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        load(tmp_path / "none.ckpt")


@pytest.mark.parametrize(
    "content",
    [{"state_dict": {}}, {"lsm": 3}, {"lsm": {"schema": 1}}, {"lsm": 3, "state_dict": {}}, [1], torch.ones(2)],
)
def test_a_file_of_something_else_is_named(content, tmp_path):
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(InputError, match=r"other\.ckpt is no checkpoint of lsm"):
        read(path)


@pytest.mark.parametrize("content", [b"not a checkpoint\n", bytes(range(256)), b"\x89PNG\r\n\x1a\n" + bytes(64)])
def test_a_file_that_torch_did_not_write(content, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.txt"):
        read(path)


@pytest.mark.parametrize("broken", ["solver", "spec", "run", "weights", "geometry", "width", "family"])
def test_a_description_that_does_not_fit_is_named(broken, tmp_path):
    path = tmp_path / "broken.ckpt"
    save(solver_of(), {}, path)
    content = torch.load(path, weights_only=True)
    if broken == "weights":
        content["state_dict"].popitem()
    elif broken == "geometry":
        content["lsm"]["spec"]["geometry"] = "torus"
    elif broken == "width":
        content["lsm"]["solver"]["model"]["width"] = 16
    elif broken == "family":
        content["lsm"]["solver"]["model"]["name"] = "os.system"
    else:
        del content["lsm"][broken]
    torch.save(content, path)
    with pytest.raises(InputError, match=r"broken\.ckpt does not describe a solver of this version"):
        load(path)


def test_the_plug_ins_of_a_solver_are_named(tmp_path, monkeypatch):
    path = tmp_path / "plugged.ckpt"
    save(solver_of(), {"config": {"plugins": ["my.plug", "not a name"]}}, path)
    content = torch.load(path, weights_only=True)
    content["lsm"]["solver"]["model"]["name"] = "mine"
    torch.save(content, path)
    with pytest.raises(
        InputError, match="'mine' is unknown.*; import the plug-ins of its training first, .*: my.plug$"
    ):
        load(path)
