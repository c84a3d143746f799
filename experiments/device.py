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

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} is not available ({str(error).splitlines()[0]}); choose device=cpu"
        ) from error
