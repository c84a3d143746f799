"""What bfloat16, with its eight bits, must not round, in trainings of mixed precision or with half weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def full_precision(like: Tensor) -> torch.autocast:
    """No mixed precision, for what does not survive eight bits, such as a phase ``2 pi k x``."""
    return torch.autocast(like.device.type, enabled=False)


def at_least_single(field: Tensor) -> Tensor:
    """A field ``(b, ...)`` in single precision, or in its own if that is finer."""
    return field.float() if field.dtype.itemsize < 4 else field


def as_weights(field: Tensor, weights: Tensor) -> Tensor:
    """A field ``(b, ...)`` in the half precision of a layer's weights, which the next layer has, too; else in its own."""
    return field.to(weights.dtype) if weights.dtype.itemsize < 4 else field


class InputLinear(nn.Linear):
    """A model's linear map of its inputs, ``(..., c_in)`` to ``(..., c)``, in the precision of its weights.

    Samples, or neighbouring sites, may differ by less than bfloat16 resolves. A training on rounded inputs fits another function
    than the one that predictions in single precision evaluate.

    Args:
        in_width: channels ``c_in``.
        out_width: channels ``c``.
        rounded: whether mixed precision rounds the result, which makes what follows faster.
    """

    def __init__(self, in_width: int, out_width: int, rounded: bool = True) -> None:
        super().__init__(in_width, out_width)
        self.rounded = rounded

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(..., c_in)`` to ``(..., c)``."""
        device = inputs.device.type
        with full_precision(inputs):
            features = super().forward(inputs)
        mixed = self.rounded and torch.is_autocast_enabled(device)
        return features.to(torch.get_autocast_dtype(device)) if mixed else features
