"""What all commands share: where the configuration lies, and how a user's mistake is told."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

import lsm
from lsm.errors import InputError

console = Console(highlight=False)


def config_dir() -> Path:
    """Folder of the configuration: inside the package when installed from a wheel, beside it in a checkout.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(lsm.__file__).parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no configuration beside or inside {package}; install lsm again")


def run_of(checkpoint: str | Path) -> Path:
    """Folder of the run that a checkpoint, or the folder itself, belongs to."""
    path = Path(checkpoint)
    if path.is_dir() or path.suffix != ".ckpt":
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def _run_folder(resume: Any, default: str) -> str:
    return default if resume in (None, "auto") else str(run_of(resume))


OmegaConf.register_new_resolver("lsm.run_of", lambda checkpoint: str(run_of(checkpoint)), replace=True)
OmegaConf.register_new_resolver("lsm.run_folder", _run_folder, replace=True)


def compose_config(name: str, *overrides: str) -> DictConfig:
    """The configuration ``conf/NAME.yaml`` with options, as a command line composes it; within a command, too."""
    if GlobalHydra.instance().is_initialized():
        return hydra.compose(name, list(overrides))
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        return hydra.compose(name, list(overrides))


def command(name: str, run: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """A console script: compose the configuration ``name`` and run; a user's mistake ends with one sentence and code 1.

    Args:
        name: primary configuration file in ``conf/``.
        run: does the work.
    """

    def main() -> None:
        show_all = bool(os.environ.get("HYDRA_FULL_ERROR"))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its own errors on instead of printing a traceback

        def guarded(cfg: DictConfig) -> Any:
            with _mistakes_told(show_all):
                return run(cfg)

        with _mistakes_told(show_all):
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(guarded)()

    return main


@contextmanager
def _mistakes_told(show_all: bool) -> Iterator[None]:
    try:
        yield
    except (InputError, OmegaConfBaseException, HydraException, OSError) as error:
        if show_all:
            raise
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {describe(error)}", soft_wrap=True)
        sys.exit(1)


def describe(error: Exception) -> str:
    """One sentence for a user's mistake or a full disk."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "data"
        return f"the disk is full while writing {where}; what is finished is kept: free space and run the same command again"
    if isinstance(error, PermissionError):
        return f"no permission for {error.filename or error}; choose another folder with data_dir= or run_dir="
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}; choose another folder with data_dir= or run_dir="
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).partition("/")
        return f"{group}={choice} is unknown; choose one of: {', '.join(error.options)}"
    return str(error).splitlines()[0] if isinstance(error, (OmegaConfBaseException, HydraException)) else str(error)


def check_preset(cfg: DictConfig) -> None:
    """Tell a misspelt preset.

    Raises:
        InputError: the benchmark has no such preset.
    """
    if cfg.preset not in cfg.benchmark.presets:
        raise InputError(f"preset {cfg.preset!r} is unknown; choose one of: {', '.join(cfg.benchmark.presets)}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")


def progress_bar() -> Progress:
    """A bar with count, rate and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
