"""Progress of a training: count, rate and remaining time."""

from __future__ import annotations

import time
from math import inf
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from lsm.progress import console, progress_bar


class TrainingProgress(Callback):
    """One bar over the whole training; if the output is not a terminal, one line per epoch."""

    def __init__(self) -> None:
        self._bar = progress_bar()
        self._task: Any = None
        self._started = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the bar at the batches done so far."""
        batches, epochs = trainer.num_training_batches, _epochs_of(trainer)
        self._task = self._bar.add_task("training", total=epochs and batches * epochs)
        self._bar.update(self._task, completed=batches * trainer.current_epoch)
        if trainer.is_global_zero and console.is_terminal:
            self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Advance the bar."""
        self._bar.update(self._task, advance=1)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start timing the epoch; show it beside the bar, once, since reading an error waits for the device."""
        self._started = time.perf_counter()
        self._bar.update(self._task, description=_describe_epoch(trainer))

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


class Forecast(Callback):
    """Measure the first steps and say when the training will end, if that is not within a minute.

    Args:
        advice: what to do if it takes hours, in words.
    """

    #: Steps that are not measured, since they allocate and compile; and steps that are.
    warmup, measured = 2, 10

    def __init__(self, advice: str = "") -> None:
        self._advice = advice
        self._done, self._started = 0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Count the step; print the forecast after the last one that is measured."""
        self._done += 1
        if self._done == self.warmup:
            self._started = _time_when_done(trainer)
        elif self._done == self.warmup + self.measured:
            step = (_time_when_done(trainer) - self._started) / self.measured
            seconds = step * _steps_left(trainer)
            if trainer.is_global_zero and seconds >= 60:
                console.print(describe_forecast(seconds, time.time(), self._advice), soft_wrap=True)


def _epochs_of(trainer: pl.Trainer) -> int | None:
    """Epochs of a training; None if it has no end, which Lightning writes as -1."""
    return trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None


def _time_when_done(trainer: pl.Trainer) -> float:
    if trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize(trainer.strategy.root_device)
    return time.perf_counter()


def _steps_left(trainer: pl.Trainer) -> float:
    """Training steps to come; one of validation, without gradients, counts as a third. None are known of an endless run."""
    epochs = _epochs_of(trainer)
    if epochs is None:
        return 0.0
    validation = sum(batches for batches in trainer.num_val_batches if batches < inf)
    per_epoch = trainer.num_training_batches + validation / 3
    left = per_epoch * (epochs - trainer.current_epoch) - trainer.fit_loop.batch_idx
    return left if left < inf else 0.0


def describe_forecast(seconds: float, now: float, advice: str = "") -> str:
    """When a training will end, such as ``expected end: Thu 14:05, in 3.2 hours``.

    Args:
        seconds: how long it takes.
        now: the present time, as of :func:`time.time`.
        advice: added if it takes more than an hour.
    """
    units = {"days": 86_400, "hours": 3_600, "minutes": 60}
    unit = next(name for name, length in units.items() if seconds >= 1.5 * length or name == "minutes")
    day = "%Y-%m-%d" if seconds > 5 * 86_400 else "%a"
    end = time.strftime(f"{day} %H:%M", time.localtime(now + seconds))
    line = f"expected end: {end}, in {seconds / units[unit]:.2g} {unit}"
    return f"{line}; {advice}" if advice and seconds > 3_600 else line


def _describe_epoch(trainer: pl.Trainer) -> str:
    """The epoch and the monitored errors so far, such as ``epoch 3/20  train 0.0123  val 0.01453``."""
    monitor = trainer.lightning_module.monitor
    errors = [
        f"{split} {trainer.callback_metrics[key]:.4g}"
        for split in ("train", "val")
        if (key := f"{split}/{monitor}") in trainer.callback_metrics
    ]
    of = f"/{epochs}" if (epochs := _epochs_of(trainer)) else ""
    return "  ".join([f"epoch {trainer.current_epoch + 1}{of}", *errors])
