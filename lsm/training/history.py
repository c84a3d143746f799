"""The learning curve of a run: the logged errors of every epoch, from the logs of all calls that worked on it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsm.errors import explained
from lsm.files import require_regular

#: Names of the splits, by the prefix of their log keys.
SPLITS = {"train": "training", "val": "validation"}

#: Values as logged, by epoch (from 0) and log key such as ``val/relative_l2``.
History = dict[int, dict[str, str]]


def read_history(run: Path) -> History:
    """Logged errors by epoch and log key; keys that an epoch lacks are left out.

    An epoch that was repeated after a crash counts as last logged. A run without logs gives an empty history.

    Raises:
        InputError: a log is damaged.
    """
    rows: History = {}
    numbered = {log: log.parent.name.removeprefix("version_") for log in run.glob("csv/version_*/metrics.csv")}
    for log in sorted(
        (log for log, number in numbered.items() if number.isdecimal()), key=lambda log: int(numbered[log])
    ):
        require_regular(log)
        damage = (AttributeError, KeyError, TypeError, ValueError, csv.Error)
        with explained(f"{log} is damaged", damage, "remove it to draw the curve without it"):
            _read_log(log, rows)
    return {epoch: rows[epoch] for epoch in sorted(rows)}


def _read_log(log: Path, rows: History) -> None:
    with log.open(newline="") as file:
        for row in csv.DictReader(file):
            filled = {key: value for key, value in row.items() if value and key.partition("/")[0] in SPLITS}
            for value in filled.values():
                float(value)
            if filled:
                rows.setdefault(int(row["epoch"]), {}).update(filled)


def keys_of(history: History) -> list[str]:
    """All log keys, those of training before those of validation; the metrics in the order of the logs."""
    keys = dict.fromkeys(key for row in history.values() for key in row)
    return sorted(keys, key=lambda key: list(SPLITS).index(key.partition("/")[0]))


def monitored(history: History, config: Mapping[str, Any]) -> str:
    """The metric by which the best checkpoint was chosen: the first of a run's configuration, if it was logged."""
    logged = [key.partition("/")[2] for key in keys_of(history)]
    recorded = config.get("metrics")
    return next((name for name in recorded if name in logged), logged[0]) if isinstance(recorded, list) else logged[0]


def to_csv(history: History) -> str:
    """One line per epoch, counted from 1."""
    keys, text = keys_of(history), io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["epoch", *keys])
    table.writerows([epoch + 1, *(row.get(key, "") for key in keys)] for epoch, row in history.items())
    return text.getvalue()


def series_of(history: History, metric: str) -> dict[str, tuple[list[int], list[float]]]:
    """Epochs ``(n,)``, counted from 1, and values ``(n,)`` of a metric, for each split that logged it."""
    series = {}
    for prefix, split in SPLITS.items():
        key = f"{prefix}/{metric}"
        logged = [(epoch + 1, float(row[key])) for epoch, row in history.items() if key in row]
        if logged:
            epochs, values = zip(*logged, strict=True)
            series[split] = (list(epochs), list(values))
    return series
