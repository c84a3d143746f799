"""Muon: momentum whose matrices are orthogonalised, an alternative to AdamW for the weights of linear layers and convolutions.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the size of its steps after Liu et al.,
"Muon is scalable for LLM training", 2025, arXiv 2502.16982.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

#: Coefficients of the quintic iteration, which brings singular values from (0, 1] to about 1 in few steps.
_QUINTIC = (3.4445, -4.7750, 2.0315)

#: Steps of Adam's size: root mean square of the entries of an update.
_STEP_SIZE = 0.2


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix ``(n, m)`` with about the same singular vectors, and singular values between 0.7 and 1.2.

    Newton-Schulz iteration ``X <- a X + (b A + c A^2) X`` with ``A = X X^T``, for a matrix of no vanishing singular values.
    """
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        square = wide @ wide.T
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(Optimizer):
    """Orthogonalised momentum for weights of two or more axes, Adam for all other parameters; decoupled weight decay.

    A weight ``(out, in, *kernel)`` is taken as a matrix ``(out, in * kernel)``. Both kinds of steps have about the same size, so
    that one learning rate serves both.

    Args:
        named_parameters: names and parameters; matrices are those whose name ends with ``weight``.
        lr: learning rate.
        betas: decay of the momentum of both kinds, and of Adam's mean of squares.
        weight_decay: decoupled.
        eps: added to Adam's denominators.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.99),
        weight_decay: float = 1e-4,
        eps: float = 1e-8,
    ) -> None:
        kinds: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in named_parameters:
            kinds[name.endswith("weight") and parameter.dim() >= 2].append(parameter)
        groups = [{"params": found, "orthogonal": kind} for kind, found in kinds.items() if found]
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` computes loss and gradients."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            update = self._orthogonal_update if group["orthogonal"] else self._adam_update
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(group["lr"] * update(parameter, parameter.grad, group))
        return loss

    def _orthogonal_update(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state, momentum = self.state[parameter], group["betas"][0]
        mean = state.setdefault("momentum", torch.zeros_like(parameter))
        mean.lerp_(gradient, 1 - momentum)
        matrix = torch.lerp(gradient, mean, momentum).flatten(1)
        return _STEP_SIZE * max(matrix.shape) ** 0.5 * orthogonalise(matrix).reshape(parameter.shape)

    def _adam_update(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state, (first, second) = self.state[parameter], group["betas"]
        mean = state.setdefault("momentum", torch.zeros_like(parameter))
        squares = state.setdefault("squares", torch.zeros_like(parameter))
        # The schedule changes the momentum: the weights of past gradients sum to these shares.
        state["share"] = state.get("share", 0.0) * first + 1 - first
        state["square_share"] = state.get("square_share", 0.0) * second + 1 - second
        mean.lerp_(gradient, 1 - first)
        squares.lerp_(gradient.square(), 1 - second)
        return mean / state["share"] / ((squares / state["square_share"]).sqrt() + group["eps"])
