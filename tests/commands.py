"""The commands as processes, as a user calls them from some folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conftest import ROOT


@dataclass(frozen=True)
class Finished:
    """Exit code and output of a process."""

    code: int
    output: str
    errors: str


def environment_of(*folders: Path) -> dict[str, str]:
    """The packages, and modules in further folders, are found from any folder; data lie in ``data/``."""
    paths = os.pathsep.join(filter(None, [*map(str, folders), str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "LSM_DATA_DIR": "data"}


def call(folder: Path, name: str, *options: str) -> Finished:
    """``python -m experiments.NAME`` in a folder."""
    command = [sys.executable, "-m", f"experiments.{name}", *options]
    process = subprocess.run(command, cwd=folder, env=environment_of(), capture_output=True, text=True, check=False)
    return Finished(process.returncode, process.stdout, process.stderr)


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks commands, see ``forked_commands.py``; it ends with the tests."""
    command = [sys.executable, str(ROOT / "tests/workflows/forked_commands.py")]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment_of(ROOT / "tests"), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def call_forked(folder: Path, commands: Iterable[Sequence[str]]) -> list[Finished]:
    """Several commands in a folder, whose modules may be plugins, one after another; they share the imports of one process."""
    return [_answer(folder, name, options) for name, *options in commands]


def _answer(folder: Path, name: str, options: Sequence[str]) -> Finished:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([str(folder), name, options]) + "\n")
    server.stdin.flush()
    return Finished(*json.loads(server.stdout.readline()))
