"""When a run writes its last checkpoint, and when it stops to be resumed: at ends of epochs only, so that a resume is exact."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """The state at the end of an epoch, written when the one before is old enough, and when training ends.

    Args:
        interval: seconds between two writes; 0 writes after every epoch.
        options: those of Lightning's ``ModelCheckpoint``.
    """

    def __init__(self, interval: float = 0, **options: Any) -> None:
        super().__init__(**options)
        self.interval = interval
        self._written = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write if it is time."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        ends = ends or trainer.global_step >= trainer.max_steps > 0
        if ends or time.monotonic() - self._written >= self.interval:
            super().on_train_epoch_end(trainer, module)
            self._written = time.monotonic()


class StopInTime(Callback):
    """Stop after an epoch when another one, as long as the longest so far, would end too late.

    Args:
        seconds: time from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._started = self._longest = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Ask the trainer to stop if the time does not suffice; the last checkpoint is written next."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._started)
        if now + self._longest > self._end:
            trainer.should_stop = True
