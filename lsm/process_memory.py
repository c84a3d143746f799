"""Memory of this process: how the C library handles it, and how much is in use. Imports torch on a GPU only."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: Where Linux reports the memory of this process.
PROCESS_STATUS = Path("/proc/self/status")

#: Where Linux reports the memory of the machine.
MACHINE_STATUS = Path("/proc/meminfo")

#: Options of the GNU C library's ``mallopt``: most blocks outside the heap, and free bytes at its end that are kept (-1: all).
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1


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
    """
    with suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, -1)


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
