"""lsm-table: a miniature table from runs to files; what is repeated, continued or kept, and why."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, run_command

from experiments import processes, profile, revision, table
from experiments.app import compose_config
from experiments.options import as_option
from experiments.processes import CommandFailed, Deadline, OutOfTime
from experiments.tables import cells, costs
from experiments.tables.plan import make_plan
from lsm.errors import InputError
from lsm.training.history import read_history

Table = tuple[int, dict[str, Any]]


class Commands:
    """Runs commands in this process instead of others, and records them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.more: dict[str, list[str]] = {"generate": ["workers=1"], "profile": ["repeats=1", "warmup=1"]}

    def __call__(
        self, module: str, options: list[str], log: Path, deadline: Deadline | None = None, *_: Any, **__: Any
    ) -> None:
        name = module.removeprefix("experiments.")
        self.calls.append((name, list(options)))
        if deadline is not None and not deadline.left():
            raise OutOfTime
        try:
            options = [*options, *self.more.get(name, ())]
            if name == "profile":
                profile.run(compose_config("profile", *options))
            else:
                run_command(name, *options)
        except InputError as error:
            raise CommandFailed(str(error)) from error

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    made = Commands()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "call_module", made)
        yield made


@pytest.fixture(autouse=True)
def _forget_calls(commands: Commands) -> None:
    commands.calls.clear()


def options_of(folder: Path, *more: str) -> list[str]:
    folders = f"run_dir={as_option(folder / 'runs')}", f"data_dir={as_option(folder / 'data')}"
    return ["table=tiny", *folders, "device=cpu", *more]


def run_table(folder: Path, *more: str) -> Table:
    return table.run(compose_config("table", *options_of(folder, *more)))


@pytest.fixture(scope="module")
def whole(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished table of two models and two seeds; not to be written to. Its name has signs of Hydra's grammar."""
    folder = tmp_path_factory.mktemp("Jörg's table (1), a=b")
    code, _ = run_table(folder, "seeds=2", "generate=true")
    assert code == table.DONE
    assert commands.names == ["generate", "profile", "profile", *["train", "evaluate"] * 4]
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def read_table(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "runs/table.json").read_text())


def seeds_of(content: dict[str, Any], row: str) -> dict[str, float]:
    return next(result["seeds"] for result in content["results"] if result["row"] == row)


def test_a_table_is_made_of_ordinary_runs_and_holds_what_they_hold(whole):
    content = read_table(whole)
    for result in content["results"]:
        errors = []
        for seed in (0, 1):
            run = whole / "runs/darcy" / result["row"] / f"seed{seed}"
            metrics = json.loads((run / "evaluation/test_last/metrics.json").read_text())
            assert metrics["epoch"] == 1, "the last of two epochs"
            assert result["seeds"][str(seed)] == pytest.approx(metrics["relative_l2"]["mean"], rel=1e-6)
            errors.append(metrics["relative_l2"]["mean"])
        assert result["mean"] == pytest.approx(sum(errors) / 2, rel=1e-6)
        assert result["deviation"] == pytest.approx(abs(errors[0] - errors[1]) / 2**0.5, rel=1e-3)
        assert result["interval"][0] <= result["mean"] <= result["interval"][1]
        assert result["epochs"] == 2
        for name in ("parameters", "flops_per_sample", "training_seconds", "latency_seconds"):
            assert result[name] > 0
    assert seeds_of(content, "lsm") != seeds_of(content, "fno")
    for course, result in zip(content["learning"], content["results"], strict=True):
        runs = [read_history(whole / "runs/darcy" / result["row"] / f"seed{seed}") for seed in (0, 1)]
        values = [[float(row["val/relative_l2"]) for row in run.values()] for run in runs]
        assert course["errors"] == pytest.approx([(one + two) / 2 for one, two in zip(*values, strict=True)])
        assert course["seconds"][-1] == pytest.approx(result["training_device_seconds"])
        assert course["seconds"][0] == pytest.approx(course["seconds"][1] / 2)
    files = sorted(path.name for path in (whole / "runs").glob("*.*"))
    assert files == [
        *("efficiency.pdf", "efficiency.png", "learning.pdf", "learning.png", "pace.json", "pace.lock"),
        *("table.csv", "table.html", "table.json", "table.md", "table.tex"),
    ]
    with (whole / "runs/table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["seed_1"]) for row in rows] == [result["seeds"]["1"] for result in content["results"]]
    text = (whole / "runs/table.md").read_text()
    assert "arXiv 2301.12664" in text
    assert "0.0065" in text


def test_the_same_table_elsewhere_gives_equal_numbers(whole, commands, tmp_path):
    """In another folder, one of the models and one of the seeds."""
    shutil.copytree(whole / "data", tmp_path / "data")
    code, content = run_table(tmp_path, "seeds=1", "models=[lsm]")
    assert code == table.DONE
    assert seeds_of(content, "lsm") == {0: seeds_of(read_table(whole), "lsm")["0"]}


def test_what_is_finished_is_not_done_again(copy, commands):
    before = read_table(copy)
    code, content = run_table(copy, "seeds=2")
    assert (code, commands.calls) == (table.DONE, [])
    assert json.loads(json.dumps(content["results"])) == before["results"]


def test_what_is_finished_is_collected_without_running_the_rest(copy, commands):
    """A row without a profile, and one with runs of another configuration, which stay where they are."""
    before = read_table(copy)
    shutil.rmtree(copy / "runs/darcy/lsm/profile")
    code, content = run_table(copy, "seeds=2", "collect=true")
    assert (code, commands.calls) == (table.DONE, [])
    assert seeds_of(content, "lsm") == {}
    assert json.loads(json.dumps(seeds_of(content, "fno"))) == seeds_of(before, "fno")
    assert content["notes"][0] == "Not finished yet: darcy, lsm, seed 0; darcy, lsm, seed 1."
    code, content = run_table(copy, "models=[fno]", "seeds=2", "collect=true", "options=['optimizer.lr=1e-4']")
    assert (code, commands.calls, seeds_of(content, "fno")) == (table.DONE, [], {})
    assert sorted(path.name for path in (copy / "runs/darcy/fno").glob("seed?")) == ["seed0", "seed1"]
    (store,) = (copy / "data").glob("*.h5")
    store.rename(copy / "elsewhere.h5")
    elsewhere = f"table.rows.fno.options=['model.modes=3','data.path={copy / 'elsewhere.h5'}']"
    code, content = run_table(copy, "seeds=2", "collect=true", elsewhere)
    assert (code, commands.calls, seeds_of(content, "lsm")) == (table.DONE, [], {}), "without data nothing is known"
    assert json.loads(json.dumps(seeds_of(content, "fno"))) == seeds_of(before, "fno")


@pytest.mark.slow
def test_a_run_that_was_stopped_continues_to_equal_numbers(whole, copy, commands, monkeypatch):
    """The limit stops the first training after one of two epochs."""
    run = copy / "runs/darcy/lsm/seed0"
    shutil.rmtree(run)
    with monkeypatch.context() as patch:
        patch.setitem(commands.more, "train", ["time_limit=1e-3"])
        code, content = run_table(copy, "models=[lsm]", "seeds=1", "time_limit=100")
    assert (code, commands.names) == (table.CONTINUE, ["train"])
    assert seeds_of(content, "lsm") == {}
    assert "Not finished yet: darcy, lsm, seed 0." in (copy / "runs/table.md").read_text()
    stopped = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert stopped["epoch"] == 0
    code, content = run_table(copy, "models=[lsm]", "seeds=1")
    assert (code, commands.names) == (table.DONE, ["train", "train", "evaluate"])
    assert seeds_of(content, "lsm") == {0: seeds_of(read_table(whole), "lsm")["0"]}
    finished = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    costs = [saved["callbacks"]["TrainingCost"]["seconds"] for saved in (stopped, finished)]
    assert 0 < costs[0] < costs[1], "the time of both calls"


def test_another_metric_evaluates_the_finished_runs_again(copy, commands):
    code, content = run_table(copy, "models=[fno]", "seeds=1", "table.metric=rmse")
    assert (code, commands.names) == (table.DONE, ["evaluate"])
    metrics = json.loads((copy / "runs/darcy/fno/seed0/evaluation/test_last/metrics.json").read_text())
    assert seeds_of(content, "fno") == {0: pytest.approx(metrics["rmse"]["mean"], rel=1e-6)}
    assert run_table(copy, "models=[fno]", "seeds=1", "table.metric=rmse")[0] == table.DONE
    assert commands.names == ["evaluate"], "the second call finds the run finished"
    with pytest.raises(InputError, match="metric relative_l2_per_band has several numbers per sample, expected one of"):
        run_table(copy, "models=[fno]", "seeds=1", "table.metric=relative_l2_per_band")


@pytest.mark.slow
def test_another_configuration_repeats_a_run_and_says_why(copy, commands, capsys):
    code, _ = run_table(copy, "models=[lsm]", "seeds=1", 'options=["optimizer.lr=1e-4"]')
    assert (code, commands.names) == (table.DONE, ["profile", "train", "evaluate"])
    assert "darcy, lsm, seed 0: repeating, since optimizer.lr was 0.002, is 0.0001" in capsys.readouterr().out
    assert (copy / "runs/darcy/lsm/seed0.outdated1/checkpoints/last.ckpt").is_file()


def test_other_data_and_other_code_are_told_apart_and_code_can_be_accepted(copy, commands, monkeypatch):
    data = {"source": "elsewhere"}
    cell = cells.Cell(make_plan(compose_config("table", *options_of(copy))).experiments[0], 0)
    state = cells.state_of(cell, data, "relative_l2", accept_other_code=True)
    assert (state.status, state.reason) == ("outdated", "source was generated, is elsewhere")
    for module in (cells, costs):
        monkeypatch.setattr(module, "code_revision", lambda *_: "0123456789ab")
    plan = compose_config("table", *options_of(copy, "seeds=1", "dry_run=true"))
    runs = table.run(plan)[1]["runs"]
    assert {run["status"] for run in runs.values()} == {"outdated"}
    assert all(run["reason"].endswith("is 0123456789ab") for run in runs.values())
    code, content = run_table(copy, "seeds=1", "accept_other_code=true")
    assert (code, commands.calls) == (table.DONE, [])
    names = "darcy, lsm, seed 0; darcy, fno, seed 0"
    assert f"Accepted although made by another revision of the code: {names}." in content["notes"]


def test_runs_of_a_plugin_whose_code_changed_are_outdated(whole, commands, tmp_path, monkeypatch):
    """The training, the evaluation and the profile record a revision that counts the plugin."""
    shutil.copytree(whole / "data", tmp_path / "data")
    plugin = tmp_path / "table_plugin.py"
    plugin.write_text("FACTOR = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(revision, "_imported", ("table_plugin",))  # as the check of lsm-table sets it
    options = "models=[fno]", "seeds=1", "plugins=[table_plugin]"
    run_table(tmp_path, *options)
    code, _ = run_table(tmp_path, *options)
    assert (code, commands.names) == (table.DONE, ["profile", "train", "evaluate"]), (
        "the second call finds all finished"
    )
    plugin.write_text("FACTOR = 2\n")
    revision._revision.cache_clear()
    (run,) = run_table(tmp_path, *options, "dry_run=true")[1]["runs"].values()
    assert run["status"] == "outdated"
    assert run["reason"].startswith("the code was ")
    experiment = make_plan(compose_config("table", *options_of(tmp_path, *options))).experiments[0]
    assert costs.profile_of(experiment, accept_other_code=False) is None
    assert costs.profile_of(experiment, accept_other_code=True) is not None


def test_a_dry_run_does_nothing_and_estimates(commands, tmp_path):
    _, work = run_table(tmp_path, "seeds=2", "dry_run=true")
    assert (commands.calls, list(tmp_path.iterdir())) == ([], [])
    assert [run["status"] for run in work["runs"].values()] == ["missing"] * 4
    assert work["hours"] == pytest.approx(sum(run["seconds"] for run in work["runs"].values()) / 3600)
    assert work["hours"] > 0
    _, shared = run_table(tmp_path, "seeds=1", "dry_run=true", "budget=100", "+table.rows.fno.share=0.25")
    assert [run["seconds"] for run in shared["runs"].values()] == [100, 25]
    (data,) = work["data"]
    assert "lsm-generate benchmark=darcy preset=quick benchmark.sets.quick.solver_resolution=25" in data
    with pytest.raises(InputError, match=r"data are missing; add generate=true.*\n.*lsm-generate benchmark=darcy"):
        run_table(tmp_path)


@pytest.mark.slow
def test_a_budget_gives_every_model_the_same_time(copy, commands):
    """Epochs from the recorded step times; the recorded figure repeats the table exactly."""
    for row, step in (("lsm", 0.05), ("fno", 0.025)):
        path = copy / "runs/darcy" / row / "profile/profile.json"
        content = json.loads(path.read_text())
        content["step"]["device_seconds"], content["inference"]["batch_device_seconds"] = step, 0.0
        content["reference_seconds"] = None  # measured at one speed of the machine
        path.write_text(json.dumps(content))
    code, content = run_table(copy, "seeds=1", "budget=0.31")
    assert code == table.DONE
    epochs = {result["row"]: result["epochs"] for result in content["results"]}
    assert epochs == {"lsm": 2, "fno": 4}, "three steps an epoch of 0.05 and 0.025 seconds"
    assert content["budget"] == content["benchmarks"][0]["budget_seconds"] == 0.31
    assert commands.names == ["train", "evaluate"], "the run of two epochs is there already"
    run = torch.load(copy / "runs/darcy/fno/seed0/checkpoints/last.ckpt", weights_only=True)
    assert run["epoch"] == 3
    assert run["lr_schedulers"][0]["total_steps"] == 12


def test_a_failure_stops_nothing_else(copy, commands, monkeypatch):
    shutil.rmtree(copy / "runs/darcy/lsm/seed0")
    shutil.rmtree(copy / "runs/darcy/fno/seed0")
    original = Commands.__call__

    def fail(self: Commands, module: str, options: list[str], *rest: Any, **more: Any) -> None:
        if module == "experiments.train" and "model=lsm" in options:
            raise CommandFailed("the GPU caught fire")
        original(self, module, options, *rest, **more)

    monkeypatch.setattr(Commands, "__call__", fail)
    code, content = run_table(copy, "seeds=1")
    assert code == table.FAILED
    assert content["failures"] == {"darcy, lsm, seed 0": "the GPU caught fire"}
    assert list(seeds_of(content, "fno")) == [0]
    assert "the GPU caught fire" in (copy / "runs/table.html").read_text()


def test_a_run_that_another_process_holds_is_left_alone(copy, commands):
    shutil.rmtree(copy / "runs/darcy/lsm/seed0")
    with processes.exclusive(copy / "runs/darcy/lsm/seed0.lock") as lock:
        assert lock is not None
        code, _ = run_table(copy, "models=[lsm]", "seeds=1")
    assert (code, commands.calls) == (table.CONTINUE, [])


def test_a_device_that_is_not_there_is_named_before_anything_is_made(commands, tmp_path):
    with pytest.raises(InputError, match="device 'gpu' is not available"):
        run_table(tmp_path, "generate=true", "device=gpu")
    assert commands.calls == []


def test_shards_wait_for_the_profile_that_another_one_makes(copy, commands, monkeypatch):
    """While this call waits, the other process finishes."""
    profile_folder = copy / "runs/darcy/lsm/profile"
    profile_folder.rename(copy / "elsewhere")
    holder = processes.exclusive(copy / "runs/darcy/lsm/profile.lock")
    holder.__enter__()

    def finish(_: float) -> None:
        (copy / "elsewhere").rename(profile_folder)
        holder.__exit__(None, None, None)

    monkeypatch.setattr(time, "sleep", finish)
    code, _ = run_table(copy, "seeds=2")
    assert (code, commands.calls) == (table.DONE, [])


def wait_until(is_true: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_processes_keep_their_lock_and_the_table_continues(whole, tmp_path):
    """kill -9 of the table leaves its training alone; another call waits for it, and one after that continues."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    shutil.copytree(whole / "data", tmp_path / "data")
    options = options_of(tmp_path, "models=[lsm]", "seeds=1", 'options=["trainer.max_epochs=200"]')
    command = [sys.executable, "-m", "experiments.table", *options]
    run = tmp_path / "runs/darcy/lsm/seed0"
    first = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        wait_until((run / "checkpoints/last.ckpt").is_file)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "another process works on it" in second.stdout, "the training survived its caller"
    assert second.returncode == table.CONTINUE
    (training,) = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _trains_in(path, run)]
    os.kill(training, signal.SIGKILL)
    third = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert third.returncode == table.DONE, third.stdout + third.stderr
    assert "darcy, lsm, seed 0: continuing after" in third.stdout


def _trains_in(process: Path, run: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().decode().split("\0")
    except OSError:
        return False
    return "experiments.train" in words and f"run_dir={run}" in words
