"""Go on with a run: find its last checkpoint and take its configuration from there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from lsm.errors import InputError

#: Options of one call; they are no part of a run.
_CALL = {"resume", "run_dir", "time_limit"}


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


def count_epochs(checkpoint: Path) -> int:
    """How many epochs the run had finished when it wrote this checkpoint."""
    from lsm.checkpoint import read

    return read(checkpoint)["epoch"] + 1


def resumed_config(checkpoint: Path, overrides: Sequence[str]) -> DictConfig:
    """The configuration of the interrupted run, with the options of this call.

    Args:
        checkpoint: the interrupted run's checkpoint.
        overrides: options on this call's command line.
    Raises:
        InputError: an option chooses another part (benchmark, model, preset, ...) than the run had, or is unknown.
    """
    from lsm.checkpoint import read

    cfg = OmegaConf.create(read(checkpoint)["lsm"]["run"])
    choices: dict[str, Any] = cfg.get("choices", {})
    before = OmegaConf.to_container(cfg)
    OmegaConf.set_struct(cfg, True)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.value()
        if key in _CALL:
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
        try:
            OmegaConf.update(cfg, key, value, force_add=override.is_add() or override.is_force_add())
        except (ConfigAttributeError, ConfigKeyError) as error:
            raise InputError(f"the run of {checkpoint} has no option {key}") from error
    _require_same_parts(before, OmegaConf.to_container(cfg), checkpoint)
    return cfg


def _require_same_parts(before: Any, after: Any, checkpoint: Path) -> None:
    """Refuse changes that the state in the checkpoint would overrule or not fit."""
    for part in ("model", "optimizer", "scheduler"):
        if after[part] != before[part]:
            raise InputError(
                f"options of {part} cannot change on resume, {checkpoint} holds its state; start a new run"
            )
    steps = (before["trainer"]["max_epochs"], after["trainer"]["max_epochs"])
    if before["scheduler"]["make"].get("total_steps") == "???" and steps[0] != steps[1]:
        raise InputError(
            f"the learning-rate schedule of {checkpoint} spans trainer.max_epochs={steps[0]}; "
            f"it cannot go on with {steps[1]}: start a new run"
        )
