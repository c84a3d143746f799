"""Which device to compute on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsm.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> torch.device:
    """The named device, or the fastest one for "auto".

    Raises:
        InputError: the device is not there.
    """
    import torch

    from lsm.device import best_device

    if name == "auto":
        return best_device()
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} is not available ({str(error).splitlines()[0]}); choose device=cpu"
        ) from error
