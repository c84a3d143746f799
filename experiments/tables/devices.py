"""Which GPU the processes of a table see, by CUDA_VISIBLE_DEVICES: one each where there are several, or the one that is named."""

from __future__ import annotations

import os
from collections.abc import Sequence

#: What CUDA reads.
_VARIABLE = "CUDA_VISIBLE_DEVICES"


def kind_of(device: str) -> str:
    """``cuda`` for ``cuda:1``, which a process that sees no other device calls so."""
    return device.partition(":")[0]


def shared_devices(device: str) -> list[str]:
    """The GPUs that the runs of a table share on this machine; empty if there is nothing to choose.

    Args:
        device: as ``lsm-table`` takes it.
    """
    if kind_of(device) not in ("auto", "cuda"):
        return []
    import torch

    return devices_to_share(device, os.environ.get(_VARIABLE), torch.cuda.device_count())


def devices_to_share(device: str, visible: str | None, count: int) -> list[str]:
    """The GPUs that the runs of a table share, by CUDA's names; empty if there is nothing to choose.

    Args:
        device: as ``lsm-table`` takes it.
        visible: value of CUDA_VISIBLE_DEVICES for this process.
        count: number of GPUs that this process sees.
    """
    names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(count)]
    _, _, index = device.partition(":")
    if index.isdigit():
        return names[:count][int(index) :][:1]
    return names[:count] if count > 1 else []


def environment_of(slot: int, devices: Sequence[str], wanted: object = 1) -> dict[str, str]:
    """Variables by which a process sees the GPU of its slot.

    Args:
        slot: number of the worker; slots take the devices in turn.
        devices: those that are shared, see :func:`devices_to_share`.
        wanted: ``trainer.devices`` of a run; one on several devices sees all of them.
    """
    if not devices or (len(devices) > 1 and wanted != 1):
        return {}
    return {_VARIABLE: devices[slot % len(devices)]}
