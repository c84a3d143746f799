"""How long a run has trained, over all calls that worked on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


def recorded_cost(content: Mapping[str, Any]) -> dict[str, float]:
    """``seconds`` and ``device_seconds`` of the training in the content of a checkpoint; empty if it records none."""
    return (content.get("callbacks") or {}).get("TrainingCost") or {}


class TrainingCost(Callback):
    """Add up the time of training and validation; checkpoints keep it, so that a resumed run continues to count.

    The time for writing checkpoints is left out, and that of epochs that a crash lost.

    Args:
        seconds: wall-clock time so far.
        device_seconds: time that the device worked: on a CPU that of all threads of this process, else the same as ``seconds``.
    """

    def __init__(self, seconds: float = 0.0, device_seconds: float = 0.0) -> None:
        self.seconds, self.device_seconds = seconds, device_seconds
        self._started = (0.0, 0.0)

    @property
    def state_key(self) -> str:
        """Name of the entry in a checkpoint's callbacks."""
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        """What checkpoints keep."""
        return {"seconds": self.seconds, "device_seconds": self.device_seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to count from a checkpoint."""
        self.seconds, self.device_seconds = state["seconds"], state["device_seconds"]

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clocks."""
        self._started = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Add the epoch, after its validation."""
        wall, processor = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        self.seconds += wall
        self.device_seconds += processor if trainer.strategy.root_device.type == "cpu" else wall
