"""What families on regular lattices share: the lattice's own coordinates as input, and the head that reads out a field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lsm.errors import OptionError


def per_axis(option: str, value: int | Sequence[int], rank: int) -> list[int]:
    """An option of a family that is one number per axis, or one for all axes.

    Args:
        option: its name.
        value: as given.
        rank: number of axes.
    Raises:
        OptionError: there are more or fewer numbers than axes.

    Example:
        >>> per_axis("modes", 12, rank=2)
        [12, 12]
    """
    numbers = [value] * rank if isinstance(value, int) else list(value)
    if len(numbers) != rank:
        raise OptionError(option, f"is {numbers}, expected one number per axis of a grid of rank {rank}")
    return numbers


def unit_coordinates(sizes: tuple[int, ...], like: Tensor) -> Tensor:
    """Normalised index coordinates of a lattice, ``linspace(0, 1, n)`` along each axis.

    Args:
        sizes: sites along each axis.
        like: determines device and type.
    Returns:
        ``(*sizes, d)``.
    """
    axes = [torch.linspace(0, 1, size, device=like.device, dtype=like.dtype) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def append_coordinates(inputs: Tensor) -> Tensor:
    """Append the lattice's normalised coordinates to the channels: ``(b, *sites, c)`` to ``(b, *sites, c + d)``."""
    sites = tuple(inputs.shape[1:-1])
    unit = unit_coordinates(sites, inputs).expand(*inputs.shape[:-1], len(sites))
    return torch.cat([inputs, unit], dim=-1)


def crop(field: Tensor, sizes: Sequence[int]) -> Tensor:
    """The first sites along each axis of a padded lattice: ``(b, c, *n)`` to ``(b, c, *sizes)``."""
    for axis, size in enumerate(sizes, start=2):
        field = field.narrow(axis, 0, size)
    return field


def make_head(width: int, out_channels: int, head_width: int = 128) -> nn.Sequential:
    """Linear, GELU, linear on the last axis: ``width -> head_width -> out_channels``."""
    return nn.Sequential(nn.Linear(width, head_width), nn.GELU(), nn.Linear(head_width, out_channels))
