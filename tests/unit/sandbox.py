"""Run a reader on a hostile file in a process of its own, and say what came of it."""

from __future__ import annotations

import faulthandler
import os
import pickle
import resource
import select
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsm.errors import InputError

#: Outcomes that are allowed; the others are faults of the project.
GOOD = ("clear", "harmless")

#: Bytes beyond those of the parent process that count as too many, and the limit that protects the machine.
MEMORY, LIMIT = 1_500_000_000, 4_000_000_000

#: Seconds of computation that count as a hang, and of waiting, which other work on the machine prolongs.
SECONDS, PATIENCE = 15, 90


@dataclass(frozen=True)
class Outcome:
    """What came of a file.

    Args:
        kind: "clear" (one sentence that names the file), "harmless", "wrong" (taken although it must not be), "traceback",
            "hang", "memory", "crash" or "code" (code from the file ran).
        detail: the message or traceback.
        result: what the reader returned.
    """

    kind: str
    detail: str = ""
    result: Any = None


def run_apart(read: Callable[[], Any], named: str, canary: Path, memory: int = MEMORY) -> Outcome:
    """Call a reader in a fork with limits.

    Args:
        read: reads the file; its result must be picklable.
        named: what a clear message contains.
        canary: a path that only code from the file makes.
        memory: bytes beyond which the outcome is "memory".
    """
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        _run_child(read, named, send, memory)
    os.close(send)
    outcome = _await(child, receive)
    return Outcome("code", str(canary)) if canary.exists() else outcome


def _run_child(read: Callable[[], Any], named: str, send: int, memory: int) -> None:
    """Never returns."""
    try:
        faulthandler.disable()  # a crash is an outcome here
        before = _resident()
        space = _pages(0) + LIMIT
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
        resource.setrlimit(resource.RLIMIT_CPU, (_seconds() + SECONDS, _seconds() + SECONDS))
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(null, stream)
        outcome = _call(read, named)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        if used > memory:
            outcome = Outcome("memory", f"{used:.3g} bytes; {outcome.kind}: {outcome.detail}")
        with os.fdopen(send, "wb") as pipe:
            pickle.dump(outcome, pipe)
    finally:
        os._exit(0)


def _call(read: Callable[[], Any], named: str) -> Outcome:
    try:
        return Outcome("harmless", result=read())
    except BaseException as error:
        if _is_lack_of_memory(error):
            return Outcome("memory", repr(error))
        message = str(error)
        if isinstance(error, (InputError, FileNotFoundError)) and named in message and len(message.splitlines()) == 1:
            return Outcome("clear", message)
        return Outcome("traceback", "".join(traceback.format_exception(error))[-3000:])


def _is_lack_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _pages(column: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[column]) * resource.getpagesize()


def _resident() -> int:
    return _pages(1)


def _seconds() -> int:
    return round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))


def _await(child: int, receive: int) -> Outcome:
    with os.fdopen(receive, "rb") as pipe:
        if not select.select([pipe], [], [], PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Outcome("hang", f"more than {PATIENCE} s")
        content = pipe.read()
    status = os.waitpid(child, 0)[1]
    if content:
        return pickle.loads(content)
    return Outcome("hang" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "crash", f"status {status}")
