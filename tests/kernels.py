"""Run the tests marked ``numerics`` once per set of BLAS and SIMD kernels: ``python tests/kernels.py``.

OpenBLAS, MKL, PyTorch and numpy choose their kernels by the processor, and results differ in the last bits between them.
The tests must pass on every machine, so each run forces one kernel per library. Kernels that this processor cannot execute
are skipped. Runs are processes of their own, since the libraries read these variables when they are loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parent

#: One run per line: the libraries are independent, so each run varies several of them.
RUNS = (
    {"OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2"},
    {"OPENBLAS_CORETYPE": "Zen", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AVX2"},
    {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "all", "MKL_CBWR": "COMPATIBLE"},
    {"OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx512"},
)

#: Processor flags that a kernel needs, as /proc/cpuinfo names them.
NEEDED = {"Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512f"}


def is_executable(kernels: dict[str, str]) -> bool:
    """Whether this processor has the instructions of a run; without /proc only the kernels of any x86-64 are safe."""
    needed = NEEDED.get(kernels["OPENBLAS_CORETYPE"])
    information = Path("/proc/cpuinfo")
    return needed is None or (information.exists() and needed in information.read_text().split())


def marked_files() -> list[Path]:
    """Test files that contain the marker, so that the others need not be imported."""
    return sorted(path for path in TESTS.rglob("test_*.py") if "mark.numerics" in path.read_text())


def run(kernels: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The marked tests in a process with the given kernels."""
    variables = dict(kernels)
    if "NPY_DISABLE_CPU_FEATURES" in variables:
        dispatched = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
        variables["NPY_DISABLE_CPU_FEATURES"] = " ".join(dispatched)
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-m", "numerics and not slow"]
    return subprocess.run(
        [*command, *marked_files()],
        cwd=TESTS.parent,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def main() -> int:
    """Run everything, print one line per run and the output of those that fail."""
    runs = [kernels for kernels in RUNS if is_executable(kernels)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(run, runs))
    for kernels in RUNS:
        names = " ".join(f"{name}={value}" for name, value in kernels.items())
        if kernels not in runs:
            print(f"skipped: {names} (this processor lacks {NEEDED[kernels['OPENBLAS_CORETYPE']]})")
            continue
        result = results[runs.index(kernels)]
        if result.returncode:
            print(result.stdout)
        print(f"{'FAILED' if result.returncode else 'passed'}: {names}: {result.stdout.strip().splitlines()[-1]}")
    return int(any(result.returncode for result in results))


if __name__ == "__main__":
    sys.exit(main())
