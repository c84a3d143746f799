"""What all commands share: where the configuration lies, and how a user's mistake is told.

The commands import torch, Lightning and Matplotlib in the functions that use them: --help and a misspelt option are
answered without the seconds that these take.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from yaml import YAMLError

import lsm
from experiments.options import require_kinds
from experiments.resume import find_checkpoint
from lsm.errors import InputError

# Paths may hold what rich takes for markup or names of emoji.
_PLAIN = {"highlight": False, "markup": False, "emoji": False}
console = Console(**_PLAIN)

_LONGEST_NAME = 255

#: Exit code of a command that Ctrl-C ended, as shells have it: 128 and the number of the signal.
_INTERRUPTED = 130


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
    """The folder, after a look whether what ``resume`` names is there: Hydra makes the folder before a command runs."""
    find_checkpoint(resume, Path(folder))
    return folder


def _variant(checkpoint: str, resolution: Any, batch_statistics: bool) -> str:
    """What sets an evaluation apart from that of the run's best checkpoint on its own grid."""
    name = "" if Path(checkpoint).is_dir() or Path(checkpoint).stem == "best" else f"_{Path(checkpoint).stem}"
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
            with _mistakes_told(show_all):
                require_kinds(cfg, _defaults(name))
                return getattr(import_module(module), function)(cfg)

        with _mistakes_told(show_all):
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(guarded)()

    return main


def _defaults(name: str) -> dict[str, Any]:
    """Top-level options of a command; those that depend on others stand as they are written."""
    return OmegaConf.to_container(OmegaConf.load(config_dir() / f"{name}.yaml"), resolve=False)  # type: ignore[return-value]


@contextmanager
def _mistakes_told(show_all: bool) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # as of `lsm-evaluate --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (InputError, OmegaConfBaseException, HydraException, YAMLError, OSError) as error:
        if show_all:
            raise
        told = Text.assemble(("error:", "bold red"), " ", describe(error))
        Console(stderr=True, **_PLAIN).print(told, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        if show_all:
            raise
        Console(stderr=True, **_PLAIN).print("interrupted")
        sys.exit(_INTERRUPTED)


def describe(error: Exception) -> str:
    """One sentence for a user's mistake or a full disk."""
    error = _found_by_a_resolver(error) or error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "data"
        return f"the disk is full while writing {where}; what is finished is kept: free space and run the same command again"
    if isinstance(error, PermissionError):
        return f"no permission for {error.filename or error}; choose another folder with data_dir= or run_dir="
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}; choose another folder with data_dir= or run_dir="
    if isinstance(error, (HydraException, OmegaConfBaseException, YAMLError)):
        return _describe_configuration(error)
    return str(error)


def _describe_configuration(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).partition("/")
        return f"{group}={choice} is unknown; choose one of: {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override} is no option; write ~ in full, and quote values that hold signs: 'KEY=\"VALUE\"'"
    lines = str(error).splitlines()
    if isinstance(error, InstantiationException) and error.__cause__:
        return f"{lines[-1].removeprefix('full_key: ')}: {str(error.__cause__).splitlines()[0]}"
    # Hydra's second line says how to mend an option; YAML's others say where the mistake is.
    return " ".join(line.strip() for line in (lines if isinstance(error, YAMLError) else lines[:2]) if line.strip())


def _found_by_a_resolver(error: BaseException | None) -> InputError | OSError | None:
    """The mistake that a resolver told, which OmegaConf wraps; None if there is none."""
    while isinstance(error, OmegaConfBaseException):
        error = error.__context__
    return error if isinstance(error, (InputError, OSError)) else None


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


def require_store(path: Path, benchmark: str, preset: str) -> None:
    """Tell how to come by a store that is not there.

    Raises:
        FileNotFoundError: the store is missing; the message names both remedies.
    """
    if not path.exists():
        options = preset_options(benchmark, preset)
        remedies = (
            f"make it with `lsm-generate {options}`, convert published files with `lsm-convert {options} source=FOLDER`"
            if (config_dir() / "benchmark" / f"{benchmark}.yaml").is_file()
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
