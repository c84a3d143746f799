"""Commands as processes: logs, failures, deadlines and locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.processes import CommandFailed, Deadline, OutOfTime, call_module, exclusive, held


def module_of(tmp_path, monkeypatch, text: str) -> str:
    """A module of this content that processes can import."""
    (tmp_path / "toy_command.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "toy_command"


def test_output_goes_to_the_log_and_threads_to_the_environment(tmp_path, monkeypatch):
    names = "('OMP_NUM_THREADS', 'HYDRA_FULL_ERROR', 'GPU')"
    text = f"import os, sys; print(sys.argv[1:], *(os.environ.get(name) for name in {names}))"
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # a command sets it for itself
    log = tmp_path / "logs/log.txt"
    for option in ("a=1", "b=2"):
        call_module(module_of(tmp_path, monkeypatch, text), [option], log, threads=3, variables={"GPU": option})
    lines = log.read_text().splitlines()
    assert lines[1::2] == ["['a=1'] 3 None a=1", "['b=2'] 3 None b=2"], "appended"
    assert lines[0].endswith("-m toy_command a=1")


def test_a_failure_says_the_last_line(tmp_path, monkeypatch):
    text = "import sys; print('so far'); print('error: there is no store', file=sys.stderr); sys.exit(1)"
    with pytest.raises(CommandFailed, match=r"^there is no store$"):
        call_module(module_of(tmp_path, monkeypatch, text), [], tmp_path / "log.txt")
    with pytest.raises(CommandFailed, match="toy_command ended with code 7"):
        call_module(module_of(tmp_path, monkeypatch, "raise SystemExit(7)"), [], tmp_path / "silent.txt")
    text = "import os, signal; print('darcy, lsm: 12,345 parameters', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(
        CommandFailed, match=r"toy_command was ended by the signal SIGKILL; perhaps the memory was full"
    ):
        call_module(module_of(tmp_path, monkeypatch, text), [], tmp_path / "killed.txt")


def test_the_deadline_ends_a_process_and_what_it_started(tmp_path, monkeypatch):
    text = f"""
import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child.pid))
child.wait()
"""
    module, deadline = module_of(tmp_path, monkeypatch, text), Deadline()
    monkeypatch.setattr(deadline, "left", lambda: 0.0 if (tmp_path / "child").exists() else 1.0)
    with pytest.raises(OutOfTime):
        call_module(module, [], tmp_path / "log.txt", deadline)
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.05)


def _lives(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_without_time_nothing_is_started(tmp_path):
    deadline = Deadline(0.0)
    with pytest.raises(OutOfTime):
        call_module("no_such_module", [], tmp_path / "log.txt", deadline)
    assert not (tmp_path / "log.txt").exists()
    assert Deadline().left() == float("inf")


def test_signals_end_the_time_and_are_restored():
    deadline, before = Deadline(), signal.getsignal(signal.SIGTERM)
    with deadline.cancelled_by_signals():
        assert deadline.left() > 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert deadline.left() == 0.0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_lock_lasts_as_long_as_a_process_that_inherited_it(tmp_path):
    path = tmp_path / "folder/lock"
    with exclusive(path) as held:
        assert held is not None
        with exclusive(path) as second:
            assert second is None
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[held])
    try:
        with exclusive(path) as while_it_sleeps:
            assert while_it_sleeps is None
    finally:
        sleeper.kill()
        sleeper.wait()
    with exclusive(path) as afterwards:
        assert afterwards is not None


def test_a_lock_is_waited_for_until_the_deadline(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    with exclusive(path), pytest.raises(OutOfTime), held(path, Deadline(0.0)):
        pass
    holder = exclusive(path)
    holder.__enter__()
    monkeypatch.setattr(time, "sleep", lambda _: holder.__exit__(None, None, None))
    with held(path, Deadline()), exclusive(path) as second:
        assert second is None
