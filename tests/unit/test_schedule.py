"""Units of work: what is done stays done, what fails stops nothing, lanes wait for each other, time is kept."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from experiments.playbook.ledger import Ledger
from experiments.playbook.processes import Deadline, OutOfTime, Skipped, WorkFailed, run_logged, run_or_fail
from experiments.playbook.schedule import Unit, run_units


def unit(name: str, do: Callable[[Deadline], dict[str, Any]] = lambda _: {}, **more: Any) -> Unit:
    return Unit("stage", name, do, **more)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "out", {"seed": 3})


def states(ledger: Ledger, *names: str) -> list[str | None]:
    return [ledger.status(f"stage/{name}") for name in names]


def fail(_: Deadline) -> dict[str, Any]:
    raise ValueError("seven is not allowed")


def test_a_record_says_with_what_it_was_made(ledger):
    run_units([unit("a", lambda _: {"summary": "fine", "value": 7})], ledger, Deadline(10))
    record = json.loads((ledger.folder / "stage/a.json").read_text())
    assert (record["status"], record["error"], record["seed"]) == ("done", None, 3)
    assert record["result"] == {"summary": "fine", "value": 7}
    assert record["environment"]["packages"]["torch"] == torch.__version__
    assert {"gpu", "processor"} <= set(record["environment"]["machine"])
    assert "commit" in record["environment"]
    assert [path.name for path in (ledger.folder / "stage").iterdir()] == ["a.json"]


def test_a_failure_is_recorded_and_the_others_go_on(ledger):
    def part(_: Deadline) -> dict[str, Any]:
        raise WorkFailed("half of it", {"half": 1})

    def absent(_: Deadline) -> dict[str, Any]:
        raise Skipped("needs a library")

    units = [unit("a", fail), unit("b"), unit("c", part), unit("d", absent), unit("e", needs="stage/a"), unit("f")]
    run_units(units, ledger, Deadline(10))
    assert states(ledger, *"abcdef") == ["failed", "done", "failed", "skipped", "skipped", "done"]
    assert ledger.read("stage/a")["error"] == "ValueError: seven is not allowed"
    assert ledger.read("stage/c")["result"] == {"half": 1}
    assert ledger.read("stage/d")["error"] == "needs a library"
    assert ledger.read("stage/e")["error"] == "needs stage/a, which failed"


def test_what_is_done_is_not_done_again_and_what_failed_only_if_asked(ledger):
    calls: list[str] = []
    units = [unit("a", lambda _: calls.append("a") or {}), unit("b", lambda _: calls.append("b") or fail(_))]
    for _ in range(2):
        run_units(units, ledger, Deadline(10))
    assert calls == ["a", "b"]
    ledger.forget_failures(units)
    run_units(units, ledger, Deadline(10))
    assert calls == ["a", "b", "b"]


def test_work_without_time_goes_on_in_the_next_call_and_adds_up(ledger):
    def work_of_two_calls(deadline: Deadline) -> dict[str, Any]:
        if ledger.read("stage/a") is None:
            time.sleep(0.2)
            raise OutOfTime
        return {}

    units = [unit("a", work_of_two_calls), unit("b", at_least=20.0)]
    run_units(units, ledger, Deadline(10))
    assert states(ledger, "a", "b") == ["unfinished", None], "nothing is begun that cannot be ended"
    run_units(units, ledger, Deadline(30))
    record = ledger.read("stage/a")
    assert (record["status"], record["calls"]) == ("done", 2)
    assert record["seconds"] >= 0.2


def test_lanes_work_at_once_and_wait_for_each_other(ledger):
    order: list[str] = []

    def note(name: str, seconds: float) -> Callable[[Deadline], dict[str, Any]]:
        def do(_: Deadline) -> dict[str, Any]:
            time.sleep(seconds)
            order.append(name)
            return {}

        return do

    units = [
        unit("data", note("data", 0.4), lane="processor"),
        unit("train", note("train", 0), needs="stage/data"),
        unit("filler", note("filler", 0)),
        unit("elsewhere", note("elsewhere", 0), needs="other/unit"),
    ]
    run_units(units, ledger, Deadline(10))
    assert order == ["filler", "elsewhere", "data", "train"]


def test_a_product_that_is_gone_is_made_again_only_where_it_is_needed(ledger, tmp_path):
    product = tmp_path / "store.h5"
    made: list[int] = []

    def make(_: Deadline) -> dict[str, Any]:
        made.append(1)
        product.touch()
        return {}

    data = unit("data", make, product=product)
    run_units([data], ledger, Deadline(10))
    product.unlink()
    run_units([data, unit("train", needs="stage/data")], ledger, Deadline(10))
    assert (len(made), states(ledger, "train")) == (2, ["done"])
    product.unlink()
    run_units([data, unit("train", needs="stage/data")], ledger, Deadline(10))
    assert len(made) == 2, "the training is done"


def test_nothing_begins_after_the_deadline(ledger):
    deadline = Deadline(10)
    run_units([unit("a", lambda _: deadline.cancel() or {}), unit("b")], ledger, deadline)
    assert states(ledger, "a", "b") == ["done", None]


def test_a_program_is_ended_at_the_deadline_with_all_that_it_started(tmp_path):
    child = "import time; time.sleep(1.5); open('survived', 'w')"
    program = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); print('hello'); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(OutOfTime):
        run_logged([sys.executable, "-c", program], tmp_path / "log", Deadline(1.0), tmp_path)
    assert 1.0 <= time.monotonic() - started < 5
    assert "hello" in (tmp_path / "log").read_text()
    time.sleep(1.7)
    assert not (tmp_path / "survived").exists()


def test_a_program_that_fails_says_why(tmp_path):
    with pytest.raises(WorkFailed, match=r"exit code 3: .*the reason"):
        run_or_fail([sys.executable, "-c", "print('the reason'); exit(3)"], tmp_path / "log", Deadline(10))
