"""Costs against the number of sites on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from rich.table import Table
from rich.text import Text

from experiments.scaling import COSTS, Growth, first_fitted, name_of
from experiments.tables.numbers import NOTHING, as_bytes, as_count, as_seconds
from lsm.progress import console
from lsm.scaling import PowerLaw

#: Sections of the table: a cost, its heading, and how its values are written.
_SECTIONS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("step_seconds", "training step, time of the device", as_seconds),
    ("memory_bytes", "  peak memory", as_bytes),
    ("training_flops", "  FLOPs per sample", as_count),
    ("latency_seconds", "prediction of one sample, time of the device", as_seconds),
    ("inference_flops", "  FLOPs", as_count),
)


def as_exponent(law: PowerLaw | None) -> str:
    """A fitted exponent with its standard error, such as ``1.02 ± 0.01``."""
    if law is None:
        return NOTHING
    return f"{law.exponent:.2f}" + ("" if law.error is None else f" ± {law.error:.2f}")


def print_growths(growths: Mapping[str, Growth], fit_from: float | None) -> None:
    """A section for each cost: a row for each size, and the exponents."""
    first = next(growth.profiles[0] for growth in growths.values() if growth.profiles)
    least = first_fitted(growths, fit_from)
    laws = [growth.fit(cost, least) for growth in growths.values() for cost, *_ in _SECTIONS]
    error = ", with its standard error" if any(law is not None and law.error is not None for law in laws) else ""
    table = Table(
        title=f"{first['benchmark']}, batches of {first['batch_size']}, {first['precision']}, {first['device']}",
        caption=f"exponent: fitted to the sizes from {least:.0f} sites on{error}",
    )
    table.add_column("sites")
    for model in growths:
        table.add_column(model, justify="right")
    for cost, heading, write in _SECTIONS:
        _add_section(table, growths, cost, heading, write, least)
    console.print(table)


def _add_section(
    table: Table,
    growths: Mapping[str, Growth],
    cost: str,
    heading: str,
    write: Callable[[float | None], str],
    least: float,
) -> None:
    table.add_row(Text(heading, style="bold"))
    for size in _sizes(growths):
        table.add_row(f"  {size}", *(write(_cost_at(growth, size, cost)) for growth in growths.values()))
    exponents = [as_exponent(growth.fit(cost, least)) for growth in growths.values()]
    table.add_row("  exponent", *exponents, end_section=True)


def _sizes(growths: Mapping[str, Growth]) -> list[str]:
    """Names of the sizes that any model has, smallest first."""
    found: dict[str, int] = {}
    for growth in growths.values():
        found |= {name_of(profile["sites"]): prod(profile["sites"]) for profile in growth.profiles}
    return sorted(found, key=found.__getitem__)


def _cost_at(growth: Growth, size: str, cost: str) -> Any:
    return next((COSTS[cost](profile) for profile in growth.profiles if name_of(profile["sites"]) == size), None)
