"""What a table would do, with an estimate of the time, without doing it."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from experiments.tables.cells import Cell, State, state_of
from experiments.tables.costs import (
    budget_seconds,
    profile_of,
    quick_epoch_seconds,
    training_seconds,
    within_budget,
)
from experiments.tables.datasets import missing_data, provenance_of
from experiments.tables.numbers import as_seconds
from experiments.tables.plan import Experiment, Plan
from experiments.tables.running import my_share
from lsm.progress import console


def describe_work(plan: Plan, cfg: DictConfig) -> dict[str, Any]:
    """Print and return which data and runs are left, and the hours that the runs will take.

    Returns:
        ``data`` (commands that make what is missing), ``runs`` (state, reason and estimated seconds of each) and ``hours``, the
        sum, divided by the number of workers.
    """
    experiments = my_share(plan, cfg)
    missing = missing_data(experiments, plan.file.generate, cfg.device)
    absent = {data.path for data in missing}
    budgets = {benchmark: _budget(benchmark, plan, cfg) for benchmark in plan.benchmarks}
    runs: dict[str, dict[str, Any]] = {}
    for experiment in experiments:
        profile = profile_of(experiment, cfg.accept_other_code)
        budget = budgets[experiment.benchmark]
        budgeted = within_budget(experiment, budget, profile)
        data = None if experiment.store in absent else provenance_of(experiment)
        states = {cell: _state(cell, data, cfg) for cell in (Cell(budgeted, seed) for seed in plan.seeds)}
        whole = _seconds_per_run(experiment, states, cfg) if budget is None else budget * experiment.row.share
        for cell, state in states.items():
            runs[cell.name] = {"status": state.status, "reason": state.reason, "seconds": _left(cell, state, whole)}
    hours = sum(run["seconds"] for run in runs.values()) / cfg.workers / 3600
    _print(missing, runs, hours, cfg)
    return {"data": [str(data) for data in missing], "runs": runs, "hours": hours}


def _budget(benchmark: str, plan: Plan, cfg: DictConfig) -> float | None:
    """Time that every run of a benchmark gets; that of another row from two steps, if it is not measured yet."""
    budget, reference = budget_seconds(benchmark, plan, cfg), plan.references.get(benchmark)
    if budget is None and reference is not None:
        return reference.config["trainer"]["max_epochs"] * quick_epoch_seconds(reference, cfg.device)
    return budget


def _state(cell: Cell, data: dict[str, Any] | None, cfg: DictConfig) -> State:
    return State("missing") if data is None else state_of(cell, data, cfg.table.metric, cfg.accept_other_code)


def _seconds_per_run(experiment: Experiment, states: dict[Cell, State], cfg: DictConfig) -> float:
    """Time of a whole run: from runs before, from the profile, or from two steps that are measured now."""
    if all(state.status in ("finished", "trained") for state in states.values()):
        return 0.0
    epochs = experiment.config["trainer"]["max_epochs"]
    for state in states.values():
        if state.epochs and state.seconds:
            return epochs * state.seconds / state.epochs
    profile = profile_of(experiment, cfg.accept_other_code)
    if profile is not None:
        return training_seconds(experiment, profile)
    return epochs * quick_epoch_seconds(experiment, cfg.device)


def _left(cell: Cell, state: State, seconds: float) -> float:
    if state.status in ("finished", "trained"):
        return 0.0
    done = state.epochs / cell.experiment.config["trainer"]["max_epochs"] if state.status == "started" else 0.0
    return seconds * (1 - done)


def _print(missing: Any, runs: dict[str, dict[str, Any]], hours: float, cfg: DictConfig) -> None:
    for data in missing:
        console.print(f"to be generated: {data}" if cfg.generate else f"missing: {data}", soft_wrap=True)
    table = Table(title=f"{len(runs)} runs of table {cfg.table.name}")
    for heading in ("run", "state", "time left"):
        table.add_column(heading, justify="right" if heading == "time left" else "left")
    for name, run in runs.items():
        reason = f": {run['reason']}" if run["reason"] else ""
        table.add_row(name, run["status"] + reason, as_seconds(run["seconds"]) if run["seconds"] else "")
    console.print(table)
    each = f" with {cfg.workers} runs at a time" if cfg.workers > 1 else ""
    console.print(f"about {hours:.2g} hours of training{each}, besides data, profiles and evaluations")
