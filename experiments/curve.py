"""The learning curve of a run: the errors of every epoch, from the logs of all calls that worked on it."""

from __future__ import annotations

import csv
from pathlib import Path

#: Logged errors, by the name that people call the split.
COLUMNS = {"training": "train/relative_l2", "validation": "val/relative_l2"}

Curve = dict[int, dict[str, str]]


def read_curve(run: Path) -> Curve:
    """Errors by epoch and column, as logged; a column that an epoch lacks is left out.

    An epoch that was begun anew after a crash counts as it was done last. A run without logs gives an empty curve.
    """
    rows: Curve = {}
    versions = sorted(run.glob("csv/version_*/metrics.csv"), key=lambda log: int(log.parent.name.rpartition("_")[2]))
    for version in versions:
        with version.open(newline="") as file:
            for row in csv.DictReader(file):
                filled = {name: row[name] for name in COLUMNS.values() if row.get(name)}
                if filled:
                    rows.setdefault(int(row["epoch"]), {}).update(filled)
    return {epoch: rows[epoch] for epoch in sorted(rows)}


def as_csv(curve: Curve) -> str:
    """One line an epoch."""
    lines = ["epoch," + ",".join(COLUMNS.values())]
    lines += [f"{epoch}," + ",".join(row.get(name, "") for name in COLUMNS.values()) for epoch, row in curve.items()]
    return "\n".join(lines) + "\n"


def as_series(curve: Curve) -> dict[str, tuple[list[int], list[float]]]:
    """Epochs, counted from 1, and errors of each split that was logged."""
    series = {}
    for label, column in COLUMNS.items():
        logged = [(epoch + 1, float(row[column])) for epoch, row in curve.items() if column in row]
        if logged:
            epochs, errors = zip(*logged, strict=True)
            series[label] = (list(epochs), list(errors))
    return series
