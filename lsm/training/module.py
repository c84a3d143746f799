"""The LightningModule: step, log, optimise. Knows no benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lsm.checkpoint import describe
from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.metrics import LOSSES, describe_fault, relative_l2
from lsm.model.build import choose
from lsm.solver import NeuralSolver

MakeOptimizer = Callable[[Iterable[torch.nn.Parameter]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


class SolverModule(pl.LightningModule):
    """Train a neural solver on the error of its physical field.

    Args:
        solver: the solver.
        loss: name of a loss in :data:`lsm.metrics.LOSSES`.
        make_optimizer: builds the optimiser of the parameters.
        make_scheduler: builds the learning-rate schedule of an optimiser.
        schedule_interval: "epoch" or "step", when the schedule moves on.
        run: the whole run's configuration as plain data, kept in the checkpoint.
        data: which data it is trained on as plain data, kept in the checkpoint.
    """

    def __init__(
        self,
        solver: NeuralSolver,
        loss: str,
        make_optimizer: MakeOptimizer,
        make_scheduler: MakeScheduler,
        schedule_interval: str = "epoch",
        run: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.solver = solver
        self.loss = choose("loss", LOSSES, loss)
        self.make_optimizer, self.make_scheduler = make_optimizer, make_scheduler
        self.schedule_interval = schedule_interval
        self.run, self.data = run or {}, data or {}
        self._errors: list[Tensor] = []

    def training_step(self, batch: FieldBatch, batch_index: int) -> Tensor:
        """Loss of one batch; logs the mean relative L2 error over the epoch.

        Raises:
            InputError: the loss is not finite; the message says in which batch.
        """
        prediction = self.solver(batch)
        loss = self.loss(prediction, batch.targets)
        if not torch.isfinite(loss):
            raise InputError(
                f"the training loss became {loss.item()} in epoch {self.current_epoch}, batch {batch_index}: "
                f"{describe_fault(batch.inputs, batch.targets)}{self._kept}"
            )
        error = relative_l2(prediction.detach(), batch.targets).mean()
        self.log("train/relative_l2", error, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return loss

    def validation_step(self, batch: FieldBatch, batch_index: int) -> None:
        """Keep the relative L2 error of each sample until the end of the epoch."""
        self._errors.append(relative_l2(self.solver(batch), batch.targets))

    def on_validation_epoch_end(self) -> None:
        """Log the mean relative L2 error over the validation split.

        Raises:
            InputError: a sample's error is not finite.
        """
        gathered: Any = self.all_gather(torch.cat(self._errors))
        self._errors.clear()
        loader: Any = self.trainer.val_dataloaders
        # Each of several processes takes every n-th sample, and repeats some where the samples do not come out even.
        errors = gathered.reshape(self.trainer.world_size, -1).T.flatten()[: len(loader.dataset)]
        bad = torch.nonzero(~torch.isfinite(errors))
        if len(bad):
            raise InputError(
                f"the error of validation sample {bad[0].item()} is {errors[bad[0]].item()} after epoch "
                f"{self.current_epoch}: its true field is zero everywhere or not finite, or the model diverged; "
                "check the sample, or lower optimizer.lr"
            )
        self.log("val/relative_l2", errors.mean(), sync_dist=True)

    @property
    def _kept(self) -> str:
        return "; checkpoints of earlier epochs are kept" if self.current_epoch else ""

    def on_train_epoch_end(self) -> None:
        """Keep a diverged solver out of the checkpoints, which are written next.

        Raises:
            InputError: a parameter is not finite.
        """
        bad = [name for name, value in self.solver.named_parameters() if not torch.isfinite(value).all()]
        if bad:
            raise InputError(
                f"{bad[0]} is no longer finite after epoch {self.current_epoch}: lower optimizer.lr{self._kept}"
            )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule.

        Raises:
            InputError: they refuse an option.
        """
        try:
            optimizer = self.make_optimizer(self.parameters())
            schedule = self.make_scheduler(optimizer)
        except InputError:
            raise
        except (TypeError, ValueError) as error:
            raise InputError(f"an option of optimizer or scheduler is refused: {error}") from error
        settings: LRSchedulerConfigType = {"scheduler": schedule, "interval": self.schedule_interval}
        return {"optimizer": optimizer, "lr_scheduler": settings}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what :func:`lsm.checkpoint.load` needs to rebuild the solver."""
        checkpoint["lsm"] = describe(self.solver, self.run, self.data)
