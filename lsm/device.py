"""The device on which to compute, and the precision that suits it."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """The fastest device that is there: CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def suitable_precision(device: str) -> str:
    """``bf16-mixed`` where a kind of device, such as ``cuda``, multiplies bfloat16 numbers in hardware, else ``32-true``.

    On a processor this needs the instructions AVX512-BF16 or AMX; without them bfloat16 is emulated and slow.
    """
    fast = False
    if device == "cuda":
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        fast = any(getattr(torch.cpu, check, bool)() for check in checks)
    return "bf16-mixed" if fast else "32-true"
