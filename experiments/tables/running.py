"""Do what is left of a table: data, profiles, runs; each is a command of its own, and can be continued by a later call."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any, Literal

from annotated_types import Interval
from omegaconf import DictConfig

from experiments import processes
from experiments.app import added_config_dir
from experiments.options import as_option
from experiments.processes import Deadline, OutOfTime
from experiments.tables.cells import Cell, State, set_aside, state_of
from experiments.tables.costs import budget_seconds, keep_pace, make_profile, profile_of, within_budget
from experiments.tables.datasets import generate_data, missing_data, provenance_of, require_data
from experiments.tables.devices import environment_of, kind_of, shared_devices
from experiments.tables.plan import Experiment, Plan
from lsm.errors import InputError
from lsm.progress import console
from lsm.registry import check_value

#: Seconds before the end of the time at which a training shall have stopped by itself.
MARGIN = 30.0

Outcome = Literal["finished", "left", "failed"]
Variables = Mapping[str, str]


@dataclass
class Progress:
    """What became of the runs of a table.

    Args:
        cells: those that are to be finished, with a budget's epochs.
        provenance: how the data of each store were made, by its path.
        outcomes: by the name of the run.
        failures: why runs or profiles failed, by name.
    """

    cells: list[Cell] = field(default_factory=list)
    provenance: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Number of runs that a later call can continue."""
        return sum(self.outcomes.get(cell.name, "left") == "left" for cell in self.cells)


def my_share(plan: Plan, cfg: DictConfig) -> list[Experiment]:
    """The experiments that this call works on: every ``num_shards``-th one.

    Raises:
        InputError: there is no such shard, or it would generate data that other shards may be generating.
    """
    if cfg.num_shards > 1 and cfg.generate:
        raise InputError(
            "all shards use the same data: create it first with lsm-generate, then run the shards without generate=true"
        )
    shards = Annotated[int, Interval(ge=0, le=cfg.num_shards - 1)]
    check_value(f"with num_shards={cfg.num_shards}, shard", cfg.shard, shards)
    return list(plan.experiments[cfg.shard :: cfg.num_shards])


def run_table(plan: Plan, cfg: DictConfig, deadline: Deadline) -> Progress:
    """Make what is missing of a table until the deadline.

    All experiments are measured before the first one is trained: what the machine does meanwhile would change the figures, from
    which a budget's epochs follow.

    Args:
        plan: the table.
        cfg: configuration of ``lsm-table``.
        deadline: when to stop.
    Raises:
        InputError: data are missing, and are not to be generated.
    """
    experiments, progress = my_share(plan, cfg), Progress()
    if not (cfg.generate or cfg.collect):
        require_data(missing_data(experiments, plan.file.generate, cfg.device))
    columns = {name: [each for each in experiments if each.benchmark == name] for name in plan.benchmarks}
    prepared: list[Cell] = []
    for benchmark, column in columns.items():
        if not column:
            continue
        ready = _prepared(benchmark, column, plan, progress, cfg, deadline)
        prepared += [Cell(experiment, seed) for seed in plan.seeds for experiment in ready]
        if not deadline.left():
            late = _unmeasured(column, ready, progress)
            progress.cells += [Cell(experiment, seed) for seed in plan.seeds for experiment in late]
    progress.cells += prepared
    _run_cells(prepared, progress, cfg, deadline)
    return progress


def _prepared(
    benchmark: str, column: list[Experiment], plan: Plan, progress: Progress, cfg: DictConfig, deadline: Deadline
) -> list[Experiment]:
    """The experiments of one benchmark that can be trained: those whose data and profiles exist, or are made in time."""
    reference = plan.references.get(benchmark)
    missing = missing_data(column, plan.file.generate, cfg.device)
    try:
        generate_data(missing, Path(cfg.run_dir) / "generate.txt", deadline, added_config_dir())
    except OutOfTime:
        absent = {data.path for data in missing}
        column = [experiment for experiment in column if experiment.store not in absent]
    for experiment in [*filter(None, [reference]), *column]:
        with suppress(OutOfTime):  # others may have been measured by an earlier call
            _measure(experiment, progress, cfg, deadline)
    budget = budget_seconds(benchmark, plan, cfg)
    if reference is not None and budget is None:  # it could not be measured, so nothing sets the time
        return []
    profiles = {experiment: profile_of(experiment, cfg.accept_other_code) for experiment in column}
    ready = [within_budget(experiment, budget, profile) for experiment, profile in profiles.items() if profile]
    progress.provenance |= {str(experiment.store): provenance_of(experiment) for experiment in ready}
    return ready


def _unmeasured(column: list[Experiment], ready: list[Experiment], progress: Progress) -> list[Experiment]:
    """Experiments of one benchmark that a later call can measure."""
    done = {experiment.folder for experiment in ready}
    return [each for each in column if each.folder not in done and _profile_name(each) not in progress.failures]


def _profile_name(experiment: Experiment) -> str:
    return f"{experiment.name}, profile"


def _measure(experiment: Experiment, progress: Progress, cfg: DictConfig, deadline: Deadline) -> None:
    """Make the profile of an experiment, unless there is one."""
    if profile_of(experiment, cfg.accept_other_code) is not None:
        return keep_pace(experiment, deadline)
    if not deadline.left():
        raise OutOfTime
    try:
        # Shards measure the row of the budget for one another: two profiles would give their runs different lengths.
        with processes.held(experiment.folder / "profile.lock", deadline):
            if profile_of(experiment, cfg.accept_other_code) is None:
                console.print(f"{experiment.name}: measuring", soft_wrap=True)
                make_profile(experiment, cfg.device, cfg.threads, deadline, [*added_config_dir(), "for_table=true"])
        keep_pace(experiment, deadline)
    except processes.CommandFailed as failure:
        progress.failures[_profile_name(experiment)] = str(failure)
        console.print(f"{experiment.name}: {failure}", style="yellow", soft_wrap=True)


def _run_cells(cells: list[Cell], progress: Progress, cfg: DictConfig, deadline: Deadline) -> None:
    """Work on every cell, ``workers`` at a time, which share the GPUs that there are."""
    devices = shared_devices(cfg.device)
    slots: SimpleQueue[int] = SimpleQueue()
    for number in range(cfg.workers):
        slots.put(number)

    def work(cell: Cell) -> None:
        slot = slots.get()
        try:
            variables = environment_of(slot, devices, cell.experiment.cfg.trainer.devices)
            progress.outcomes[cell.name] = _finish(cell, progress, cfg, deadline, variables)
        except OutOfTime:
            progress.outcomes[cell.name] = "left"
        except (processes.CommandFailed, InputError) as failure:
            progress.outcomes[cell.name], progress.failures[cell.name] = "failed", str(failure)
            console.print(f"{cell.name}: {failure}; see the logs in {cell.folder}", style="yellow", soft_wrap=True)
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(cfg.workers) as pool:
        for future in [pool.submit(work, cell) for cell in cells]:
            future.result()


def _finish(
    cell: Cell, progress: Progress, cfg: DictConfig, deadline: Deadline, variables: Variables | None = None
) -> Outcome:
    """Bring one run to its end, unless another process works on it; its commands get variables of their environment."""
    with processes.exclusive(cell.experiment.folder / f"seed{cell.seed}.lock") as lock:
        if lock is None:
            console.print(f"{cell.name}: another process works on it", soft_wrap=True)
            return "left"
        data = progress.provenance[str(cell.experiment.store)]
        state = state_of(cell, data, cfg.table.metric, cfg.accept_other_code)
        if state.status != "finished" and not deadline.left():
            raise OutOfTime
        _announce(cell, state)
        if state.status == "finished":
            return "finished"
        if state.status == "outdated":
            set_aside(cell.folder)
        if state.status != "trained":
            _train(cell, cfg, deadline, lock, variables)
        _evaluate(cell, cfg, deadline, lock, variables)
        return "finished"


def _announce(cell: Cell, state: State) -> None:
    words = {
        "missing": "training",
        "started": f"continuing after {state.epochs} epochs",
        "trained": "evaluating",
        "finished": "finished before",
        "outdated": f"repeating, since {state.reason}",
    }
    accepted = f" (accepted although {state.reason})" if state.reason and state.status != "outdated" else ""
    console.print(f"{cell.name}: {words[state.status]}{accepted}", soft_wrap=True)


def _train(cell: Cell, cfg: DictConfig, deadline: Deadline, lock: int, variables: Variables | None) -> None:
    from lsm.checkpoint import read

    left = deadline.left()
    if left <= MARGIN:
        raise OutOfTime
    options = [*added_config_dir(), *cell.experiment.options, f"seed={cell.seed}", f"run_dir={as_option(cell.folder)}"]
    options += ["resume=auto", f"trainer.accelerator={cell.experiment.accelerator}"]
    options += [f"time_limit={left - MARGIN:g}"] * (cfg.time_limit is not None)
    log = cell.folder / "train.txt"
    processes.call_module("experiments.train", options, log, deadline, cfg.threads, [lock], variables)
    epochs, wanted = read(cell.last)["epoch"] + 1, cell.experiment.config["trainer"]["max_epochs"]
    if epochs < wanted:
        if cfg.time_limit is not None:
            raise OutOfTime
        raise processes.CommandFailed(f"the training ended after {epochs} of {wanted} epochs")


def _evaluate(cell: Cell, cfg: DictConfig, deadline: Deadline, lock: int, variables: Variables | None) -> None:
    options = [*added_config_dir(), f"checkpoint={as_option(cell.last)}"]
    plugins = ",".join(cell.experiment.cfg.plugins)  # also those that a row names in its options
    options += [f"device={kind_of(cfg.device)}", f"metrics=[{cfg.table.metric}]", f"plugins=[{plugins}]"]
    options += [f"data_dir={as_option(cell.experiment.store.parent)}", f"run_dir={as_option(cell.evaluation)}"]
    log = cell.folder / "evaluate.txt"
    processes.call_module("experiments.evaluate", options, log, deadline, cfg.threads, [lock], variables)
