"""The global spectral block: latent tokens of the whole field, a spectral sum with learned frequencies on them, and back.

It differs from the published block in that its tokens see every site, are made from the field, exchange information with one
another and across channels, and are read and written with different weights.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from lsm.model.grid import FeedForward
from lsm.model.latent_spectral.parts import BLOCKS, Latents
from lsm.model.latent_spectral.spectral_sum import LearnedSpectralSum
from lsm.model.stream import Sites, attention, join_heads, key_mask, require_heads, split_heads
from lsm.model.vit import SelfAttention
from lsm.registry import Count


class GainedResidual(nn.Module):
    """``t + g f(norm(t))`` with a gain ``g`` of each channel that is zero at the start, when the layer is the identity.

    Args:
        channels: number of channels ``c``.
        layer: ``f``, from ``(..., c)`` to ``(..., c)``.
    """

    def __init__(self, channels: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(channels), layer
        self.gain = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(..., c)`` to ``(..., c)``."""
        return tokens + self.gain * self.layer(self.norm(tokens))


@BLOCKS.register("global_spectral")
class GlobalSpectralBlock(nn.Module):
    """Project all points to latent tokens, solve there, project back; a pre-norm residual layer with linear cost.

    With keys ``K``, values ``V`` and queries ``Q`` linear in the normalised points, learned tokens ``T0`` and a gain ``g`` that
    is zero at the start, separately for each head::

        A  = T0 + g attention(T0, K, V)         tokens made from the field
        Z  = attention(A, K, V)                 read
        Z' = mix(spectral(Z))                   spectral sum; then channels, then tokens mix in residual layers
        X' = X + W attention(Q, K' Z', Z')      write

    Args:
        channels: number of channels ``c``, a multiple of ``heads``.
        heads: attention heads ``h``.
        num_tokens: latent tokens ``m`` of each head.
        num_basis: basis functions of the spectral sum.
        spectral: False (ablation): without the spectral sum.
        learned_frequencies: False (ablation): the spectral sum keeps its initial frequencies.
        field_tokens: False (ablation): tokens are not made from the field.
        mix_channels: False (ablation): channels do not mix in latent space.
        mix_tokens: False (ablation): tokens do not mix.

    Example:
        >>> block = GlobalSpectralBlock(16, heads=4)
        >>> block(torch.zeros(3, 25, 16)).shape
        torch.Size([3, 25, 16])
    """

    ragged = True

    def __init__(
        self,
        channels: int,
        *,
        heads: Count = 4,
        num_tokens: Count = 32,
        num_basis: Count = 12,
        spectral: bool = True,
        learned_frequencies: bool = True,
        field_tokens: bool = True,
        mix_channels: bool = True,
        mix_tokens: bool = True,
    ) -> None:
        super().__init__()
        require_heads(heads, channels)
        self.heads = heads
        self.norm, self.maps = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)
        self.tokens = nn.Parameter(torch.randn(heads, num_tokens, channels // heads))
        self.token_gain = nn.Parameter(torch.zeros(heads, 1, channels // heads)) if field_tokens else None
        layers: list[nn.Module] = [LearnedSpectralSum(channels, num_basis, learned_frequencies)] if spectral else []
        if mix_channels:
            layers.append(GainedResidual(channels, FeedForward(channels, 2 * channels, channels)))
        if mix_tokens:
            layers.append(GainedResidual(channels, SelfAttention(channels, heads)))
        self.solve = nn.Sequential(*layers)
        self.write_keys, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def ask(self, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """What each token looks for, ``(b, h, m, c / h)``, from keys and values of the points ``(b, h, n, c / h)``."""
        asking = self.tokens.expand(keys.shape[0], -1, -1, -1)
        if self.token_gain is None:
            return asking
        return asking + self.token_gain * attention(asking, keys, values, mask)

    def read(self, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens ``(b, h, m, c / h)`` from keys and values of the points ``(b, h, n, c / h)``."""
        return attention(self.ask(keys, values, mask), keys, values, mask)

    def _project(self, points: Tensor) -> tuple[list[Tensor], Sites]:
        """Keys, values and queries of points ``(b, n, c)``, ``(b, h, n, c / h)`` each, and the sites for ``join_heads``."""
        parts = [split_heads(part, self.heads) for part in self.maps(self.norm(points)).chunk(3, dim=-1)]
        return [part for part, _ in parts], parts[0][1]

    def _solve(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Solved tokens and their keys for writing, ``(b, h, m, c / h)`` each."""
        solved = self.solve(rearrange(tokens, "b h m c -> b m (h c)"))
        return split_heads(solved, self.heads)[0], split_heads(self.write_keys(solved), self.heads)[0]

    def forward(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, n, c)`` to ``(b, n, c)``; points outside the mask ``(b, n)`` have no influence."""
        (keys, values, queries), sites = self._project(points)
        solved, write_keys = self._solve(self.read(keys, values, mask))
        return points + self.out(join_heads(attention(queries, write_keys, solved), sites))

    @torch.no_grad()
    def inspect(self, points: Tensor, mask: Tensor | None = None) -> Latents:
        """Tokens and attention maps for ``(b, n, c)``."""
        (keys, values, queries), _ = self._project(points)
        gathering = _attention_weights(self.ask(keys, values, mask), keys, key_mask(mask))
        tokens = gathering @ values
        solved, write_keys = self._solve(tokens)
        return Latents(tokens, solved, gathering, _attention_weights(queries, write_keys))


def _attention_weights(queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """``softmax(q k^T / sqrt(c))``, the weights of PyTorch's ``scaled_dot_product_attention``, which does not return them.

    Args:
        queries: ``(..., q, c)``.
        keys: ``(..., k, c)``.
        mask: True where a key exists, in a shape that fits ``(..., q, k)``.
    Returns:
        ``(..., q, k)``; each row sums to one.
    """
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(dim=-1)
