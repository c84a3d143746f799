"""What tests of training share: options of a short run, a kill at a chosen batch, and comparison to the last bit."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import tiny_training

from experiments import train as training
from experiments.train import TrainingResult

EPOCHS = 4
SCHEDULES = {
    "paper": ["scheduler=step", "scheduler.make.step_size=2"],  # the published schedule, with a step within the run
    "quick": ["scheduler=one_cycle"],
}

Train = Callable[..., TrainingResult]


class Stopped(BaseException):
    """A kill, as far as one process can observe it."""


@dataclass
class StopBefore(pl.Callback):
    """Kill the training before a batch: in the middle of an epoch, or (batch 0) at its beginning."""

    epoch: int
    batch: int

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        if (trainer.current_epoch, index) == (self.epoch, self.batch):
            raise Stopped


def train_until(
    command: Callable[..., Any], stop: tuple[int, int], patch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """``lsm-train OPTIONS``, killed before a batch."""
    original = training.make_trainer

    def make_trainer(*arguments: Any, **more: Any) -> pl.Trainer:
        trainer = original(*arguments, **more)
        trainer.callbacks.insert(0, StopBefore(*stop))
        return trainer

    patch.setattr(training, "make_trainer", make_trainer)
    with pytest.raises(Stopped):
        command("train", *options)


def options_of(store: Path, folder: Path, *more: str) -> list[str]:
    """Options of a Darcy run of four epochs of three batches."""
    return [*tiny_training(store, folder), f"trainer.max_epochs={EPOCHS}", "trainer.log_every_n_steps=1", *more]


def content(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)


def assert_identical(found: Any, expected: Any, where: str = "") -> None:
    """Equal to the last bit, tensors within dictionaries and lists included."""
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert torch.equal(found, expected), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_identical(found[key], value, f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, pair in enumerate(zip(found, expected, strict=True)):
            assert_identical(*pair, f"{where}[{index}]")
    else:
        assert found == expected, where


def assert_same_state(found: Path, expected: Path) -> None:
    """Parameters, buffers (running statistics and normalisers), optimiser, schedule and counters."""
    found, expected = content(found), content(expected)
    assert len(expected["state_dict"]) > 20
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        assert_identical(found[name], expected[name], name)


def logged(folder: Path) -> dict[str, dict[str, str]]:
    """Every logged number by step and name; the log of a resumed run has a folder of its own."""
    numbers: dict[str, dict[str, str]] = {}
    for log in sorted(folder.glob("csv/version_*/metrics.csv")):
        for row in csv.DictReader(log.open()):
            filled = {name: value for name, value in row.items() if value and name not in ("step", "epoch")}
            numbers.setdefault(row["step"], {}).update(filled)
    return numbers
