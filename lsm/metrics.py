"""Errors of predicted fields: training minimises and evaluation reports the same ones.

Knows no model and no data set.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.linalg import vector_norm

Loss = Callable[[Tensor, Tensor], Tensor]


def _check_shapes(prediction: Tensor, truth: Tensor) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {tuple(prediction.shape)}, truth {tuple(truth.shape)}")


def relative_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """Relative L2 error of each sample, ``|p - t| / |t|``, over all sites and channels.

    Args:
        prediction: ``(b, *sites, c)``, in physical units.
        truth: same shape and units; a sample that is zero everywhere gives inf or NaN.
    Returns:
        ``(b,)``, dimensionless.
    Raises:
        ValueError: shapes differ.
    """
    _check_shapes(prediction, truth)
    difference = (prediction - truth).flatten(1)
    return vector_norm(difference, dim=1) / vector_norm(truth.flatten(1), dim=1)


def relative_l2_per_channel(prediction: Tensor, truth: Tensor) -> Tensor:
    """Relative L2 error of each sample and channel, over all sites.

    Args:
        prediction: ``(b, *sites, c)``, in physical units.
        truth: same shape and units.
    Returns:
        ``(b, c)``, dimensionless.
    Raises:
        ValueError: shapes differ.
    """
    _check_shapes(prediction, truth)
    difference = (prediction - truth).flatten(1, -2)
    return vector_norm(difference, dim=1) / vector_norm(truth.flatten(1, -2), dim=1)


def sum_relative_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """The published training loss: relative L2 errors, summed over the batch."""
    return relative_l2(prediction, truth).sum()


def sum_relative_l2_per_channel(prediction: Tensor, truth: Tensor) -> Tensor:
    """The published loss of a roll-out: each frame's relative L2 error, summed over frames and batch."""
    return relative_l2_per_channel(prediction, truth).sum()


def describe_fault(inputs: Tensor, truth: Tensor) -> str:
    """Why the error of a batch is not finite: its data, or the prediction."""
    if not all(torch.isfinite(field).all() for field in (inputs, truth)):
        return "a field is not finite, the data are damaged: write them anew without that sample"
    if not truth.flatten(1).any(dim=1).all():
        return "a true field is zero everywhere, so that no relative error is defined; leave the sample out"
    return "the model diverged, lower optimizer.lr"


#: Losses by their name in the configuration.
LOSSES: dict[str, Loss] = {
    "sum_relative_l2": sum_relative_l2,
    "sum_relative_l2_per_channel": sum_relative_l2_per_channel,
}
