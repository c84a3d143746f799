"""Run this project's commands as processes of their own: with a log, a number of threads, and until a deadline."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import lsm

#: Folder of the packages: a process finds them there, installed or not.
_PACKAGES = Path(lsm.__file__).resolve().parents[1]

#: Seconds that a process has to end by itself before it is killed.
_GRACE = 10.0

#: Seconds between two looks at a lock that another process holds.
_LOOK = 0.2

#: Libraries whose threads environment variables count.
_THREADED = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")


class OutOfTime(Exception):
    """The deadline came before the work was done; a later call continues it."""


class CommandFailed(Exception):
    """A command ended with an error; the message is its last line of output, or the signal that ended it."""


class Deadline:
    """When to stop.

    Args:
        seconds: from now; None for no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._end = math.inf if seconds is None else time.monotonic() + seconds
        self._cancelled = threading.Event()

    def left(self) -> float:
        """Seconds that are left, at least 0; infinite without a limit."""
        return 0.0 if self._cancelled.is_set() else max(self._end - time.monotonic(), 0.0)

    @contextmanager
    def cancelled_by_signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the time instead of this process, which then leaves its work in order."""
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, lambda *_: self._cancelled.set()) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def call_module(
    module: str,
    options: Sequence[str],
    log: Path,
    deadline: Deadline | None = None,
    threads: int | None = None,
    inherited: Sequence[int] = (),
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run ``python -m MODULE OPTIONS``; its output is appended to a file.

    Args:
        module: such as ``experiments.train``.
        options: of its command line.
        log: the file.
        deadline: when to end the process, if it has not ended by itself.
        threads: of numerical libraries; None leaves the choice to them.
        inherited: open files that the process keeps open, such as those that hold locks.
        variables: of its environment, besides those of this process.
    Raises:
        CommandFailed: it ended with another code than 0, or by a signal.
        OutOfTime: the deadline came first.
    """
    deadline = deadline or Deadline()
    if not deadline.left():
        raise OutOfTime
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, *options]
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=_environment(threads) | dict(variables or {}),
            start_new_session=True,
            pass_fds=inherited,
        )
        try:
            code = _wait(process, deadline)
        finally:
            _end(process)
    if code < 0:
        memory = "; perhaps the memory was full" * (code == -signal.SIGKILL)
        raise CommandFailed(f"{module} was ended by the signal {signal.Signals(-code).name}{memory} (log: {log})")
    if code:
        raise CommandFailed(_last_words(log) or f"{module} ended with code {code}")


def _environment(threads: int | None) -> dict[str, str]:
    # A command sets HYDRA_FULL_ERROR for itself; inherited, it would show tracebacks of a user's mistakes.
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    environment["PYTHONUNBUFFERED"] = "1"
    counts = {} if threads is None else {f"{library}_NUM_THREADS": str(threads) for library in _THREADED}
    return environment | counts


def _wait(process: subprocess.Popen[bytes], deadline: Deadline) -> int:
    while left := deadline.left():
        try:
            return process.wait(min(left, 0.2))
        except subprocess.TimeoutExpired:
            continue
    raise OutOfTime


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs, and all that it started."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines and not lines[-1].startswith("$ ") else ""


@contextmanager
def exclusive(path: Path) -> Iterator[int | None]:
    """Hold a lock on a file; yield the open file, or None if another process holds the lock.

    A process that inherits the open file keeps the lock: it stays held while a command works whose caller was killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor if _try_lock(descriptor) else None
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path, deadline: Deadline) -> Iterator[None]:
    """Hold a lock on a file; wait while another process holds it.

    Raises:
        OutOfTime: the deadline came first.
    """
    while True:
        with exclusive(path) as lock:
            if lock is not None:
                yield
                return
        if not deadline.left():
            raise OutOfTime
        time.sleep(_LOOK)


def _try_lock(descriptor: int) -> bool:
    """Lock an open file; False if another process holds the lock. A file system without locks excludes nobody."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
    return True
