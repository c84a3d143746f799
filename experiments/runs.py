"""Runs: load a trained solver with its data, and compose the configuration with which an interrupted run continues.

A run records its resolved configuration and the options that the user typed. Nothing recorded is instantiated: a resumed run is
composed from this project's own configuration, the recorded options and those of the present call, and then compared with the
record. What may differ is listed in :data:`MAY_CHANGE`; everything else is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from experiments.app import compose_config, plain
from experiments.assemble import make_datamodule
from experiments.device import AUTOMATIC_PRECISIONS, precision_is_chosen
from experiments.effect import CALL_OPTIONS, RUN_OPTIONS, lies_in, require_effect
from experiments.folders import from_here, run_of
from experiments.options import parse
from experiments.recorded import recorded_options, require_config
from experiments.schema import check_schema
from lsm.errors import InputError, UnknownNameError
from lsm.files import write_whole
from lsm.plain import without_places
from lsm.progress import console
from lsm.run_folder import best_checkpoint

if TYPE_CHECKING:
    from lsm.checkpoint import Checkpoint
    from lsm.data.datamodule import FieldDataModule

#: What a resumed run may change: where and how it computes, where its data lie, its callbacks and loggers, and the number of its
#: steps unless its schedule spans the run (:data:`STEPS`). The average of the weights (:data:`_OF_WEIGHTS`) may not change.
MAY_CHANGE = (
    *("data.path", "data.num_workers", "data.in_memory", "data.on_device", "data.batch_size"),
    "data.max_sample_bytes",
    *("trainer.max_epochs", "trainer.max_steps", "trainer.accelerator", "trainer.devices", "trainer.num_nodes"),
    *("trainer.strategy", "trainer.precision", "trainer.sync_batchnorm", "trainer.accumulate_grad_batches"),
    *("trainer.limit_train_batches", "trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.profiler"),
    *("trainer.enable_model_summary", "callbacks", "logger", "compile", "recompute"),
    "checkpoint_interval",
)

#: The callbacks that change the weights, and may not.
_OF_WEIGHTS = ("callbacks.average",)

#: What may differ between runs of one model: the seed, where they compute, where their data lie, and what they log and show.
#: Other callbacks than the display of the progress may change the weights, as their average does.
NO_PART = (
    *("seed", "data.path", "data.num_workers", "data.in_memory", "data.on_device", "checkpoint_interval"),
    *(
        "callbacks.progress",
        "logger",
        "trainer.accelerator",
        "trainer.enable_progress_bar",
        "trainer.log_every_n_steps",
    ),
)

#: The number of steps of a run depends on these; a schedule that spans the run fixes them.
STEPS = (
    *("trainer.max_epochs", "trainer.devices", "trainer.num_nodes", "data.batch_size"),
    *("trainer.accumulate_grad_batches", "trainer.limit_train_batches", "trainer.max_steps"),
)


#: Options that older runs did not record, as they trained, or as :mod:`lsm.migration` leaves them where they make no difference.
_UNRECORDED = {
    "unrolling.name": "fed_back",
    "recompute": False,
    "equal_fields": False,
    "model.predict_change": False,
    "model.lattice_coordinates": True,
    "model.point_blocks": None,
    "data.normalization.code": "channel",
}

_NO_TRAINING = "holds a solver without the state of a training"


def record_of(cfg: DictConfig, overrides: Sequence[str], choices: Mapping[str, str]) -> dict[str, Any]:
    """What a checkpoint keeps of the run that wrote it, as plain data.

    Args:
        cfg: the run's configuration.
        overrides: the options that the user typed.
        choices: the chosen option of each configuration group.
    """
    kept = [text for text in overrides if parse(text).key_or_group not in CALL_OPTIONS]
    config = {key: value for key, value in plain(cfg).items() if key != "sizes"}
    return {"config": config, "overrides": kept, "choices": {k: v for k, v in choices.items() if "hydra/" not in k}}


def carry_best(checkpoint: Path, folder: Path) -> None:
    """Copy the best checkpoint beside ``checkpoint`` to a run that continues in another folder and has none yet."""
    best, here = checkpoint.with_name("best.ckpt"), folder / "checkpoints" / "best.ckpt"
    if best.is_file() and not here.exists():
        write_whole(here, best.read_bytes())


def require_same_data(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a run continues with the data that it began with, by their provenance.

    Args:
        path: the interrupted run's checkpoint.
        before: description of its data, see :meth:`lsm.data.datamodule.FieldDataModule.describe`; empty if unknown.
        now: description of the present data.
    Raises:
        InputError: they were made differently; the message says in what.
    """
    if changed := difference_of_data(before, now):
        raise InputError(
            f"{now['store']} holds other data than {path} was trained on ({changed}); restore those, or start a new run"
        )


def difference_of_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first entry in which the provenance of two data sets differs; empty if they agree, or one of them is unknown.

    Where the data lie makes no difference. Arguments as in :func:`require_same_data`, both perhaps empty.
    """
    if not before or not now:
        return ""
    return difference(without_places(before["provenance"]), without_places(now["provenance"]))


def require_same_samples(checkpoints: Mapping[str, Checkpoint], data: FieldDataModule, splits: Sequence[str]) -> None:
    """Check that none of several solvers was trained on the samples on which all of them are judged.

    A run keeps the samples of its own splits apart from those of its training, not the ones of another run. Runs of the same
    data need the same splits, therefore, unless they are judged on data on which none of them was trained.

    Args:
        checkpoints: the solvers by their label.
        data: whose samples are used; its splits are those of the first run.
        splits: names of those that are used.
    Raises:
        InputError: two runs differ in their data or in these splits; the message names both, and the difference.
    """
    if all(difference_of_data(one.data, data.describe()) for one in checkpoints.values()):
        return
    (name, first), *others = checkpoints.items()
    for label, other in others:
        limits = (_limits_of(one, splits) for one in (first, other))
        if changed := difference_of_data(first.data, other.data) or difference(*limits):
            raise InputError(
                f"{label} was trained on other samples than {name} ({changed}), perhaps on some of those on which both would be "
                "judged; name runs of the same data and splits, or give store= with data on which none of them was trained"
            )


def _limits_of(checkpoint: Checkpoint, splits: Sequence[str]) -> dict[str, Any]:
    """``[first, end)`` of the samples of splits, as the run recorded them."""
    recorded = require_config(checkpoint.path, checkpoint.run)["data"]["splits"]
    return {"splits": {name: recorded.get(name) for name in splits}}


def difference(before: Mapping[str, Any], now: Mapping[str, Any], ignored: Sequence[str] = ("lsm_version",)) -> str:
    """The first entry in which two nested records differ, such as ``seed was 0, is 1``; empty if they agree.

    Args:
        before: the older record.
        now: the present one.
        ignored: dotted names of entries, or of groups of them, that may differ.
    """
    old, new = flatten(before), flatten(now)
    for key in {**old, **new}:
        if old.get(key) != new.get(key) and not lies_in(key, ignored):
            return f"{key} was {old.get(key)}, is {new.get(key)}"
    return ""


def no_part_of(cfg: DictConfig, recorded: Mapping[str, Any], chosen: bool) -> tuple[str, ...]:
    """What may differ from a recorded run of the same model: :data:`NO_PART`, and the precision if both machines chose it.

    Args:
        cfg: the present configuration.
        recorded: that of the run.
        chosen: whether the precision of the run was chosen by its machine.
    """
    chosen = chosen and precision_is_chosen(cfg) and recorded["trainer"].get("precision") in AUTOMATIC_PRECISIONS
    return (*NO_PART, "trainer.precision") if chosen else NO_PART


def types_precision(overrides: Sequence[str]) -> bool:
    """Whether options set the precision; ``auto`` leaves it to the machine."""
    typed = [text.partition("=") for text in overrides if text.lstrip("+").startswith("trainer.precision=")]
    return bool(typed) and typed[-1][2] != "auto"


def essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a training depends on in a run's configuration, by dotted names."""
    return {key: value for key, value in {**_UNRECORDED, **flatten(config)}.items() if lies_in(key, RUN_OPTIONS)}


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
        InputError: the checkpoint cannot be resumed, or an option changes what the run depends on, or has no effect.
    """
    run = content["lsm"]["run"]
    if "optimizer_states" not in content or run.get("overrides") is None:
        told = "was written by an older version" if "optimizer_states" in content else _NO_TRAINING
        raise InputError(f"{path} {told}; it can be evaluated, but not resumed")
    before, choices = require_config(path, run), run["choices"]
    typed = [option for text in overrides if (option := parse(text)).key_or_group not in CALL_OPTIONS]
    for option in typed:
        _require_same_choice(path, choices, option)
    options = [str(option.input_line) for option in (*recorded_options(path, run["overrides"], typed), *typed)]
    cfg = compose_config("train", *options)
    check_schema("train", cfg)
    texts = [str(option.input_line) for option in typed if option.key_or_group != "data_dir"]
    require_effect("train", cfg, texts, choices)
    _place_data(path, cfg, before, typed)
    _keep_precision(cfg, before, typed)
    if problem := _find_change(path, before, cfg, typed):
        raise InputError(problem)
    return cfg, options


def _place_data(path: Path, cfg: DictConfig, before: Mapping[str, Any], typed: Sequence[Override]) -> None:
    """Set where the data lie now: as typed, else the recorded path, else that name in the folder of data."""
    keys = {option.key_or_group for option in typed}
    if "data.path" in keys:
        return
    store = recorded_store(path, before)
    if "${" in str(store):
        raise InputError(f"{path} records data.path={store}, which is no path; give data.path=FILE")
    if "data_dir" in keys or not store.exists():
        store = Path(cfg.data_dir) / store.name
    cfg.data.path = str(store)


def recorded_store(path: Path, config: Mapping[str, Any]) -> Path:
    """The store of a run's data; a path that is not absolute was recorded in the folder in which the run was started.

    Args:
        path: a checkpoint of the run.
        config: the recorded configuration.
    """
    store, named, folder = Path(config["data"]["path"]), Path(str(config.get("run_dir"))), run_of(path).resolve()
    started_in = next((parent for parent in folder.parents if parent / named == folder), None)
    if started_in is None or store.is_absolute() or named.is_absolute() or not (started_in / store).exists():
        return store
    return from_here(started_in / store)


def _keep_precision(cfg: DictConfig, before: Mapping[str, Any], typed: Sequence[Override]) -> None:
    """Set the recorded precision, so that another machine does not choose another one, unless one is typed."""
    recorded = before["trainer"].get("precision")
    if recorded in AUTOMATIC_PRECISIONS and not any(option.key_or_group == "trainer.precision" for option in typed):
        cfg.trainer.precision = recorded


def _require_same_choice(path: Path, choices: Mapping[str, str], option: Override) -> None:
    key, before = option.key_or_group, choices.get(option.key_or_group)
    if before is not None and key not in MAY_CHANGE and before != option.value():
        raise InputError(
            f"{key} cannot change from {before} to {option.value()} on resume, since {path} depends on it; start a new run"
        )


def _find_change(path: Path, before: Mapping[str, Any], cfg: DictConfig, typed: Sequence[Override]) -> str | None:
    """The first change that the run does not bear, in words; those that the user typed come first."""
    old, new = essence(before), essence(plain(cfg))
    asked = [option.key_or_group for option in typed]
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    spans = OmegaConf.is_missing(cfg.scheduler.make, "total_steps")
    for key in sorted(changed, key=lambda key: not lies_in(key, asked)):
        change = f"{key} cannot change from {old.get(key)} to {new.get(key)} on resume"
        if spans and key in STEPS:
            return f"the learning-rate schedule of {path} spans the steps of the run, so {change}; start a new run"
        if not lies_in(key, MAY_CHANGE) or lies_in(key, _OF_WEIGHTS):
            remedy = "start a new run" if lies_in(key, asked) else f"add {key}={old.get(key)}"
            return f"{change}, since {path} depends on it; {remedy}"
    return None


@contextmanager
def plugins_named(config: Mapping[str, Any], plugins: Sequence[str]) -> Iterator[None]:
    """Where a name is unknown, say which plugins the run was trained with: a checkpoint does not import them.

    Args:
        config: the recorded configuration.
        plugins: those of the present call.
    """
    try:
        yield
    except InputError as error:
        from lsm.checkpoint import plugins_of

        absent = [name for name in plugins_of({"config": config}) if name not in plugins]
        if not absent or not any(isinstance(cause, UnknownNameError) for cause in (error, error.__cause__)):
            raise
        names = ",".join(absent)
        raise InputError(
            f"{error}; the run was trained with the plugins {names}, which a checkpoint does not import: "
            f"add plugins=[{names}] if you trust them"
        ) from error


def _store_of(checkpoint: Checkpoint, store: str | None, data_dir: str | None) -> Path:
    """The store that is asked for, else the recorded path, else that name in $LSM_DATA_DIR."""
    recorded = recorded_store(checkpoint.path, checkpoint.run["config"])
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
        + (f" over {spec.frames.inputs} + {spec.frames.targets} frames" if spec.frames else "")
        for spec in (checkpoint.solver.spec, data.spec)
    )
    if asked != found:
        raise InputError(f"{data.path} holds a {found}; the solver of {checkpoint.path} was trained on a {asked}")


def with_checkpoint(cfg: DictConfig, path: Path) -> DictConfig:
    """Options of a command that takes several checkpoints, for one of them."""
    one = cfg.copy()
    one.checkpoint = str(path)
    return one


def load_trained(cfg: DictConfig) -> Checkpoint:
    """A trained solver.

    Args:
        cfg: ``checkpoint`` (a file, a run's folder or an exported one) and ``plugins``.
    Raises:
        FileNotFoundError: there is no such checkpoint.
        InputError: it is damaged, or a part of the solver is unknown; the message names the plugins of its training.
    """
    path = best_checkpoint(Path(cfg.checkpoint))

    from lsm.checkpoint import read, rebuild

    content = read(path)
    with plugins_named(content["lsm"]["run"].get("config") or {}, cfg.plugins):
        return rebuild(content, path)


def load_run(cfg: DictConfig) -> tuple[Checkpoint, FieldDataModule]:
    """A trained solver and its data, for evaluating and drawing; other data than those of its training are named.

    Args:
        cfg: ``checkpoint`` (a file or a run's folder), ``split``, ``store``, ``data_dir`` and ``resolution`` (or null), perhaps
            ``batch_size``.
    Raises:
        FileNotFoundError: there is no such checkpoint.
        InputError: the split is empty, or the store holds other fields.
    """
    checkpoint = load_trained(cfg)
    config = require_config(checkpoint.path, checkpoint.run)
    from lsm.data.store import MAX_SAMPLE_BYTES

    store = _store_of(checkpoint, cfg.store, cfg.data_dir)
    # What a run needs of a machine is not taken from its record, which may come from anybody.
    changes = {"num_workers": 0, "on_device": False, "in_memory": None}
    changes["max_sample_bytes"] = cfg.get("max_sample_bytes", MAX_SAMPLE_BYTES)
    changes |= {"batch_size": cfg.batch_size} if "batch_size" in cfg else {}
    resolution = list(cfg.resolution) if OmegaConf.is_list(cfg.resolution) else cfg.resolution
    with plugins_named(config, cfg.plugins):
        data = make_datamodule(config, resolution, path=store, **changes)
    _require_same_fields(checkpoint, data)
    if changed := difference_of_data(checkpoint.data, data.describe()):
        told = f"{data.path} holds other data than {checkpoint.path} was trained on ({changed})"
        console.print(f"warning: {told}", soft_wrap=True)
    if not len(data.dataset(cfg.split)):
        raise InputError(f"the {cfg.split} split of this run is empty; choose another one")
    return checkpoint, data
