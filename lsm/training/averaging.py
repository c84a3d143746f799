"""Exponential average of the weights during training, which validation and checkpoints use in place of the last weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import pytorch_lightning as pl
from annotated_types import Interval
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from lsm.registry import check_value


class ExponentialAverage(WeightAveraging):
    """``average <- d average + (1 - d) weights`` after each step ``t``, with ``d = min(decay, (1 + t) / (10 + t))``.

    The smaller decay at the beginning makes the average follow short trainings, too. A checkpoint keeps both: the average as the
    solver, the weights to continue from.

    Args:
        decay: the largest ``d``.
    """

    def __init__(self, decay: float = 0.999) -> None:
        check_value("decay", decay, Annotated[float, Interval(ge=0, lt=1)])

        def average(averaged: list[Tensor], current: list[Tensor], step: Tensor | int) -> None:
            share = min(decay, (1 + int(step)) / (10 + int(step)))
            get_ema_multi_avg_fn(share)(averaged, current, step)

        super().__init__(use_buffers=False, multi_avg_fn=average)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep the average on the trainer's device, in its precision: Lightning calls this before the module has either."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.module = trainer.precision_plugin.convert_module(self._average_model.module)

    @contextmanager
    def in_place(self, module: pl.LightningModule) -> Iterator[None]:
        """Let the module have the averaged weights for a while; what changes meanwhile is kept with them."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)
