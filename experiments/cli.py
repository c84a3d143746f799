"""What all commands share: where the configuration lies, how they start, and what they print with.

The commands import torch, Lightning and Matplotlib in the functions that use them: --help and a misspelt option are
answered without the seconds that these take.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

import lsm
from experiments.mistakes import mistakes_told
from experiments.resume import find_checkpoint
from lsm.errors import InputError, require_kinds

# Paths may hold what rich takes for markup or names of emoji.
console = Console(highlight=False, markup=False, emoji=False)

_LONGEST_NAME = 255


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
    if not path.is_file() and path.suffix != ".ckpt":
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def _run_folder(resume: Any, default: str) -> str:
    return default if resume in (None, "auto") else str(run_of(resume))


def _checked_folder(folder: str, resume: Any) -> str:
    """The folder, after a look at it and whether what ``resume`` names is there: Hydra makes the folder before a command runs."""
    _require_place("run_dir", folder)
    find_checkpoint(resume, Path(folder))
    return folder


def _variant(checkpoint: str, store: str | None, resolution: Any, batch_statistics: bool) -> str:
    """What sets an evaluation apart from that of the run's best checkpoint on its own data and grid."""
    name = "" if Path(checkpoint).is_dir() or Path(checkpoint).stem == "best" else f"_{Path(checkpoint).stem}"
    name += f"_{Path(store).stem}" if store else ""
    sites = resolution if OmegaConf.is_list(resolution) else [] if resolution is None else [resolution]
    return name + "_".join(["", *map(str, sites)]) + ("_batch_statistics" if batch_statistics else "")


def _folder_name(options: str) -> str:
    """Options as the name of one folder, which holds no slash and at most 255 bytes."""
    name = options.replace("/", "_")
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name if len(name.encode()) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 4]}_{digest}"


OmegaConf.register_new_resolver("lsm.run_of", lambda checkpoint: str(run_of(checkpoint)), replace=True)
OmegaConf.register_new_resolver("lsm.run_folder", _run_folder, replace=True)
OmegaConf.register_new_resolver("lsm.checked_folder", _checked_folder, replace=True)
OmegaConf.register_new_resolver("lsm.variant", _variant, replace=True)
OmegaConf.register_new_resolver("lsm.folder_name", _folder_name, replace=True)


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

        # By name: a launcher sends `guarded` to other processes, which cannot import what `python -m` calls __main__.
        spec, function = run.__globals__["__spec__"], run.__name__
        module = spec.name if spec else run.__module__

        def guarded(cfg: DictConfig) -> Any:
            with mistakes_told(show_all):
                require_kinds(cfg, _defaults(name))
                for place in ("data_dir", "store", "run_dir"):
                    _require_place(place, OmegaConf.select(cfg, place))
                return getattr(import_module(module), function)(cfg)

        with mistakes_told(show_all):
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(guarded)()

    return main


def _defaults(name: str) -> dict[str, Any]:
    """Top-level options of a command; those that depend on others stand as they are written."""
    return OmegaConf.to_container(OmegaConf.load(config_dir() / f"{name}.yaml"), resolve=False)  # type: ignore[return-value]


def _require_place(name: str, place: Any) -> None:
    """Refuse what an unset variable of the shell leaves empty, which would be the root folder, and an unexpanded home."""
    if place == "" or str(place).startswith("~"):
        variable = " or LSM_DATA_DIR" if name == "data_dir" else ""
        raise InputError(f"{name}={place} is no place; write it in full (is a variable{variable} empty, or ~ quoted?)")


def check_benchmark(cfg: DictConfig, *needed: str) -> None:
    """Tell a misspelt preset, or that the benchmark's file lacks what a command needs.

    Args:
        cfg: a command's configuration.
        needed: keys of the benchmark's file.
    Raises:
        InputError: the benchmark has no such preset or key.
    """
    for key in ("name", "reader", "presets", *needed):
        if key not in cfg.benchmark:
            name = cfg.benchmark.get("name", "of this call")
            raise InputError(f"benchmark {name} has no {key} in its file, which this command needs")
    if cfg.preset not in cfg.benchmark.presets:
        raise InputError(f"preset {cfg.preset!r} is unknown; choose one of: {', '.join(cfg.benchmark.presets)}")


def require_store(path: Path, benchmark: Mapping[str, Any], preset: str) -> None:
    """Tell how to come by a store that is not there.

    Args:
        path: the store.
        benchmark: its configuration.
        preset: name of the preset.
    Raises:
        FileNotFoundError: the store is missing; the message names the remedies.
    """
    if not path.exists():
        options = preset_options(benchmark["name"], preset)
        remedies = (
            f"make it with `lsm-generate {options}`, convert published files with `lsm-convert {options} source=FOLDER`"
            if "generator" in benchmark
            else "write it with lsm.data.store.StoreWriter"
        )
        raise FileNotFoundError(f"{path} does not exist: {remedies}, or say where it lies with data_dir=FOLDER")


def preset_options(benchmark: str, preset: str) -> str:
    """The options that choose a benchmark and its preset, as typed."""
    return f"benchmark={benchmark}" + ("" if preset == "paper" else f" preset={preset}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")


def progress_bar() -> Progress:
    """A bar with count, rate and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=14),  # count, rate and time fit beside it on 80 columns
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
