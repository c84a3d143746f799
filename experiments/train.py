"""``lsm-train``: train a solver on a benchmark."""

from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.cli import check_benchmark, command, console, run_of
from experiments.environment import describe_environment
from experiments.resume import carry_best, count_epochs, find_checkpoint, require_same_data, resumed_config
from lsm.errors import InputError, require_whole


@dataclass(frozen=True)
class TrainingResult:
    """Where a finished training left its results.

    Args:
        folder: the run's folder.
        best: the best checkpoint, if an epoch was finished and measured.
        last: the last checkpoint.
        metrics: the metrics that this call logged last.
    """

    folder: Path
    best: Path
    last: Path
    metrics: dict[str, float]


def run(
    cfg: DictConfig, folder: Path, checkpoint: Path | None = None, time_limit: float | None = None
) -> TrainingResult:
    """Train as configured.

    Args:
        cfg: the run's configuration.
        folder: where logs, checkpoints and the configuration go.
        checkpoint: go on from here.
        time_limit: stop at the end of an epoch before so many seconds are over, to be resumed later.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.utilities import rank_zero_only

    from experiments.build import make_datamodule, make_module, make_trainer, plain

    check_benchmark(cfg, "loss")
    _check_options(cfg, time_limit)
    _quieten_lightning()
    pl.seed_everything(cfg.seed, verbose=False)
    data = make_datamodule(plain(cfg))
    if checkpoint is not None:
        require_same_data(checkpoint, data.describe())
    rank_zero_only(_record)(cfg, data.describe(), folder)
    has_validation = data.splits["validation"][0] < data.splits["validation"][1]
    trainer = make_trainer(cfg, folder, has_validation, time_limit)
    module = make_module(cfg, data, count_steps=lambda: trainer.estimated_stepping_batches)
    if cfg.get("compile"):
        module.solver.model.compile(backend=cfg.compile)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    samples = len(data.dataset("train"))
    rank_zero_only(console.print)(
        f"{cfg.benchmark.name}: {parameters:,} parameters, {samples} training samples, run in {folder}", soft_wrap=True
    )
    if checkpoint is not None:
        rank_zero_only(carry_best)(checkpoint, folder)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if time_limit is not None and trainer.current_epoch < (trainer.max_epochs or 0):
        told = f"stopped in time after {trainer.current_epoch} of {trainer.max_epochs} epochs"
        rank_zero_only(console.print)(f"{told}: go on with lsm-train resume={folder}", soft_wrap=True)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return TrainingResult(folder, *_checkpoints(folder), metrics)


def _check_options(cfg: DictConfig, time_limit: Any) -> None:
    import torch

    require_whole("seed", cfg.seed, 0, 2**32 - 1)
    if cfg.trainer.max_epochs not in (None, -1):
        require_whole("trainer.max_epochs", cfg.trainer.max_epochs, 1)
    if time_limit is not None and (not isinstance(time_limit, (int, float)) or time_limit <= 0):
        raise InputError(f"time_limit is {time_limit}, expected seconds, such as 3600")
    backends = torch.compiler.list_backends(exclude_tags=())
    if cfg.get("compile") and cfg.compile not in backends:
        raise InputError(f"compile is {cfg.compile}, expected a backend of torch.compile: {', '.join(backends)}")


def _quieten_lightning() -> None:
    """Keep Lightning's advertisements and hints off the screen; its warnings about the run itself stay."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*across ranks is zero.*")  # no validation split
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")


def _record(cfg: DictConfig, data: dict[str, Any], folder: Path) -> None:
    """Keep what is needed to repeat the run; each time that it goes on adds its own environment."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    times_resumed = len(list(folder.glob("environment*.json")))
    name = f"environment-resumed-{times_resumed}.json" if times_resumed else "environment.json"
    environment = {"seed": cfg.seed, "data": data, **describe_environment()}
    (folder / name).write_text(json.dumps(environment, indent=2) + "\n")


def from_command_line(cfg: DictConfig) -> TrainingResult:
    """Start or resume a run in Hydra's output folder.

    Raises:
        InputError: a sweep was told one folder for all its runs.
    """
    hydra = HydraConfig.get()
    one_folder = [option for option in hydra.overrides.task if option.startswith("run_dir=")]
    if hydra.mode == RunMode.MULTIRUN and one_folder:
        raise InputError(
            f"{one_folder[0]} names the folder of one run, but a sweep makes a folder for each of its runs; "
            "name the folder that holds them with hydra.sweep.dir=FOLDER"
        )
    folder = Path(hydra.runtime.output_dir)
    checkpoint = find_checkpoint(cfg.resume, folder)
    _protect(folder, cfg.resume, checkpoint)
    time_limit = cfg.time_limit
    if checkpoint is not None:
        cfg = resumed_config(checkpoint, hydra.overrides.task)
        if 0 < (cfg.trainer.max_epochs or 0) <= count_epochs(checkpoint):
            return _tell(_nothing_left(cfg, run_of(checkpoint)))
        console.print(f"going on from {checkpoint}")
    else:
        with open_dict(cfg):
            cfg.choices = {
                group: choice for group, choice in hydra.runtime.choices.items() if not group.startswith("hydra/")
            }
    return _tell(run(cfg, folder, checkpoint, time_limit))


def _protect(folder: Path, resume: str | None, checkpoint: Path | None) -> None:
    """Refuse a folder that holds another run than the one that is resumed."""
    ours = resume == "auto" or (checkpoint is not None and run_of(checkpoint).resolve() == folder.resolve())
    if not ours and _is_first_process() and list(folder.glob("checkpoints/*.ckpt")):
        raise InputError(
            f"{folder} holds checkpoints of another run; choose another run_dir, or go on with that run by resume=auto"
        )


def _is_first_process() -> bool:
    """Of several processes of one training, the first tells for all."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _nothing_left(cfg: DictConfig, folder: Path) -> TrainingResult:
    """The result of a finished run: training for no epoch would add empty logs to it."""
    console.print(f"the run in {folder} has finished its {cfg.trainer.max_epochs} epochs, nothing is left to do")
    return TrainingResult(folder, *_checkpoints(folder), {})


def _checkpoints(folder: Path) -> tuple[Path, Path]:
    return folder / "checkpoints/best.ckpt", folder / "checkpoints/last.ckpt"


def _tell(result: TrainingResult) -> TrainingResult:
    if not _is_first_process():
        return result
    for name, value in sorted(result.metrics.items()):
        console.print(f"{name} {value:.4g}")
    for name, checkpoint in (("best", result.best), ("last", result.last)):
        if checkpoint.is_file():
            console.print(f"{name} checkpoint: {checkpoint}", soft_wrap=True)
            return result
    console.print("no epoch was finished, so no checkpoint was written")
    return result


main = command("train", from_command_line)

if __name__ == "__main__":
    main()
