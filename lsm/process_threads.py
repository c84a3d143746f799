"""Threads of this process: how they wait for one another. Imports nothing slow."""

from __future__ import annotations

import os

#: Turns of a waiting loop after which a thread sleeps: some microseconds. GNU's OpenMP library takes 300 times as many.
_TURNS = "1000"


def wait_briefly() -> None:
    """Let threads that wait for the slowest one of a parallel loop sleep soon, in place of keeping a core busy.

    Where another program uses one of the cores, a training step with a thread for each core takes half the time; where none does,
    nothing changes. PyTorch's threads are those of GNU's OpenMP library, which reads this setting when torch is imported. A
    user's own setting is respected.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _TURNS)
