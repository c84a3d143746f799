"""One run of a table, the state that it is in, and why it has to be repeated.

A run is judged by what its own commands left in its folder: checkpoint, environment and evaluation. Nothing else is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.revision import code_revision
from experiments.runs import difference, essence, no_part_of, types_precision
from experiments.tables.plan import Experiment
from lsm.errors import InputError
from lsm.plain import parse_json


@dataclass(frozen=True)
class State:
    """How far a run is.

    Args:
        status: "missing", "started", "trained" (not evaluated), "finished", or "outdated" (to be repeated).
        reason: why it is outdated; or in what an accepted run differs.
        epochs: epochs that it has trained.
        seconds: seconds of the device that these took.
    """

    status: Literal["missing", "started", "trained", "finished", "outdated"]
    reason: str = ""
    epochs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        experiment: what is trained.
        seed: its seed.
    """

    experiment: Experiment
    seed: int

    @property
    def name(self) -> str:
        """Such as ``darcy, lsm, seed 0``."""
        return f"{self.experiment.name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.experiment.folder / f"seed{self.seed}"

    @property
    def last(self) -> Path:
        """Its last checkpoint, which is the one that counts."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def evaluation(self) -> Path:
        """Folder of its test errors."""
        return self.folder / "evaluation" / "test_last"


def state_of(cell: Cell, data: Mapping[str, Any], metric: str, accept_other_code: bool) -> State:
    """How far a run is, and whether it is one of the present configuration, data and code.

    Args:
        cell: the run.
        data: provenance of the present data.
        metric: the error that the table shows.
        accept_other_code: keep runs that another revision of the code made.
    """
    from lsm.checkpoint import read
    from lsm.training.cost import recorded_cost

    if not cell.last.is_file():
        return State("missing")
    try:
        content = read(cell.last)
    except InputError as error:
        return State("outdated", str(error))
    described = content["lsm"]
    changed = _changed_option(described["run"], cell.experiment)
    changed = changed or difference(described["data"].get("provenance", {}), data)
    if changed:
        return State("outdated", changed)
    plugins = cell.experiment.cfg.plugins
    other = describe_code(cell.folder, plugins)
    if other and not accept_other_code:
        return State("outdated", other)
    epochs = content["epoch"] + 1
    seconds = recorded_cost(content).get("device_seconds", 0.0)
    if epochs < (cell.experiment.config["trainer"]["max_epochs"] or 0):
        return State("started", other, epochs, seconds)
    metrics = read_json(cell.evaluation / "metrics.json")
    current = metrics is not None and metrics.get("epoch") == content["epoch"] and metrics.get(metric) is not None
    current = current and (accept_other_code or metrics.get("code") == code_revision(plugins))
    return State("finished" if current else "trained", other, epochs, seconds)


def _changed_option(run: Mapping[str, Any], experiment: Experiment) -> str:
    """The first option on which a training depends and that a run had otherwise; empty if there is none."""
    recorded, typed = run["config"], run.get("overrides")
    chosen = typed is not None and not types_precision(typed)
    return difference(essence(recorded), essence(experiment.config), no_part_of(experiment.cfg, recorded, chosen))


def describe_code(folder: Path, plugins: Sequence[str] | None = None) -> str:
    """With which other revisions of the code a run was trained; empty if with the present one alone.

    Args:
        folder: of the run.
        plugins: those of the run; None for those of the present command.
    """
    records = [read_json(path) or {} for path in sorted(folder.glob("environment*.json"))]
    code = code_revision(plugins)
    others = {str(record.get("code", "unknown")) for record in records} - {code}
    return f"the code was {', '.join(sorted(others))}, is {code}" if others else ""


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file.

    Raises:
        InputError: it is damaged.
    """
    return parse_json(path.read_text(errors="replace"), str(path)) if path.is_file() else None


def set_aside(folder: Path) -> Path:
    """Rename the folder of an outdated run; return its new name."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.outdated{number}")).exists():
        number += 1
    return folder.rename(aside)
