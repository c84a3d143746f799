"""A plain vision transformer: patches of a lattice, or the points of a cloud, attend to each other.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", ICLR 2021; here with
the sites' coordinates among the channels in place of learned positions, so that it takes any number of sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from einops import rearrange
from torch import Tensor, nn

from lsm.fields import FieldSpec
from lsm.model import ANY_GEOMETRY, GRIDS, MODELS
from lsm.model.grid import FeedForward, append_coordinates, crop, missing_sites, pad_ends, per_axis
from lsm.model.latent_spectral.patches import PATCH, from_patches, to_patches
from lsm.model.positions import append_waves, num_waves
from lsm.model.precision import InputLinear
from lsm.model.stream import PreNormBlock, attention, join_heads, repeat, require_heads, split_heads, start_small
from lsm.registry import Count, Index


class SelfAttention(nn.Module):
    """Softmax attention of every token ``(b, n, c)`` to every other; the cost is quadratic in the number ``n`` of tokens.

    Args:
        width: channels.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.maps = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, n, c)`` to ``(b, n, c)``; tokens outside the mask ``(b, n)`` have no influence."""
        (queries, sites), (keys, _), (values, _) = (
            split_heads(part, self.heads) for part in self.maps(tokens).chunk(3, dim=-1)
        )
        mixed = attention(queries, keys, values, mask)
        return self.out(join_heads(mixed, sites))


@MODELS.register("vit")
class VisionTransformer(nn.Module):
    """Vision transformer: a linear map of each patch to a token, attention blocks, a linear map of each token to its patch.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``. A lattice is padded with zeros at the end of each axis to whole
    patches.

    Args:
        spec: the fields; of meshes and clouds the inputs contain the positions.
        width: channels of a token.
        num_layers: number of blocks.
        heads: number of heads.
        patch: sites of a patch along each axis of a lattice; None for 4. A point is a patch of its own.
        mlp_ratio: channels inside a feedforward layer, as a multiple of the width.
        position_waves: frequencies of sines and cosines of the positions that are added to the inputs, in the unit cube of a
            cloud or on the lattice of a grid or mesh.

    Example:
        >>> import torch
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (21, 30), ("x", "y"), (Channel("a"),), (Channel("u"),))
        >>> VisionTransformer(spec, width=16, num_layers=2, heads=4)(torch.zeros(4, 21, 30, 1)).shape
        torch.Size([4, 21, 30, 1])
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
        patch: Sequence[Count] | None = None,
        mlp_ratio: Count = 4,
        position_waves: Index = 0,
    ) -> None:
        super().__init__()
        require_heads(heads, width)
        self.spec, self.position_waves = spec, position_waves
        rank = len(spec.sites)
        self.on_lattice = spec.geometry in GRIDS
        self.patch = tuple(per_axis("patch", patch or PATCH, rank)) if self.on_lattice else (1,)
        points = prod(self.patch)
        in_channels = spec.in_channels + (rank if self.on_lattice else 0) + num_waves(spec, position_waves)
        self.embed = InputLinear(points * in_channels, width)

        def make_block() -> nn.Module:
            return PreNormBlock(width, SelfAttention(width, heads), FeedForward(width, mlp_ratio * width, width))

        self.blocks = repeat(num_layers, make_block)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, points * spec.out_channels))
        start_small(self)

    def forward(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Map ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``; only waves use coordinates beside the inputs, nothing the code."""
        field = append_coordinates(inputs) if self.on_lattice else inputs
        field = append_waves(field, inputs, coords, self.spec, self.position_waves)
        if not self.on_lattice:
            return self.head(self.blocks(self.embed(field), mask))
        field = field.movedim(-1, 1)
        padded = pad_ends(field, missing_sites(field.shape[2:], self.patch))
        num_patches = prod(padded.shape[2:]) // prod(self.patch)
        cut = rearrange(to_patches(padded, self.patch), "(b n) p c -> b n (p c)", n=num_patches)
        outputs = rearrange(self.head(self.blocks(self.embed(cut))), "b n (p c) -> (b n) p c", p=prod(self.patch))
        whole = from_patches(outputs, self.patch, tuple(padded.shape[2:]))
        return crop(whole, inputs.shape[1:-1]).movedim(1, -1)
