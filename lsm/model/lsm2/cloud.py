"""Clouds: points are spread to a lattice, a pyramid solves there, and its features are interpolated back at the points.

Both directions are linear interpolation with the same weights: the cost is linear in the number of points, and their order does
not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product, zip_longest
from math import prod

import torch
from torch import Tensor, nn

from lsm.device import numbers_on
from lsm.model.grid import FeedForward
from lsm.model.lsm2.pyramid import Pyramid
from lsm.model.precision import at_least_single

#: Added to the weight of the points at a lattice site before the mean of their features is taken.
_EMPTY = 1e-2

#: Sites of a lattice along an axis for each point along it, if the points were a lattice themselves.
_SITES_FOR_A_POINT = 1.25

#: Most sites along each axis that are chosen, by the dimension of the space.
_MOST_SITES = {1: 1024, 2: 128, 3: 40}


def fitting_lattice(num_points: int, space: int) -> int:
    """Sites along each axis of a lattice for a cloud in a space of 1 to 3 dimensions.

    Example:
        >>> fitting_lattice(972, 2), fitting_lattice(32_768, 3)
        (39, 40)
    """
    return min(max(round(_SITES_FOR_A_POINT * num_points ** (1 / space)), 4), _MOST_SITES[space])


def corners(positions: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The lattice sites around points of the unit cube, and the weights of a multilinear interpolation between them.

    Args:
        positions: ``(b, n, d)``; those outside of the cube are taken to its boundary.
        sizes: sites of the lattice along each of the ``d`` axes, at least two.
    Returns:
        Indices into the flattened lattice and weights, each ``(b, n, 2^d)``; the weights of a point add up to one.

    Example:
        >>> corners(torch.tensor([[[0.25]]]), [3])
        (tensor([[[0, 1]]]), tensor([[[0.5000, 0.5000]]]))
    """
    exact = at_least_single(positions)  # half precision has too few digits for the number of a site
    last = numbers_on(exact.device, [size - 1 for size in sizes], exact.dtype)
    scaled = exact.clamp(0, 1) * last
    lower = torch.minimum(scaled.floor(), last - 1)
    share, first = scaled - lower, lower.long()
    indices, weights = [], []
    for corner in product((0, 1), repeat=len(sizes)):
        offset = numbers_on(exact.device, corner, exact.dtype)
        weights.append((offset * share + (1 - offset) * (1 - share)).prod(dim=-1))
        flat = torch.zeros_like(first[..., 0])
        for axis, size in enumerate(sizes):
            flat = flat * size + first[..., axis] + corner[axis]
        indices.append(flat)
    return torch.stack(indices, dim=-1), torch.stack(weights, dim=-1).to(positions.dtype)


class OnPoints(nn.Module):
    """A pyramid on a lattice over the unit cube that updates the features of points, ``x + W interpolate(pyramid(spread(x)))``.

    The pyramid sees the mean of the features of the points around each site, and how many there are.

    Args:
        width: channels of the points.
        sizes: sites of the lattice along each axis.
        pyramid: the pyramid on it.
    """

    def __init__(self, width: int, sizes: Sequence[int], pyramid: Pyramid) -> None:
        super().__init__()
        self.sizes, self.pyramid = tuple(sizes), pyramid
        inner = pyramid.channels[0]
        self.enter, self.leave = nn.Linear(width + 1, inner), nn.Linear(inner, width)

    def forward(self, points: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, n, c)`` at positions ``(b, n, d)`` to ``(b, n, c)``; points outside the mask ``(b, n)`` have no influence."""
        indices, weights = corners(positions, self.sizes)
        if mask is not None:
            weights = weights * mask.unsqueeze(-1)
        lattice = self.enter(self._spread(points, indices, weights)).movedim(-1, 1)
        solved = self.pyramid(lattice)[0].flatten(2).movedim(1, -1)
        return points + self.leave(self._interpolate(solved, indices, weights))

    def _spread(self, points: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """Means of the features around each site, and the sums of their weights: ``(b, *sizes, c + 1)``."""
        batch, count = points.shape[0], prod(self.sizes)
        features = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
        parts = (features.unsqueeze(2) * weights.unsqueeze(-1)).flatten(1, 2)
        where = indices.flatten(1).unsqueeze(-1).expand_as(parts)
        # In the type of the weights, which mixed precision leaves as it is.
        sums = parts.new_zeros(batch, count, parts.shape[-1]).scatter_add(1, where, parts)
        totals = sums[..., -1:]
        return torch.cat([sums[..., :-1] / (totals + _EMPTY), totals], dim=-1).unflatten(1, self.sizes)

    def _interpolate(self, lattice: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """``(b, sites, c)`` at the points: ``(b, n, c)``."""
        around = lattice.gather(1, indices.flatten(1).unsqueeze(-1).expand(-1, -1, lattice.shape[-1]))
        return (around.unflatten(1, indices.shape[1:]) * weights.unsqueeze(-1)).sum(dim=2)


class CloudBody(nn.Module):
    """Features of points: a pyramid on a lattice, then rounds of a residual feedforward layer, each perhaps after a block.

    Args:
        width: channels.
        depth: number of rounds.
        make_block: maps a number of channels to a block on all points ``(b, n, c)``; None for rounds without blocks.
        sizes: sites of the lattice along each axis.
        pyramid: on this lattice; None (ablation) for none.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        make_block: Callable[[int], nn.Module] | None,
        sizes: Sequence[int],
        pyramid: Pyramid | None,
    ) -> None:
        super().__init__()
        self.channels = [width]
        self.lattice = None if pyramid is None else OnPoints(width, sizes, pyramid)
        self.blocks = nn.ModuleList() if make_block is None else nn.ModuleList(make_block(width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.feedforward = nn.ModuleList(FeedForward(width, 2 * width, width) for _ in range(depth))

    def forward(self, field: Tensor, positions: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Map ``(b, w, n)`` at positions ``(b, n, d)`` to the features ``(b, w, n)`` of the only scale; see :class:`OnPoints`."""
        points = field.movedim(1, -1)
        if self.lattice is not None:
            points = self.lattice(points, positions, mask)
        for block, norm, feedforward in zip_longest(self.blocks, self.norms, self.feedforward):
            if block is not None:
                points = block(points) if mask is None else block(points, mask)
            points = points + feedforward(norm(points))
        return [points.movedim(-1, 1)]
