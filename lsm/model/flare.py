"""FLARE: every head routes the sites through its own learned latent tokens, on lattices and point clouds.

Source: Puri, Prasad, Joglekar, Shenoy, Kannan, Zhang, Kara, "FLARE: Fast Low-rank Attention Routing Engine", 2025,
arXiv 2508.12594.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsm.fields import FieldSpec
from lsm.model import ANY_GEOMETRY, MODELS
from lsm.model.grid import append_coordinates, takes_coordinates
from lsm.model.positions import append_waves, num_waves
from lsm.model.precision import InputLinear
from lsm.model.stream import PreNormBlock, attention, join_heads, repeat, require_heads, split_heads, start_small
from lsm.registry import Count, Index


class _ResidualMLP(nn.Module):
    """Linear layers on ``(..., c)`` with GELU between them, and a residual connection around each whose widths agree.

    Args:
        in_width: channels in.
        width: channels inside.
        out_width: channels out.
        num_layers: number of layers inside.
        residual_in: whether the first layer has a residual connection, too, if its widths agree.
        residual_out: the same of the last layer.
        first: kind of the first layer.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        out_width: int,
        num_layers: int,
        residual_in: bool = True,
        residual_out: bool = True,
        first: type[nn.Linear] = nn.Linear,
    ) -> None:
        super().__init__()
        self.first, self.last = first(in_width, width), nn.Linear(width, out_width)
        self.inside = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.activation = nn.GELU(approximate="tanh")
        self.residual_in, self.residual_out = residual_in and in_width == width, residual_out and width == out_width

    def forward(self, field: Tensor) -> Tensor:
        """Map ``(..., in_width)`` to ``(..., out_width)``."""
        first = self.activation(self.first(field))
        field = field + first if self.residual_in else first
        for layer in self.inside:
            field = field + self.activation(layer(field))
        return field + self.last(field) if self.residual_out else self.last(field)


class LatentRouting(nn.Module):
    """Learned queries gather the sites into latent tokens by attention, and the sites gather from these with the same scores.

    For each head, with keys ``k_n`` and values ``v_n`` of the sites and learned queries ``q_m``::

        z = softmax_n(q k^T) v,    u = softmax_m(k q^T) z

    Fields are ``(b, *sites, c)``, the tokens ``(b, h, m, c / h)``. The cost is linear in the number of sites.

    Args:
        width: channels.
        heads: number of heads.
        num_latents: number of latent tokens for each head.
        depth: number of layers inside the projections to keys and values.
    """

    def __init__(self, width: int, heads: int, num_latents: int, depth: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Parameter(0.1 * torch.randn(heads, num_latents, width // heads))
        self.keys = _ResidualMLP(width, width, width, depth)
        self.values = _ResidualMLP(width, width, width, depth)
        self.out = nn.Linear(width, width)

    def forward(self, field: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c)`` to ``(b, *sites, c)``; points outside the mask ``(b, n)`` have no influence."""
        keys, sites = split_heads(self.keys(field), self.heads)
        values, _ = split_heads(self.values(field), self.heads)
        queries = self.queries.expand(keys.shape[0], -1, -1, -1)
        latents = attention(queries, keys, values, mask, scale=1.0)
        return self.out(join_heads(attention(keys, queries, latents, scale=1.0), sites))


@MODELS.register("flare")
class FLARE(nn.Module):
    """FLARE: lift at every site, latent routing and a residual MLP in each of several blocks, read out.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``, at any number of sites.

    Args:
        spec: the fields; of meshes and clouds the inputs contain the positions.
        width: channels at every site.
        num_blocks: number of blocks.
        heads: number of heads.
        num_latents: number of latent tokens for each head.
        depth: number of layers inside the projections and feedforward layers of a block.
        outer_depth: number of layers inside lift and head.
        lattice_coordinates: whether sites of meshes have their coordinates on the lattice, too; published without.
        position_waves: frequencies of sines and cosines of the positions that are added to the inputs, in the unit cube of a
            cloud or on the lattice of a grid or mesh; published without.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("points", (50,), ("point",), (Channel("x"), Channel("y")), (Channel("stress"),))
        >>> FLARE(spec, width=16, num_blocks=2, num_latents=4)(torch.zeros(4, 50, 2)).shape
        torch.Size([4, 50, 1])
    """

    geometries = ANY_GEOMETRY
    ragged = True

    def __init__(
        self,
        spec: FieldSpec,
        *,
        width: Count = 64,
        num_blocks: Count = 8,
        heads: Count = 8,
        num_latents: Count = 64,
        depth: Index = 3,
        outer_depth: Index = 2,
        lattice_coordinates: bool = True,
        position_waves: Index = 0,
    ) -> None:
        super().__init__()
        require_heads(heads, width)
        self.spec, self.position_waves = spec, position_waves
        self.positions = takes_coordinates(spec, lattice_coordinates)
        in_channels = spec.in_channels + (len(spec.sites) if self.positions else 0) + num_waves(spec, position_waves)
        self.lift = _ResidualMLP(in_channels, width, width, outer_depth, residual_in=False, first=InputLinear)

        def make_block() -> nn.Module:
            routing = LatentRouting(width, heads, num_latents, depth)
            return PreNormBlock(width, routing, _ResidualMLP(width, width, width, depth))

        self.blocks = repeat(num_blocks, make_block)
        head = _ResidualMLP(width, width, spec.out_channels, outer_depth, residual_out=False)
        self.head = nn.Sequential(nn.LayerNorm(width), head)
        start_small(self)

    def forward(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Map ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``; only waves use coordinates beside the inputs, nothing the code."""
        field = append_coordinates(inputs) if self.positions else inputs
        field = append_waves(field, inputs, coords, self.spec, self.position_waves)
        return self.head(self.blocks(self.lift(field), mask))
