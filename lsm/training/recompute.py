"""Less memory for a training step: results that the gradients need are not kept but computed a second time.

Either those that are cheap to compute, or all but the inputs of the layers.

Source: Chen, Xu, Zhang, Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv 1604.06174.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lsm.fields import FieldBatch
from lsm.model.batch_norm import batch_norms
from lsm.model.cheap import dropping_cheap_results
from lsm.solver import NeuralSolver
from lsm.training.unrolling import Unrolling


def recompute_cheap_results(unroll: Unrolling) -> Unrolling:
    """What a training step predicts, by models that keep no cheap results for the gradients; see :mod:`lsm.model.cheap`."""

    def unrolled(solver: NeuralSolver, batch: FieldBatch, done: float, random: torch.Generator) -> list[Tensor]:
        with dropping_cheap_results():
            return unroll(solver, batch, done, random)

    unrolled.feeds_back = getattr(unroll, "feeds_back", None)  # type: ignore[attr-defined]
    return unrolled


def recompute_layers(model: nn.Module) -> None:
    """Let the layers of a model keep no intermediate results for the gradients, which compute them a second time.

    Losses, gradients and the running statistics of batch norm stay the same to the last bit. Layers are the outermost composed
    modules in the lists and sequences of the model.

    Args:
        model: is changed in place; its weights keep their names.
    """
    for layer in _layers(model):
        # A method of the layer, so that a copy of the model, as averaging of weights makes one, calls its own layers.
        layer.forward = MethodType(_forward, layer)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    listed = isinstance(module, (nn.ModuleList, nn.Sequential))
    for part in module.children():
        if listed and any(part.children()):
            yield part
        else:
            yield from _layers(part)


def _forward(layer: nn.Module, *given: Any, **named: Any) -> Any:
    """The layer's own ``forward``, of which autograd keeps the arguments alone."""
    forward = MethodType(type(layer).forward, layer)
    if not torch.is_grad_enabled():
        return forward(*given, **named)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _without_running_statistics(layer)

    return checkpoint(forward, *given, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _without_running_statistics(layer: nn.Module) -> Iterator[None]:
    """Norms of the layer leave their running statistics as they are: the first computation has updated them."""
    norms = batch_norms(layer)
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, kept, strict=True):
        # Another count, not none: synchronised norms refuse to be without one.
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
