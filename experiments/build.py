"""From a configuration to a data module, a training module and a trainer."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from experiments.checkpoints import BestCheckpoint, LastCheckpoint, StopInTime, WholeCheckpoints
from experiments.cli import require_store
from lsm.checkpoint import Checkpoint, load
from lsm.data.datamodule import FieldDataModule
from lsm.data.readers.base import make_reader
from lsm.errors import InputError
from lsm.solver import NeuralSolver
from lsm.training.module import SolverModule


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A configuration with everything filled in, as dictionaries, lists, strings and numbers."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def make_datamodule(run: Mapping[str, Any], resolution: Any = None, **changes: Any) -> FieldDataModule:
    """The data of a run.

    Args:
        run: the run's plain configuration.
        resolution: another resolution than the run's, for readers that select sites.
        changes: arguments of the data module that differ from it.
    Raises:
        FileNotFoundError: the store is missing; the message names both remedies.
    """
    data = run["data"]
    arguments = {
        "path": data["path"],
        "splits": data["splits"],
        "batch_size": data["batch_size"],
        "seed": run["seed"],
        "in_memory": data["in_memory"],
        "num_workers": data["num_workers"],
        "on_device": data.get("on_device", False),  # unknown to runs of older versions
        **changes,
    }
    require_store(Path(arguments["path"]), run["benchmark"], run["preset"])
    reader = dict(run["benchmark"]["reader"])
    if resolution is not None:
        reader["resolution"] = resolution
    return FieldDataModule(reader=make_reader(reader), **arguments)


def make_solver(cfg: DictConfig, data: FieldDataModule) -> NeuralSolver:
    """An untrained solver with normalisers fitted on the training split."""
    run = plain(cfg)
    solver = NeuralSolver({"model": run["model"], "normalization": run["data"]["normalization"]}, data.spec)
    solver.fit_normalizers(partial(data.batches, "train"))
    return solver


def make_module(cfg: DictConfig, data: FieldDataModule, count_steps: Callable[[], float]) -> SolverModule:
    """An untrained solver, and how to train it.

    Args:
        cfg: the run's configuration.
        data: its data.
        count_steps: tells the optimiser steps of the whole run, for schedules that need to know; called when training begins.
    """
    make_scheduler = instantiate(cfg.scheduler.make)
    if OmegaConf.is_missing(cfg.scheduler.make, "total_steps"):
        make_scheduler = _spanning(cfg.scheduler.make, count_steps)
    return SolverModule(
        make_solver(cfg, data),
        loss=cfg.benchmark.loss,
        make_optimizer=instantiate(cfg.optimizer),
        make_scheduler=make_scheduler,
        schedule_interval=cfg.scheduler.interval,
        run=plain(cfg),
        data=data.describe(),
    )


def _spanning(make: DictConfig, count_steps: Callable[[], float]) -> Callable[[Optimizer], LRScheduler]:
    """A schedule that spans the whole run."""

    def make_scheduler(optimizer: Optimizer) -> LRScheduler:
        steps = count_steps()
        if not 0 < steps < inf:
            raise InputError(
                f"the schedule {make._target_} spans a run, which has {steps} steps; set trainer.max_epochs"
            )
        return instantiate(make, total_steps=int(steps))(optimizer)

    return make_scheduler


def make_trainer(cfg: DictConfig, folder: Path, has_validation: bool, time_limit: float | None = None) -> pl.Trainer:
    """A trainer that logs and keeps its best and last checkpoint in ``folder``.

    The best one is chosen on the validation split; without one, by the training error.

    Args:
        cfg: the run's configuration.
        folder: the run's folder.
        has_validation: whether there is a validation split.
        time_limit: seconds after which to stop, at the end of an epoch; None for no limit.
    """
    where = {"dirpath": folder / "checkpoints", "enable_version_counter": False, "save_on_train_epoch_end": True}
    monitor = "val/relative_l2" if has_validation else "train/relative_l2"
    callbacks = [
        *(instantiate(callback) for callback in cfg.callbacks.values()),
        *([] if time_limit is None else [StopInTime(time_limit)]),
        BestCheckpoint(filename="best", monitor=monitor, mode="min", **where),
        LastCheckpoint(filename="last", interval=cfg.get("checkpoint_interval", 0), **where),
    ]
    loggers = [instantiate(logger, save_dir=folder) for logger in cfg.logger.values()]
    plugins = [*instantiate(cfg.trainer.get("plugins", [])), WholeCheckpoints()]
    more = {"callbacks": callbacks, "logger": loggers, "plugins": plugins, "default_root_dir": folder}
    return instantiate(cfg.trainer, **more)


def _checkpoint_of(path: Path) -> Path:
    """A checkpoint, or the best one of a run's folder.

    Raises:
        FileNotFoundError: the run has none but its last one.
    """
    if not path.is_dir():
        return path
    best, last = (path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    if last.is_file() and not best.is_file():
        raise FileNotFoundError(
            f"{best} does not exist, since no epoch was measured to its end; give checkpoint={last}"
        )
    return best


def _store_of(checkpoint: Checkpoint, store: str | None, data_dir: str | None) -> Path:
    """The store that is asked for, else that of the run: where it lay, or where the environment says that data lie."""
    recorded = Path(checkpoint.run["data"]["path"])
    if store is not None:
        return Path(store)
    if data_dir is None and not recorded.exists():
        data_dir = os.environ.get("LSM_DATA_DIR")
    return Path(data_dir) / recorded.name if data_dir else recorded


def _require_same_fields(checkpoint: Checkpoint, data: FieldDataModule) -> None:
    """Refuse a store whose samples the solver cannot take, whatever their resolution."""
    asked, found = (
        f"{spec.geometry} of rank {len(spec.sites)} with {', '.join(channel.name for channel in spec.inputs)} -> "
        f"{', '.join(channel.name for channel in spec.targets)}"
        + (f" and a code of {spec.code} numbers" if spec.code else "")
        for spec in (checkpoint.solver.spec, data.spec)
    )
    if asked != found:
        raise InputError(f"{data.path} holds a {found}; the solver of {checkpoint.path} was trained on a {asked}")


def load_run(cfg: DictConfig, split: str) -> tuple[Checkpoint, FieldDataModule]:
    """A trained solver and its data, for evaluating and drawing.

    Args:
        cfg: ``checkpoint`` (a file or a run's folder), ``store``, ``data_dir`` and ``resolution`` (or null), perhaps
            ``batch_size``.
        split: which samples are wanted.
    Raises:
        InputError: there is no such split, or it is empty.
    """
    checkpoint = load(_checkpoint_of(Path(cfg.checkpoint)))
    store = _store_of(checkpoint, cfg.store, cfg.data_dir)
    changes = {"batch_size": cfg.batch_size} if "batch_size" in cfg else {}
    resolution = list(cfg.resolution) if OmegaConf.is_list(cfg.resolution) else cfg.resolution
    data = make_datamodule(checkpoint.run, resolution, path=store, **changes)
    if split not in data.splits:
        raise InputError(f"split {split!r} is unknown; choose one of: {', '.join(data.splits)}")
    _require_same_fields(checkpoint, data)
    if not len(data.dataset(split)):
        raise InputError(f"the {split} split of this run is empty; choose another one")
    return checkpoint, data
