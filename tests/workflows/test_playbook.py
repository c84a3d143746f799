"""The playbook: every stage rehearsed on the CPU; what is done stays done, what fails stops nothing, time is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from test_command_line import environment_of

from experiments.cli import compose_config
from experiments.playbook import work
from experiments.playbook.__main__ import CALL_AGAIN, DONE, FAILED, run
from experiments.playbook.processes import Deadline, OutOfTime, WorkFailed
from experiments.playbook.stages import lacking_library, plan
from experiments.playbook.timings import measure
from lsm.errors import InputError

BENCHMARKS = sorted(path.stem for path in (ROOT / "conf/benchmark").glob("*.yaml"))

#: Three tests that pass, fail or break, for selections that need no conftest.
FILE_OF_TESTS = """
import pytest
def test_good(): pass
def test_bad(): assert 0
@pytest.fixture
def broken(): 1 / 0
def test_broken(broken): pass
@pytest.mark.skip
def test_skipped(): pass
"""


def config(out: Path, *more: str) -> Any:
    """A rehearsal on the CPU."""
    options = [f"out={out}", "size=tiny", "device=cpu", f"data_dir={out.parent / 'data'}", "time_limit=300"]
    return compose_config("playbook", *options, "timings.steps=2", "timings.warmup=1", *more)


# The plan


def test_the_plan_of_a_whole_day(tmp_path):
    """Quick things first, one data unit a store, data before the training that needs them, cheap before dear."""
    cfg = config(tmp_path / "out", "device=cuda", "size=paper")
    keys = [unit.key for unit in plan(cfg)]
    assert keys[0] == "tests/gpu"
    assert keys[-1] == "tests/library"
    trained = [key.partition("/")[2] for key in keys if key.startswith("train/")]
    assert sorted(trained) == BENCHMARKS
    known = [name for name in cfg.order if name in BENCHMARKS]
    assert trained[: len(known)] == known
    assert keys.count("data/elasticity") == 1
    for unit in plan(cfg):
        if unit.stage == "train":
            assert keys.index(unit.needs) < keys.index(unit.key)
    for name in BENCHMARKS:
        assert (
            keys.index(f"timings/{name}_uncompiled")
            < keys.index("train/elasticity_g")
            < keys.index(f"timings/{name}_inductor")
        )
    lanes = {unit.key: unit.lane for unit in plan(cfg)}
    assert (lanes["data/darcy"], lanes["data/elasticity"]) == ("device", "processor")


def test_generation_at_paper_size_makes_what_the_splits_need(tmp_path):
    cfg = config(tmp_path / "out", "device=cuda", "size=paper")
    options = work.generate_options(cfg, "darcy", 1224, on_device=True)
    assert {"num_samples=1224", "device=cuda", "batch_size=64", "workers=2", "preset=paper"} <= set(options)
    assert not any(option.startswith("device=") for option in work.generate_options(cfg, "pipe", 9, on_device=False))


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("stage=tets", "'tets'"),
        ("benchmarks=[darci]", "'darci'"),
        ("time_limit=20", "more than 30"),
        ("device=cuda:99", "cuda:99"),
    ],
)
def test_mistakes_are_named(option, named, tmp_path):
    with pytest.raises(InputError, match=named):
        run(config(tmp_path / "out", "size=paper", option))
    assert not list(tmp_path.glob("out/*"))


def test_a_library_that_lacks_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skfem", None)
    for name in [name for name in sys.modules if name.startswith("data_prep.elasticity")]:
        monkeypatch.delitem(sys.modules, name)
    assert lacking_library("data_prep.elasticity.generator.ElasticityGenerator") == "scikit-fem"
    assert lacking_library("data_prep.darcy.generator.DarcyGenerator") is None


# Rehearsals


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_benchmark_is_timed_in_both_precisions(benchmark, tmp_path):
    options = work.size_options(benchmark, config(tmp_path / "out"))
    request = {"options": options, "device": "cpu", "compile": None, "precisions": ["32-true", "bf16-mixed"]}
    *_, measured = measure({**request, "warmup": 1, "steps": 2})
    assert (measured["batch_size"], measured["device"]) == (2, "cpu")
    for found in measured["precisions"].values():
        assert "error" not in found
        assert 0 < found["fastest_seconds"] <= found["step_seconds"] <= found["slowest_seconds"]
        assert found["samples_per_second"] == pytest.approx(2 / found["step_seconds"])
        assert found["last_loss"] != found["first_loss"]
    exact, mixed = (found["first_loss"] for found in measured["precisions"].values())
    assert mixed != exact
    assert mixed == pytest.approx(exact, rel=0.1)


def test_a_precision_that_fails_is_told_and_the_others_are_measured(tmp_path, monkeypatch):
    original = torch.autocast.__enter__

    def refuse(self: torch.autocast) -> Any:
        if self._enabled:
            raise RuntimeError("out of memory")
        return original(self)

    monkeypatch.setattr(torch.autocast, "__enter__", refuse)
    options = work.size_options("darcy", config(tmp_path / "out"))
    request = {"options": options, "device": "cpu", "compile": None, "precisions": ["32-true", "bf16-mixed"]}
    *_, measured = measure({**request, "warmup": 1, "steps": 2})
    found = measured["precisions"]
    assert found["32-true"]["step_seconds"] > 0
    assert found["bf16-mixed"] == {"error": "RuntimeError: out of memory"}


def test_a_compilation_that_takes_too_long_leaves_what_was_measured(tmp_path, monkeypatch):
    """It counts as failed, not as unfinished: another call would end in the same way."""

    def slow(command: list[str], log: Path, deadline: Deadline) -> None:
        request = json.loads(command[-1])
        found = {"step_seconds": 0.5, "samples_per_second": 4.0, "peak_memory_bytes": 2**30}
        ledger_file = Path(request["answer"])
        ledger_file.parent.mkdir(parents=True)
        ledger_file.write_text(json.dumps({"precisions": {request["precisions"][0]: found}}))
        assert deadline.left() <= 180
        raise OutOfTime

    monkeypatch.setattr(work, "run_or_fail", slow)
    cfg = config(tmp_path / "out")
    with pytest.raises(
        WorkFailed, match=r"longer than .*=180 seconds; 32-true 500.0 ms, 4 samples/s, 1.00 GiB"
    ) as caught:
        work.time_steps(cfg, "darcy", "darcy_inductor", "inductor", Deadline(300))
    assert list(caught.value.result["precisions"]) == ["32-true"]
    over = Deadline(300)
    over.cancel()
    with pytest.raises(OutOfTime):
        work.time_steps(cfg, "darcy", "other/darcy_inductor", "inductor", over)


def test_failed_tests_are_counted_and_named(tmp_path):
    (tmp_path / "test_three.py").write_text(FILE_OF_TESTS)
    cases = tmp_path / "cases.xml"
    pytest.main(["-q", "-p", "no:cacheprovider", "-c", "/dev/null", f"--junitxml={cases}", str(tmp_path)])
    found = work.read_cases(cases)
    assert (found["passed"], found["skipped"]) == (1, 1)
    assert found["failed"] == ["test_three::test_bad", "test_three::test_broken"]


def test_a_store_that_is_there_is_not_made_again(darcy_store, tmp_path, monkeypatch):
    """Converted data, say, in which generated ones have no place."""
    monkeypatch.setattr(work, "run_or_fail", lambda *_: pytest.fail("nothing is to be run"))
    found = work.generate(config(tmp_path / "out"), [], darcy_store, 9, Deadline(10))
    assert (found["samples"], found["solved_in_this_call"], found["source"]) == (9, 0, "generated")


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """Runs commands as forks of one process, see ``forked_commands.py``."""
    command = [sys.executable, str(Path(__file__).with_name("forked_commands.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment_of(), **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="module")
def rehearse(server, tmp_path_factory) -> Callable[..., int]:
    """``rehearse(out, *options)``: the playbook, with this project's commands as forks; other programs run as they are."""

    one_at_a_time = threading.Lock()

    def launch(command: list[str], log: Path, deadline: Deadline) -> None:
        assert deadline.left() > 0
        _, _, module, *options = command
        with one_at_a_time:
            print(json.dumps([str(ROOT), module.removeprefix("experiments."), options]), file=server.stdin, flush=True)
            code, output, errors = json.loads(server.stdout.readline())
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output + errors)
        if code:
            raise WorkFailed(f"exit code {code}: {errors}")

    tests = tmp_path_factory.mktemp("selection") / "test_three.py"
    tests.write_text(FILE_OF_TESTS)
    selection = f"tests.gpu=[-c,/dev/null,-k,good or skipped,{tests}]"

    def rehearse(out: Path, *options: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work, "run_or_fail", launch)
            return run(config(out, selection, "~tests.library", "timings.compile=[null]", *options))

    return rehearse


@pytest.fixture(scope="module")
def rehearsed(rehearse, tmp_path_factory) -> tuple[int, Path]:
    """Exit code and folder of a whole rehearsal on Darcy."""
    out = tmp_path_factory.mktemp("playbook") / "out"
    return rehearse(out, "benchmarks=[darcy]"), out


def content(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in out.rglob("*.json") if path.parent.name != "logs"}


def test_every_stage_leaves_its_results(rehearsed):
    code, out = rehearsed
    assert code == DONE
    records = {record["unit"]: record for record in json.loads((out / "report.json").read_text())}
    assert {key: record["status"] for key, record in records.items()} == dict.fromkeys(
        ("tests/gpu", "timings/darcy_uncompiled", "data/darcy_quick", "train/darcy"), "done"
    )
    found = records["tests/gpu"]["result"]
    assert (found["passed"], found["skipped"], found["failed"]) == (1, 1, [])
    assert records["data/darcy_quick"]["result"]["samples"] == 9
    assert records["data/darcy_quick"]["result"]["largest_residual"] <= 1e-10
    metrics = json.loads((out / "results/darcy.json").read_text())
    published = json.loads((ROOT / "experiments/results/pipe_quick_seed0.json").read_text())
    assert metrics.keys() >= published.keys() | {"data"}
    assert (metrics["split"], metrics["relative_l2"]["num_samples"]) == ("test", 3)
    curve = (out / "results/darcy_curve.csv").read_text().splitlines()
    assert curve[0] == "epoch,train/relative_l2,val/relative_l2"
    assert [line.split(",")[0] for line in curve[1:]] == ["0", "1"]
    assert all(float(value) > 0 for line in curve[1:] for value in line.split(",")[1:])
    assert len((out / "report.md").read_text().splitlines()) == 2 + len(records)


def test_a_second_call_does_nothing(rehearsed, rehearse):
    _, out = rehearsed
    before = content(out)
    started = time.monotonic()
    assert rehearse(out, "benchmarks=[darcy]") == DONE
    assert time.monotonic() - started < 5
    assert content(out) == before


def test_a_training_that_fails_is_recorded_with_its_reason(rehearsed, rehearse, tmp_path):
    """No data: the training says what to do, and the code tells that something failed."""
    code = rehearse(tmp_path / "out", "stage=[train]", "benchmarks=[darcy]", f"data_dir={tmp_path / 'nowhere'}")
    assert code == FAILED
    record = json.loads((tmp_path / "out/train/darcy.json").read_text())
    assert record["status"] == "failed"
    assert "lsm-generate benchmark=darcy preset=quick" in record["error"]


def test_a_training_goes_on_where_the_time_was_over(rehearsed, rehearse, tmp_path):
    """A limit at the margin leaves a second for epochs, of which far too many are asked; then for one more."""
    out, data = tmp_path / "out", rehearsed[1].parent / "data"

    def call(epochs: int, *more: str) -> int:
        options = f"train.options=['scheduler=step','trainer.max_epochs={epochs}']"
        return rehearse(out, "stage=train", "benchmarks=[darcy]", f"data_dir={data}", options, *more)

    assert call(100_000, f"time_limit={work.MARGIN}") == CALL_AGAIN
    done = len((out / "results/darcy_curve.csv").read_text().splitlines()) - 1
    assert done >= 1
    assert not (out / "results/darcy.json").exists()
    assert json.loads((out / "train/darcy.json").read_text())["status"] == "unfinished"
    assert call(done + 1) == DONE
    assert len((out / "results/darcy_curve.csv").read_text().splitlines()) == done + 2
    record = json.loads((out / "train/darcy.json").read_text())
    assert (record["calls"], record["result"]["epochs"]) == (2, done + 1)


@pytest.mark.slow
def test_the_command_as_users_call_it(tmp_path):
    """One call that is too short for anything but a part, others until all is done, as programs of their own."""
    options = ["out=out", "size=tiny", "device=cpu", "data_dir=data", "benchmarks=[darcy]"]
    options += ["tests.gpu=[tests/unit/test_attention.py]", "~tests.library"]
    options += ["timings.compile=[null,eager]", "timings.steps=2", "timings.warmup=1"]
    command = [sys.executable, "-m", "experiments.playbook", *options]
    codes = []
    for limit in (8, 300, 300):
        started = time.monotonic()
        process = subprocess.run([*command, f"time_limit={limit}"], cwd=tmp_path, env=environment_of(), check=False)
        assert time.monotonic() - started < limit + 30
        codes.append(process.returncode)
    assert codes == [CALL_AGAIN, DONE, DONE]
