"""The spectral sum: a learned series of sines and cosines applied to scalars, in little time and memory.

Written out, N sines and N cosines of every scalar cost 2N transcendental functions and as many arrays kept for the
gradients. With ``z = exp(i pi t / N)`` the series is the real part of a polynomial in ``z``,

    sum_k [A_k sin(k pi t / N) + B_k cos(k pi t / N)] = Re sum_k (B_k - i A_k) z^k,

which Horner's rule evaluates from one sine and one cosine, and whose gradients follow from the powers of ``z``, one after
the other. ``|z| = 1``, so rounding errors grow by addition only. Real and imaginary parts are kept apart, since compilers
fuse real arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class _Series(torch.autograd.Function):
    """``(t, [A, B]) -> sum_k [A_k sin(k pi t / N) + B_k cos(k pi t / N)]``, all of one type; see :class:`SpectralSum`.

    Keeps nothing for the gradients but its arguments. They can be differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: Tensor, weights: Tensor) -> Tensor:
        sines, cosines = _by_frequency(weights)
        real, imaginary = _rotation(tokens, len(sines))
        series, partner = cosines[-1].expand_as(tokens), -sines[-1]
        for sine, cosine in zip(reversed(sines[:-1]), reversed(cosines[:-1]), strict=True):
            series, partner = (
                torch.addcmul(torch.addcmul(cosine, series, real), partner, imaginary, value=-1),
                torch.addcmul(torch.addcmul(-sine, series, imaginary), partner, real),
            )
        return series

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        tokens, weights = ctx.saved_tensors
        sines, cosines = _by_frequency(weights)
        real, imaginary = _rotation(tokens, len(sines))
        # Gradient times cos(k pi t / N), and times sin(k pi t / N).
        by_cosine, by_sine = grad, torch.zeros_like(grad)
        slope = torch.zeros_like(grad)
        grad_sines, grad_cosines = [_sum_to_channels(by_sine)], [_sum_to_channels(by_cosine)]
        for k in range(1, len(sines)):
            by_cosine, by_sine = (
                torch.addcmul(by_cosine * real, by_sine, imaginary, value=-1),
                torch.addcmul(by_cosine * imaginary, by_sine, real),
            )
            frequency = k * math.pi / len(sines)
            slope = torch.addcmul(slope, by_cosine, frequency * sines[k])
            slope = torch.addcmul(slope, by_sine, frequency * cosines[k], value=-1)
            grad_sines.append(_sum_to_channels(by_sine))
            grad_cosines.append(_sum_to_channels(by_cosine))
        return slope, torch.stack(grad_sines + grad_cosines, dim=-1)


def _by_frequency(weights: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Weights ``(c, 2N)`` as N vectors ``(c,)`` of the sines and N of the cosines."""
    sines, cosines = weights.T.contiguous().chunk(2)
    return list(sines), list(cosines)


def _rotation(tokens: Tensor, num_basis: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of ``exp(i pi t / N)``."""
    phases = tokens * (math.pi / num_basis)
    return phases.cos(), phases.sin()


def _sum_to_channels(values: Tensor) -> Tensor:
    """Sum ``(..., c)`` to ``(c,)``."""
    return values.reshape(-1, values.shape[-1]).sum(dim=0)


@dataclass(frozen=True)
class BasisWeights:
    """The weights of a spectral sum, ``(c, N)`` each, for ``c`` channels and ``N`` basis functions.

    Args:
        frequencies: ``w`` of ``sin(w t)`` and ``cos(w t)``.
        sines, cosines: their weights.
    """

    frequencies: Tensor
    sines: Tensor
    cosines: Tensor


class SpectralSum(nn.Module):
    """A learned sum of sines and cosines, applied to every scalar of a channel.

    ``t -> t + sum_{k<N} [ A_k sin(k pi t / N) + B_k cos(k pi t / N) ]`` with ``A, B`` of each channel, the two halves of the
    weights ``(c, 2N)``.

    ``A_0`` has no effect; it is kept so that published weights fit.

    Args:
        channels: number of channels ``c``.
        num_basis: number of basis functions ``N``.

    Example:
        >>> layer = SpectralSum(channels=1, num_basis=2)
        >>> _ = layer.weights.data.copy_(torch.tensor([[0.0, 1.0, 0.0, 0.0]]))  # sin(pi t / 2)
        >>> layer(torch.tensor([[0.0], [1.0]])).detach()
        tensor([[0.],
                [2.]])
    """

    def __init__(self, channels: int, num_basis: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(channels, 2 * num_basis) / channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(..., c)`` to ``(..., c)``, in the wider type of tokens and weights."""
        common = torch.promote_types(tokens.dtype, self.weights.dtype)
        return tokens + _Series.apply(tokens.to(common), self.weights.to(common))

    def basis(self) -> BasisWeights:
        """Frequencies and weights."""
        sines, cosines = self.weights.detach().chunk(2, dim=-1)
        steps = torch.arange(sines.shape[1], dtype=sines.dtype, device=sines.device)
        return BasisWeights((math.pi / sines.shape[1] * steps).expand_as(sines), sines, cosines)


class LearnedSpectralSum(nn.Module):
    """A learned sum of sines and cosines with learned frequencies, applied to every scalar of a channel.

    ``t -> t + sum_{k=1..N} [ A_k sin(w_k t) + B_k cos(w_k t) ]`` with amplitudes ``A, B`` and frequencies ``w`` of each channel,
    ``(c, N)`` each; the frequencies begin at ``k pi / N``.

    Args:
        channels: number of channels ``c``.
        num_basis: number of basis functions ``N``.
        learned: False keeps the initial frequencies.

    Example:
        >>> layer = LearnedSpectralSum(channels=1, num_basis=2)
        >>> _ = layer.sines.data.copy_(torch.tensor([[1.0, 0.0]]))  # sin(pi t / 2)
        >>> _ = layer.cosines.data.zero_()
        >>> layer(torch.tensor([[0.0], [1.0]])).detach()
        tensor([[0.],
                [2.]])
    """

    def __init__(self, channels: int, num_basis: int, learned: bool = True) -> None:
        super().__init__()
        frequencies = math.pi / num_basis * torch.arange(1, num_basis + 1).repeat(channels, 1)
        self.frequencies = nn.Parameter(frequencies, requires_grad=learned)
        self.sines = nn.Parameter(torch.randn(channels, num_basis) / (2 * num_basis))
        self.cosines = nn.Parameter(torch.randn(channels, num_basis) / (2 * num_basis))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(..., c)`` to ``(..., c)``."""
        phases = tokens.unsqueeze(-1) * self.frequencies
        return tokens + (self.sines * phases.sin() + self.cosines * phases.cos()).sum(dim=-1)

    def basis(self) -> BasisWeights:
        """Frequencies and weights."""
        return BasisWeights(self.frequencies.detach(), self.sines.detach(), self.cosines.detach())
