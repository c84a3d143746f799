"""Memory of the process: its peak against blocks of known size, and that freed memory is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from experiments import _is_command
from lsm import process_memory
from lsm.process_memory import TUNABLES, PeakMemory, resident_memory, restart_without_gaps

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((300, 300), (310, 400), 100),
        ((300, 900), (310, 900), None),  # the peak is older: its reset had no effect
        ((300, 900), (310, 950), 650),  # the same, but the peak rose
        ((300, 300), (200, 300), None),  # the system took pages meanwhile
        (None, None, None),
    ],
)
def test_a_peak_that_did_not_rise_is_unknown(start, end, expected, tmp_path, monkeypatch):
    """Resident memory and its recorded peak in kB when measuring starts and ends."""
    status = tmp_path / "status"
    monkeypatch.setattr(process_memory, "PROCESS_STATUS", status)

    def report(sizes) -> None:
        if sizes:
            status.write_text(f"Name:\tpython: 3\nVmHWM:\t {sizes[1]} kB\nVmRSS:\t {sizes[0]} kB\n")

    report(start)
    memory = PeakMemory(CPU)
    report(end)
    assert memory.read() == (None if expected is None else expected * 1024)


def in_a_fork(call) -> dict:
    """What a call returns in a new process, whose recorded peak of memory is its own even where none can be reset."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(sender, json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as stream:
        found = stream.read()
    os.waitpid(child, 0)
    return json.loads(found)


@pytest.mark.skipif(resident_memory() is None, reason="this system does not report the peak of a process")
def test_the_peak_of_memory_is_seen_after_it_was_freed():
    """Also where the process has freed as much before, which the C library keeps for it."""

    def measure() -> dict:
        blocks = [np.ones(60_000, np.uint8) for _ in range(3000)]  # 180 MB, too small to be mapped one by one
        last = blocks[-1]  # after which the heap cannot shrink
        del blocks
        memory = PeakMemory(CPU)
        now, mark = resident_memory()
        size = 100_000_000 + mark - now  # above an older peak
        np.ones(size, np.uint8)  # not PyTorch, whose threads do not survive a fork
        peak = memory.read()
        return {"excess": peak - size, "next": PeakMemory(CPU).read(), "kept": last.size}

    found = in_a_fork(measure)
    assert abs(found["excess"]) < 20e6
    assert (found["next"] or 0) < 50e6, "a new one forgets it"


MEASURE_FAULTS = """
import json, resource
from lsm.process_memory import keep_freed_memory, resident_memory, return_freed_memory

def faults_of_a_block():
    size = 100_000_000  # the C library would return a block of this size to the system
    len(b"." * size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    len(b"." * size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given = faults_of_a_block()
keep_freed_memory()
kept = faults_of_a_block()
full, _ = resident_memory()
return_freed_memory()
print(json.dumps({"given": given, "kept": kept, "returned": full - resident_memory()[0]}))
"""


@pytest.mark.skipif("glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")), reason="the C library is not GNU's")
def test_freed_memory_is_kept_for_the_next_tensor_until_it_is_returned():
    """In pages that the system hands out for 100 MB, after as much has been used and freed."""
    found = json.loads(subprocess.run([sys.executable, "-c", MEASURE_FAULTS], check=True, capture_output=True).stdout)
    assert found["given"] > 1000 > 10 * found["kept"]
    assert found["returned"] > 90e6


@pytest.mark.skipif("glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")), reason="the C library is not GNU's")
@pytest.mark.parametrize("known", ["", "glibc.malloc.check=1"])
def test_a_command_starts_once_more_with_the_setting_of_the_library(monkeypatch, known):
    started = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append((program, arguments)))
    monkeypatch.setenv(TUNABLES, known)
    restart_without_gaps(["-m", "experiments.train", "benchmark=darcy"])
    assert started == [(sys.executable, [sys.executable, "-m", "experiments.train", "benchmark=darcy"])]
    assert set(filter(None, known.split(":"))) < set(os.environ[TUNABLES].split(":"))
    restart_without_gaps(["-m", "experiments.train"])
    assert len(started) == 1


@pytest.mark.skipif("glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")), reason="the C library is not GNU's")
def test_a_command_runs_with_the_setting(tmp_path):
    (tmp_path / "probe.py").write_text(
        f"import os\nprint('setting', os.environ.get({TUNABLES!r}), os.environ.get('GOMP_SPINCOUNT'))"
    )
    command = [sys.executable, "-m", "experiments.train", "benchmark=darcy", "plugins=[probe]", f"data_dir={tmp_path}"]
    usual = {name: value for name, value in os.environ.items() if name != TUNABLES}
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    found = subprocess.run(
        [*command, f"run_dir={tmp_path / 'run'}"], env={**usual, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert "setting glibc.malloc.tcache_count=0 1000" in found.stdout


def test_other_libraries_have_no_such_setting(monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: None)
    monkeypatch.setattr(os, "execv", lambda program, arguments: pytest.fail("started again"))
    monkeypatch.delenv(TUNABLES, raising=False)
    restart_without_gaps([])


@pytest.mark.parametrize("arguments", [["-m", "experiments.train"], ["/bin/lsm-train", "seed=1"]])
def test_commands_are_told_from_other_programs(arguments):
    assert _is_command(arguments)
    assert not _is_command(["-m", "pytest", *arguments])
    assert not _is_command(["-c", "import experiments"])
    assert not _is_command([])
