"""The pictures of a table: errors against the time of training, what the models cost, and what the table varies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.tables.render import title_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_pictures(table: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw ``learning``, ``efficiency`` and ``variation``, each as ``.png`` and ``.pdf``; not those of which nothing is known.

    Args:
        table: what ``table.json`` holds.
        folder: where the pictures go.
    """
    from lsm.plotting import save_figure

    makers: dict[str, Callable[[Mapping[str, Any]], Figure | None]] = {
        "learning": _learning,
        "efficiency": _efficiency,
        "variation": _variation,
    }
    paths = []
    for name, make in makers.items():
        if figure := make(table):
            paths += [folder / f"{name}.{suffix}" for suffix in ("png", "pdf")]
            for path in paths[-2:]:
                save_figure(figure, path)
    return paths


def _labels(table: Mapping[str, Any]) -> dict[str, str]:
    return {row["name"]: row["label"] for row in table["rows"]}


def _learning(table: Mapping[str, Any]) -> Figure | None:
    """The course of each training, and the last error of the reference as a goal."""
    from lsm.plotting.tables import Course, draw_learning

    labels = _labels(table)
    panels: dict[str, dict[str, Course]] = {}
    goals: dict[str, float] = {}
    for entry in table["learning"]:
        title = title_of(entry["benchmark"])
        course = Course(*(entry[name] for name in ("seconds", "errors", "lowest", "highest")))
        panels.setdefault(title, {})[labels[entry["row"]]] = course
        if entry["row"] == table["reference"]:
            goals[title] = course.errors[-1]
    return draw_learning(panels, goals, labels[table["reference"]], table["metric"]) if panels else None


def _efficiency(table: Mapping[str, Any]) -> Figure | None:
    """Errors and costs of the rows that were measured."""
    from lsm.plotting.tables import Efficiency, draw_efficiency

    labels = _labels(table)
    panels: dict[str, dict[str, Efficiency]] = {}
    for result in table["results"]:
        values = [result[name] for name in ("latency_seconds", "memory_bytes", "mean")]
        if None not in values:
            model = Efficiency(*values, result["deviation"])
            panels.setdefault(title_of(result["benchmark"]), {})[labels[result["row"]]] = model
    return draw_efficiency(panels, table["metric"]) if panels else None


def _variation(table: Mapping[str, Any]) -> Figure | None:
    """Errors against what the table varies, by family; rows without a value of it are levels to compare with."""
    from lsm.plotting.tables import Variation, draw_variation

    if table["varied"] is None:
        return None
    rows = {row["name"]: row for row in table["rows"]}
    panels: dict[str, dict[str, Variation]] = {}
    levels: dict[str, dict[str, float]] = {}
    for result in table["results"]:
        row, title = rows[result["row"]], title_of(result["benchmark"])
        if result["mean"] is None:
            continue
        if row["at"] is None:
            levels.setdefault(title, {})[row["label"]] = result["mean"]
        else:
            curve = panels.setdefault(title, {}).setdefault(row["model"], Variation([], [], []))
            for values, value in zip(curve, (row["at"], result["mean"], result["deviation"] or 0.0), strict=True):
                values.append(value)
    return draw_variation(panels, levels, table["varied"], table["metric"]) if panels else None
