"""Threads of this process: how they wait for one another. Imports nothing slow."""

from __future__ import annotations

import os

#: Checks of a waiting thread before it goes to sleep, some microseconds; by default GNU's OpenMP library makes 300 000.
_TURNS = "1000"


def wait_briefly() -> None:
    """Let threads that wait for the slowest one in a parallel loop go to sleep soon instead of keeping a core busy.

    Where another program uses one of the cores, a training step with a thread for each core takes half the time; where none does,
    nothing changes. PyTorch's threads are those of GNU's OpenMP library, which reads this setting when torch is imported. A
    user's own setting is respected.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _TURNS)
