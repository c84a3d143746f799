"""Write a table as Markdown, LaTeX, HTML, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.tables.numbers import NOTHING, as_bytes, as_count, as_error, as_seconds, decimals_of_pair
from lsm.files import write_whole

_TEMPLATES = Path(__file__).with_name("templates")

#: Columns of the CSV file besides the seeds.
_COLUMNS = (
    *("benchmark", "row", "mean", "deviation", "low", "high", "published", "parameters", "flops_per_sample", "epochs"),
    *("training_seconds", "training_device_seconds", "step_seconds", "memory_bytes", "latency_seconds"),
)

#: Metrics in words.
_METRICS = {"relative_l2": "Relative L2 error", "relative_h1": "Relative H1 error", "rmse": "Root mean square error"}


@dataclass(frozen=True)
class Entry:
    """An error as it is shown.

    Args:
        mean: text of the mean; a dash if it is unknown.
        deviation: text of the deviation; empty if it is unknown.
        best: whether it is clearly the least of its column.
    """

    mean: str
    deviation: str = ""
    best: bool = False


@dataclass(frozen=True)
class Detail:
    """One model on one benchmark.

    Args:
        label: of the model.
        error: its error.
        cells: texts of the other columns.
        low: lower end of the interval, in percent of the benchmark's largest upper end.
        middle: the mean, likewise.
        high: upper end, likewise.
    """

    label: str
    error: Entry
    cells: tuple[str, ...]
    low: float = 0.0
    middle: float = 0.0
    high: float = 0.0


#: What equal time means.
_EQUAL_TIME = (
    "Every run has as many whole epochs, at least one, as should take {}{} of the device's time, by a measurement of a few steps "
    "before the first run; the tables of the benchmarks say how long they took."
)

#: What is measured of a course.
_UNTIL = (
    "Until the error of {0}: time after which the error on the validation split is at most that at the end of {0}, both as means "
    "over the seeds."
)


def write_table(table: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write all formats; return the files by their suffix."""
    texts = {suffix: render(table, suffix) for suffix in ("md", "tex", "html")}
    texts |= {"csv": as_csv(table), "json": json.dumps(table, indent=2) + "\n"}
    paths = {suffix: folder / f"table.{suffix}" for suffix in texts}
    for suffix, text in texts.items():
        write_whole(paths[suffix], text)
    return paths


def render(table: Mapping[str, Any], suffix: str) -> str:
    """The table by the template ``table.SUFFIX.j2``."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=suffix == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"title": title_of, "tex": escape_tex, "markdown": as_markdown, "aligned": aligned}
    template = environment.get_template(f"table.{suffix}.j2")
    return template.render(
        table=table,
        summary=summary_of(table),
        published=published_of(table),
        details={benchmark["name"]: details_of(table, benchmark["name"]) for benchmark in table["benchmarks"]},
        headings=headings_of(table),
        settings=settings_of(table),
    )


def summary_of(table: Mapping[str, Any]) -> list[tuple[str, list[Entry]]]:
    """Rows of our errors: a label, and an entry per benchmark."""
    found = {(result["benchmark"], result["row"]): result for result in table["results"]}
    return [
        (
            row["label"],
            [_entry(found.get((benchmark["name"], row["name"])), table) for benchmark in table["benchmarks"]],
        )
        for row in table["rows"]
    ]


def published_of(table: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Rows of published errors: the method, its source's number, and a text per benchmark."""
    numbers = {name: str(index + 1) for index, name in enumerate(table["sources"])}
    return [
        (
            method["method"],
            numbers[method["source"]],
            [method["errors"].get(benchmark["name"], NOTHING) for benchmark in table["benchmarks"]],
        )
        for method in table["published"]
    ]


def _entry(result: Mapping[str, Any] | None, table: Mapping[str, Any]) -> Entry:
    if result is None or result["mean"] is None:
        return Entry(NOTHING)
    mean, deviation = result["mean"], result["deviation"]
    best, decimals = table["best"][result["benchmark"]] == result["row"], decimals_of_pair(mean, deviation)
    return Entry(as_error(mean, decimals), "" if deviation is None else as_error(deviation, decimals), best)


def headings_of(table: Mapping[str, Any]) -> list[str]:
    """Columns of the details besides model and error."""
    devices = {str(result["device"]).partition(":")[0] for result in table["results"] if result["device"]}
    time = "GPU time" if devices == {"cuda"} else "CPU time" if devices == {"cpu"} else "time"
    return [
        f"{100 * table['level']:.0f} % interval",
        *(["published"] if any(result["published"] for result in table["results"]) else []),
        *("parameters", "FLOPs", "epochs", f"training ({time})"),
        *([f"until the error of {_label_of(table['reference'], table)}"] if table["learning"] else []),
        *("memory", "latency"),
    ]


def details_of(table: Mapping[str, Any], benchmark: str) -> list[Detail]:
    """The models on one benchmark, with what they cost."""
    results = {result["row"]: result for result in table["results"] if result["benchmark"] == benchmark}
    highest = max((result["interval"][1] for result in results.values() if result["interval"]), default=1.0)
    with_published = any(result["published"] for result in table["results"])
    return [
        _detail(row["label"], results[row["name"]], table, with_published, highest)
        for row in table["rows"]
        if row["name"] in results
    ]


def _detail(
    label: str, result: Mapping[str, Any], table: Mapping[str, Any], with_published: bool, highest: float
) -> Detail:
    interval, decimals = result["interval"], decimals_of_pair(result["mean"] or 1.0, result["deviation"])
    cells = (
        " to ".join(as_error(end, decimals) for end in interval) if interval else NOTHING,
        *([result["published"] or NOTHING] if with_published else []),
        as_count(result["parameters"]),
        as_count(result["flops_per_sample"]),
        NOTHING if result["epochs"] is None else str(result["epochs"]),
        as_seconds(result["training_device_seconds"]),
        *([as_seconds(_time_to_reference(result, table))] if table["learning"] else []),
        as_bytes(result["memory_bytes"]),
        as_seconds(result["latency_seconds"]),
    )
    places = [100 * value / highest for value in (interval[0], result["mean"], interval[1])] if interval else []
    return Detail(label, _entry(result, table), cells, *places)


def _label_of(row: str, table: Mapping[str, Any]) -> str:
    return next((each["label"] for each in table["rows"] if each["name"] == row), row)


def _time_to_reference(result: Mapping[str, Any], table: Mapping[str, Any]) -> float | None:
    """Seconds in which a row reaches the error of the whole training of the reference; None if it does not."""
    place = ("benchmark", "row")
    same = (entry for entry in table["learning"] if all(entry[key] == result[key] for key in place))
    return next((entry["seconds_to_reference"] for entry in same), None)


def settings_of(table: Mapping[str, Any]) -> list[str]:
    """How the numbers were made, in sentences."""
    seeds = len(table["seeds"])
    mean = "one seed" if seeds == 1 else f"mean and standard deviation over {seeds} seeds"
    sizes = {str(result["batch_size"]) for result in table["results"] if result["batch_size"]}
    return [
        f"{_METRICS.get(table['metric'], table['metric'])} on the test split with the last checkpoint: {mean}.",
        "Bold: the least error of a column, where its difference to every other one exceeds the standard deviation of that "
        "difference." + (" A single seed has no deviation, so nothing is bold." if seeds == 1 else ""),
        *_fewer_seeds(table),
        f"Interval: {100 * table['level']:.0f} % of bootstrap replicates that draw seeds and test samples again.",
        *([_EQUAL_TIME.format(_time_of(table), _shares_of(table))] if table["budget"] else []),
        *([_UNTIL.format(_label_of(table["reference"], table))] if table["learning"] else _no_learning(table)),
        "FLOPs: of the prediction of one sample; matrix products, convolutions, attention and FFTs (5 n log2 n).",
        f"Memory: peak of a training step (batch size {' or '.join(sorted(sizes, key=int))}). Latency: prediction of one "
        "sample."
        if sizes
        else "Memory: peak of a training step. Latency: prediction of one sample.",
    ]


def _fewer_seeds(table: Mapping[str, Any]) -> list[str]:
    """Which results have fewer seeds than the table, in a sentence; none if all have as many."""
    counts = {
        f"{_label_of(one['row'], table)} on {title_of(one['benchmark'])}": len(one["seeds"]) for one in table["results"]
    }
    fewer = {name: count for name, count in counts.items() if 0 < count < len(table["seeds"])}
    if not fewer:
        return []
    single = "; beside a single seed, which has no deviation, nothing is bold" if 1 in fewer.values() else ""
    return [f"Fewer seeds: {', '.join(f'{count} of {name}' for name, count in fewer.items())}{single}."]


def _no_learning(table: Mapping[str, Any]) -> list[str]:
    """Why there are no learning curves, in a sentence, if it is that the trainings did not log the metric of the table."""
    metric = table["metric"]
    if metric == "relative_l2" or not any(result["seeds"] for result in table["results"]):
        return []
    return [
        f"No learning curves, since the trainings did not log {metric}: add metrics=[{metric}] to the options of the table."
    ]


def _time_of(table: Mapping[str, Any]) -> str:
    """The time that every run gets, in words."""
    if not isinstance(table["budget"], str):
        return as_seconds(table["budget"])
    times = [f"{title_of(each['name'])} {as_seconds(each['budget_seconds'])}" for each in table["benchmarks"]]
    return f"the whole training of {_label_of(table['budget'], table)} ({', '.join(times)})"


def _shares_of(table: Mapping[str, Any]) -> str:
    """The rows that get another share of the time than all of it, in words; empty without such rows."""
    shares = {row["label"]: row["share"] for row in table["rows"] if row["share"] != 1}
    return f" ({', '.join(f'{label}: {share:g} of it' for label, share in shares.items())})" if shares else ""


def as_csv(table: Mapping[str, Any]) -> str:
    """A line per benchmark and row."""
    text = io.StringIO()
    seeds = [f"seed_{seed}" for seed in table["seeds"]]
    writer = csv.DictWriter(text, [*_COLUMNS, *seeds], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for result in table["results"]:
        low, high = result["interval"] or (None, None)
        by_seed = {f"seed_{seed}": value for seed, value in result["seeds"].items()}
        writer.writerow({**result, "low": low, "high": high, **by_seed})
    return text.getvalue()


def title_of(name: str) -> str:
    """A benchmark's name as a heading: ``elasticity_p`` is ``Elasticity-P``."""
    return name.replace("_", "-").title()


def as_markdown(entry: Entry) -> str:
    """An error such as ``**0.0167 ± 0.0003**``."""
    text = entry.mean + (f" ± {entry.deviation}" if entry.deviation else "")
    return f"**{text}**" if entry.best else text


def escape_tex(text: str) -> str:
    """Text without LaTeX's special characters."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", NOTHING: "--"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    special |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(special.get(sign, sign) for sign in text)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table whose columns are aligned in the source too; the first row is the heading."""
    cells = [[cell.replace("|", r"\|").replace("<", r"\<") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in lines
    )
