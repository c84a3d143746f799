"""Checkpoints of a run, and its time limit: only at ends of epochs, so that a resume is exact."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.optim.swa_utils import update_bn

from lsm.checkpoint import write
from lsm.model.batch_norm import batch_norms
from lsm.training.averaging import ExponentialAverage


class WholeCheckpoints(TorchCheckpointIO):
    """Write a checkpoint under another name first; Lightning's write is not atomic if temporary files lie on another disk.

    Args:
        resumed: content of the checkpoint from which the run continues; it is handed out instead of being read again.
    """

    def __init__(self, resumed: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._resumed = resumed

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The content of the checkpoint from which the run continues."""
        return dict(self._resumed) if self._resumed else super().load_checkpoint(path, *args, **kwargs)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file whole, or leave the existing one unchanged."""
        write(checkpoint, path)


class BestCheckpoint(ModelCheckpoint):
    """The checkpoint of the best epoch; it remains the best when its run is moved or continues in another folder.

    If the training error chooses it, roll-outs that are trained on true frames first have errors of single steps until predicted
    frames are fed back. Only the epochs after that compete.
    """

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Whether this epoch becomes the best one: its error is lower, or the first that is comparable to those that follow."""
        first = str(self.monitor).startswith("train/") and trainer.lightning_module.begins_to_feed_back
        return bool(first) or super().check_monitor_top_k(trainer, current)

    @property
    def state_key(self) -> str:
        """Lightning's own key, so that runs that used its callback can be resumed."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the best score if its checkpoint lies in this run's folder, whatever its path was before."""
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
    """The state at the end of an epoch, written if the last write is old enough, and when training ends.

    Args:
        interval: seconds between two writes; 0 writes after every epoch.
        options: those of Lightning's ``ModelCheckpoint``.
    """

    def __init__(self, interval: float = 0, **options: Any) -> None:
        super().__init__(**options)
        self.interval = interval
        self._written = time.monotonic()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore nothing: the next checkpoint is written whatever was written before."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write if the interval has passed or training ends."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        ends = ends or trainer.global_step >= trainer.max_steps > 0
        due = ends or time.monotonic() - self._written >= self.interval
        # All ranks write together, and their clocks differ.
        if trainer.strategy.reduce_boolean_decision(due, all=False):
            super().on_train_epoch_end(trainer, module)
            self._written = time.monotonic()


class BatchNormStatistics(Callback):
    """Re-estimate the running statistics of batch norm before each validation.

    In a short training they lag behind the weights, and those of the last weights do not fit averaged ones. They are means over
    the first training batches, in the order of the data, of the model as it is validated; without a validation split they are
    estimated at the end of each epoch. Statistics that the training keeps fixed stay as they are.

    Args:
        num_batches: how many batches.
    """

    def __init__(self, num_batches: int) -> None:
        self._num_batches, self._fixed = num_batches, False

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Note whether the training step has changed any statistics."""
        self._fixed = not any(norm.training for norm in batch_norms(module))

    def on_validation_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Estimate them for the validation, and for the checkpoints that follow it; averaged weights are in place already."""
        self._estimate(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Estimate them for the checkpoints, unless the validation has."""
        if trainer.datamodule.has_validation:  # type: ignore[attr-defined]
            return
        with ExitStack() as stack:
            for part in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(part, ExponentialAverage):
                    stack.enter_context(part.in_place(module))
            self._estimate(trainer, module)

    def _estimate(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self._fixed:
            return
        batches = islice(trainer.datamodule.batches("train"), self._num_batches)  # type: ignore[attr-defined]
        update_bn(batches, module.solver, module.device)  # type: ignore[arg-type]


class StopInTime(Callback):
    """Stop after an epoch if another one, as long as the longest so far, would exceed the time limit.

    Args:
        seconds: the limit, from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._started = self._longest = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop the trainer if the time does not suffice; the last checkpoint is written next."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._started)
        late = now + self._longest > self._end
        if trainer.strategy.reduce_boolean_decision(late, all=False):
            trainer.should_stop = True
