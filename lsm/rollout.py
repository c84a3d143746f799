"""Autoregressive roll-out of any callable that predicts the next frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def rollout(step: Callable[[Tensor], Tensor], frames: Tensor, num_steps: int) -> Iterator[Tensor]:
    """Yield ``num_steps`` successive frames, each predicted from a window that slides over the ones before.

    Gradients flow through all steps.

    Args:
        step: maps a window ``(b, *sites, c)`` to the frame that follows, ``(b, *sites, k)``.
        frames: the first window, ``(b, *sites, c)``.
        num_steps: how many frames to predict.
    Yields:
        ``(b, *sites, k)``.
    """
    for _ in range(num_steps):
        frame = step(frames)
        yield frame
        frames = torch.cat([frames[..., frame.shape[-1] :], frame], dim=-1)
