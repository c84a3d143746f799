"""What a resumed run may change, and what is refused; that its checkpoint is read once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import load_config
from omegaconf import DictConfig, OmegaConf
from training import SCHEDULES, content, options_of, train_until

from experiments.app import plain
from experiments.folders import find_checkpoint
from experiments.runs import MAY_CHANGE, NO_PART, difference, essence, resumed_config
from lsm import device
from lsm.errors import InputError

#: A value for each option that may change.
CHANGES = {
    "data.path": "moved.h5",
    "data.num_workers": 1,
    "data.in_memory": False,
    "data.on_device": True,
    "data.batch_size": 3,
    "data.max_sample_bytes": 100000000,
    "trainer.max_epochs": 6,
    "+trainer.max_steps": 5,
    "trainer.accelerator": "gpu",
    "trainer.devices": 2,
    "+trainer.num_nodes": 2,
    "+trainer.strategy": "ddp",
    "trainer.precision": "bf16-mixed",
    "+trainer.sync_batchnorm": True,
    "+trainer.accumulate_grad_batches": 2,
    "+trainer.limit_train_batches": 2,
    "trainer.log_every_n_steps": 7,
    "trainer.enable_progress_bar": True,
    "+trainer.profiler": "simple",
    "trainer.enable_model_summary": True,
    "~callbacks.progress": None,
    "logger.csv.name": "numbers",
    "compile": "inductor",
    "recompute": True,
    "checkpoint_interval": 60.0,
}


def stop_training(command: Callable[..., Any], store: Path, folder: Path, schedule: str) -> Path:
    """A run of two finished epochs of four."""
    with pytest.MonkeyPatch.context() as patch:
        train_until(command, (2, 0), patch, (*options_of(store, folder, *SCHEDULES[schedule]),))
    return folder


@pytest.fixture(scope="module")
def stopped(command, darcy_store, tmp_path_factory) -> Path:
    """A stopped run; not to be written to."""
    return stop_training(command, darcy_store, tmp_path_factory.mktemp("stopped") / "run", "paper")


@pytest.fixture(scope="module")
def stopped_one_cycle(command, darcy_store, tmp_path_factory) -> Path:
    """A stopped run whose schedule spans its steps; not to be written to."""
    return stop_training(command, darcy_store, tmp_path_factory.mktemp("stopped") / "run", "quick")


@pytest.fixture
def own(stopped, tmp_path) -> Path:
    """A copy of the stopped run."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def resumed(folder: Path, *options: str) -> DictConfig:
    """The configuration with which the run in a folder continues."""
    path = folder / "checkpoints/last.ckpt"
    saved = content(path)
    return resumed_config(path, saved, list(options))[0]


def test_a_record_that_is_older_than_an_option_has_its_default():
    recorded = {"seed": 0, "compile": None}
    assert essence(recorded) == essence({**recorded, "recompute": False, "unrolling": {"name": "fed_back"}})
    assert essence(recorded) != essence({**recorded, "recompute": True})


def test_every_option_that_may_change_has_a_case():
    named = [key.lstrip("+~") for key in CHANGES]
    assert all(any(key == may or key.startswith(f"{may}.") for key in named) for may in MAY_CHANGE)
    assert all(any(key == may or key.startswith(f"{may}.") for may in MAY_CHANGE) for key in named)


@pytest.mark.parametrize("key", CHANGES)
def test_what_may_change_does(key, stopped):
    option = key if CHANGES[key] is None else f"{key}={CHANGES[key]}"
    assert OmegaConf.select(resumed(stopped, option), key.lstrip("+~")) == CHANGES[key]


@pytest.mark.parametrize("there", ["32-true", "bf16-mixed"])
def test_a_run_keeps_its_precision_on_another_machine(there, stopped, monkeypatch):
    saved = content(stopped / "checkpoints/last.ckpt")
    recorded = saved["lsm"]["run"]["config"]["trainer"]["precision"]
    monkeypatch.setattr(device, "suitable_precision", lambda kind: there)
    assert resumed(stopped).trainer.precision == recorded
    assert resumed(stopped, "trainer.precision=auto").trainer.precision == there


@pytest.mark.parametrize(
    ("option", "old", "new"),
    [
        ("optimizer.lr=1e-5", "0.002", "1e-05"),
        ("optimizer=adamw", "adam", "adamw"),
        ("scheduler.make.gamma=0.1", "0.5", "0.1"),
        ("seed=1", "0", "1"),
        ("data.normalization.inputs=none", "channel", "none"),
        ("data.splits.test=[4,7]", r"\[7, 9\]", r"\[4, 7\]"),
        ("preset=paper", "quick", "paper"),
        ("model.width=16", "8", "16"),
        ("model.block.heads=4", "8", "4"),
        ("model/block=identity", "neural_spectral", "identity"),
        ("model=unet", "lsm", "unet"),
        ("loss.reduction=mean", "sum", "mean"),
        ("loss=relative_h1", "relative_l2", "relative_h1"),
        ("augmentation=symmetry", "none", "symmetry"),
        ("metrics=[rmse]", r"\['relative_l2'\]", r"\['rmse'\]"),
        ("+trainer.gradient_clip_val=0.5", "None", "0.5"),
        ("+trainer.overfit_batches=1", "None", "1"),
        ("+callbacks.average._target_=lsm.training.averaging.ExponentialAverage", "None", "lsm.training.averaging"),
        ("benchmark=pipe", "darcy", "pipe"),
    ],
)
def test_everything_else_is_refused_with_both_values(option, old, new, stopped):
    with pytest.raises(InputError, match=rf"cannot change from {old} to {new}.* on resume.*start a new run"):
        resumed(stopped, option)


@pytest.mark.parametrize("option", ["trainer.max_epochs=6", "data.batch_size=3", "trainer.devices=2"])
def test_a_schedule_that_spans_the_run_fixes_its_steps(option, stopped_one_cycle):
    """More steps than planned are refused at once, instead of a crash in the last epoch."""
    key, _, value = option.partition("=")
    with pytest.raises(InputError, match=rf"spans the steps of the run, so {key} cannot change from \d+ to {value}"):
        resumed(stopped_one_cycle, option)


@pytest.mark.parametrize(
    "option", ["benchmark.sets.full.resolution=141", "benchmark.sets.quick.num_samples=9", "+nonsense=1"]
)
def test_an_option_without_effect_on_the_run_is_refused(option, stopped):
    """The first one would have one on a run on the full set, which this call alone describes."""
    with pytest.raises(InputError, match="has no effect on lsm-train"):
        resumed(stopped, option)


def test_a_refusal_leaves_the_run_as_it_was(command, own):
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"model\.width cannot change from 8 to 32 on resume"):
        command("train", f"resume={own}", "model.width=32")
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_more_epochs_and_other_folders_are_recorded(command, own, darcy_store, tmp_path):
    moved = tmp_path / "moved" / darcy_store.name
    moved.parent.mkdir()
    shutil.copy(darcy_store, moved)
    elsewhere = tmp_path / "elsewhere"
    options = [f"data_dir={moved.parent}", "trainer.max_epochs=3", f"run_dir={elsewhere}", "benchmark=darcy"]
    result = command("train", f"resume={own}", "preset=quick", *options)
    saved = content(result.last)
    assert saved["epoch"] == 2
    config = saved["lsm"]["run"]["config"]
    assert config == load_config(elsewhere / "config.yaml")
    assert (config["trainer"]["max_epochs"], config["data"]["path"]) == (3, str(moved))
    assert (config["run_dir"], config["resume"]) == (str(elsewhere), str(own))
    # Composed once more from what is recorded, the run is the same.
    again = resumed(elsewhere, "trainer.max_epochs=4")
    assert (again.trainer.max_epochs, again.model.width, again.data.path) == (4, 8, str(moved))


def test_a_checkpoint_is_read_once(command, own, darcy_run, monkeypatch):
    read: list[Path] = []
    original = torch.load

    def load(path: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(Path(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(torch, "load", load)
    result = command("train", f"resume={own}", "trainer.max_epochs=3")
    assert read == [own / "checkpoints/last.ckpt"]
    assert content(result.last)["epoch"] == 2
    read.clear()
    command("evaluate", f"checkpoint={own}", "device=cpu")
    assert read == [own / "checkpoints/best.ckpt"]


def test_an_added_option_can_be_set_again_and_taken_away(command, darcy_store, tmp_path):
    """The recorded option is replaced by the typed one, or left out."""
    run = stop_training(command, darcy_store, tmp_path / "run", "paper")
    path = run / "checkpoints/last.ckpt"
    saved = content(path)
    saved["lsm"]["run"]["overrides"] += ["+trainer.limit_train_batches=2", "+callbacks.more.x=1"]
    saved["lsm"]["run"]["config"]["trainer"]["limit_train_batches"] = 2
    torch.save(saved, path)
    assert resumed(run, "++callbacks.more=null").trainer.limit_train_batches == 2
    for more in ("+", "++"):
        again = resumed(run, f"{more}trainer.limit_train_batches=3", "+callbacks.more.x=1")
        assert again.trainer.limit_train_batches == 3


def test_a_run_whose_own_defaults_changed_names_them(own):
    """As after an update of the project: the option that restores the recorded value is given."""
    path = own / "checkpoints/last.ckpt"
    saved = content(path)
    saved["lsm"]["run"]["config"]["optimizer"]["weight_decay"] = 0.25
    torch.save(saved, path)
    told = r"optimizer\.weight_decay cannot change from 0\.25 to 0\.0001 on resume.*; add optimizer\.weight_decay=0\.25"
    with pytest.raises(InputError, match=told):
        resumed(own)
    assert resumed(own, "optimizer.weight_decay=0.25").optimizer.weight_decay == 0.25


def test_unknown_options_are_named(command, own):
    for option in ("trainer.max_epoch", "sed", "data.batchsize"):
        with pytest.raises(Exception, match=rf"Could not override '{option}'"):
            command("train", f"resume={own}", f"{option}=9")


def test_nothing_to_resume_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        find_checkpoint(str(tmp_path / "gone"), tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt does not exist"):
        find_checkpoint(str(tmp_path / "empty"), tmp_path / "run")
    assert find_checkpoint("auto", tmp_path / "run") is None


@pytest.mark.parametrize(
    ("options", "option", "told"),
    [
        (("benchmark=navier_stokes", "model=lsm2"), "predict_change", "model.predict_change was True, is False"),
        (("benchmark=darcy", "model=flare"), "lattice_coordinates", "model.lattice_coordinates was False, is True"),
        (("benchmark=elasticity_p", "model=lsm2"), "point_blocks", "model.point_blocks was True, is None"),
    ],
)
def test_an_option_that_older_runs_did_not_record_is_no_change(compose, options, option, told):
    """Nor does it make their runs in a table outdated; one that was migrated with another value is."""
    present = plain(compose("train", *options))
    older = {**present, "model": {name: known for name, known in present["model"].items() if name != option}}
    assert difference(essence(older), essence(present)) == ""
    migrated = {**older, "model": {**older["model"], option: not present["model"][option]}}
    assert difference(essence(migrated), essence(present)) == told


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("callbacks.average.decay=0.5", "callbacks.average.decay was 0.99, is 0.5"),
        ("~callbacks.average", "callbacks.average._target_ was lsm.training.averaging.ExponentialAverage, is None"),
        ("+callbacks.stop._target_=mine.Stop", "callbacks.stop._target_ was None, is mine.Stop"),
        ("~callbacks.progress", ""),
        ("checkpoint_interval=60", ""),
        ("logger.csv.name=numbers", ""),
        ("seed=1", ""),
    ],
)
def test_runs_of_one_model_average_their_weights_alike(compose, option, told):
    """What a table and a comparison take for the same model; how the progress is shown is no part of it."""
    one, other = (essence(plain(compose("train", "recipe=modern", *more))) for more in ((), (option,)))
    assert difference(one, other, NO_PART) == told


def test_a_record_without_callbacks_is_one_without_averages(compose):
    present = plain(compose("train", "recipe=quick"))
    older = {key: value for key, value in present.items() if key != "callbacks"}
    assert difference(essence(older), essence(present), NO_PART) == ""
