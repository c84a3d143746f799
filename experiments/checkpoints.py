"""How a run writes its checkpoints, and when it stops to be resumed: at ends of epochs only, so that a resume is exact."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lsm.checkpoint import write


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint beside its place first: Lightning's way is not whole where temporary files lie on another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write, or leave the file that is there as it is."""
        write(checkpoint, path)


class BestCheckpoint(ModelCheckpoint):
    """The checkpoint of the best epoch, which stays the best when its run is moved or goes on in another folder."""

    @property
    def state_key(self) -> str:
        """That of Lightning's own, so that runs which used it go on."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the best score if the file that has it lies in this run's folder, whatever its name was before."""
        here = Path(str(self.dirpath)) / f"{self.filename}{self.FILE_EXTENSION}"
        if here.is_file():
            path, score = str(here), state["best_model_score"]
            names = {
                "dirpath": self.dirpath,
                "best_model_path": path,
                "kth_best_model_path": path,
                "last_model_path": "",
            }
            super().load_state_dict({**state, **names, "best_k_models": {path: score}, "kth_value": score})


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

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing is taken over: the next one is written whatever was written before."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write if it is time."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        ends = ends or trainer.global_step >= trainer.max_steps > 0
        due = ends or time.monotonic() - self._written >= self.interval
        # Writing is done by all processes of a training together, and their clocks differ.
        if trainer.strategy.reduce_boolean_decision(due, all=False):
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
        late = now + self._longest > self._end
        if trainer.strategy.reduce_boolean_decision(late, all=False):
            trainer.should_stop = True
