"""With which code, versions and machine a result was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import lsm

#: Distributions whose versions matter for a number.
PACKAGES = ("torch", "pytorch-lightning", "numpy", "scipy", "h5py", "einops", "hydra-core")


def describe_environment() -> dict[str, Any]:
    """Commit, versions and machine as plain data, to be stored beside results."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _git_commit(),
        "lsm": lsm.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": _describe_machine(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _describe_machine() -> dict[str, Any]:
    """Processor, threads and accelerator."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def count_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _git_commit() -> str | None:
    """Commit of the source tree, with "+changes" if it has uncommitted ones; None outside its repository."""
    folder = Path(lsm.__file__).parent
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # an installed package may lie in another repository
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return finished.stdout.strip()


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
