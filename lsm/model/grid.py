"""What families share: layers by rank, options per axis, coordinates and padding of a lattice, and a feedforward layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsm.errors import OptionError
from lsm.fields import FieldSpec
from lsm.model.cheap import cheap

#: Convolutions, and PyTorch's names of linear interpolation, by the rank of the lattice.
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


def per_axis(option: str, value: int | Sequence[int], rank: int) -> list[int]:
    """An option of a family that is one number per axis, or one for all axes.

    Args:
        option: its name.
        value: a scalar, or a list of numbers.
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


def takes_coordinates(spec: FieldSpec, on_meshes: bool) -> bool:
    """Whether a family adds a lattice's coordinates to its inputs: always on grids, on meshes ``(*sites, c)`` if asked for.

    The inputs of meshes contain the sites' positions; normalised by site they do not tell one site from another.
    """
    return spec.geometry == "grid" or (spec.geometry == "mesh" and on_meshes)


def append_coordinates(inputs: Tensor) -> Tensor:
    """Append the lattice's normalised coordinates to the channels: ``(b, *sites, c)`` to ``(b, *sites, c + d)``."""
    sites = tuple(inputs.shape[1:-1])
    unit = unit_coordinates(sites, inputs).expand(*inputs.shape[:-1], len(sites))
    return torch.cat([inputs, unit], dim=-1)


def missing_sites(sizes: Sequence[int], units: Sequence[int]) -> list[int]:
    """How many sites each axis of a grid ``(*n,)`` lacks to the next multiple of a unit.

    Example:
        >>> missing_sites([9, 8], [4, 2])
        [3, 0]
    """
    return [-size % unit for size, unit in zip(sizes, units, strict=True)]


def pad_ends(field: Tensor, counts: Sequence[int]) -> Tensor:
    """Append zeros at the end of each axis: ``(b, c, *n)`` to ``(b, c, *(n + counts))``."""
    return functional.pad(field, [amount for count in reversed(counts) for amount in (0, count)])


def crop(field: Tensor, sizes: Sequence[int]) -> Tensor:
    """The first sites along each axis of a padded lattice: ``(b, c, *n)`` to ``(b, c, *sizes)``."""
    for axis, size in enumerate(sizes, start=2):
        field = field.narrow(axis, 0, size)
    return field


class FeedForward(nn.Sequential):
    """Linear (of the kind ``first``), GELU, linear on the last axis: ``(..., in_width)`` to ``(..., out_width)``."""

    def __init__(self, in_width: int, inner_width: int, out_width: int, first: type[nn.Linear] = nn.Linear) -> None:
        super().__init__(first(in_width, inner_width), nn.GELU(), nn.Linear(inner_width, out_width))

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(..., in_width)`` to ``(..., out_width)``."""
        widen, gelu, narrow = self
        features = features.contiguous()  # else the linear layer keeps a copy of its own
        return narrow(cheap(gelu, cheap(widen, features)))
