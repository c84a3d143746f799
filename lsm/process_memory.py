"""Memory of this process: how the C library handles it, and how much is in use. Imports torch on a GPU only."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Where Linux reports the memory of this process.
PROCESS_STATUS = Path("/proc/self/status")

#: Where Linux reports the memory of the machine.
MACHINE_STATUS = Path("/proc/meminfo")

#: Options of the GNU C library's ``mallopt``: most blocks outside the heap, free bytes at its end that are kept (-1: all), and
#: the largest block that is not joined to its free neighbours when it is freed.
_MMAP_MAX, _TRIM_THRESHOLD, _MAX_FAST = -4, -1, 1

#: From where the GNU C library reads settings when a program starts.
TUNABLES = "GLIBC_TUNABLES"

#: The setting by which a thread keeps no small freed blocks for itself.
_NO_CACHE = "glibc.malloc.tcache_count=0"


class PeakMemory:
    """Peak of the memory in use beyond what is in use now.

    On a CUDA device that of its tensors; on a CPU that of the resident memory of the whole process, which Linux alone reports.

    Args:
        device: the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before: int | None = None
        self._mark = 0
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        elif device.type == "cpu":
            return_freed_memory()
            with suppress(OSError):  # resets the recorded peak; some sandboxes accept it without effect
                Path("/proc/self/clear_refs").write_text("5")
            self._before, self._mark = resident_memory() or (None, 0)

    def read(self) -> int | None:
        """Bytes; None if they are unknown: the system reports none, or the recorded peak did not rise and may be older."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            import torch

            return torch.cuda.max_memory_allocated(self._device) - self._before
        _, peak = resident_memory() or (0, 0)
        return peak - self._before if peak > self._mark else None


def keep_freed_memory() -> None:
    """Let the process keep the memory that it frees, for the next tensor.

    The GNU C library returns every freed block of more than 32 MiB to the system, which fills it with zeros when it is next asked
    for: a quarter of the time of a training step in batches of 20 on a CPU. Other C libraries are left as they are.

    PyTorch asks for aligned blocks, from whose ends the library cuts remainders of less than 128 bytes. These have to be joined
    to their neighbours again, else no block of the same size fits into the gap: see :func:`restart_without_gaps`.
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, -1)
        library.mallopt(_MAX_FAST, 0)


def restart_without_gaps(arguments: Sequence[str]) -> None:
    """Start this program again, once, such that the C library keeps no freed block of any size apart.

    It saves 13 to 27 % of the peak of the memory of a training step of LSM. Only the GNU C library has such a setting, which it
    reads when a program starts, from ``GLIBC_TUNABLES``. A user's own value for the cache is respected.

    Args:
        arguments: of the interpreter, as in ``sys.orig_argv[1:]``.
    """
    settings = os.environ.get(TUNABLES, "")
    if "tcache_count" in settings or not _has_gnu_library():
        return
    os.environ[TUNABLES] = ":".join(filter(None, (settings, _NO_CACHE)))
    os.execv(sys.executable, [sys.executable, *arguments])


def _has_gnu_library() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False


def return_freed_memory() -> None:
    """Return to the system what the process has freed; a C library that keeps it reuses it, and no use of it is seen."""
    with suppress(AttributeError, OSError, TypeError):  # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)


def resident_memory() -> tuple[int, int] | None:
    """Resident memory of this process and its recorded peak in bytes; None where the system does not report them."""
    sizes = _read_sizes(PROCESS_STATUS, "VmRSS", "VmHWM")
    return None if sizes is None else (sizes[0], sizes[1])


def available_memory() -> int | None:
    """Main memory of the machine in bytes that programs can still take; None where the system does not report it."""
    sizes = _read_sizes(MACHINE_STATUS, "MemAvailable")
    return None if sizes is None else sizes[0]


def _read_sizes(report: Path, *names: str) -> list[int] | None:
    """Entries of a report of Linux in bytes; None where one is missing."""
    if not report.is_file():
        return None
    lines = dict(line.split(":", 1) for line in report.read_text().splitlines() if ":" in line)
    return [int(lines[name].split()[0]) * 1024 for name in names] if lines.keys() >= set(names) else None
