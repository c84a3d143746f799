"""From the sites of a sample to the trunk's grid and back, where the sites are a grid already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lsm.errors import InputError


def unit_coordinates(sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """Normalised index coordinates of a grid, ``linspace(0, 1, n)`` along each axis.

    Args:
        sizes: sites along each axis.
        like: gives device and type.
    Returns:
        ``(*sizes, d)``.
    """
    axes = [torch.linspace(0, 1, size, device=like.device, dtype=like.dtype) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


class GridProjection(nn.Module):
    """Sites that are a grid: append the grid's own coordinates and lift to the model's width.

    A structured mesh is a grid too; its physical coordinates are among its input channels.

    Args:
        rank: dimension of the grid.
        in_channels: channels of the input field.
        width: channels of the trunk.
        code: length of a shape code; a grid has no use for one.
    """

    def __init__(self, rank: int, in_channels: int, width: int, code: int = 0) -> None:
        super().__init__()
        if code:
            raise InputError("the grid projection takes no shape code; choose model.projection.name=fourier")
        self.lift = nn.Linear(in_channels + rank, width)

    def project(self, inputs: Tensor, coords: Tensor | None, code: Tensor | None) -> tuple[Tensor, Any]:
        """Map inputs ``(b, *sites, c_in)`` to features ``(b, w, *sites)``."""
        sites = tuple(inputs.shape[1:-1])
        unit = unit_coordinates(sites, inputs).expand(len(inputs), *sites, len(sites))
        return self.lift(torch.cat([inputs, unit], dim=-1)).movedim(-1, 1), None

    def unproject(self, features: Tensor, sites: Any) -> Tensor:
        """Map features ``(b, w, *sites)`` to ``(b, *sites, w)``."""
        return features.movedim(1, -1)
