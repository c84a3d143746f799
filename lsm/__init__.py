"""Latent Spectral Models: neural solvers of partial differential equations on grids, meshes and point clouds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsm.checkpoint import load
    from lsm.solver import NeuralSolver

__all__ = ["NeuralSolver", "load"]

_HOMES = {"load": "lsm.checkpoint", "NeuralSolver": "lsm.solver"}


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("latent-spectral-models")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0.0.0"


def __getattr__(name: str) -> Any:
    # On first use: data generation starts many processes, and none of them needs the model.
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'lsm' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
