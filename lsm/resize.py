"""Fields on another number of sites of the same grid, and predictions for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lsm.errors import InputError
from lsm.fields import FieldSpec
from lsm.model.grid import INTERPOLATIONS, crop


def resize(field: Tensor, sites: Sequence[int], spec: FieldSpec) -> Tensor:
    """Interpolate linearly along each axis: ``(b, *n, c)`` to ``(b, *sites, c)``.

    Args:
        field: values at ``0, 1 / (n - 1), .., 1`` along each axis; of periodic fields at ``0, 1 / n, ..``.
        sites: wanted number of sites along each axis.
        spec: what the fields are.
    Raises:
        InputError: the sites are points without order.

    Example:
        >>> from lsm.fields import Channel
        >>> line = FieldSpec("grid", (2,), ("x",), (Channel("a"),), (Channel("u"),))
        >>> resize(torch.tensor([0.0, 2.0]).reshape(1, 2, 1), [3], line).flatten().tolist()
        [0.0, 1.0, 2.0]
    """
    if spec.geometry == "points":
        raise InputError("training_grid interpolates between the sites of a grid or mesh; these fields lie on points")
    values, sizes = field.movedim(-1, 1), torch.Size(sites)
    if spec.periodic:  # the first site once more at the end
        values, sizes = functional.pad(values, (0, 1) * len(sites), mode="circular"), torch.Size(n + 1 for n in sites)
    values = functional.interpolate(values, size=sizes, mode=INTERPOLATIONS[len(sites)], align_corners=True)
    return crop(values, torch.Size(sites)).movedim(1, -1)


def through_training_grid(solve: Callable[..., Tensor], fields: Sequence[Tensor | None], spec: FieldSpec) -> Tensor:
    """What ``solve(*fields)`` gives on the grid of the training, interpolated to the sites of the fields.

    Args:
        solve: maps fields on the grid of the training to one, ``(b, *spec.sites, c)``.
        fields: ``(b, *sites, c)`` each, or None; they are interpolated unless they are on that grid.
        spec: what the fields are.
    Returns:
        ``(b, *sites, c)``.
    Raises:
        InputError: the sites are points without order.
    """
    sites = next(field.shape[1:-1] for field in fields if field is not None)
    if tuple(sites) == spec.sites:
        return solve(*fields)
    there = (None if field is None else resize(field, spec.sites, spec) for field in fields)
    return resize(solve(*there), sites, spec)
