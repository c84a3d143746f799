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


def through_training_grid(
    solve: Callable[..., Tensor], inputs: Tensor, others: Sequence[Tensor | None], spec: FieldSpec
) -> Tensor:
    """What ``solve(inputs, *others)`` gives on the grid of the training, interpolated to the sites of the fields.

    Predictions are multiplied by the mask of the fields, if there is one. On the grid of the training they were multiplied by
    the mask there, which counts as a weight in the interpolation, so that the zeros outside of it do not lower them.

    Args:
        solve: maps fields on the grid of the training to one, ``(b, *spec.sites, c)``.
        inputs: ``(b, *sites, c_in)``, interpolated unless they are on that grid.
        others: further fields ``(b, *sites, c)``, or None, likewise.
        spec: what the fields are.
    Returns:
        ``(b, *sites, c)``.
    Raises:
        InputError: the sites are points without order.
    """
    sites = inputs.shape[1:-1]
    if tuple(sites) == spec.sites:
        return solve(inputs, *others)
    there = resize(inputs, spec.sites, spec)
    others_there = (None if field is None else resize(field, spec.sites, spec) for field in others)
    prediction = resize(solve(there, *others_there), sites, spec)
    if spec.mask is None:
        return prediction
    weight = resize(there[..., spec.mask, None], sites, spec)
    return prediction / weight.where(weight > 0, 1.0) * inputs[..., spec.mask, None]
