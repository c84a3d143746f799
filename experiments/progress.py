"""Progress of long work: count, rate and remaining time."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from experiments.cli import console, progress_bar


class TrainingProgress(Callback):
    """One bar over the whole training; where the output is no terminal, a line an epoch."""

    def __init__(self) -> None:
        self._bar = progress_bar()
        self._task: Any = None
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the bar where the run stands."""
        total = trainer.num_training_batches * trainer.max_epochs if trainer.max_epochs else None
        self._task = self._bar.add_task("training", total=total, completed=trainer.global_step)
        if trainer.is_global_zero and console.is_terminal:
            self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move on."""
        self._bar.update(self._task, completed=trainer.global_step, description=describe_epoch(trainer))

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Print the epoch's line where there is no bar."""
        told = describe_epoch(trainer)  # in every process of a training: they average the errors together
        if trainer.is_global_zero and not console.is_terminal:
            console.print(f"{told}  {time.perf_counter() - self._started:.1f} s", soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Leave the terminal as it was."""
        if self._bar.live.is_started:
            self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self.on_train_end(trainer, module)


def describe_epoch(trainer: pl.Trainer) -> str:
    """The epoch and the relative L2 errors so far, such as ``epoch 3/20  train 0.0123  val 0.0145``."""
    errors = [
        f"{split} {trainer.callback_metrics[key]:.4f}"
        for split, key in (("train", "train/relative_l2"), ("val", "val/relative_l2"))
        if key in trainer.callback_metrics
    ]
    return "  ".join([f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", *errors])
