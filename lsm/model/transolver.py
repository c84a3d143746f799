"""Transolver: attention among learned slices of the sites, on lattices and point clouds.

Source: Wu, Luo, Wang, Wang, Long, "Transolver: A Fast Transformer Solver for PDEs on General Geometries", ICML 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lsm.fields import FieldSpec
from lsm.model import ANY_GEOMETRY, GRIDS, MODELS
from lsm.model.grid import CONVOLUTIONS, FeedForward, takes_coordinates, unit_coordinates
from lsm.model.positions import append_waves, num_waves
from lsm.model.precision import InputLinear
from lsm.model.stream import PreNormBlock, attention, join_heads, repeat, require_heads, split_heads, start_small
from lsm.registry import Count, Index

#: Limits of the temperature of the slice weights.
COLDEST, HOTTEST = 0.1, 5.0


class _SiteProjection(nn.Module):
    """New channels at every site: from its neighbours by a convolution of three sites along each axis, or from it alone.

    It maps ``(b, *sites, c)`` to ``(b, *sites, c)``.

    Args:
        width: channels in and out.
        rank: rank of the lattice; 0 for a point cloud.
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.map = CONVOLUTIONS[rank](width, width, 3, padding=1) if rank else nn.Linear(width, width)

    def forward(self, field: Tensor) -> Tensor:
        """Map ``(b, *sites, c)`` to ``(b, *sites, c)``."""
        return self.map(field) if isinstance(self.map, nn.Linear) else self.map(field.movedim(-1, 1)).movedim(1, -1)


class PhysicsAttention(nn.Module):
    """Soft slices of the sites become tokens, tokens attend to each other, and every site reads its slices' tokens.

    For each head, with features ``a_n`` and values ``v_n`` of the sites ``n``::

        w_n = softmax(W a_n / temperature),    z_s = sum_n w_ns v_n / sum_n w_ns,    u_n = sum_s w_ns attention(z)_s

    Fields are ``(b, *sites, c)``, the tokens ``(b, h, s, c / h)`` for ``s`` slices. The cost is linear in the number of sites.

    Args:
        width: channels.
        heads: number of heads.
        num_slices: number of slices for each head.
        rank: rank of the lattice; 0 for a point cloud.
    """

    def __init__(self, width: int, heads: int, num_slices: int, rank: int) -> None:
        super().__init__()
        self.heads = heads
        self.features, self.values = _SiteProjection(width, rank), _SiteProjection(width, rank)
        self.slices = nn.Linear(width // heads, num_slices)
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), 0.5))
        self.token_maps = nn.ModuleList(nn.Linear(width // heads, width // heads, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, field: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c)`` to ``(b, *sites, c)``; points outside the mask ``(b, n)`` have no influence."""
        features, sites = split_heads(self.features(field), self.heads)
        # Divided by the temperature are the weights, not the many scores.
        temperature = self.temperature.clamp(COLDEST, HOTTEST)
        scores = features @ (self.slices.weight.mT / temperature) + self.slices.bias / temperature
        weights = scores.softmax(dim=-1)
        if mask is not None:
            weights = weights * mask[:, None, :, None]
        values, _ = split_heads(self.values(field), self.heads)
        tokens = weights.mT @ values / (weights.sum(dim=-2).unsqueeze(-1) + 1e-5)
        tokens = attention(*(token_map(tokens) for token_map in self.token_maps))
        return self.out(join_heads(weights @ tokens, sites))


@MODELS.register("transolver")
class Transolver(nn.Module):
    """Transolver: lift at every site, physics attention and a feedforward layer in each of several blocks, read out.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``.

    Args:
        spec: the fields; of meshes and clouds the inputs contain the positions.
        width: channels at every site.
        num_layers: number of blocks.
        heads: number of heads of the attention.
        num_slices: number of slices for each head.
        mlp_ratio: channels inside a feedforward layer, as a multiple of the width.
        reference: on lattices, sites along each axis of a coarse reference lattice whose distances describe a position;
            0 for the coordinates themselves.
        lattice_coordinates: whether sites of meshes have their coordinates on the lattice, too; published without.
        position_waves: frequencies of sines and cosines of the positions that are added to the inputs, in the unit cube of a
            cloud or on the lattice of a grid or mesh; published without.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (16, 24), ("x", "y"), (Channel("a"),), (Channel("u"),))
        >>> Transolver(spec, width=16, num_layers=2, heads=4, num_slices=8)(torch.zeros(4, 16, 24, 1)).shape
        torch.Size([4, 16, 24, 1])
    """

    geometries = ANY_GEOMETRY
    ragged = True

    def __init__(
        self,
        spec: FieldSpec,
        *,
        width: Count = 128,
        num_layers: Count = 8,
        heads: Count = 8,
        num_slices: Count = 64,
        mlp_ratio: Count = 1,
        reference: Index = 0,
        lattice_coordinates: bool = True,
        position_waves: Index = 0,
    ) -> None:
        super().__init__()
        require_heads(heads, width)
        self.spec, self.reference, self.position_waves = spec, reference, position_waves
        self.positions = takes_coordinates(spec, lattice_coordinates)
        rank = len(spec.sites) if spec.geometry in GRIDS else 0
        described = (reference**rank if reference else rank) if self.positions else 0
        in_channels = spec.in_channels + described + num_waves(spec, position_waves)
        self.lift = FeedForward(in_channels, 2 * width, width, first=InputLinear)

        def make_block() -> nn.Module:
            attention = PhysicsAttention(width, heads, num_slices, rank)
            return PreNormBlock(width, attention, FeedForward(width, mlp_ratio * width, width))

        self.blocks = repeat(num_layers, make_block)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, spec.out_channels))
        start_small(self)

    def forward(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Map ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``; only waves use coordinates beside the inputs, nothing the code."""
        field = inputs
        if self.positions:
            described = describe_positions(tuple(inputs.shape[1:-1]), self.reference, inputs)
            field = torch.cat([described.expand(*inputs.shape[:-1], -1), inputs], dim=-1)
        field = append_waves(field, inputs, coords, self.spec, self.position_waves)
        return self.head(self.blocks(self.lift(field), mask))


def describe_positions(sizes: tuple[int, ...], reference: int, like: Tensor) -> Tensor:
    """Coordinates of a lattice's sites in the unit cube, or their distances to the sites of a coarse lattice.

    Args:
        sizes: sites along each axis.
        reference: sites of the coarse lattice along each axis; 0 for the coordinates themselves.
        like: determines device and type.
    Returns:
        ``(*sizes, d)``, or ``(*sizes, reference^d)``.
    """
    own = unit_coordinates(sizes, like)
    if not reference:
        return own
    others = unit_coordinates((reference,) * len(sizes), like).flatten(0, -2)
    return (own.unsqueeze(-2) - others).norm(dim=-1)
