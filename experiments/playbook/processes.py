"""Time that ends, and programs that end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lsm

#: Folder in which the packages lie: programs find them there, installed or not.
PACKAGES = Path(lsm.__file__).resolve().parents[1]

#: Seconds that a program has to end by itself before it is killed.
GRACE = 10.0


class OutOfTime(Exception):
    """The deadline came before the work was done; it can be gone on with."""


class Skipped(Exception):
    """There is no sense in this work here; the message says why."""


class WorkFailed(Exception):
    """A unit of work failed.

    Args:
        reason: one line.
        result: what it found all the same.
    """

    def __init__(self, reason: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.result = result


class Deadline:
    """When to stop.

    Args:
        seconds: time from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._cancelled = threading.Event()

    def left(self) -> float:
        """Seconds that are left, not below 0."""
        return 0.0 if self._cancelled.is_set() else max(self._end - time.monotonic(), 0.0)

    def cancel(self) -> None:
        """Stop now."""
        self._cancelled.set()


def run_logged(command: Sequence[str], log: Path, deadline: Deadline, folder: Path | None = None) -> int:
    """Run a program with everything that it says in a file; end it, with all that it started, at the deadline.

    Args:
        command: the program and its arguments.
        log: the file, which is added to.
        deadline: when to stop.
        folder: where to run; here by default.
    Returns:
        The exit code.
    Raises:
        OutOfTime: the deadline came first.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=environment, start_new_session=True
        )
        try:
            while deadline.left():
                try:
                    return process.wait(min(deadline.left(), 0.5))
                except subprocess.TimeoutExpired:
                    continue
            raise OutOfTime
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_or_fail(command: Sequence[str], log: Path, deadline: Deadline) -> None:
    """As :func:`run_logged`, for programs that end well with code 0.

    Raises:
        WorkFailed: the program ended with another code.
        OutOfTime: the deadline came first.
    """
    code = run_logged(command, log, deadline)
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise WorkFailed(f"exit code {code}: {' | '.join(lines[-3:])} (see {log.name})")
