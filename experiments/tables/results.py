"""Collect the results of a table as plain data: errors, costs, published figures, and what a reader has to know of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig

from experiments.revision import code_revision
from experiments.tables.cells import Cell, describe_code, read_json
from experiments.tables.costs import budget_seconds, profile_of
from experiments.tables.learning import describe_learning, learning_of
from experiments.tables.plan import Experiment, Plan, Row
from experiments.tables.running import Progress
from lsm.errors import InputError
from lsm.provenance import describe_environment
from lsm.statistics import LEVEL, Summary, clear_best, summarise

#: File of published figures.
_PUBLISHED = Path(__file__).with_name("published.yaml")


@cache
def published() -> dict[str, Any]:
    """``methods`` with their errors by benchmark, and ``sources``."""
    return yaml.safe_load(_PUBLISHED.read_text())


def collect(plan: Plan, progress: Progress, cfg: DictConfig) -> dict[str, Any]:
    """All that is known of a table, for ``table.json`` and the templates."""
    finished = [cell for cell in progress.cells if progress.outcomes.get(cell.name) == "finished"]
    results, summaries, courses = [], {}, []
    for experiment in plan.experiments:
        cells = [cell for cell in finished if cell.experiment.folder == experiment.folder]
        summary = summarise([_errors(cell, plan.file.metric) for cell in cells]) if cells else None
        summaries[experiment.benchmark, experiment.row.name] = summary
        results.append(_result(experiment, cells, summary, cfg))
        courses.append(learning_of(experiment, cells, plan.file.metric))
    methods = _chosen_methods(plan)
    reference = reference_of(plan, cfg.budget)
    return {
        "name": plan.file.name,
        "title": plan.file.title,
        "caption": plan.file.caption,
        "metric": plan.file.metric,
        "varied": plan.file.varied,
        "split": "test",
        "checkpoint": "last",
        "seeds": list(plan.seeds),
        "budget": cfg.budget,
        "level": LEVEL,
        "benchmarks": [
            {
                **_benchmark(name, plan.file.metric, finished, progress),
                "budget_seconds": budget_seconds(name, plan, cfg),
            }
            for name in plan.benchmarks
        ],
        "rows": [_row(row) for row in plan.rows],
        "results": results,
        "reference": reference,
        "learning": describe_learning([course for course in courses if course is not None], reference),
        "best": {name: _best(name, summaries) for name in plan.benchmarks},
        "published": [{"method": name, **published()["methods"][name]} for name in methods],
        "sources": {name: _source(name) for name in _sources(methods, plan.rows)},
        "failures": progress.failures,
        "notes": _notes(plan, progress, finished),
        "threads": cfg.threads,
        "code": code_revision(),
        "environment": describe_environment(),
    }


def reference_of(plan: Plan, budget: str | float | None) -> str:
    """The row whose error the others are to reach: that of the budget if the table has it, else the first one."""
    rows = [row.name for row in plan.rows]
    return budget if isinstance(budget, str) and budget in rows else rows[0]


def _errors(cell: Cell, metric: str) -> np.ndarray:
    with (cell.evaluation / "samples.csv").open(newline="") as file:
        return np.array([float(row[metric]) for row in csv.DictReader(file)])


def _result(experiment: Experiment, cells: Sequence[Cell], summary: Summary | None, cfg: DictConfig) -> dict[str, Any]:
    from lsm.checkpoint import read
    from lsm.training.cost import recorded_cost

    method = published()["methods"].get(experiment.row.published, {})
    costs = [recorded_cost(read(cell.last)) for cell in cells]
    return {
        "benchmark": experiment.benchmark,
        "row": experiment.row.name,
        "seeds": {} if summary is None else dict(zip([cell.seed for cell in cells], summary.seeds, strict=True)),
        "mean": summary and summary.mean,
        "deviation": summary and summary.deviation,
        "interval": summary and [summary.low, summary.high],
        "published": method.get("errors", {}).get(experiment.benchmark),
        "epochs": cells[0].experiment.config["trainer"]["max_epochs"] if cells else None,
        "training_seconds": _mean(cost.get("seconds") for cost in costs),
        "training_device_seconds": _mean(cost.get("device_seconds") for cost in costs),
        **_costs(profile_of(experiment, cfg.accept_other_code)),
    }


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _costs(profile: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the table takes from a profile."""
    if profile is None:
        names = ("parameters", "flops_per_sample", "memory_bytes", "batch_size", "step_seconds", "latency_seconds")
        return dict.fromkeys((*names, "device"))
    return {
        "parameters": profile["parameters"],
        "flops_per_sample": profile["flops"]["inference_per_sample"],
        "memory_bytes": profile["memory_bytes"],
        "batch_size": profile["batch_size"],
        "step_seconds": profile["step"]["device_seconds"],
        "latency_seconds": profile["inference"]["latency"],
        "device": profile["device"],
    }


def _benchmark(name: str, metric: str, finished: Sequence[Cell], progress: Progress) -> dict[str, Any]:
    """Number of test samples of a benchmark, and how its data were made."""
    cells = [cell for cell in finished if cell.experiment.benchmark == name]
    if not cells:
        return {"name": name, "sites": None, "num_test_samples": None, "source": None, "data": None}
    metrics = read_json(cells[0].evaluation / "metrics.json") or {}
    data = progress.provenance[str(cells[0].experiment.store)]
    return {
        "name": name,
        "sites": metrics["sites"],
        "num_test_samples": metrics[metric]["num_samples"],
        "source": data.get("source", "unknown"),
        "data": data,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "label": row.label,
        "model": row.model,
        "recipe": row.recipe,
        "options": list(row.options),
        "share": row.share,
        "at": row.at,
    }


def _best(benchmark: str, summaries: Mapping[tuple[str, str], Summary | None]) -> str | None:
    known = {row: summary for (name, row), summary in summaries.items() if name == benchmark and summary is not None}
    return clear_best(known)


def _chosen_methods(plan: Plan) -> list[str]:
    """Methods of which the table shows published figures for one of its benchmarks.

    Raises:
        InputError: nothing is known of a method.
    """
    methods = published()["methods"]
    wanted = list(methods) if plan.file.published == "all" else list(plan.file.published)
    for name in [*wanted, *filter(None, (row.published for row in plan.rows))]:
        if name not in methods:
            raise InputError(f"published figures of {name!r} are not known; choose from: {', '.join(methods)}")
    return [name for name in wanted if set(methods[name]["errors"]) & set(plan.benchmarks)]


def _source(name: str) -> dict[str, str | None]:
    return {"title": None, "arxiv": None, "note": None, **published()["sources"][name]}


def _sources(methods: Sequence[str], rows: Sequence[Row]) -> list[str]:
    shown = [*methods, *(row.published for row in rows if row.published)]
    return list(dict.fromkeys(published()["methods"][name]["source"] for name in shown))


def _notes(plan: Plan, progress: Progress, finished: Sequence[Cell]) -> list[str]:
    """What a reader has to know: missing runs, failures, and runs of other code, machines or versions."""
    notes = [f"{name} failed: {reason}" for name, reason in progress.failures.items()]
    done = {cell.name for cell in finished}
    left = [cell.name for cell in progress.cells if cell.name not in done and cell.name not in progress.failures]
    notes += [f"Not finished yet: {'; '.join(left)}."] if left else []
    other = [cell.name for cell in finished if describe_code(cell.folder, cell.experiment.cfg.plugins)]
    notes += [f"Accepted although made by another revision of the code: {'; '.join(other)}."] if other else []
    for what, values in _circumstances(finished).items():
        notes += [f"The runs differ in {what}: {', '.join(values)}."] if len(values) > 1 else []
    served = {(experiment.benchmark, experiment.row.name) for experiment in plan.experiments}
    for row in plan.rows:
        without = [name for name in plan.benchmarks if (name, row.name) not in served]
        notes += [f"{row.label} does not apply to {', '.join(without)}."] if without else []
    return notes


def _circumstances(finished: Sequence[Cell]) -> dict[str, list[str]]:
    """Machines and versions of all calls that worked on the runs."""
    found: dict[str, set[str]] = {"the machine": set(), "the version of torch": set()}
    for cell in finished:
        for path in cell.folder.glob("environment*.json"):
            environment = read_json(path) or {}
            machine = environment["machine"]
            found["the machine"].add(machine["gpu"] or f"{machine['processor']}, {machine['torch_threads']} threads")
            found["the version of torch"].add(str(environment["packages"]["torch"]))
    return {what: sorted(values) for what, values in found.items()}
