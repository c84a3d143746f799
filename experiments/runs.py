"""Runs: load a trained solver with its data, and compose the configuration with which an interrupted run continues.

A run records its resolved configuration and the options that the user typed. Nothing recorded is instantiated: a resumed run is
composed from this project's own configuration, the recorded options and those of the present call, and then compared with the
record. What may differ is listed in :data:`MAY_CHANGE`; everything else is refused.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from experiments.app import compose_config, plain
from experiments.assemble import make_datamodule
from experiments.folders import best_checkpoint
from lsm.errors import InputError

if TYPE_CHECKING:
    from lsm.checkpoint import Checkpoint
    from lsm.data.datamodule import FieldDataModule

#: Options of one call, which are no part of a run.
CALL_OPTIONS = ("resume", "run_dir", "time_limit")

#: What a resumed run may change: where it computes, where its data lie, how long it trains, and what it logs.
MAY_CHANGE = (
    *CALL_OPTIONS,
    *("data_dir", "data.path", "data.num_workers", "data.in_memory", "data.on_device", "data.batch_size"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *("trainer.strategy", "trainer.precision", "trainer.sync_batchnorm", "trainer.accumulate_grad_batches"),
    *("trainer.limit_train_batches", "trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.profiler"),
    *("trainer.enable_model_summary", "callbacks", "logger", "compile", "checkpoint_interval", "plugins"),
)

#: The number of steps of a run depends on these; a schedule that spans the run fixes them.
STEPS = (
    *("trainer.max_epochs", "trainer.devices", "trainer.num_nodes", "data.batch_size"),
    *("trainer.accumulate_grad_batches", "trainer.limit_train_batches", "trainer.max_steps"),
)

#: Modules whose classes a recorded option may name.
_TRUSTED = re.compile(r"(torch\.optim|pytorch_lightning|lightning\.pytorch|lsm|experiments|data_prep)\.")


def record_of(cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, str]) -> dict[str, Any]:
    """What a checkpoint keeps of the run that wrote it, as plain data.

    Args:
        cfg: the run's configuration.
        overrides: the options that the user typed.
        choices: the chosen option of each configuration group.
    """
    kept = [text for text in overrides if _parse(text).key_or_group not in CALL_OPTIONS]
    config = {key: value for key, value in plain(cfg).items() if key != "sizes"}
    return {"config": config, "overrides": kept, "choices": {k: v for k, v in choices.items() if "hydra/" not in k}}


def carry_best(checkpoint: Path, folder: Path) -> None:
    """Copy the best checkpoint beside ``checkpoint`` to a run that continues in another folder and has none yet."""
    best, here = checkpoint.with_name("best.ckpt"), folder / "checkpoints" / "best.ckpt"
    if best.is_file() and not here.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(best, here)


def require_same_data(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a run continues with the data that it began with, by their provenance.

    Args:
        path: the interrupted run's checkpoint.
        before: description of its data, see :meth:`lsm.data.datamodule.FieldDataModule.describe`; empty if unknown.
        now: description of the present data.
    Raises:
        InputError: they were made differently; the message says in what.
    """
    if not before:
        return
    recorded, found = flatten(before["provenance"]), flatten(now["provenance"])
    for name in [name for name in {**recorded, **found} if name != "lsm_version"]:
        if recorded.get(name) != found.get(name):
            raise InputError(
                f"{now['store']} holds other data than {path} was trained on ({name} was {recorded.get(name)}, "
                f"is {found.get(name)}); restore those, or start a new run"
            )


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def resumed_config(path: Path, content: Mapping[str, Any], overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The configuration with which an interrupted run continues, and the options that make it.

    Args:
        path: the interrupted run's checkpoint.
        content: what it holds.
        overrides: options on this call's command line.
    Raises:
        InputError: the checkpoint cannot be resumed, or an option changes what the run depends on.
    """
    run = content["lsm"]["run"]
    if "optimizer_states" not in content:
        raise InputError(f"{path} holds a solver without the state of a training, which cannot be resumed; evaluate it")
    if run["overrides"] is None:
        raise InputError(f"{path} was written by an older version; it can be evaluated, but not resumed")
    typed = [_parse(text) for text in overrides]
    options = _combine(
        _trusted(path, run["overrides"], typed), [o for o in typed if o.key_or_group not in CALL_OPTIONS]
    )
    cfg = compose_config("train", *options)
    _place_data(cfg, run["config"], typed)
    _require_same_run(path, run["config"], cfg, typed)
    return cfg, options


def _parse(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


def _trusted(path: Path, recorded: Any, typed: Sequence[Override]) -> list[Override]:
    """Recorded options, none of which names foreign code or reads this machine's environment."""
    if not isinstance(recorded, list) or not all(isinstance(text, str) for text in recorded):
        raise InputError(f"{path} records no list of options; it is damaged")
    repeated = {override.input_line for override in typed}
    for text in recorded:
        named = re.findall(r"_target_\W*([\w.]+)", text)
        if text not in repeated and ("${" in text or not all(_TRUSTED.match(name) for name in named)):
            raise InputError(
                f"{path} records the option {text}, which names code or an environment variable; it is not taken from a file: "
                "repeat the option on the command line if you trust it"
            )
    return [_parse(text) for text in recorded]


def _combine(recorded: Sequence[Override], typed: Sequence[Override]) -> list[str]:
    """Recorded options and those typed now; of two with one key the typed one counts."""
    keys = {override.key_or_group: override for override in typed}
    added = {override.key_or_group for override in recorded if override.is_add() or override.is_force_add()}
    options = [str(override.input_line) for override in recorded if override.key_or_group not in keys]
    for key, override in keys.items():
        line = str(override.input_line)
        if override.is_delete() and key in added:
            continue
        options.append(f"++{line}" if key in added and not line.startswith("+") else line)
    return options


def _place_data(cfg: DictConfig, before: Mapping[str, Any], typed: Sequence[Override]) -> None:
    """Where the data lie now: as typed, else where they lay, else where the environment says."""
    keys = {override.key_or_group for override in typed}
    recorded = Path(before["data"]["path"])
    if "data.path" in keys:
        return
    if "data_dir" in keys or not recorded.exists():
        cfg.data.path = str(Path(cfg.data_dir) / recorded.name)
    else:
        cfg.data.path = str(recorded)


def _require_same_run(path: Path, before: Mapping[str, Any], cfg: DictConfig, typed: Sequence[Override]) -> None:
    old, new = flatten(before), flatten({key: value for key, value in plain(cfg).items() if key != "sizes"})
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    spans = OmegaConf.is_missing(cfg.scheduler.make, "total_steps")
    for key in changed:
        if spans and key in STEPS:
            raise InputError(
                f"the learning-rate schedule of {path} spans the steps that {key}={old.get(key)} makes; "
                f"it cannot continue with {new.get(key)}: start a new run"
            )
        if any(key == name or key.startswith(f"{name}.") for name in MAY_CHANGE):
            continue
        asked = any(key == o.key_or_group or key.startswith(f"{o.key_or_group}.") for o in typed)
        remedy = "start a new run" if asked else f"add {key}={old.get(key)}, or use the version that wrote it"
        raise InputError(
            f"{key} cannot change on resume from {old.get(key)} to {new.get(key)}, {path} depends on it; {remedy}"
        )


def _store_of(checkpoint: Checkpoint, store: str | None, data_dir: str | None) -> Path:
    """The store that is asked for, else the recorded path, else that name in $LSM_DATA_DIR."""
    recorded = Path(checkpoint.run["config"]["data"]["path"])
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


def load_run(cfg: DictConfig) -> tuple[Checkpoint, FieldDataModule]:
    """A trained solver and its data, for evaluating and drawing.

    Args:
        cfg: ``checkpoint`` (a file or a run's folder), ``split``, ``store``, ``data_dir`` and ``resolution`` (or null), perhaps
            ``batch_size``.
    Raises:
        InputError: the split is empty, or the store holds other fields.
    """
    from lsm.checkpoint import load

    checkpoint = load(best_checkpoint(Path(cfg.checkpoint)))
    store = _store_of(checkpoint, cfg.store, cfg.data_dir)
    changes = {"batch_size": cfg.batch_size} if "batch_size" in cfg else {}
    resolution = list(cfg.resolution) if OmegaConf.is_list(cfg.resolution) else cfg.resolution
    data = make_datamodule(checkpoint.run["config"], resolution, path=store, **changes)
    _require_same_fields(checkpoint, data)
    if not len(data.dataset(cfg.split)):
        raise InputError(f"the {cfg.split} split of this run is empty; choose another one")
    return checkpoint, data
