"""Sizes of a model and of its training that suit some data and a machine: rules of thumb, where nothing is known of either."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log2, prod, sqrt
from typing import Any

import torch

from lsm.device import best_device
from lsm.process_memory import available_memory

#: Bytes of activations per site and channel of width while gradients are computed, estimated from above: of most families, and
#: of those whose own width and number of layers take more.
_BYTES_PER_FEATURE, _MORE_BYTES = 800, {"ffno": 2000, "flare": 2300, "transolver": 2500}

#: Sites along an axis of the coarsest scale, one patch of the default size.
_COARSEST = 4

#: Most tokens of a vision transformer, whose cost is quadratic in them.
_MOST_TOKENS = 1024


@dataclass(frozen=True)
class Machine:
    """What limits a training.

    Args:
        memory: bytes that are free on the device.
        fast: whether the device is no CPU.
    """

    memory: float
    fast: bool

    @classmethod
    def present(cls) -> Machine:
        """This one."""
        if best_device().type == "cuda":
            return cls(torch.cuda.mem_get_info()[0], True)
        return cls(available_memory() or 4 << 30, best_device().type != "cpu")


@dataclass(frozen=True)
class Sizes:
    """What suits.

    Args:
        model: options of the family.
        batch_size: samples per batch.
        max_epochs: epochs.
    """

    model: dict[str, Any]
    batch_size: int
    max_epochs: int


def suggest(family: str, sites: tuple[int, ...], is_cloud: bool, num_samples: int, machine: Machine) -> Sizes:
    """Sizes for a training.

    Args:
        family: name of the model family; of one without rules here the defaults stay.
        sites: number of sites along each axis.
        is_cloud: whether the sites are points of a cloud.
        num_samples: training samples.
        machine: where it takes place.

    Example:
        >>> suggest("lsm", (64, 64), False, 800, Machine(memory=8e9, fast=False))
        Sizes(model={'width': 16, 'num_scales': 5}, batch_size=20, max_epochs=50)
    """
    width = 32 if machine.fast else 16
    model = _MODELS[family](sites, is_cloud, width) if family in _MODELS else {}
    model |= {} if machine.fast else _WITHOUT_GPU.get(family, {})
    per_sample = _MORE_BYTES.get(family, _BYTES_PER_FEATURE) * prod(sites) * width
    batch_size = max(1, min(20, max(4, num_samples // 20), int(machine.memory / 2 / per_sample)))
    steps = 10_000 if machine.fast else 2_000
    return Sizes(model, batch_size, max(10, min(500, steps // max(1, num_samples // batch_size))))


def _scales(shortest: int) -> int:
    """Scales down to the coarsest useful one."""
    return max(1, min(5, 1 + floor(log2(max(shortest, 1) / _COARSEST)))) if shortest > _COARSEST else 1


def _unet(sites: tuple[int, ...], is_cloud: bool, width: int) -> dict[str, Any]:
    return {"width": width, "num_scales": _scales(min(sites))}


def _lsm(sites: tuple[int, ...], is_cloud: bool, width: int) -> dict[str, Any]:
    if not is_cloud:
        return _unet(sites, is_cloud, width)
    # A latent grid of about twice as many sites as there are points, of at least twice the default modes.
    resolution = max(32, min(96, 16 * round(1.5 * sqrt(sites[0]) / 16)))
    return {"width": width, "num_scales": _scales(resolution), "projection.resolution": resolution}


def _lsm2(sites: tuple[int, ...], is_cloud: bool, width: int) -> dict[str, Any]:
    return {"width": 2 * width if is_cloud else width}  # a cloud's lattice has half the width of its points


def _fourier(sites: tuple[int, ...], is_cloud: bool, width: int) -> dict[str, Any]:
    modes = [max(1, min(12, size // 2)) for size in sites]
    return {"modes": modes[0] if len(set(modes)) == 1 else modes}


def _vit(sites: tuple[int, ...], is_cloud: bool, width: int) -> dict[str, Any]:
    if is_cloud:
        return {}
    side = 1
    while prod(-(-size // side) for size in sites) > _MOST_TOKENS:
        side += 1
    return {"patch": [side] * len(sites)}


#: Options that follow from the sites, by family.
_MODELS = {"lsm": _lsm, "lsm2": _lsm2, "unet": _unet, "fno": _fourier, "ffno": _fourier, "vit": _vit}

#: Smaller than the families' defaults, which suit a GPU.
_WITHOUT_GPU: dict[str, dict[str, Any]] = {
    "fno": {"width": 16},
    "ffno": {"width": 16, "num_layers": 4},
    "vit": {"width": 64, "num_layers": 4, "heads": 4},
    "transolver": {"width": 32, "num_layers": 4, "heads": 4, "num_slices": 32},
    "flare": {"width": 32, "num_blocks": 4, "heads": 4, "num_latents": 32},
}
