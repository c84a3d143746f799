"""The device on which to compute, the precision that suits it, and how numbers get there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lsm.errors import InputError


def best_device() -> torch.device:
    """The fastest device that is there: CUDA, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def named_device(name: str) -> torch.device:
    """The named device, or the fastest one for "auto".

    Raises:
        InputError: the device is not there.
    """
    if name == "auto":
        return best_device()
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} is not available ({str(error).splitlines()[0]}); choose device=cpu"
        ) from error


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


def numbers_on(device: torch.device, numbers: Sequence[float], dtype: torch.dtype | None = None) -> Tensor:
    """Numbers of Python as a tensor ``(n,)`` on a device.

    ``torch.tensor(numbers, device=device)`` waits until a GPU has finished all earlier work; this copy does not.
    """
    return torch.tensor(numbers, dtype=dtype).to(device, non_blocking=device.type == "cuda")


def generator_on(device: torch.device, random: torch.Generator) -> torch.Generator:
    """Random numbers on a device that follow from those of a generator on the CPU: itself there, else one that it seeds.

    As many numbers as a batch has would take longer to draw on the CPU and to copy than a GPU takes for a training step.
    """
    if device.type == random.device.type:
        return random
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=random)))
