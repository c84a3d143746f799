"""The commands as processes, as a user calls them from some folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


def call_forked(folder: Path, commands: Iterable[Sequence[str]]) -> list[Finished]:
    """Several commands in a folder, whose modules may be plugins, one after another; they share the imports of one process."""
    server = [sys.executable, str(ROOT / "tests/workflows/forked_commands.py")]
    requests = "".join(json.dumps([str(folder), name, options]) + "\n" for name, *options in commands)
    process = subprocess.run(
        server, cwd=ROOT, env=environment_of(folder), input=requests, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return [Finished(*json.loads(line)) for line in process.stdout.splitlines()]
