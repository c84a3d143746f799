"""The one exception of all numerical solvers; the generation engine draws such a sample again."""

from __future__ import annotations


class SolverFailure(RuntimeError):
    """A solver found no solution for one sample; the message says where it stopped and how far it was."""
