"""The device on which to compute."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """The fastest device that is there: CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
