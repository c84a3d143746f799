"""Progress of a training: count, rate and remaining time."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from lsm.progress import console, progress_bar


class TrainingProgress(Callback):
    """One bar over the whole training; if the output is not a terminal, one line per epoch."""

    def __init__(self) -> None:
        self._bar = progress_bar()
        self._task: Any = None
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the bar at the steps done so far."""
        total = trainer.num_training_batches * trainer.max_epochs if trainer.max_epochs else None
        self._task = self._bar.add_task("training", total=total, completed=trainer.global_step)
        if trainer.is_global_zero and console.is_terminal:
            self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Advance the bar."""
        self._bar.update(self._task, completed=trainer.global_step, description=_describe_epoch(trainer))

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start timing the epoch."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Print the line of the epoch if there is no bar."""
        line = _describe_epoch(trainer)  # on every rank, since they average the errors together
        if trainer.is_global_zero and not console.is_terminal:
            console.print(f"{line}  {time.perf_counter() - self._started:.1f} s", soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Restore the terminal."""
        if self._bar.live.is_started:
            self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the terminal."""
        self.on_train_end(trainer, module)


def _describe_epoch(trainer: pl.Trainer) -> str:
    """The epoch and the monitored errors so far, such as ``epoch 3/20  train 0.0123  val 0.0145``."""
    monitor = trainer.lightning_module.monitor
    errors = [
        f"{split} {trainer.callback_metrics[key]:.4f}"
        for split in ("train", "val")
        if (key := f"{split}/{monitor}") in trainer.callback_metrics
    ]
    return "  ".join([f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", *errors])
