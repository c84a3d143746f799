"""The neural spectral block: the paper's equations on sets of points, with no notion of axes.

Source: Wu, Hu, Luo, Wang, Long, "Solving High-Dimensional PDEs with Latent Spectral Models", ICML 2023, section 3.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from lsm.model.cheap import cheap
from lsm.model.latent_spectral.parts import BLOCKS, Latents
from lsm.model.latent_spectral.spectral_sum import SpectralSum
from lsm.model.stream import require_heads
from lsm.registry import Count


@BLOCKS.register("neural_spectral")
class NeuralSpectralBlock(nn.Module):
    """Project points to latent tokens by attention, solve there by a spectral sum, project back.

    With ``h`` heads and ``m`` learned tokens ``T0``::

        T = softmax(T0 K^T) V + T0,    T' = spectral(T),    X' = softmax(Q T'^T) T' + X

    ``K, V, Q`` are linear in the points ``X``, ``(n, p, c)`` for ``n`` sets of ``p`` points; attention is unscaled; the cost is
    linear in the number of points.

    Args:
        channels: number of channels ``c``, a multiple of ``heads``.
        heads: attention heads ``h``.
        num_tokens: latent tokens ``m``.
        num_basis: basis functions of the spectral sum.
        latent: False (ablation): no projection, the spectral sum acts on every point.
        spectral: False (ablation): the tokens pass through unchanged.

    Example:
        >>> block = NeuralSpectralBlock(16, heads=4)
        >>> block(torch.zeros(3, 25, 16)).shape
        torch.Size([3, 25, 16])
        >>> block.inspect(torch.zeros(3, 25, 16)).tokens.shape
        torch.Size([3, 4, 4, 4])
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: Count = 8,
        num_tokens: Count = 4,
        num_basis: Count = 12,
        latent: bool = True,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        require_heads(heads, channels)
        self.heads = heads
        self.spectral = SpectralSum(channels, num_basis) if spectral else nn.Identity()
        self.latent = latent
        if latent:
            self.tokens = nn.Parameter(torch.rand(heads, num_tokens, channels // heads) / channels)
            self.to_kv = nn.Linear(channels, 2 * channels)
            self.to_q = nn.Linear(channels, channels)

    def gather(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project points ``(n, p, c)`` to tokens ``(n, h, m, c / h)``; also return the attention ``(n, h, m, p)``."""
        # Linear maps act on tokens, which are few, in place of points. With the means M = softmax(T0 K^T) X of the points,
        #   T0 K^T = (T0 W_K) X^T, up to a bias that no softmax over the points sees,    softmax(T0 K^T) V = M W_V^T + b_V.
        to_keys, to_values = rearrange(self.to_kv.weight, "(h c kv) i -> kv h c i", h=self.heads, kv=2)
        scores = points @ rearrange(self.tokens @ to_keys, "h m i -> i (h m)")
        weights = scores.softmax(dim=1)
        means = cheap(self._means, weights, points)
        bias = rearrange(self.to_kv.bias[1::2], "(h c) -> h 1 c", h=self.heads)
        values = torch.baddbmm(bias, means, to_values.transpose(1, 2))
        tokens = rearrange(values, "h (n m) c -> n h m c", n=points.shape[0]) + self.tokens
        return tokens, rearrange(weights, "n p (h m) -> n h m p", h=self.heads)

    def _means(self, weights: Tensor, points: Tensor) -> Tensor:
        """Means of points ``(n, p, c)`` by weights ``(n, p, h m)``, ``(h, n m, c)``."""
        return rearrange(weights.transpose(1, 2) @ points, "n (h m) c -> h (n m) c", h=self.heads).contiguous()

    def solve(self, tokens: Tensor) -> Tensor:
        """The spectral sum on tokens ``(n, h, m, c / h)``; a channel is a head and a channel in it."""
        flat = rearrange(tokens, "n h m c -> n m (h c)")
        return rearrange(self.spectral(flat), "n m (h c) -> n h m c", h=self.heads)

    def spread(self, points: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Project tokens back onto points ``(n, p, c)``; also return the attention ``(n, h, p, m)``."""
        # Q T^T = X (T W_Q)^T + b_Q T^T. The tokens' axis comes before that of the points, and the numbers are not bfloat16:
        # PyTorch is slow at the softmax of a few numbers that lie side by side, and of few bfloat16 numbers.
        probes = cheap(self._probes, tokens, self.to_q.weight)
        bias = (tokens @ rearrange(self.to_q.bias, "(h c) -> h c 1", h=self.heads)).flatten(1, 2)
        scores = torch.baddbmm(bias, probes, points.transpose(1, 2)).unflatten(1, (self.heads, -1))
        weights = scores.softmax(dim=2, dtype=torch.promote_types(scores.dtype, torch.float32)).transpose(2, 3)
        return points + rearrange(weights.to(points) @ tokens, "n h p c -> n p (h c)"), weights

    def _probes(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """Vectors ``(n, h m, c)`` whose products with points are those of tokens ``(n, h, m, c / h)`` with queries."""
        probes = rearrange(tokens, "n h m c -> h (n m) c") @ rearrange(weight, "(h c) i -> h c i", h=self.heads)
        return rearrange(probes, "h (n m) i -> n (h m) i", n=tokens.shape[0]).contiguous()

    def forward(self, points: Tensor) -> Tensor:
        """Map ``(n, p, c)`` to ``(n, p, c)``; sets of points do not exchange data."""
        if not self.latent:
            return self.spectral(points)
        tokens, _ = self.gather(points)
        return self.spread(points, self.solve(tokens))[0]

    @torch.no_grad()
    def inspect(self, points: Tensor) -> Latents:
        """Tokens and attention maps for ``(n, p, c)`` of a block with a latent space."""
        tokens, gathering = self.gather(points)
        solved = self.solve(tokens)
        return Latents(tokens, solved, gathering, self.spread(points, solved)[1])


@BLOCKS.register("identity")
class IdentityBlock(nn.Module):
    """No spectral block (ablation): points ``(n, p, c)`` stay as they are, the trunk remains a plain multiscale network."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, points: Tensor) -> Tensor:
        """Return the points ``(n, p, c)`` unchanged."""
        return points
