"""Profiles measured in processes of their own, since memory and compiled code remain in a process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import processes
from experiments.app import added_config_dir
from experiments.options import as_option
from experiments.processes import Deadline

#: Options that belong to several measurements together.
_COMMON = ("compare", "run_dir", "time_limit", "fit_from")


def measure_apart(
    overrides: Sequence[str], changes: Mapping[str, str], folder: Path, deadline: Deadline | None = None
) -> dict[str, Any]:
    """Measure one model in a process of its own.

    Args:
        overrides: options of the present call, as typed.
        changes: options that replace those of the same name.
        folder: where the profile and the output of the process go.
        deadline: when to end the process.
    Returns:
        The content of ``profile.json``.
    Raises:
        CommandFailed: the model cannot be measured.
        OutOfTime: the deadline came first.
    """
    dropped = {*_COMMON, *changes}
    kept = [text for text in overrides if text.partition("=")[0].lstrip("+") not in dropped]
    options = [*kept, *(f"{name}={value}" for name, value in changes.items()), f"run_dir={as_option(folder)}"]
    processes.call_module("experiments.profile", [*added_config_dir(), *options], folder / "log.txt", deadline)
    return json.loads((folder / "profile.json").read_text())
