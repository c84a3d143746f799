"""Go on with a run: find its last checkpoint and take its configuration from there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from lsm.errors import InputError

#: Options of one call; they are no part of a run.
_CALL = {"resume", "run_dir", "time_limit"}

#: Parts whose state a checkpoint holds, or that say which samples it has been trained on.
_STATE = (
    *("model", "optimizer", "scheduler", "seed", "data.normalization", "data.splits"),
    *("benchmark.name", "benchmark.reader", "benchmark.loss", "benchmark.projection"),
)

#: On these depends how many steps a run has.
_STEPS = (
    *("trainer.max_epochs", "trainer.devices", "trainer.num_nodes", "data.batch_size"),
    *("trainer.accumulate_grad_batches", "trainer.limit_train_batches", "trainer.max_steps"),
)


def find_checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint that ``resume`` names; None to start from the beginning.

    Args:
        resume: a checkpoint, a run's folder, "auto" (the run in ``folder``, if it has a checkpoint) or None.
        folder: this run's folder.
    Raises:
        FileNotFoundError: what ``resume`` names has no checkpoint.
    """
    if resume is None:
        return None
    last = folder / "checkpoints" / "last.ckpt"
    if resume == "auto":
        return last if last.is_file() else None
    path = Path(resume)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; resume= takes a checkpoint or the folder of a run that has one"
        )
    return path


def carry_best(checkpoint: Path, folder: Path) -> None:
    """Copy the best checkpoint beside ``checkpoint`` to a run that goes on in another folder and has none yet."""
    best, here = checkpoint.with_name("best.ckpt"), folder / "checkpoints" / "best.ckpt"
    if best.is_file() and not here.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(best, here)


def count_epochs(checkpoint: Path) -> int:
    """How many epochs the run had finished when it wrote this checkpoint."""
    from lsm.checkpoint import read

    return read(checkpoint)["epoch"] + 1


def require_same_data(checkpoint: Path, data: Mapping[str, Any]) -> None:
    """Check that a run goes on with the data that it began with, by how they were made.

    Args:
        checkpoint: the interrupted run's checkpoint.
        data: description of the data at hand, see :meth:`lsm.data.datamodule.FieldDataModule.describe`.
    Raises:
        InputError: they were made otherwise; the message says in what.
    """
    from lsm.checkpoint import read

    described = read(checkpoint)["lsm"].get("data")
    if not described:  # a checkpoint of an older version
        return
    before, now = (_flat(described["provenance"]), _flat(data["provenance"]))
    for name in [name for name in {**before, **now} if name != "lsm_version"]:
        if before.get(name) != now.get(name):
            raise InputError(
                f"{data['store']} holds other data than {checkpoint} was trained on ({name} was {before.get(name)}, "
                f"is {now.get(name)}); put those back, or start a new run"
            )


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def resumed_config(checkpoint: Path, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the interrupted run, with the options of this call.

    Args:
        checkpoint: the interrupted run's checkpoint.
        overrides: options on this call's command line.
    Raises:
        InputError: an option chooses another part (benchmark, model, preset, ...) than the run had, or is unknown.
    """
    from lsm.checkpoint import read

    content = read(checkpoint)
    if "optimizer_states" not in content:
        raise InputError(
            f"{checkpoint} holds a solver without the state of a training, which cannot be resumed; evaluate it, or start a run"
        )
    cfg = OmegaConf.create(content["lsm"]["run"])
    choices: dict[str, Any] = cfg.get("choices", {})
    before = cfg.copy()
    OmegaConf.set_struct(cfg, True)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.value()
        if key in _CALL:
            continue
        if override.is_delete():
            _delete(cfg, key)
            continue
        if key in choices:
            if value != choices[key]:
                raise InputError(
                    f"{checkpoint} is of a run with {key}={choices[key]}; it cannot go on with {key}={value}"
                )
            continue
        if key == "data_dir":
            cfg.data_dir, cfg.data.path = value, str(Path(value) / Path(cfg.data.path).name)
            continue
        if OmegaConf.is_dict(OmegaConf.select(cfg, key)) and not isinstance(value, dict):
            raise InputError(f"{key} is a group of options, which {value} is not; give them one by one")
        try:
            OmegaConf.update(cfg, key, value, force_add=override.is_add() or override.is_force_add())
        except (ConfigAttributeError, ConfigKeyError) as error:
            raise InputError(f"the run of {checkpoint} has no option {key}") from error
    _require_same_parts(before, cfg, checkpoint)
    return cfg


def _delete(cfg: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    group = OmegaConf.select(cfg, parent) if parent else cfg
    if not OmegaConf.is_dict(group) or name not in group:
        raise InputError(f"the run has no option {key} to leave out")
    with open_dict(group):
        del group[name]


def _require_same_parts(before: DictConfig, after: DictConfig, checkpoint: Path) -> None:
    """Refuse changes that the state in the checkpoint would overrule or not fit, and those that mix up the splits."""
    for part in _STATE:
        if OmegaConf.select(after, part) != OmegaConf.select(before, part):
            raise InputError(f"{part} cannot change on resume, {checkpoint} depends on it; start a new run")
    if not OmegaConf.is_missing(before.scheduler.make, "total_steps"):
        return
    for option in _STEPS:
        old, new = OmegaConf.select(before, option), OmegaConf.select(after, option)
        if old != new:
            raise InputError(
                f"the learning-rate schedule of {checkpoint} spans the steps that {option}={old} makes; "
                f"it cannot go on with {new}: start a new run"
            )
