"""``lsm-predict``: fields for a file of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.app import command
from experiments.bands import band_of, members_of
from experiments.device import choose_device
from experiments.folders import find_checkpoints
from experiments.runs import load_trained
from lsm.errors import InputError
from lsm.files import require_free
from lsm.progress import console, progress_bar
from lsm.provenance import describe_environment

if TYPE_CHECKING:
    from lsm.checkpoint import Checkpoint
    from lsm.data.layout import Roles


def run(cfg: DictConfig) -> Path:
    """Predict, or write a template, as configured; return the file that was made.

    Raises:
        InputError: input, output or template is missing, or the output exists.
    """
    checkpoint = _load(cfg)
    if cfg.template is not None:
        return _write_template(checkpoint, Path(cfg.template), cfg.overwrite)
    if cfg.input is None or cfg.output is None:
        raise InputError(
            "give input=FILE and output=FILE, or template=FILE for a file of inputs that shows what is expected"
        )
    return _predict(cfg, checkpoint, Path(cfg.input), Path(cfg.output))


def _load(cfg: DictConfig) -> Checkpoint:
    """The checkpoint; several as one that predicts their mean, and records where all of them lie."""
    found = []
    for path in find_checkpoints(cfg.checkpoint):
        one = cfg.copy()
        one.checkpoint = str(path)
        found.append(load_trained(one))
    if len(found) == 1:
        return found[0]

    from lsm.ensemble import Ensemble

    together = ", ".join(str(checkpoint.path) for checkpoint in found)
    solver = Ensemble([checkpoint.solver for checkpoint in found])
    return replace(found[0], solver=solver, epoch=None, path=Path(together))


def _write_template(checkpoint: Checkpoint, path: Path, overwrite: bool) -> Path:
    from lsm.template import write_template

    _protect(path, overwrite)
    for name, shape in write_template(members_of(checkpoint.solver)[0], path).items():
        console.print(f"{name}: {' x '.join(map(str, shape))}")
    console.print(
        f"wrote {path}; the first axis is that of the samples, of which there may be any number", soft_wrap=True
    )
    return path


def _predict(cfg: DictConfig, checkpoint: Checkpoint, source: Path, target: Path) -> Path:
    from lsm.prediction import predict_file

    _protect(target, cfg.overwrite)
    solver = checkpoint.solver.to(choose_device(cfg.device))
    with progress_bar() as progress:
        check = predict_file(
            solver,
            source,
            target,
            provenance_of(checkpoint),
            batch_size=cfg.batch_size,
            band=band_of(cfg, solver),
            training_grid=cfg.training_grid,
            roles=_roles_of(checkpoint),
            track=lambda starts: progress.track(starts, description="batches"),
        )
    for warning in (*check.notes, *check.warnings()):
        console.print(f"warning: {warning}", soft_wrap=True)
    console.print(f"wrote {target}", soft_wrap=True)
    return target


def _roles_of(checkpoint: Checkpoint) -> Roles:
    """The roles of the arrays in the file on which it was trained, as far as inputs have them; none for other data."""
    from lsm.data.layout import Roles

    provenance = checkpoint.data.get("provenance")
    roles = provenance.get("roles") if isinstance(provenance, Mapping) else None
    said = roles if isinstance(roles, Mapping) else {}
    return Roles(**{name: said.get(name) for name in ("coords", "parameters", "code", "names")})


def _protect(path: Path, overwrite: bool) -> None:
    if not overwrite:
        require_free(path, remedy="choose another file, or add overwrite=true")


def provenance_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """With which solver, trained on which data, and with which code a prediction is made."""
    name, environment = checkpoint.solver.config["model"]["name"], describe_environment()
    trained = {"checkpoint": str(checkpoint.path), "epoch": checkpoint.epoch, "training_data": checkpoint.data}
    return {"model": name, **trained, **{key: environment[key] for key in ("date", "commit", "lsm", "packages")}}


main = command("predict", run)

if __name__ == "__main__":
    main()
