"""Options that have no effect are refused: each command states here what it reads of its configuration.

An option has an effect if the command reads it, or if something that the command reads refers to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.options import parse
from experiments.schema import schema_of
from lsm.errors import InputError

#: Options that describe one call; they are no part of a run.
CALL_OPTIONS = ("resume", "run_dir", "time_limit", "plugins")

#: What a training depends on.
RUN_OPTIONS = (
    *("benchmark.name", "benchmark.reader", "benchmark.symmetries", "preset", "data", "model", "loss", "augmentation"),
    *("unrolling",),
    *("optimizer", "scheduler", "trainer", "callbacks", "logger", "seed", "metrics", "compile", "recompute"),
    *("checkpoint_interval", "batch_norm_batches", "equal_fields"),
)

#: Of these, what a profile records of a table's runs and does not use; of ``trainer`` it reads the precision.
_UNPROFILED = ("callbacks", "logger", "checkpoint_interval", "batch_norm_batches", "trainer")

#: What commands read; those that are not listed read the options of their schema and nothing else.
READ = {
    "train": (*RUN_OPTIONS, *CALL_OPTIONS),
    "import": (
        *("checkpoint", "deformation", "output", "benchmark.name", "benchmark.reader", "model", "seed", "plugins"),
        *("data.path", "data.splits", "data.normalization", "data.batch_size"),
    ),
    "profile": (
        *(key for key in RUN_OPTIONS if key not in _UNPROFILED),
        *("trainer.precision", "benchmark.generator", "compare", "sites", "device", "warmup", "repeats", "run_dir"),
        *("plugins", "checkpoint", "for_table"),
    ),
    "inspect": ("file", "sample", "picture", "dpi", "data"),
    "generate": (
        *("benchmark.name", "benchmark.generator", "store", "num_samples", "seed", "workers", "max_attempts"),
        *("device", "batch_size", "shard", "num_shards", "merge", "check"),
    ),
    "convert": (
        *("benchmark.name", "benchmark.generator", "benchmark.reader", "benchmark.published"),
        *("store", "source", "export", "strict", "overwrite"),
    ),
}

#: What a command reads only with a certain value of another option.
READ_WITH: dict[str, tuple[tuple[Callable[[DictConfig], bool], tuple[str, ...]], ...]] = {
    "generate": ((lambda cfg: cfg.check, ("benchmark.reader", "check_samples")),),
    "convert": ((lambda cfg: cfg.export is not None, ("mat_version",)),),
    "profile": (
        (lambda cfg: bool(cfg.sites) and not isinstance(cfg.sites[0], int), ("time_limit", "fit_from")),
        (lambda cfg: cfg.for_table, _UNPROFILED),
    ),
    "visualize": (
        (lambda cfg: cfg.what == "samples" and cfg.format != "vtk", ("curve",)),
        (lambda cfg: cfg.what == "gallery", ("gallery_dpi",)),
        (lambda cfg: cfg.what != "errors", ("samples",)),
        (lambda cfg: cfg.animate, ("animation", "animation_dpi")),
        (lambda cfg: cfg.level is not None, ("band",)),
    ),
    "predict": ((lambda cfg: cfg.level is not None, ("band",)),),
}

#: What a command reads instead of all that, and of any group, if another option is set.
READ_INSTEAD = {
    "profile": {
        "checkpoint": ("checkpoint", "samples", "device", "warmup", "repeats", "data_dir", "run_dir", "plugins")
    },
    "predict": {"template": ("checkpoint", "template", "device", "overwrite", "plugins")},
}

#: What has no effect where another option is typed: the splits of own data are drawn, unless they are typed.
REPLACED = {"data.splits": ("data.fractions", "data.split_seed")}

#: Entries of configuration files that others refer to.
_IN_FILES = ("set", "sizes", "batch", "hydra")

#: What to do instead.
_REMEDIES = {
    "sizes": "set model.OPTION",
    "benchmark.generator": "give it to lsm-generate",
    "benchmark.published": "give it to lsm-convert",
    "benchmark.symmetries": "give it to lsm-train",
    "check_samples": "add check=true",
    "mat_version": "add export=FOLDER",
    "gallery_dpi": "add what=gallery",
    "animation": "add animate=true",
    "animation_dpi": "add animate=true",
    "band": "add level=",
    "time_limit": "give several sizes, as sites=[[32,32],[64,64]]",
    "fit_from": "give several sizes, as sites=[[32,32],[64,64]]",
}


def lies_in(key: str, groups: Collection[str]) -> bool:
    """Whether a dotted key is one of these groups or inside one."""
    return any(key == group or key.startswith(f"{group}.") for group in groups)


def require_known(name: str, cfg: DictConfig, choices: Mapping[str, str]) -> None:
    """Check that every top-level entry of the configuration, also of a user's own files, is one that the command knows.

    Args:
        name: of the command.
        cfg: its composed configuration.
        choices: the chosen option of each configuration group.
    Raises:
        InputError: a file contains an entry of another name, or puts all its entries where nothing reads them.
    """
    if "experiment" not in choices:  # only trainings, and commands that compose one, read files that may set anything
        return
    if cfg.get("experiment"):
        raise InputError(
            f"the file experiment/{choices['experiment']}.yaml would have no effect; its first line must be # @package _global_"
        )
    of_runs = {option.partition(".")[0] for option in RUN_OPTIONS}
    known = {
        *schema_of(name),
        *schema_of("train"),
        *of_runs,
        *(group.partition("/")[0] for group in choices),
        *_IN_FILES,
    }
    for entry in map(str, cfg):
        if entry not in known:
            closest = get_close_matches(entry, known, 1)
            remedy = f"did you mean {closest[0]}?" if closest else "remove it"
            raise InputError(f"a configuration file sets {entry}, which is no option of lsm-{name}; {remedy}")


def require_effect(name: str, cfg: DictConfig, overrides: Sequence[str], choices: Collection[str]) -> None:
    """Check that every option has an effect.

    Args:
        name: of the command.
        cfg: its configuration, composed with the options.
        overrides: the options, as typed.
        choices: names of the configuration groups, which always have an effect.
    Raises:
        InputError: an option has none; the message says what to do instead.
    """
    read = list(READ.get(name) or [name, *schema_of(name)])  # the group of a table is called as its command
    for is_read, keys in READ_WITH.get(name, ()):
        read = [*read, *keys] if is_read(cfg) else [key for key in read if key not in keys]
    for switch, keys in READ_INSTEAD.get(name, {}).items():
        if cfg[switch]:
            read, choices = list(keys), ()
    typed = {text: parse(text).key_or_group for text in overrides}
    for text, key in typed.items():
        for other, keys in REPLACED.items():
            if lies_in(key, keys) and any(lies_in(one, [other]) for one in typed.values()):
                raise InputError(f"{text} has no effect on lsm-{name} with {other}; leave one of them out")
        # The experiment gives each family its sizes; of the one that is chosen they become options of the model.
        if key in choices or ((lies_in(key, read) or _refers_to(cfg, read, key)) and not lies_in(key, ["sizes"])):
            continue
        raise InputError(f"{text} has no effect on lsm-{name}{_remedy(cfg, key)}")


def _refers_to(cfg: DictConfig, read: Sequence[str], key: str) -> bool:
    """Whether one of the values that are read changes with the value of ``key``."""
    absent = object()
    if OmegaConf.select(cfg, key, default=absent, throw_on_resolution_failure=False) is absent:
        return False
    changed = cfg.copy()
    OmegaConf.update(changed, key, "another value", merge=False, force_add=True)
    try:
        return _values(cfg, read) != _values(changed, read)
    except (OmegaConfBaseException, InputError):
        return True


def _values(cfg: DictConfig, keys: Sequence[str]) -> list[Any]:
    found = [OmegaConf.select(cfg, key) for key in keys]
    return [OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value for value in found]


def _remedy(cfg: DictConfig, key: str) -> str:
    if lies_in(key, ["benchmark.sets"]) and cfg.set not in key.split("."):
        return f" with set={cfg.set}"
    for group, remedy in _REMEDIES.items():
        if lies_in(key, [group]):
            return f"; {remedy}"
    return " with these options; leave it out"
