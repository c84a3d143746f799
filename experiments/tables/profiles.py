"""Profiles on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

from experiments.tables.numbers import as_bytes, as_count, as_error, as_seconds, as_share
from lsm.progress import console

#: Rows of a comparison: a name, and the figure of a profile.
_ROWS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("parameters", lambda profile: as_count(profile["parameters"])),
    ("batch size", lambda profile: str(profile["batch_size"])),
    ("training: step", lambda profile: as_seconds(profile["step"]["seconds"])),
    ("  of the device's time", lambda profile: as_seconds(profile["step"]["device_seconds"])),
    ("  first step", lambda profile: as_seconds(profile["step"]["first"])),
    ("  samples per second", lambda profile: as_count(profile["step"]["samples_per_second"])),
    ("  peak memory", lambda profile: as_bytes(profile["memory_bytes"])),
    ("  FLOPs per sample", lambda profile: as_count(profile["flops"]["training_per_sample"])),
    ("  share of the matrix-product peak", lambda profile: as_share(profile["share_of_peak"])),
    ("prediction: one sample", lambda profile: as_seconds(profile["inference"]["latency"])),
    ("  samples per second, in batches", lambda profile: as_count(profile["inference"]["samples_per_second"])),
    ("  FLOPs per sample", lambda profile: as_count(profile["flops"]["inference_per_sample"])),
)


def print_comparison(profiles: Sequence[dict[str, Any]]) -> None:
    """Profiles of one benchmark side by side."""
    first = profiles[0]
    sites = " x ".join(map(str, first["sites"]))
    compiled = f", compiled by {first['compile']}" if first["compile"] else ""
    threads = first["environment"]["machine"]["torch_threads"]
    where = first["device"] + (f" ({threads} thread{'s' * (threads > 1)})" if first["device"] == "cpu" else "")
    table = Table(title=f"{first['benchmark']}, {sites} sites, {first['precision']}{compiled}, {where}")
    table.add_column("")
    for profile in profiles:
        table.add_column(profile["model"], justify="right")
    for name, figure in _ROWS:
        table.add_row(name, *map(figure, profiles))
    console.print(table)


def print_details(profile: dict[str, Any]) -> None:
    """FLOPs of a prediction by part, and the slowest operations of a training step."""
    parts = Table(title="FLOPs of a prediction, per sample")
    for heading in ("part", "FLOPs", "share"):
        parts.add_column(heading, justify="left" if heading == "part" else "right")
    total = sum(profile["flops"]["by_part"].values()) or 1.0
    for name, count in profile["flops"]["by_part"].items():
        parts.add_row(name, as_count(count), as_share(count / total))
    console.print(parts)
    slowest = Table(title="Slowest operations of a training step")
    for heading in ("operation", "calls", "time", "share"):
        slowest.add_column(heading, justify="left" if heading == "operation" else "right")
    for entry in profile["slowest"]:
        figures = str(entry["calls"]), as_seconds(entry["seconds"]), as_share(entry["share"])
        slowest.add_row(entry["name"], *figures)
    console.print(slowest)


#: A solution that differs by less is that of the data, but for rounding.
_SAME = 1e-5


def print_equal_error(result: dict[str, Any]) -> None:
    """A trained solver beside the grids of a numerical solver, and what follows."""
    table = Table(title=f"relative L2 error and time of {result['benchmark']}, {len(result['samples'])} test samples")
    table.add_column("")
    for heading in ("error", "time per sample"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for grid in result["solver"]:
        name = "grid of the data" if grid["coarsening"] == 1 else f"{grid['coarsening']:.3g} times coarser"
        mark = "equal error" if grid == result["equal"] else ""
        error = as_error(grid["error"]) if grid["error"] > _SAME else "same"
        table.add_row(f"solver, {name}", error, as_seconds(grid["device_seconds"]), mark)
    trained = result["trained"]
    table.add_row(f"{result['model']}, trained", as_error(trained["error"]), as_seconds(trained["device_seconds"]), "")
    console.print(table)
    for sentence in _conclusions(result):
        console.print(sentence, soft_wrap=True)


def _conclusions(result: dict[str, Any]) -> list[str]:
    finest = (
        f"{as_count(result['speed_up_on_the_grid_of_the_data'])} times the speed of the solver on the grid of the data"
    )
    if result["equal"] is None:
        return [f"{finest}; no grid of the solver is as accurate as the trained model"]
    told = [f"{as_count(result['speed_up'])} times the speed of the solver at equal error; {finest}"]
    if result["speed_up"] <= 1:
        return [*told, "the numerical solver is no slower at equal error, so the data and the training never pay off"]
    if result["solves_to_break_even"] is None:
        return [*told, "the time of the training is unknown, and so is the number of solves after which it pays off"]
    costs = f"data {as_seconds(result['data_seconds'])}, training {as_seconds(result['training_seconds'])}"
    return [*told, f"pays off after {as_count(result['solves_to_break_even'])} solves at equal error ({costs})"]
