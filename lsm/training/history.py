"""The learning curve of a run: the logged errors of every epoch, from the logs of all calls that worked on it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

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
    """All log keys, in the order of their first occurrence, training before validation."""
    keys = dict.fromkeys(key for row in history.values() for key in row)
    return sorted(keys, key=lambda key: list(SPLITS).index(key.partition("/")[0]))


def monitored(history: History) -> str:
    """The metric that was logged first, by which the best checkpoint is chosen."""
    return keys_of(history)[0].partition("/")[2]


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
