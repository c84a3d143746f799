"""Training: a resumed run equals the uninterrupted one to the last bit, a seed makes runs identical, NaN stops one."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from commands import call, call_forked
from conftest import ROOT, load_config, tiny_training
from omegaconf import OmegaConf
from torch.optim.swa_utils import update_bn
from training import EPOCHS, SCHEDULES, Stopped, assert_identical, assert_same_state, content, logged, options_of

from experiments.assemble import make_datamodule
from experiments.mistakes import describe
from experiments.train import TrainingResult
from lsm.checkpoint import load
from lsm.errors import InputError
from lsm.training.module import SolverModule


@pytest.fixture(scope="module")
def uninterrupted(command, darcy_store, tmp_path_factory) -> Callable[[str], TrainingResult]:
    """A run that nothing stops, by the schedule."""
    results: dict[str, TrainingResult] = {}

    def run(schedule: str) -> TrainingResult:
        if schedule not in results:
            folder = tmp_path_factory.mktemp("uninterrupted") / schedule
            results[schedule] = command("train", *options_of(darcy_store, folder, *SCHEDULES[schedule]))
        return results[schedule]

    return run


@pytest.mark.parametrize("schedule", ["paper", pytest.param("quick", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "stop",
    [
        pytest.param((2, 0), id="boundary"),
        pytest.param((1, 1), id="middle"),
        pytest.param((2, 2), id="last batch", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_the_uninterrupted_one(schedule, stop, train, uninterrupted, darcy_store, tmp_path):
    whole = uninterrupted(schedule)
    folder = tmp_path / "run"
    train(*options_of(darcy_store, folder, *SCHEDULES[schedule]), stop=stop)
    assert content(folder / "checkpoints/last.ckpt")["epoch"] == stop[0] - 1
    torch.manual_seed(12345)  # nothing of this process may leak into the resumed run
    resumed = train(f"resume={folder}")
    assert resumed.folder == folder
    assert_same_state(resumed.last, whole.last)
    assert_same_state(resumed.best, whole.best)
    assert resumed.metrics == whole.metrics
    assert logged(folder) == logged(whole.folder)


def modern_options(store, folder, model, *more):
    """Options of a run of four epochs under the recipe modern."""
    listed = options_of(store, folder, f"model={model}", "recipe=modern", "augmentation=symmetry", *more)
    return [option for option in listed if not option.startswith("model.patch")]


@pytest.mark.parametrize(
    ("model", "stop"), [pytest.param("lsm2", (2, 0), marks=pytest.mark.slow), pytest.param("unet", (1, 1))]
)
def test_a_resumed_run_with_averaged_weights_equals_the_uninterrupted_one(model, stop, train, darcy_store, tmp_path):
    """The average is what a checkpoint offers, the weights behind it are those that are trained."""
    whole = train(*modern_options(darcy_store, tmp_path / "whole", model))
    train(*modern_options(darcy_store, tmp_path / "run", model), stop=stop)
    torch.manual_seed(12345)
    resumed = train(f"resume={tmp_path / 'run'}")
    assert_same_state(resumed.last, whole.last)
    assert_same_state(resumed.best, whole.best)
    assert_identical(content(resumed.last)["current_model_state"], content(whole.last)["current_model_state"])
    averaged, weights = content(whole.last)["state_dict"], content(whole.last)["current_model_state"]
    assert any(not torch.equal(averaged[name], weights[name]) for name in averaged)


@pytest.mark.parametrize("splits", [(), ("data.splits.validation=[0,0]",)], ids=["validation", "none"])
def test_batch_norm_has_the_statistics_of_the_averaged_weights(splits, train, darcy_store, tmp_path):
    options = modern_options(darcy_store, tmp_path / "run", "unet", "trainer.max_epochs=2", *splits)
    last = train(*options).last
    solver = load(last).solver
    stored = {name: buffer.clone() for name, buffer in solver.named_buffers() if "running" in name}
    assert stored
    update_bn(make_datamodule(load_config(tmp_path / "run/config.yaml")).batches("train"), solver)
    found = dict(solver.named_buffers())
    for name, buffer in stored.items():
        torch.testing.assert_close(buffer, found[name])
    weights = content(last)["current_model_state"]
    assert any((weights[f"solver.{name}"] - buffer).abs().max() > 1e-3 for name, buffer in stored.items())


@pytest.mark.slow
def test_data_on_the_device_change_nothing(train, uninterrupted, darcy_store, tmp_path):
    whole = uninterrupted("quick")
    options = options_of(darcy_store, tmp_path / "run", *SCHEDULES["quick"], "data.on_device=true")
    train(*options, stop=(2, 1))
    resumed = train(f"resume={tmp_path / 'run'}")
    assert_same_state(resumed.last, whole.last)
    assert resumed.metrics == whole.metrics


@pytest.fixture
def clock(monkeypatch) -> Callable[[float], None]:
    """``clock(seconds)`` makes every training batch (three an epoch) take so long, as far as our callbacks can tell."""

    def tick(seconds: float) -> None:
        now = [0.0]
        original = SolverModule.training_step

        def slow(self: SolverModule, batch: Any, batch_index: int) -> torch.Tensor:
            now[0] += seconds
            return original(self, batch, batch_index)

        monkeypatch.setattr(SolverModule, "training_step", slow)
        monkeypatch.setattr("lsm.training.callbacks.time.monotonic", lambda: now[0])

    return tick


def test_checkpoints_at_intervals_resume_exactly(clock, train, uninterrupted, darcy_store, tmp_path):
    """Epochs of 30 seconds, checkpoints every minute: one after the second epoch, the next after the fourth."""
    whole = uninterrupted("paper")
    clock(10.0)
    folder = tmp_path / "run"
    options = options_of(darcy_store, folder, *SCHEDULES["paper"], "checkpoint_interval=60")
    train(*options, stop=(1, 0))
    assert not (folder / "checkpoints/last.ckpt").exists()
    train(*options, "resume=auto", stop=(3, 1))
    assert content(folder / "checkpoints/last.ckpt")["epoch"] == 1
    resumed = train(f"resume={folder}")
    assert_same_state(resumed.last, whole.last)
    assert_same_state(resumed.best, whole.best)


@pytest.mark.slow
def test_the_last_epoch_is_always_kept(clock, train, uninterrupted, darcy_store, tmp_path):
    clock(10.0)
    options = options_of(darcy_store, tmp_path / "run", *SCHEDULES["paper"], "checkpoint_interval=1000")
    assert_same_state(train(*options).last, uninterrupted("paper").last)
    options = options_of(darcy_store, tmp_path / "steps", "checkpoint_interval=1000", "+trainer.max_steps=4")
    assert content(train(*options).last)["global_step"] == 4


def test_a_run_stops_in_time_and_goes_on_exactly(clock, train, uninterrupted, darcy_store, tmp_path, capsys):
    """Epochs of 30 seconds: 80 hold two, not three; the limit is of one call and is not kept."""
    whole = uninterrupted("quick")
    clock(10.0)
    folder = tmp_path / "run"
    options = options_of(darcy_store, folder, *SCHEDULES["quick"], "checkpoint_interval=1000", "resume=auto")
    train(*options, "time_limit=80")
    assert content(folder / "checkpoints/last.ckpt")["epoch"] == 1
    assert (
        f"stopped at the time limit after 2 of {EPOCHS} epochs: continue with lsm-train resume={folder}"
        in capsys.readouterr().out
    )
    train(*options, "time_limit=1")
    assert content(folder / "checkpoints/last.ckpt")["epoch"] == 2, "an epoch a call at least"
    resumed = train(*options)
    assert_same_state(resumed.last, whole.last)


@pytest.mark.slow
def test_a_compiled_model_trains_as_an_uncompiled_one(train, uninterrupted, darcy_store, tmp_path):
    """The backend that generates no code: the same operations, so the same numbers but for rounding."""
    whole = uninterrupted("paper")
    result = train(*options_of(darcy_store, tmp_path / "run", *SCHEDULES["paper"], "compile=eager"))
    assert content(result.last)["state_dict"].keys() == content(whole.last)["state_dict"].keys()
    assert result.metrics["train/relative_l2"] == pytest.approx(whole.metrics["train/relative_l2"], rel=1e-4)


@pytest.mark.parametrize("what", ["true", "cheap"])
def test_recomputed_activations_change_no_bit_of_a_run(train, uninterrupted, darcy_store, tmp_path, what):
    whole = uninterrupted("paper")
    result = train(*options_of(darcy_store, tmp_path / "run", *SCHEDULES["paper"], f"recompute={what}"))
    assert_same_state(result.last, whole.last)


def test_a_run_is_resumed_into_another_folder_and_from_any_checkpoint(train, uninterrupted, darcy_store, tmp_path):
    whole = uninterrupted("paper")
    train(*options_of(darcy_store, tmp_path / "run", *SCHEDULES["paper"]), stop=(2, 1))
    elsewhere = tmp_path / "elsewhere"
    train(f"resume={tmp_path / 'run/checkpoints/last.ckpt'}", f"run_dir={elsewhere}")
    assert_same_state(elsewhere / "checkpoints/last.ckpt", whole.last)
    assert_same_state(elsewhere / "checkpoints/best.ckpt", whole.best)
    assert content(tmp_path / "run/checkpoints/last.ckpt")["epoch"] == 1, "the old run is left as it was"


@pytest.mark.parametrize("how", ["moved", "into another folder"])
def test_the_best_checkpoint_stays_the_best_in_another_folder(how, train, darcy_store, tmp_path):
    """A score that no later epoch reaches: only the file that has it is the best."""
    train(*options_of(darcy_store, tmp_path / "run", *SCHEDULES["paper"]), stop=(2, 0))
    for name in ("best", "last"):
        path = tmp_path / f"run/checkpoints/{name}.ckpt"
        changed = content(path)
        (state,) = (state for key, state in changed["callbacks"].items() if state.get("monitor") == "val/relative_l2")
        state["best_model_score"] = state["kth_value"] = torch.tensor(1e-3)
        state["best_k_models"] = {key: torch.tensor(1e-3) for key in state["best_k_models"]}
        torch.save(changed, path)
    best = (tmp_path / "run/checkpoints/best.ckpt").read_bytes()
    options = [f"run_dir={tmp_path / 'elsewhere'}", f"resume={tmp_path / 'run'}"]
    if how == "moved":
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        options[1] = f"resume={tmp_path / 'elsewhere'}"
    assert train(*options).best.read_bytes() == best
    assert content(tmp_path / "elsewhere/checkpoints/last.ckpt")["epoch"] == EPOCHS - 1


def test_a_folder_of_another_run_is_refused(train, uninterrupted, darcy_store, tmp_path):
    train(*options_of(darcy_store, tmp_path / "run", "trainer.max_epochs=1"))
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = uninterrupted("paper").folder
    for options in (options_of(darcy_store, tmp_path / "run"), [f"resume={other}", f"run_dir={tmp_path / 'run'}"]):
        with pytest.raises(InputError, match=r"holds checkpoints of another run; .*resume=auto"):
            train(*options)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_other_data_under_the_same_name_are_refused(train, darcy_store, tmp_path):
    store = tmp_path / darcy_store.name
    shutil.copy(darcy_store, store)
    train(*options_of(store, tmp_path / "run"), stop=(1, 2))
    assert json.loads((tmp_path / "run/environment.json").read_text())["data"]["provenance"]["seed"] == 0
    with h5py.File(store) as file:
        made = json.loads(file.attrs["provenance"])

    def put(**changes: Any) -> None:
        shutil.copy(store, tmp_path / "changed.h5")
        with h5py.File(tmp_path / "changed.h5", "a") as file:
            file.attrs["provenance"] = json.dumps({**made, **changes})
        (tmp_path / "changed.h5").replace(store)

    for name, value, told in (
        ("seed", 5, "seed was 0, is 5"),
        ("revision", 2, "revision was 1, is 2"),
        ("generator", {**made["generator"], "high": 30.0}, "generator.high was 12.0, is 30.0"),
        ("generator", {"class": "DarcyGenerator"}, "generator.equation was .*, is None"),
    ):
        put(**{name: value})
        with pytest.raises(InputError, match=rf"holds other data than .* was trained on \({told}\); restore those"):
            train(f"resume={tmp_path / 'run'}")
    put(lsm_version="9.9")
    assert train(f"resume={tmp_path / 'run'}").last.is_file()


def test_a_run_that_finished_no_epoch_names_no_checkpoint(train, darcy_store, tmp_path, capsys):
    result = train(*options_of(darcy_store, tmp_path / "run"), "+trainer.fast_dev_run=true")
    assert not result.best.exists()
    assert not result.last.exists()
    assert "no checkpoint was written, since no epoch was finished" in capsys.readouterr().out
    train(*options_of(darcy_store, tmp_path / "steps"), "+trainer.max_steps=1")
    assert "last checkpoint: " in capsys.readouterr().out


def test_auto_starts_goes_on_and_then_has_nothing_to_do(train, uninterrupted, darcy_store, tmp_path):
    options = [*options_of(darcy_store, tmp_path / "run", *SCHEDULES["quick"]), "resume=auto"]
    train(*options, stop=(1, 2))
    first_record = (tmp_path / "run/environment.json").read_bytes()
    finished = train(*options)
    assert (tmp_path / "run/environment.json").read_bytes() == first_record
    assert (tmp_path / "run/environment-resumed-1.json").is_file()
    assert_same_state(finished.last, uninterrupted("quick").last)
    before = {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()}
    again = train(*options)
    assert (again.folder, again.last, again.metrics) == (finished.folder, finished.last, {})
    assert {path: path.read_bytes() for path in finished.folder.rglob("*") if path.is_file()} == before
    assert len(list(finished.folder.glob("csv/version_*"))) == 2, "of the two calls that trained"


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_is_resumed(train, uninterrupted, darcy_store, tmp_path):
    """Killed at any moment after the first checkpoint; the checkpoint that is there is whole."""
    folder = tmp_path / "run"
    options = options_of(darcy_store, folder, *SCHEDULES["paper"])
    command = [sys.executable, "-m", "experiments.train", *options]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert_same_state(train(f"resume={folder}").last, uninterrupted("paper").last)


def test_a_seed_makes_runs_identical_and_another_one_does_not(train, uninterrupted, darcy_store, tmp_path):
    whole = uninterrupted("paper")
    torch.manual_seed(999)
    same = train(*options_of(darcy_store, tmp_path / "same", *SCHEDULES["paper"]))
    assert_same_state(same.last, whole.last)
    assert logged(same.folder) == logged(whole.folder)
    other = train(*options_of(darcy_store, tmp_path / "other", *SCHEDULES["paper"]), "seed=1")
    for name, value in content(whole.last)["state_dict"].items():
        if name.endswith("weight") and value.ndim > 1:
            assert not torch.equal(content(other.last)["state_dict"][name], value), name


def test_training_changes_every_parameter_and_the_rate_follows_the_schedule(train, darcy_store, tmp_path):
    train(*options_of(darcy_store, tmp_path / "run", "scheduler=step", "scheduler.make.step_size=1"), stop=(1, 0))
    after_one = content(tmp_path / "run/checkpoints/last.ckpt")
    assert after_one["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(2e-3 / 2)
    finished = content(train(f"resume={tmp_path / 'run'}").last)
    assert finished["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(2e-3 / 16)
    assert finished["global_step"] == 4 * 3
    moved = [name for name in after_one["state_dict"] if name.endswith(("weight", "bias"))]
    still = [name for name in moved if torch.equal(finished["state_dict"][name], after_one["state_dict"][name])]
    assert still == []


def test_a_last_batch_of_one_sample_is_told_where_it_cannot_be_normalised(train, darcy_store, tmp_path):
    """Five samples by two leave one, which has 13 x 13 sites, padded to 16, and a single one at the fifth scale."""
    options = options_of(darcy_store, tmp_path / "run", "model.patch=[1,1]", "model.num_scales=5")
    with pytest.raises(InputError, match="a batch of one sample has a single site") as caught:
        train(*options)
    assert "data.batch_size" in describe(caught.value)


def spoilt(store: Path, path: Path, field: str, sample: int) -> Path:
    """A copy of a store with one NaN."""
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "a") as file:
        file[f"fields/{field}"][sample, 6, 6] = np.nan
    return path


class TestNotANumber:
    @pytest.mark.parametrize("field", ["permeability", "pressure"])
    def test_in_the_data_is_told_with_its_sample(self, field, train, darcy_store, tmp_path):
        """When it is read, before anything is computed with it."""
        store = spoilt(darcy_store, tmp_path / "spoilt.h5", field, 3)
        with pytest.raises(InputError, match=r"not finite|nan") as caught:
            train(*options_of(store, tmp_path / "run"))
        assert f"{field} of sample 3" in str(caught.value), str(caught.value)
        assert "kept" not in str(caught.value), "there is no checkpoint"

    def test_in_a_batch_stops_the_run_and_keeps_the_checkpoint(self, train, darcy_store, tmp_path, monkeypatch):
        """The third batch of the second epoch turns bad."""
        original = SolverModule.training_step

        def spoil(self: SolverModule, batch: Any, batch_index: int) -> torch.Tensor:
            if (self.current_epoch, batch_index) == (1, 2):
                batch.inputs[0, 0, 0] = torch.nan
            return original(self, batch, batch_index)

        monkeypatch.setattr(SolverModule, "training_step", spoil)
        with pytest.raises(
            InputError, match=r"NaN in epoch 2, batch 2: .*: a field is not finite.*; checkpoints .* kept"
        ):
            train(*options_of(darcy_store, tmp_path / "run", "data.in_memory=false"))
        kept = content(tmp_path / "run/checkpoints/last.ckpt")
        assert kept["epoch"] == 0
        assert all(value.isfinite().all() for value in kept["state_dict"].values())

    def test_in_the_parameters_reaches_no_checkpoint(self, train, darcy_store, tmp_path):
        """The step after the last batch of an epoch diverges: no loss has seen it yet."""
        options = options_of(darcy_store, tmp_path / "run", "optimizer.lr=1e30", "scheduler=step", "data.batch_size=5")
        with pytest.raises(
            InputError, match=r"no longer finite|became infinite or NaN|relative_l2 of validation sample"
        ):
            train(*options)
        for checkpoint in (tmp_path / "run").glob("checkpoints/*.ckpt"):
            assert all(value.isfinite().all() for value in content(checkpoint)["state_dict"].values())


@pytest.mark.parametrize(
    ("batch_size", "steps"),
    [(1, 5), (2, 3), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((3, 2), (4, 2), (5, 1))), (7, 1)],
)
def test_any_batch_size_trains(batch_size, steps, train, darcy_store, tmp_path):
    """Also one that leaves a last batch of one sample, and one larger than the set."""
    options = options_of(darcy_store, tmp_path / "run", f"data.batch_size={batch_size}", "trainer.max_epochs=2")
    result = train(*options)
    assert content(result.last)["global_step"] == 2 * steps
    assert all(value.isfinite().all() for value in content(result.last)["state_dict"].values())
    assert 0 < result.metrics["train/relative_l2"] < 10


def test_a_run_without_validation_keeps_its_best_by_the_training_error(train, darcy_store, tmp_path):
    result = train(*options_of(darcy_store, tmp_path / "run", "data.splits.validation=[5,5]"))
    assert result.best.is_file()
    assert "val/relative_l2" not in result.metrics


def test_the_record_of_a_run_rebuilds_its_configuration(uninterrupted, compose):
    result = uninterrupted("paper")
    recorded = content(result.last)["lsm"]["run"]
    assert load_config(result.folder / "config.yaml") == recorded["config"]
    assert recorded["choices"]["benchmark"] == "darcy"
    composed = compose("train", *recorded["overrides"])
    for part in ("benchmark", "model", "optimizer", "scheduler", "data", "metrics", "seed"):
        assert recorded["config"][part] == OmegaConf.to_container(composed, resolve=True)[part]


@pytest.mark.parametrize(
    "schedule",
    [
        *(pytest.param(options, marks=pytest.mark.slow) for options in SCHEDULES.values()),
        ["scheduler=one_cycle", "+trainer.accumulate_grad_batches=2"],
    ],
)
def test_the_learning_rate_asked_for_is_the_one_that_is_used(schedule, train, darcy_store, tmp_path):
    rates = []
    for rate in (1e-3, 1e-5):
        folder = tmp_path / f"{rate}"
        train(*options_of(darcy_store, folder, *schedule, f"optimizer.lr={rate}"))
        rates.append(content(folder / "checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"][0]["lr"])
    assert rates[0] == pytest.approx(100 * rates[1])
    if "one_cycle" in schedule[0]:
        assert rates[0] < 1e-3 / 10, "annealed at the end, however many steps there are"


def test_a_schedule_without_end_is_refused(train, darcy_store, tmp_path):
    with pytest.raises(InputError, match=r"OneCycleLR needs the number of steps of the run.*trainer\.max_epochs"):
        train(*options_of(darcy_store, tmp_path / "run", *SCHEDULES["quick"], "trainer.max_epochs=-1"))


def test_a_sample_without_an_error_is_named(train, darcy_store, tmp_path):
    """A true field that is zero everywhere, in the validation or in the training split."""
    for sample, named in (
        (6, r"relative_l2 of validation sample 1 is inf after epoch 1"),
        (2, "training sample 2: a true field is zero everywhere, for which no"),
    ):
        store = tmp_path / f"{sample}.h5"
        store.write_bytes(darcy_store.read_bytes())
        with h5py.File(store, "a") as file:
            file["fields/pressure"][sample] = 0.0
        with pytest.raises(InputError, match=named):
            train(*options_of(store, tmp_path / f"run{sample}", "data.normalization.targets=channel"))


@pytest.mark.slow
def test_a_checkpoint_is_whole_wherever_temporary_files_lie(train, uninterrupted, darcy_store, tmp_path, monkeypatch):
    """A kill while it is written leaves the one before."""
    folder = tmp_path / "run"
    options = options_of(darcy_store, folder, *SCHEDULES["paper"], "resume=auto")
    train(*options, stop=(2, 0))
    before = (folder / "checkpoints/last.ckpt").read_bytes()

    def kill(partial: Path, path: Path) -> None:
        assert Path(partial).parent == Path(path).parent
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("lsm.files.os.replace", kill)
        train(*options)
    assert (folder / "checkpoints/last.ckpt").read_bytes() == before
    assert_same_state(train(*options).last, uninterrupted("paper").last)


@pytest.fixture(params=["ddp_fork", pytest.param("auto", marks=pytest.mark.slow)])
def train_on_two(request) -> Callable[..., tuple[str, dict[str, Any]]]:
    """``train_on_two(folder, *options)``: output of a training in two processes on the CPU, and its last checkpoint.

    Both processes are forks that share their imports, or, as users get it, whole ones that start seconds apart.
    """

    def run(folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
        command = ("train", *options, "trainer.devices=2")
        if request.param == "auto":
            done = call(folder.parent, *command)
        else:
            (done,) = call_forked(folder.parent, [(*command, f"+trainer.strategy={request.param}")])
        assert done.code == 0, done.errors
        assert "Traceback" not in done.errors
        return done.output, content(folder / "checkpoints/last.ckpt")

    return run


def test_two_devices_leave_one_record_and_count_each_sample_once(train_on_two, command, darcy_store, tmp_path):
    """Three validation samples, which two processes cannot share evenly."""
    run = tmp_path / "run"
    splits = ["data.splits.validation=[5,8]", "data.splits.test=[8,9]"]
    output, last = train_on_two(run, *tiny_training(darcy_store, run), *splits, "trainer.max_epochs=1")
    assert output.count("best checkpoint") == output.count("parameters") == 1
    assert [file.name for file in run.glob("environment*")] == ["environment.json"]
    # 5 samples on 2 devices in batches of 2: two steps each.
    assert last["global_step"] == 2
    errors = command("evaluate", f"checkpoint={run / 'checkpoints/last.ckpt'}", "split=validation", "device=cpu")
    assert f"val/relative_l2 {errors['relative_l2']['mean']:.4g}\n" in output


@pytest.mark.slow
def test_two_devices_agree_when_to_write_and_which_epoch_was_the_best(train_on_two, darcy_store, tmp_path):
    run = tmp_path / "run"
    options = options_of(
        darcy_store, run, "data.splits.validation=[5,5]", "checkpoint_interval=0.2", "trainer.max_epochs=8"
    )
    train_on_two(run, *options)
    errors = [float(row["train/relative_l2"]) for row in logged(run).values() if "train/relative_l2" in row]
    assert len(errors) == 8
    assert content(run / "checkpoints/best.ckpt")["epoch"] == int(np.argmin(errors))


@pytest.mark.slow
def test_two_devices_stop_in_time_together(train_on_two, darcy_store, tmp_path):
    """The second process starts later, and so do its clock and its limit."""
    run = tmp_path / "run"
    _, last = train_on_two(run, *options_of(darcy_store, run, "trainer.max_epochs=5000", "time_limit=4"))
    assert last["epoch"] < 4999
