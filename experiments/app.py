"""What all commands share: where the configuration lies, how a command starts, and how a user's mistake is reported.

The commands import torch, Lightning and Matplotlib inside functions, so that --help and a misspelt option are answered without
the seconds that these imports take.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import lsm
from experiments import folders
from experiments.deferred import defer_scipy_signal
from experiments.device import settle_precision
from experiments.effect import require_effect, require_known
from experiments.help import asks_for_help, help_text
from experiments.mistakes import mistakes_reported
from experiments.revision import set_plugins
from experiments.schema import check_schema
from lsm.errors import InputError, explained
from lsm.process_memory import keep_freed_memory

folders.register_resolvers()


def config_dir() -> Path:
    """Folder of the configuration: inside the package when installed from a wheel, beside it in a checkout.

    Raises:
        FileNotFoundError: neither exists.
    """
    package = Path(lsm.__file__).parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no configuration beside or inside {package}; install lsm again")


def compose_config(name: str, *overrides: str) -> DictConfig:
    """The configuration ``conf/NAME.yaml`` with options, as a command line composes it; also inside a command."""
    if GlobalHydra.instance().is_initialized():
        return settle_precision(hydra.compose(name, list(overrides)))
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        return settle_precision(hydra.compose(name, list(overrides)))


def group_choices(group: str) -> list[str]:
    """The options of a configuration group, also those in a folder that the user added with ``--config-dir``."""
    if GlobalHydra.instance().is_initialized():
        return GlobalHydra.instance().config_loader().get_group_options(group)
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def added_config_dir() -> list[str]:
    """The option ``--config-dir`` of this call, for commands that it starts."""
    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    return [word for source in sources if source.provider == "command-line" for word in ("--config-dir", source.path)]


def command(name: str, run: Callable[[DictConfig], Any]) -> Callable[[], None]:
    """A console script: compose the configuration ``name`` and run; a user's mistake ends with one sentence and code 1.

    Args:
        name: primary configuration file in ``conf/``.
        run: does the work.
    """

    def main() -> None:
        if asks_for_help(sys.argv[1:]):
            with mistakes_reported(show_all=False):
                print(help_text(name, config_dir(), sys.argv[1:]), flush=True)
            return
        show_all = bool(os.environ.get("HYDRA_FULL_ERROR"))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing a traceback

        # By name: a launcher sends `guarded` to other processes, which cannot import what `python -m` calls __main__.
        spec, function = run.__globals__["__spec__"], run.__name__
        module = spec.name if spec else run.__module__

        def guarded(cfg: DictConfig) -> Any:
            with mistakes_reported(show_all):
                check(name, cfg)
                keep_freed_memory()
                defer_scipy_signal()
                return getattr(import_module(module), function)(settle_precision(cfg))

        with mistakes_reported(show_all):
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(guarded)()

    return main


#: Keys of a benchmark's file that single commands need.
_NEEDED = {
    "generate": ("generator",),
    "convert": ("published", "generator"),
    "import": ("reader",),
}


def check(name: str, cfg: DictConfig) -> None:
    """Check the options of a command before it runs, and import the plugins.

    Args:
        name: primary configuration file.
        cfg: the composed configuration.
    Raises:
        InputError: an option has another kind or range, has no effect, or names an empty path, the preset is that of own data,
            or the benchmark's file lacks what the command needs.
    """
    for place in ("data_dir", "store", "run_dir"):
        folders.require_place(place, OmegaConf.select(cfg, place))
    if name in ("generate", "convert") and cfg.preset == "own":
        raise InputError(f"preset=own is for training on your own data and has no effect on lsm-{name}; leave it out")
    if "benchmark" in cfg:
        check_benchmark(cfg, *_NEEDED.get(name, ()))
    check_schema(name, cfg)
    hydra_cfg = HydraConfig.get()
    require_effect(name, cfg, hydra_cfg.overrides.task, hydra_cfg.runtime.choices)
    require_known(name, cfg, hydra_cfg.runtime.choices)
    plugins = cfg.get("plugins") or ()
    import_plugins(plugins)
    set_plugins(plugins)


def import_plugins(modules: Sequence[str]) -> None:
    """Import modules of the user, which register parts.

    Raises:
        InputError: one cannot be imported.
    """
    for module in modules:
        with explained(f"plugin {module} cannot be imported", ImportError, "is its folder on PYTHONPATH?"):
            import_module(module)


def check_benchmark(cfg: DictConfig, *needed: str) -> None:
    """Check that a benchmark's file has what a command needs.

    Args:
        cfg: a command's configuration.
        needed: keys of the benchmark's file.
    Raises:
        InputError: the benchmark lacks a key, or has no such set of data.
    """
    if problem := _find_problem(cfg, needed):
        raise InputError(f"benchmark {cfg.benchmark.get('name', 'of this call')} has no {problem}")


def _find_problem(cfg: DictConfig, needed: Sequence[str]) -> str | None:
    """What a benchmark's file lacks, in words; None without a fault."""
    for key in ("name", "reader", "sets", *needed):
        if key not in cfg.benchmark or (key in needed and cfg.benchmark[key] is None):
            return f"{key} in its file, which this command needs"
    if cfg.set not in cfg.benchmark.sets:
        return f"set of data {cfg.set!r}; choose one by set=: {', '.join(cfg.benchmark.sets)}"
    return None


def plain(cfg: DictConfig) -> dict[str, Any]:
    """A configuration with all values resolved, as dictionaries, lists, strings and numbers."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]
