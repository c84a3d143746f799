"""How the errors of a table's runs fall with the time of training, and when each reaches that of the whole reference run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from experiments.tables.cells import Cell
from experiments.tables.plan import Experiment
from lsm.training.history import read_history


@dataclass(frozen=True)
class Learning:
    """The course of the training of one row on one benchmark, after each epoch.

    Args:
        benchmark: name of the benchmark.
        row: name of the row.
        seconds: time of the device, mean over the seeds, ``(epochs,)``.
        errors: error on the validation split, mean over the seeds, ``(epochs,)``.
        lowest: the smallest of the seeds, ``(epochs,)``.
        highest: the largest of the seeds, ``(epochs,)``.
    """

    benchmark: str
    row: str
    seconds: tuple[float, ...]
    errors: tuple[float, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]

    def seconds_to(self, error: float) -> float | None:
        """Time after which the error is at most this; None if that does not happen."""
        reached = (time for time, value in zip(self.seconds, self.errors, strict=True) if value <= error)
        return next(reached, None)


def learning_of(experiment: Experiment, cells: Sequence[Cell], metric: str) -> Learning | None:
    """The course of finished runs of one row; None without any, or where no validation or no time was recorded."""
    from lsm.checkpoint import read
    from lsm.training.cost import recorded_cost

    key, courses, durations = f"val/{metric}", [], []
    for cell in cells:
        history = read_history(cell.folder)
        courses.append([float(row.get(key, math.nan)) for row in history.values()])
        durations.append(recorded_cost(read(cell.last)).get("device_seconds", math.nan))
    epochs = min(map(len, courses), default=0)
    by_epoch = [[course[epoch] for course in courses] for epoch in range(epochs)]
    if not by_epoch or not all(math.isfinite(value) for values in [*by_epoch, durations] for value in values):
        return None
    duration = fmean(durations)
    return Learning(
        experiment.benchmark,
        experiment.row.name,
        tuple(duration * (epoch + 1) / epochs for epoch in range(epochs)),
        tuple(map(fmean, by_epoch)),
        tuple(map(min, by_epoch)),
        tuple(map(max, by_epoch)),
    )


def describe_learning(courses: Sequence[Learning], reference: str) -> list[dict[str, Any]]:
    """The courses as plain data, with the time in which each reaches the last error of the reference.

    Args:
        courses: of all benchmarks and rows.
        reference: name of a row.
    """
    goals = {course.benchmark: course.errors[-1] for course in courses if course.row == reference}
    return [
        {**asdict(course), "seconds_to_reference": course.seconds_to(goals.get(course.benchmark, 0.0))}
        for course in courses
    ]
