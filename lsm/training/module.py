"""The LightningModule: step, log, optimise. Knows no benchmark and no model family."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, NoReturn

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from pytorch_lightning.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DistributedSampler

from lsm.checkpoint import describe
from lsm.data.augment import Augmentation, Unchanged
from lsm.errors import InputError, explained
from lsm.fields import FieldBatch, every_site
from lsm.losses import Loss, loss_at_scales
from lsm.metrics import DIVERGED, find_fault, scalar_metric
from lsm.solver import NeuralSolver
from lsm.training.unrolling import FedBack, Unrolling

MakeOptimizer = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]

#: A GPU is asked after so many steps whether a loss was not finite: each question waits for the device.
CHECK_INTERVAL = 50


class SolverModule(pl.LightningModule):
    """Train a neural solver on the error of its physical field, in batches ``(b, *sites, c)``.

    Args:
        solver: the solver.
        loss: maps prediction, batch and specification to a scalar; see :mod:`lsm.losses`.
        make_optimizer: builds the optimiser from the named parameters.
        make_scheduler: builds the learning-rate schedule of an optimiser.
        schedule_interval: "epoch" or "step", when the schedule advances.
        metrics: names of the errors to log, as ``train/NAME`` and ``val/NAME``.
        augment: changes a training batch; see :mod:`lsm.data.augment`.
        unroll: what a training step predicts of a roll-out; see :mod:`lsm.training.unrolling`.
        equal_fields: whether the loss sees the target fields as the solver normalises them, so that each counts.
        seed: random numbers of augmentations depend on it, on the epoch, the batch and the rank alone.
        run: the configuration of the whole run as plain data, kept in the checkpoint.
        data: description of the training data as plain data, kept in the checkpoint.
    """

    def __init__(
        self,
        solver: NeuralSolver,
        loss: Loss,
        make_optimizer: MakeOptimizer,
        make_scheduler: MakeScheduler,
        schedule_interval: str = "epoch",
        metrics: Sequence[str] = ("relative_l2",),
        augment: Augmentation | None = None,
        unroll: Unrolling | None = None,
        equal_fields: bool = False,
        seed: int = 0,
        run: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.solver, self.loss = solver, loss
        self.make_optimizer, self.make_scheduler = make_optimizer, make_scheduler
        self.schedule_interval = schedule_interval
        self.metrics = {name: scalar_metric(name) for name in metrics}
        self.augment, self.unroll = augment or Unchanged(()), unroll or FedBack()
        self.equal_fields = equal_fields
        self.seed, self.run, self.data = seed, run or {}, data or {}
        self._errors: list[dict[str, Tensor]] = []
        self._first_bad: Tensor | None = None

    @property
    def monitor(self) -> str:
        """The metric that chooses the best checkpoint: the first one."""
        return next(iter(self.metrics))

    def training_step(self, batch: FieldBatch, batch_index: int) -> Tensor:
        """Loss of one batch ``(b, *sites, c)``, a scalar; logs the mean of each metric over the epoch.

        Raises:
            InputError: the loss is not finite; the message says in which batch.
        """
        random = self._random(batch_index)
        batch = self.augment(batch, self.solver.spec, random)
        predictions = self.unroll(self.solver, batch, self._done, random)
        loss = self._loss_of(predictions, batch)
        if loss.dim():
            raise InputError(
                f"the loss gave numbers of shape {tuple(loss.shape)}, expected a single one; take their sum or mean"
            )
        self._check_loss(loss.detach(), batch, batch_index, len(predictions))
        for name, metric in self.metrics.items():
            error = metric(predictions[0].detach(), batch, self.solver.spec).mean()
            self.log(f"train/{name}", error, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return loss

    def _loss_of(self, predictions: Sequence[Tensor], batch: FieldBatch) -> Tensor:
        """Loss of predictions at several scales, finest first, a scalar."""
        weight = getattr(self.solver.model, "supervision", 0.0)
        return loss_at_scales(self.loss, *self._weighed(predictions, batch), self.solver.spec, weight)

    def _weighed(self, predictions: Sequence[Tensor], batch: FieldBatch) -> tuple[Sequence[Tensor], FieldBatch]:
        """What the loss compares: predictions and truth, if all fields are to count equally normalised where they exist."""
        if not self.equal_fields:
            return predictions, batch
        frames = batch.targets.shape[-1] // self.solver.spec.out_channels
        mean, deviation = (values.repeat(frames) for values in self.solver.target_normalizer.of_channels())
        exists = batch.exists(self.solver.spec)

        def normalised(field: Tensor, scale: int = 0) -> Tensor:
            values = (field - mean) / deviation
            return values if exists is None else values * every_site(exists, 2**scale)

        scaled = [normalised(prediction, scale) for scale, prediction in enumerate(predictions)]
        return scaled, replace(batch, targets=normalised(batch.targets))

    @property
    def begins_to_feed_back(self) -> bool:
        """Whether this epoch is the first whose training errors are those of roll-outs, after those of single steps."""
        feeds_back = getattr(self.unroll, "feeds_back", None)
        if feeds_back is None or self.solver.spec.frames is None:
            return False
        return feeds_back(self._done) and not feeds_back(self._done_before(self.current_epoch))

    @property
    def _done(self) -> float:
        """Share of the training that is done when this epoch ends."""
        return self._done_before(self.current_epoch + 1)

    def _done_before(self, epoch: int) -> float:
        """Share of the epochs or steps before this epoch; 0 in a training without an end, or outside of one."""
        if self._trainer is None:
            return 0.0
        epochs, steps = self._trainer.max_epochs or -1, self._trainer.max_steps
        by_epochs = epoch / epochs if epochs > 0 else 0.0
        if steps <= 0:
            return by_epochs
        steps_of_epoch = ceil(self._trainer.num_training_batches / self._trainer.accumulate_grad_batches)
        return max(by_epochs, min(epoch * steps_of_epoch / steps, 1.0))

    def _random(self, batch_index: int) -> torch.Generator:
        numbers = np.random.SeedSequence([self.seed, self.current_epoch, batch_index, self.global_rank])
        return torch.Generator().manual_seed(int(numbers.generate_state(1)[0]))

    def _check_loss(self, loss: Tensor, batch: FieldBatch, batch_index: int, num_scales: int = 1) -> None:
        """Note the first batch whose loss is not finite; on a GPU, read the note only now and then."""
        index = loss.new_full((), batch_index, dtype=torch.int64)
        before = torch.full_like(index, -1) if self._first_bad is None else self._first_bad
        self._first_bad = torch.where(torch.isfinite(loss) | (before >= 0), before, index)
        if loss.device.type == "cpu" or batch_index % CHECK_INTERVAL == CHECK_INTERVAL - 1:
            self._refuse_bad_loss(batch if loss.device.type == "cpu" else None, num_scales)

    def _refuse_bad_loss(self, batch: FieldBatch | None, num_scales: int = 1) -> None:
        if self._first_bad is None or (index := int(self._first_bad)) < 0:
            return
        problem = f"the training loss became infinite or NaN in epoch {self.current_epoch + 1}, batch {index}: "
        if batch is None:
            data = "a field is not finite, or zero or constant everywhere"
            self._stop(f"{problem}{data}, or the model diverged; check the data, or lower the learning rate")

        def of_truth(samples: FieldBatch) -> Tensor:
            return self._loss_of([every_site(samples.targets, 2**scale) for scale in range(num_scales)], samples)

        fault = find_fault(batch, of_truth)
        if fault is None:
            self._stop(problem + DIVERGED)
        self._stop(f"{problem}{self._sample_name(index, fault[0])}: {fault[1]}", options=())

    def _sample_name(self, batch_index: int, position: int) -> str:
        """A sample of a training batch in words: its place in the split, if the batches are those of a data module."""
        sampler = None if self._trainer is None else getattr(self.trainer.train_dataloader, "sampler", None)
        if not isinstance(sampler, DistributedSampler):
            return f"sample {position} of the batch"
        loader: Any = self.trainer.train_dataloader
        return f"training sample {list(sampler)[batch_index * loader.batch_size + position]}"

    def _stop(self, problem: str, options: Sequence[str] = ("learning_rate",)) -> NoReturn:
        """End a training that cannot go on, mostly because its steps are too long."""
        kept = "; checkpoints of earlier epochs are kept" if self.current_epoch else ""
        raise InputError(problem + kept, options)

    def validation_step(self, batch: FieldBatch, batch_index: int) -> None:
        """Keep the errors ``(b,)`` of the samples of a batch until the end of the epoch.

        They are measured without mixed precision, as ``lsm-evaluate`` measures them.
        """
        with torch.autocast(batch.inputs.device.type, enabled=False):
            prediction = self.solver(batch)
        self._errors.append(
            {name: metric(prediction, batch, self.solver.spec) for name, metric in self.metrics.items()}
        )

    def on_validation_epoch_end(self) -> None:
        """Log the mean of each metric over the errors ``(n,)`` of the validation split.

        Raises:
            InputError: a sample's error is not finite.
        """
        for name in self.metrics:
            errors = self._gathered([batch[name] for batch in self._errors])
            bad = torch.nonzero(~torch.isfinite(errors))
            if len(bad):
                self._stop(
                    f"{name} of validation sample {bad[0].item()} is {errors[bad[0]].item()} after epoch "
                    f"{self.current_epoch + 1}: its true field is zero everywhere, constant or not finite, or the model "
                    "diverged; check the sample, or lower the learning rate"
                )
            self.log(f"val/{name}", errors.mean(), sync_dist=True)
        self._errors.clear()

    def _gathered(self, errors: Sequence[Tensor]) -> Tensor:
        """Errors of the whole split, in order: rank ``r`` of ``n`` has every n-th sample, with repeats to even out."""
        gathered: Any = self.all_gather(torch.cat(list(errors)))
        loader: Any = self.trainer.val_dataloaders
        return gathered.reshape(self.trainer.world_size, -1).T.flatten()[: len(loader.dataset)]

    def on_train_epoch_end(self) -> None:
        """Keep a diverged solver out of the checkpoints, which are written next.

        Raises:
            InputError: a loss or a parameter is not finite.
        """
        self._refuse_bad_loss(None)
        bad = [name for name, value in self.solver.named_parameters() if not torch.isfinite(value).all()]
        if bad:
            self._stop(f"{bad[0]} is no longer finite after epoch {self.current_epoch + 1}; lower the learning rate")

    def on_fit_start(self) -> None:
        """Warn of a solver whose normalisers know no data."""
        if not self.solver.ranges:
            warnings.warn(
                "the solver's normalisers were not fitted, so that it sees fields of any magnitude; call "
                "solver.fit_normalizers(partial(data.batches, 'train')) first",
                stacklevel=2,
            )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule.

        Raises:
            InputError: they refuse an option, or gradients of complex weights would have to be scaled.
        """
        self._refuse_scaled_complex_gradients()
        refused, options = "the optimiser or the schedule refuses an option", ("optimizer", "scheduler")
        with explained(refused, (TypeError, ValueError), options=options):
            optimizer = self.make_optimizer(self.named_parameters())
            schedule = self.make_scheduler(optimizer)
        settings: LRSchedulerConfigType = {"scheduler": schedule, "interval": self.schedule_interval}
        best = getattr(self._trainer, "checkpoint_callback", None)
        if isinstance(best, ModelCheckpoint):
            settings["monitor"] = best.monitor  # for schedules that follow the error
        return {"optimizer": optimizer, "lr_scheduler": settings}

    def _refuse_scaled_complex_gradients(self) -> None:
        """PyTorch scales gradients of float16 numbers, but of real ones alone."""
        plugin = None if self._trainer is None else self.trainer.precision_plugin
        if getattr(plugin, "scaler", None) is not None and any(value.is_complex() for value in self.parameters()):
            raise InputError(
                "precision is 16-mixed, which scales gradients, and those of this model's complex weights cannot be scaled; "
                "choose bf16-mixed or 32-true",
                options=("precision",),
            )

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as Lightning does, and under a fused optimiser in bfloat16 too.

        Lightning refuses fused optimisers in every mixed precision, since they undo the scaling of float16 gradients themselves;
        bfloat16 gradients are not scaled.
        """
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or GradClipAlgorithmType.NORM)
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what :func:`lsm.checkpoint.load` needs to rebuild the solver."""
        checkpoint["lsm"] = describe(self.solver, self.run, self.data)
