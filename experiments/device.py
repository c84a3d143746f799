"""Which device to compute on, and in which precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import torch

#: What ``trainer.precision=auto`` chooses from: float32 throughout, or products and convolutions of bfloat16 numbers.
AUTOMATIC_PRECISIONS = ("32-true", "bf16-mixed")

_CHOSEN = "${lsm.precision:${oc.select:device,${trainer.accelerator}}}"


def choose_device(name: str) -> torch.device:
    """The named device, or the fastest one for "auto".

    Raises:
        InputError: the device is not there.
    """
    from lsm.device import named_device

    return named_device(name)


def settle_precision(cfg: DictConfig) -> DictConfig:
    """The configuration with ``trainer.precision=auto`` replaced by what suits the device.

    The device is asked when the value is first read, since that takes the import of torch.
    """
    if OmegaConf.select(cfg, "trainer.precision") == "auto":
        cfg.trainer.precision = _CHOSEN
    return cfg


def precision_is_chosen(cfg: DictConfig) -> bool:
    """Whether the device decides the precision of a configuration, which :func:`settle_precision` has settled."""
    return OmegaConf.to_container(cfg.trainer, resolve=False)["precision"] == _CHOSEN  # type: ignore[call-overload, index]


def _precision_of(name: str) -> str:
    """What suits a device, or an accelerator of Lightning's; float32 for one that is not there."""
    from lsm.device import best_device, suitable_precision

    kind = best_device().type if name == "auto" else name.partition(":")[0]
    return suitable_precision({"gpu": "cuda"}.get(kind, kind))


OmegaConf.register_new_resolver("lsm.precision", _precision_of, replace=True)
