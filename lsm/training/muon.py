"""Muon: momentum whose matrices are orthogonalised, an alternative to AdamW for the weights of linear layers and convolutions.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the size of its steps after Liu et al.,
"Muon is scalable for LLM training", 2025, arXiv 2502.16982.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

#: Coefficients of the quintic iteration, which brings singular values from (0, 1] to about 1 in few steps.
_QUINTIC = (3.4445, -4.7750, 2.0315)

#: Steps of Adam's size: root mean square of the entries of an update.
_STEP_SIZE = 0.2


def orthogonalise(matrices: Sequence[Tensor], steps: int = 5) -> list[Tensor]:
    """Matrices ``(n, m)``, not all of one size, with about the same singular vectors, and singular values between 0.7 and 1.2.

    Newton-Schulz iteration ``X <- (a + b X X^T + c (X X^T)^2) X``, for matrices of no vanishing singular values. All its factors
    are polynomials in ``X X^T`` of the given ``X``: they are multiplied first, for all matrices with as many rows at once.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    wide = [matrix / (matrix.norm() + 1e-7) for matrix in wide]
    found: dict[int, Tensor] = {}
    for rows in {len(matrix) for matrix in wide}:
        alike = [index for index, matrix in enumerate(wide) if len(matrix) == rows]
        factors = _polynomial(torch.stack([wide[index] @ wide[index].T for index in alike]), steps)
        found |= {index: factor @ wide[index] for index, factor in zip(alike, factors, strict=True)}
    return [found[i] if found[i].shape == matrix.shape else found[i].T for i, matrix in enumerate(matrices)]


def _polynomial(grams: Tensor, steps: int) -> Tensor:
    """The product of all factors of the iteration, from ``X X^T``: ``(k, n, n)`` to ``(k, n, n)``."""
    identity = torch.eye(grams.shape[-1], dtype=grams.dtype, device=grams.device)

    def factor_of(grams: Tensor) -> Tensor:
        a, b, c = _QUINTIC
        return torch.baddbmm(a * identity + b * grams, grams, grams, alpha=c)

    product = factor = factor_of(grams)
    for _ in range(steps - 1):
        grams = factor @ grams @ factor
        factor = factor_of(grams)
        product = factor @ product
    return product


class Muon(Optimizer):
    """Orthogonalised momentum for weights of two or more axes, Adam for all other parameters; decoupled weight decay.

    A weight ``(out, in, *kernel)`` is taken as a matrix ``(out, in * kernel)``. Both kinds of steps have about the same size, so
    that one learning rate serves both. A complex number is taken as two real ones.

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
            kinds[name.endswith("weight") and parameter.dim() >= 2 and not parameter.is_complex()].append(parameter)
        groups = [{"params": found, "orthogonal": kind} for kind, found in kinds.items() if found]
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; ``closure`` computes loss and gradients."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                find_updates = self._orthogonal_updates if group["orthogonal"] else self._adam_updates
                updates = find_updates(parameters, group)
                values = _in_real_numbers(parameters)
                torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(values, updates, alpha=-group["lr"])
        return loss

    def _kept(self, name: str, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """A tensor of the state of each parameter; zero at first."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]

    def _share(self, name: str, parameters: Sequence[nn.Parameter], decay: float) -> list[float]:
        """The sum of the weights of past gradients in a mean; the schedule may change the decay."""
        states = [self.state[parameter] for parameter in parameters]
        for state in states:
            state[name] = state.get(name, 0.0) * decay + 1 - decay
        return [state[name] for state in states]

    def _orthogonal_updates(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> list[Tensor]:
        momentum, gradients = group["betas"][0], _gradients(parameters)
        means = self._kept("momentum", parameters)
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        matrices = [matrix.flatten(1) for matrix in torch._foreach_lerp(gradients, means, momentum)]
        return [
            (_STEP_SIZE * max(matrix.shape) ** 0.5 * matrix).reshape(parameter.shape)
            for matrix, parameter in zip(orthogonalise(matrices), parameters, strict=True)
        ]

    def _adam_updates(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> list[Tensor]:
        (first, second), gradients = group["betas"], _in_real_numbers(_gradients(parameters))
        means, squares = (_in_real_numbers(self._kept(name, parameters)) for name in ("momentum", "squares"))
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - second)
        sizes = torch._foreach_sqrt(torch._foreach_div(squares, self._share("square_share", parameters, second)))
        torch._foreach_add_(sizes, group["eps"])
        return list(torch._foreach_div(torch._foreach_div(means, self._share("share", parameters, first)), sizes))


def _in_real_numbers(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Views of complex tensors ``(...)`` as their real and imaginary parts ``(..., 2)``; real tensors as they are."""
    return [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]


def _gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
