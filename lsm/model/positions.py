"""Sines and cosines of positions, by which a model resolves what lies close together."""

from __future__ import annotations

import torch
from torch import Tensor

from lsm.fields import FieldSpec
from lsm.model.grid import unit_coordinates


def waves_of(positions: Tensor, count: int) -> Tensor:
    """Sines and cosines of positions at doubling frequencies ``pi, 2 pi, 4 pi, ..``: ``(..., d)`` to ``(..., 2 d count)``.

    Example:
        >>> (waves_of(torch.tensor([[0.5]]), 2).round() + 0.0).tolist()
        [[1.0, 0.0, 0.0, -1.0]]
    """
    frequencies = torch.pi * 2.0 ** torch.arange(count, device=positions.device, dtype=positions.dtype)
    phases = (positions.unsqueeze(-1) * frequencies).flatten(-2)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def num_waves(spec: FieldSpec, count: int) -> int:
    """Channels that :func:`append_waves` adds."""
    return 2 * count * (spec.space if spec.geometry == "points" else len(spec.sites))


def append_waves(field: Tensor, inputs: Tensor, coords: Tensor | None, spec: FieldSpec, count: int) -> Tensor:
    """Append waves of the positions of all sites to channels ``(b, *sites, c)``.

    Args:
        field: the channels.
        inputs: ``(b, *sites, c_in)``; without ``coords`` the positions of a cloud are its first channels.
        coords: positions of a cloud in the unit cube, ``(b, n, d)``; on a lattice the sites' coordinates on it count.
        spec: the fields.
        count: number of frequencies; 0 leaves the field as it is.
    Returns:
        ``(b, *sites, c + 2 d count)``.
    """
    if not count:
        return field
    if spec.geometry == "points":
        positions = inputs[..., : spec.space] if coords is None else coords
    else:
        positions = unit_coordinates(tuple(inputs.shape[1:-1]), inputs)
    return torch.cat([field, waves_of(positions, count).expand(*field.shape[:-1], -1)], dim=-1)
