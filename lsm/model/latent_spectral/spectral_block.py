"""The neural spectral block: the paper's equations on sets of points, with no notion of axes.

Source: Wu, Hu, Luo, Wang, Long, "Solving High-Dimensional PDEs with Latent Spectral Models", ICML 2023, section 3.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from lsm.model.cheap import cheap
from lsm.model.latent_spectral.attention import attention_weights
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
        # With K = X W_K^T + b, T0 K^T = (T0 W_K) X^T up to b, which no softmax over the points sees: K is never formed.
        to_keys, to_values = rearrange(self.to_kv.weight, "(h c kv) i -> kv h c i", h=self.heads, kv=2)
        scores = points @ rearrange(self.tokens @ to_keys, "h m i -> i (h m)")
        weights = cheap(self._transposed, scores.softmax(dim=1))
        values = cheap(self._per_head, points, to_values.flatten(0, 1), self.to_kv.bias[1::2])
        return weights @ values + self.tokens, weights

    def _transposed(self, weights: Tensor) -> Tensor:
        """``(n, p, h m)`` to ``(n, h, m, p)``."""
        return rearrange(weights, "n p (h m) -> n h m p", h=self.heads).contiguous()

    def _per_head(self, points: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """A linear map of points ``(n, p, c)``, ``(n, h, p, c / h)``."""
        return rearrange(functional.linear(points, weight, bias), "n p (h c) -> n h p c", h=self.heads).contiguous()

    def solve(self, tokens: Tensor) -> Tensor:
        """The spectral sum on tokens ``(n, h, m, c / h)``; a channel is a head and a channel in it."""
        flat = rearrange(tokens, "n h m c -> n m (h c)")
        return rearrange(self.spectral(flat), "n m (h c) -> n h m c", h=self.heads)

    def spread(self, points: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Project tokens back onto points ``(n, p, c)``; also return the attention ``(n, h, p, m)``."""
        queries = cheap(self._per_head, points, self.to_q.weight, self.to_q.bias)
        weights = attention_weights(queries, tokens)
        return points + rearrange(weights @ tokens, "n h p c -> n p (h c)"), weights

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
