"""Batch norms of a model: where they are, and whose statistics they use, by the mode of the model or in spite of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """All batch norms of a module, of any rank."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of the current batch ``(b, c, *n)``, and leave their running statistics unchanged.

    The published Navier-Stokes script evaluates in this way because it never leaves training mode; this measures the effect.
    """
    before = [(norm, norm.training, norm.track_running_stats) for norm in batch_norms(module)]
    try:
        for norm, *_ in before:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, training, tracking in before:
            norm.training, norm.track_running_stats = training, tracking


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own mode afterwards.

    Batch norms that do not update running statistics stay as they are, so that :func:`batch_statistics` has its effect.
    """
    fixed = {norm for norm in batch_norms(module) if not norm.track_running_stats}
    training = [part for part in module.modules() if part.training and part not in fixed]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True
