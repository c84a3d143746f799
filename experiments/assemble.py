"""From a configuration to a generator, a data module, a training module and a trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.app import plain
from lsm.errors import InputError, OptionError, option_group
from lsm.registry import NotNegative, check_options, check_value

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from data_prep.generation.generator import Generator
    from lsm.data.datamodule import FieldDataModule
    from lsm.solver import NeuralSolver
    from lsm.training.module import SolverModule

#: Batches for the statistics of batch norm of averaged weights, unless ``batch_norm_batches`` is set.
_AVERAGED_NORM_BATCHES = 20


def make_generator(cfg: DictConfig) -> Generator:
    """The generator of the configured benchmark.

    Raises:
        InputError: an option is unknown, of another kind, or out of range.
    """
    try:
        return instantiate(cfg.benchmark.generator)
    except InstantiationException as error:
        if isinstance(error.__cause__, OptionError):
            raise error.__cause__.within("benchmark.generator") from error
        raise InputError(f"generator options of {cfg.benchmark.name}: {error.__cause__ or error}") from error


def require_store(path: Path, benchmark: Mapping[str, Any], preset: str) -> None:
    """Say how to obtain a store that does not exist.

    Args:
        path: the store.
        benchmark: its configuration.
        preset: name of the preset.
    Raises:
        FileNotFoundError: the store is missing; the message names the remedies.
    """
    if not path.exists():
        options = preset_options(benchmark["name"], preset)
        if "generator" in benchmark:
            published = f"convert published files with `lsm-convert {options} source=FOLDER`"
            remedies = f"make it with `lsm-generate {options}`, {published}"
        elif preset == "own":
            remedies = "make it again with `lsm-train benchmark=custom data.file=FILE resume=RUN`"
        else:
            remedies = "write it with lsm.data.store.StoreWriter"
        raise FileNotFoundError(f"{path} does not exist: {remedies}, or name its folder with data_dir=FOLDER")


def preset_options(benchmark: str, preset: str) -> str:
    """The options that choose a benchmark and its preset, as typed."""
    return f"benchmark={benchmark}" + ("" if preset == "paper" else f" preset={preset}")


def make_datamodule(config: Mapping[str, Any], resolution: Any = None, **changes: Any) -> FieldDataModule:
    """The data of a run.

    Args:
        config: the run's plain configuration.
        resolution: another resolution than the run's, for readers that select sites.
        changes: arguments of the data module that differ from it.
    Raises:
        FileNotFoundError: the store is missing; the message names both remedies.
    """
    from lsm.data.datamodule import FieldDataModule
    from lsm.data.readers.base import make_reader

    names = ("splits", "batch_size", "in_memory", "num_workers", "on_device", "max_sample_bytes")
    options = {"path": config["data"]["path"], "seed": config["seed"]}
    options |= {name: config["data"][name] for name in names if name in config["data"]} | changes
    path, splits = Path(options.pop("path")), options.pop("splits")
    require_store(path, config["benchmark"], config["preset"])
    reader = dict(config["benchmark"]["reader"])
    if resolution is not None:
        reader["resolution"] = resolution
    with option_group("benchmark.reader"):
        made = make_reader(reader)
    with option_group("data"):
        check_options(FieldDataModule, options)
    return FieldDataModule(path, made, splits, **options)


def make_solver(config: Mapping[str, Any], data: FieldDataModule) -> NeuralSolver:
    """An untrained solver with normalisers fitted on the training split."""
    from lsm.solver import build_solver

    solver = build_solver({"model": config["model"], "normalization": config["data"]["normalization"]}, data.spec)
    solver.fit_normalizers(partial(data.batches, "train"))
    return solver


def make_module(
    cfg: DictConfig, data: FieldDataModule, count_steps: Callable[[], float], run: Mapping[str, Any]
) -> SolverModule:
    """An untrained solver, and how to train it.

    Args:
        cfg: the run's configuration.
        data: its data.
        count_steps: returns the optimiser steps of the whole run, for schedules that need it; called when training begins.
        run: what the checkpoints record of the run, see :class:`lsm.checkpoint.Checkpoint`.
    """
    from lsm.data.augment import AUGMENTATIONS
    from lsm.data.symmetry import symmetries_of
    from lsm.losses import LOSSES
    from lsm.training.module import SolverModule
    from lsm.training.recompute import recompute_cheap_results, recompute_layers
    from lsm.training.unrolling import UNROLLINGS

    config = plain(cfg)
    for name in {"lr", "weight_decay"} & config["optimizer"].keys():
        check_value(f"optimizer.{name}", config["optimizer"][name], NotNegative)
    make_scheduler = instantiate(cfg.scheduler.make)
    if OmegaConf.is_missing(cfg.scheduler.make, "total_steps"):
        make_scheduler = _spanning(cfg.scheduler.make, count_steps)
    with option_group("loss"):
        loss = LOSSES.make(config["loss"])
    with option_group("augmentation"):
        symmetries = symmetries_of(config["benchmark"].get("symmetries"), data.describe()["provenance"])
        augment = AUGMENTATIONS.make(config["augmentation"], symmetries)
    with option_group("unrolling"):
        unroll = UNROLLINGS.make(config["unrolling"])
    solver = make_solver(config, data)
    if cfg.recompute:
        _refuse_compilation(cfg)
        if cfg.recompute == "cheap":
            unroll = recompute_cheap_results(unroll)
        else:
            recompute_layers(solver.model)
    return SolverModule(
        solver,
        loss=loss,
        make_optimizer=instantiate(cfg.optimizer),
        make_scheduler=make_scheduler,
        schedule_interval=cfg.scheduler.interval,
        metrics=config["metrics"],
        augment=augment,
        unroll=unroll,
        equal_fields=cfg.equal_fields,
        seed=cfg.seed,
        run=dict(run),
        data=data.describe(),
    )


def _refuse_compilation(cfg: DictConfig) -> None:
    if cfg.compile is not None:
        raise InputError(
            f"recompute={str(cfg.recompute).lower()} and compile={cfg.compile} cannot be combined, since the compiler decides by "
            "itself what to recompute; remove one of them",
            options=("recompute", "compile"),
        )


def _spanning(make: DictConfig, count_steps: Callable[[], float]) -> Callable[[Optimizer], LRScheduler]:
    """A schedule that spans the whole run."""

    def make_scheduler(optimizer: Optimizer) -> LRScheduler:
        steps = count_steps()
        if not 0 < steps < inf:
            raise InputError(
                f"the schedule {make._target_} needs the number of steps of the run, which is {steps}; set trainer.max_epochs"
            )
        # PyTorch's one-cycle schedule divides by the length of its warm-up less one step.
        one_step = make.get("pct_start", 0) * int(steps) == 1
        return instantiate(make, total_steps=int(steps) + one_step)(optimizer)

    return make_scheduler


def make_trainer(
    cfg: DictConfig,
    folder: Path,
    has_validation: bool,
    time_limit: float | None = None,
    resumed: Mapping[str, Any] | None = None,
) -> pl.Trainer:
    """A trainer that logs and keeps its best and last checkpoint in ``folder``.

    The best one is chosen by the first metric on the validation split; without that split, by the training error.

    Args:
        cfg: the run's configuration.
        folder: the run's folder.
        has_validation: whether there is a validation split.
        time_limit: seconds after which to stop, at the end of an epoch; None for no limit.
        resumed: content of the checkpoint from which the run continues, which is then not read again.
    Raises:
        InputError: an option has no meaning for a trainer, the precision rounds the data, or the recipe does not work with its
            strategy.
    """
    from lsm.training.averaging import ExponentialAverage
    from lsm.training.callbacks import BatchNormStatistics, BestCheckpoint, LastCheckpoint, StopInTime, WholeCheckpoints
    from lsm.training.cost import TrainingCost
    from lsm.training.progress import Forecast

    check_value("trainer.max_epochs", cfg.trainer.max_epochs, Annotated[int, Ge(1)] | Literal[-1] | None)
    _refuse_half_precision_data(cfg)
    _refuse_sharded_recipe(cfg)
    where = {"dirpath": folder / "checkpoints", "enable_version_counter": False, "save_on_train_epoch_end": True}
    monitor = f"{'val' if has_validation else 'train'}/{cfg.metrics[0]}"
    configured = [instantiate(callback) for callback in cfg.callbacks.values()]
    averaged = any(isinstance(callback, ExponentialAverage) for callback in configured)
    norm_batches = cfg.batch_norm_batches or (_AVERAGED_NORM_BATCHES if averaged else None)
    callbacks = [
        *configured,
        TrainingCost(),
        Forecast(_advice(cfg)),
        *([] if norm_batches is None else [BatchNormStatistics(norm_batches)]),
        *([] if time_limit is None else [StopInTime(time_limit)]),
        BestCheckpoint(filename="best", monitor=monitor, mode="min", **where),
        LastCheckpoint(filename="last", interval=cfg.checkpoint_interval, **where),
    ]
    loggers = [instantiate(logger, save_dir=folder) for logger in cfg.logger.values()]
    plugins = [*instantiate(cfg.trainer.get("plugins", [])), WholeCheckpoints(resumed)]
    more = {"callbacks": callbacks, "logger": loggers, "plugins": plugins, "default_root_dir": folder}
    return instantiate(cfg.trainer, **more)


def _refuse_half_precision_data(cfg: DictConfig) -> None:
    """Lightning would convert samples, statistics and errors as well, to two or three digits."""
    if (precision := str(cfg.trainer.precision)) in ("bf16-true", "16-true"):
        mixed = precision.replace("true", "mixed")
        raise InputError(
            f"trainer.precision is {precision}, which rounds the samples and their statistics to a few digits; choose {mixed}, "
            "which computes products in half precision only"
        )


def _refuse_sharded_recipe(cfg: DictConfig) -> None:
    """Lightning clips no gradients of sharded parameters; averages and Muon need whole ones."""
    if "fsdp" not in str(cfg.trainer.get("strategy", "")).lower():
        return
    needs = {
        "gradient clipping (trainer.gradient_clip_val)": bool(cfg.trainer.get("gradient_clip_val")),
        "averaged weights (callbacks.average)": "average" in cfg.callbacks,
        "Muon (optimizer)": "muon" in str(cfg.optimizer.get("_target_", "")).lower(),
    }
    if any(needs.values()):
        named = ", ".join(what for what, used in needs.items() if used)
        raise InputError(
            f"FSDP holds a part of each parameter, with which {named} cannot work; add recipe=quick, or train with "
            "+trainer.strategy=ddp",
            options=("strategy",),
        )


def _advice(cfg: DictConfig) -> str:
    """What makes a training of hours shorter, as options."""
    ways = ["preset=quick takes minutes"] if cfg.preset == "paper" and "quick" in cfg.benchmark.sets else []
    ways += ["trainer.max_epochs= sets the number of epochs", "time_limit=SECONDS stops in time, to be resumed"]
    return ", ".join(ways)
