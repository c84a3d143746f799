"""The exception that every numerical solver raises; the generation engine then draws the sample again."""

from __future__ import annotations


class SolverFailure(RuntimeError):
    """A solver found no solution for one sample; the message says at which step and with which residual it stopped."""
