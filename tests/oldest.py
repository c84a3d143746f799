"""Run a smoke set with the oldest versions that pyproject.toml admits: ``python tests/oldest.py``.

The versions are installed into a virtual environment outside the repository, which a second call uses again. An old torch
brings gigabytes of CUDA libraries from the usual registry; ``--torch torch==2.13.0`` takes another version, and pip's own
options (``PIP_INDEX_URL``, ``PIP_FIND_LINKS``) another build.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]

#: Extras that the smoke set needs no package of.
SKIPPED = ("slurm",)

#: Of the dependencies of dependencies the newest versions are taken, but for these: torch 2.6 exports pooling to ONNX with an
#: attribute that protobuf 7 refuses.
COMPANIONS = ("protobuf<7",)

#: What depends most on versions of others: the parity with the specification, files, resuming, and a tiny workflow.
SMOKE = (
    *("tests/parity", "tests/unit/test_store.py", "tests/unit/test_prediction.py", "tests/unit/test_trust.py"),
    *("tests/unit/test_checkpoint.py", "tests/unit/test_export.py"),
    "tests/workflows/test_benchmarks.py::test_solved_data_go_the_whole_way",
    "tests/workflows/test_untrusted_runs.py::test_a_recorded_option_is_refused",
)


def oldest_requirements() -> list[str]:
    """Every requirement of pyproject.toml, extras included, at its lower bound.

    Raises:
        ValueError: a requirement has another form than NAME>=VERSION.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for name in extras if name not in SKIPPED for text in extras[name])]
    own = re.compile(rf"{re.escape(project['name'])}\[")
    return [_at_lower_bound(text) for text in texts if not own.match(text)]


def _at_lower_bound(text: str) -> str:
    found = re.fullmatch(r"([\w.-]+)>=([\d.]+)", text)
    if found is None:
        raise ValueError(f"{text!r} in pyproject.toml is no requirement of the form NAME>=VERSION")
    return f"{found[1]}=={found[2]}"


def prepare(folder: Path, requirements: list[str]) -> Path:
    """A virtual environment with exactly these versions; returns its interpreter."""
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(requirements)
    if not installed.is_file() or installed.read_text() != wanted:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", *requirements], check=True)
        installed.write_text(wanted)
    return python


def main() -> int:
    """Install, then run the smoke set; returns pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(tempfile.gettempdir()) / "lsm-oldest"
    parser.add_argument("--folder", type=Path, default=default, help=f"virtual environment (default: {default})")
    parser.add_argument("--torch", help="another requirement in place of the oldest torch")
    parser.add_argument("tests", nargs="*", default=SMOKE, help="tests to run instead of the smoke set")
    call = parser.parse_args()
    requirements = [*oldest_requirements(), *COMPANIONS]
    if call.torch:  # which asks for a sympy of its own
        others = [text for text in requirements if not text.startswith(("torch==", "sympy=="))]
        requirements = [call.torch, *others]
    python = prepare(call.folder, requirements)
    print("with", ", ".join(requirements), flush=True)
    command = [python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", *call.tests]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
