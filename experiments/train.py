"""``lsm-train``: train a solver on a benchmark."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from experiments import own_data
from experiments.app import command, plain
from experiments.assemble import make_datamodule, make_module, make_trainer, require_store
from experiments.effect import CALL_OPTIONS
from experiments.folders import find_checkpoint, from_here, run_of
from experiments.mistakes import Terminated
from experiments.revision import code_revision
from experiments.runs import carry_best, plugins_named, record_of, require_same_data, resumed_config
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console
from lsm.provenance import describe_environment
from lsm.registry import check_value


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


@dataclass(frozen=True)
class Start:
    """From where a training starts.

    Args:
        record: what the checkpoints keep of the run.
        checkpoint: the checkpoint from which it continues; None from the beginning.
        content: what that checkpoint holds.
    """

    record: Mapping[str, Any]
    checkpoint: Path | None = None
    content: Mapping[str, Any] = field(default_factory=dict)


def run(cfg: DictConfig, folder: Path, start: Start, time_limit: float | None = None) -> TrainingResult:
    """Train as configured.

    Args:
        cfg: the run's configuration.
        folder: where logs, checkpoints and the configuration go.
        start: from where.
        time_limit: stop at the end of an epoch before so many seconds are over, to be resumed later.
    """
    config = plain(cfg)
    require_store(Path(config["data"]["path"]), config["benchmark"], config["preset"])  # before seconds of imports

    import pytorch_lightning as pl
    from pytorch_lightning.utilities import rank_zero_only

    if cfg.compile is not None:
        _check_backend(cfg.compile)
    _quieten_lightning()
    pl.seed_everything(cfg.seed, verbose=False)
    data = make_datamodule(config)
    if start.checkpoint is not None:
        require_same_data(start.checkpoint, start.content["lsm"]["data"], data.describe())
        rank_zero_only(carry_best)(start.checkpoint, folder)
    rank_zero_only(_write_record)(start.record["config"], data.describe(), folder)
    trainer = make_trainer(cfg, folder, data.has_validation, time_limit, start.content)
    module = make_module(cfg, data, lambda: trainer.estimated_stepping_batches, start.record)
    if cfg.compile is not None:
        module.solver.model.compile(backend=cfg.compile)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    summary = f"{cfg.benchmark.name}, {cfg.model.name}: {parameters:,} parameters, {len(data.dataset('train'))} training samples"
    rank_zero_only(console.print)(f"{summary}, run in {folder}", soft_wrap=True)
    with _signals_passed_on(folder):
        trainer.fit(module, datamodule=data, ckpt_path=start.checkpoint, weights_only=True)
    if time_limit is not None and trainer.current_epoch < (trainer.max_epochs or 0):
        done = f"stopped at the time limit after {trainer.current_epoch} of {trainer.max_epochs} epochs"
        rank_zero_only(console.print)(f"{done}: continue with lsm-train resume={folder}", soft_wrap=True)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return TrainingResult(folder, *_checkpoints(folder), metrics)


@contextmanager
def _signals_passed_on(folder: Path) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process as such; Lightning would exit with codes 1 and 0."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    try:
        yield
    except SystemExit as error:
        by_hand = isinstance(error.__context__, KeyboardInterrupt)
        if not by_hand and not isinstance(error, SIGTERMException):
            raise
        if _is_rank_zero() and _checkpoints(folder)[1].is_file():
            console.print(f"finished epochs are kept: continue with lsm-train resume={folder}", soft_wrap=True)
        raise (KeyboardInterrupt if by_hand else Terminated) from error


def _check_backend(backend: str) -> None:
    import torch

    backends = tuple(torch.compiler.list_backends(exclude_tags=()))  # imports them, which takes half a second
    check_value("compile", backend, Literal[backends])  # type: ignore[valid-type]


def _quieten_lightning() -> None:
    """Suppress Lightning's advertisements and hints; its warnings about the run itself stay."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*across ranks is zero.*")  # no validation split
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")


def _write_record(config: Mapping[str, Any], data: dict[str, Any], folder: Path) -> None:
    """Store what is needed to repeat the run; each call that resumes it adds its own environment."""
    write_whole(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    times_resumed = len(list(folder.glob("environment*.json")))
    name = f"environment-resumed-{times_resumed}.json" if times_resumed else "environment.json"
    environment = {"seed": config["seed"], "data": data, "code": code_revision(), **describe_environment()}
    write_whole(folder / name, json.dumps(environment, indent=2) + "\n")


def from_command_line(cfg: DictConfig) -> TrainingResult:
    """Start or resume a run in Hydra's output folder.

    Raises:
        InputError: a sweep was given one folder for all its runs, or ``resume=auto`` or several processes no folder.
    """
    hydra = HydraConfig.get()
    overrides, choices = list(hydra.overrides.task), dict(hydra.runtime.choices)
    _refuse_shared_folder(hydra.mode, overrides)
    _refuse_unnamed_folder(hydra, cfg)
    folder = Path(hydra.runtime.output_dir)
    with _claim(folder):
        checkpoint = find_checkpoint(cfg.resume, folder)
        _protect(folder, cfg.resume, checkpoint)
        if checkpoint is not None and (kept := own_data.without_file(cfg, overrides)) is not None:
            overrides = kept
        elif own_data.is_asked(cfg):
            cfg, overrides, chosen = own_data.complete(cfg, overrides, resumed=checkpoint is not None)
            choices |= chosen
        if checkpoint is None:
            cfg.run_dir = str(from_here(folder))  # as a sweep names it, and with the time of the call
            return _report(run(cfg, folder, Start(record_of(cfg, overrides, choices)), cfg.time_limit))
        return _report(_resume(checkpoint, cfg, overrides, folder))


@contextmanager
def _claim(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder, where they would mix their logs and checkpoints with this one's.

    Raises:
        InputError: another process is training there.
    """
    if not _is_rank_zero():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another process is training in {folder}; wait for it, or choose another run_dir") from error
    except NotImplementedError:  # a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


def _resume(checkpoint: Path, call: DictConfig, overrides: Sequence[str], folder: Path) -> TrainingResult:
    from lsm.checkpoint import read

    content = read(checkpoint)
    recorded = content["lsm"]["run"]
    with plugins_named(recorded.get("config") or {}, call.plugins):
        cfg, options = resumed_config(checkpoint, content, overrides)
    cfg.update({name: call[name] for name in CALL_OPTIONS} | {"run_dir": str(from_here(folder))})
    if 0 < (cfg.trainer.max_epochs or 0) <= content["epoch"] + 1:
        return _nothing_left(cfg, run_of(checkpoint))
    console.print(f"continuing from {checkpoint}", soft_wrap=True)
    with plugins_named(recorded["config"], call.plugins):
        record = record_of(cfg, options, recorded["choices"])
        return run(cfg, folder, Start(record, checkpoint, content), call.time_limit)


def _refuse_shared_folder(mode: RunMode | None, overrides: list[str]) -> None:
    shared = [option for option in overrides if option.startswith("run_dir=")]
    if mode == RunMode.MULTIRUN and shared:
        raise InputError(
            f"{shared[0]} names the folder of one run, but a sweep makes a folder for each of its runs; "
            "name the folder that contains them with hydra.sweep.dir=FOLDER"
        )


def _refuse_unnamed_folder(hydra: DictConfig, cfg: DictConfig) -> None:
    """Refuse a folder whose name is the present time where several calls, or processes, must agree on it.

    The folder of a sweep's run is known to Hydra.
    """
    ours, of_hydra = (OmegaConf.to_container(node, resolve=False) for node in (cfg, hydra.run))
    if hydra.mode != RunMode.RUN or "${now:" not in ours["run_dir"] or "${run_dir}" not in of_hydra["dir"]:
        return
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        raise InputError(
            "the processes that SLURM starts share one run, but each would name its folder itself; add run_dir=FOLDER"
        )
    if cfg.resume == "auto":
        raise InputError("resume=auto continues the run in run_dir=FOLDER; add run_dir=FOLDER, or give resume=FOLDER")


def _protect(folder: Path, resume: str | None, checkpoint: Path | None) -> None:
    """Refuse a folder that holds another run than the one that is resumed."""
    ours = resume == "auto" or (checkpoint is not None and run_of(checkpoint).resolve() == folder.resolve())
    if not ours and _is_rank_zero() and list(folder.glob("checkpoints/*.ckpt")):
        raise InputError(
            f"{folder} holds checkpoints of another run; choose another run_dir, or continue that run with resume=auto"
        )


def _is_rank_zero() -> bool:
    """Only rank 0 checks, locks and prints; under ``srun`` SLURM's number of the process is its rank."""
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"))


def _nothing_left(cfg: DictConfig, folder: Path) -> TrainingResult:
    """The result of a finished run: training for no epoch would add empty logs to it."""
    console.print(f"the run in {folder} has finished its {cfg.trainer.max_epochs} epochs, nothing is left to do")
    return TrainingResult(folder, *_checkpoints(folder), {})


def _checkpoints(folder: Path) -> tuple[Path, Path]:
    return folder / "checkpoints/best.ckpt", folder / "checkpoints/last.ckpt"


def _report(result: TrainingResult) -> TrainingResult:
    if not _is_rank_zero():
        return result
    for name, value in sorted(result.metrics.items()):
        console.print(f"{name} {value:.4g}")
    for name, checkpoint in (("best", result.best), ("last", result.last)):
        if checkpoint.is_file():
            console.print(f"{name} checkpoint: {checkpoint}", soft_wrap=True)
            return result
    console.print(
        "no checkpoint was written, since no epoch was finished, or fast_dev_run=true only tries the whole path"
    )
    return result


main = command("train", from_command_line)

if __name__ == "__main__":
    main()
