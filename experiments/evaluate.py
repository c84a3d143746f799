"""``lsm-evaluate``: errors of a checkpoint on a split of its data, or of several, compared with one another."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.table import Table

from experiments.app import command
from experiments.bands import print_coverage
from experiments.evaluations import Evaluated, evaluate_all, group_models, named_in_title
from experiments.revision import code_revision
from lsm.files import write_whole
from lsm.progress import console
from lsm.provenance import describe_environment

if TYPE_CHECKING:
    from lsm.comparison import Model, Pair


def run(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate as configured; write and return the metrics, of several checkpoints their comparison."""
    evaluated, folder = evaluate_all(cfg), Path(cfg.run_dir)
    if len(evaluated) == 1:
        (one,) = evaluated.values()
        _write(one, folder)
        _report(one, folder)
        return one.metrics
    for label, one in evaluated.items():
        _write(one, folder / label)
    return _compare(evaluated, cfg, folder)


def _write(one: Evaluated, folder: Path) -> None:
    write_whole(folder / "metrics.json", json.dumps(one.metrics, indent=2) + "\n")
    errors, (_, numbers) = one.evaluation.columns(), one.origins
    columns = {"sample": range(len(numbers)), "file_sample": numbers, **errors}
    write_whole(folder / "samples.csv", _csv(list(columns), zip(*columns.values(), strict=True)))


def _csv(header: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(header)
    table.writerows([f"{value:.8g}" if isinstance(value, float) else value for value in row] for row in rows)
    return text.getvalue()


def _report(one: Evaluated, folder: Path) -> None:
    metrics, count = one.metrics, len(one.data.dataset(one.metrics["split"]))
    changed = named_in_title(metrics["transforms"])
    table = Table(title=f"{metrics['benchmark']}, {metrics['split']} split, {count} samples{changed}")
    table.add_column("error")
    for heading in ("mean", "95 % interval", "median", "worst (sample)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in one.evaluation.scalars:
        table.add_row(name, *_cells(metrics[name]))
    console.print(table)
    for name, parts in one.evaluation.parts.items():
        means = (f"{part} {_mean(metrics[name][part])}" for part in parts)
        console.print(f"{name}: {', '.join(means)}", soft_wrap=True)
    _report_worst(one)
    _report_bands(one)
    console.print(f"metrics: {folder / 'metrics.json'}\nsamples: {folder / 'samples.csv'}", soft_wrap=True)


def _report_worst(one: Evaluated) -> None:
    """Where to find the sample with the largest error."""
    split, name = one.metrics["split"], next(iter(one.evaluation.scalars), None)
    if name is not None:
        worst, (file, numbers) = one.metrics[name]["worst_sample"], one.origins
        where = f"is sample {numbers[worst]} of {file}, counted from 0"
        console.print(f"sample {worst} of the {split} split, the worst by {name}, {where}", soft_wrap=True)


def _report_bands(one: Evaluated) -> None:
    if one.coverage is not None:
        fields = [channel.name for channel in one.data.spec.targets]
        print_coverage(one.metrics["bands"], fields, one.coverage.num_samples)


def _mean(summary: Mapping[str, Any] | None) -> str:
    return "not defined" if summary is None else f"{summary['mean']:.4g}"


def _cells(summary: Mapping[str, Any] | None) -> list[str]:
    if summary is None:
        return ["not defined"]
    low, high = summary["interval"]
    worst = f"{summary['worst']:.4g} ({summary['worst_sample']})"
    return [_mean(summary), f"{low:.3g} to {high:.3g}", f"{summary['median']:.4g}", worst]


def _compare(evaluated: Mapping[str, Evaluated], cfg: DictConfig, folder: Path) -> dict[str, Any]:
    from lsm.comparison import compare_pairs

    models = group_models(evaluated)
    pairs, refused = compare_pairs(models)
    comparison = {
        "split": cfg.split,
        "transforms": list(cfg.transforms),
        "checkpoints": {label: one.metrics["checkpoint"] for label, one in evaluated.items()},
        "models": {model.label: _describe_model(model) for model in models},
        "pairs": [_describe_pair(pair) for pair in pairs],
        "not_compared": refused,
        "code": code_revision(),
        "environment": describe_environment(),
    }
    write_whole(folder / "comparison.json", json.dumps(comparison, indent=2) + "\n")
    write_whole(folder / "comparison.csv", _table_of(models, evaluated))
    _report_comparison(models, pairs, refused, cfg.transforms)
    for one in evaluated.values():
        _report_bands(one)
    console.print(f"comparison: {folder / 'comparison.json'}, {folder / 'comparison.csv'}", soft_wrap=True)
    return comparison


def _describe_model(model: Model) -> dict[str, Any]:
    errors = {
        name: {"mean": found.mean, "deviation": found.deviation, "interval": [found.low, found.high]}
        | {"means": dict(zip(model.members, found.seeds, strict=True))}
        for name, found in model.summaries.items()
    }
    return {"checkpoints": list(model.members), "samples_digest": model.digest, "errors": errors}


def _describe_pair(pair: Pair) -> dict[str, Any]:
    return {
        "first": pair.first,
        "second": pair.second,
        "metrics": {name: asdict(found) for name, found in pair.metrics.items()},
    }


def _table_of(models: Sequence[Model], evaluated: Mapping[str, Evaluated]) -> str:
    """A line per checkpoint with its mean errors; empty where one is not defined."""
    columns = dict.fromkeys(name for one in evaluated.values() for name in one.evaluation.columns())
    rows = []
    for model in models:
        for label, member in model.members.items():
            metrics, errors = evaluated[label].metrics, member.columns()
            means = [float(errors[name].mean()) if name in errors else "" for name in columns]
            rows.append([label, model.label, metrics["seed"], metrics["epoch"], *means])
    return _csv(["checkpoint", "model", "seed", "epoch", *columns], rows)


def _report_comparison(
    models: Sequence[Model], pairs: Sequence[Pair], refused: Sequence[str], transforms: Sequence[str]
) -> None:
    members = [member for model in models for member in model.members.values()]
    metrics = list(dict.fromkeys(name for member in members for name in member.scalars))
    of_seeds = "of a model with several seeds, mean and standard deviation over them"
    table = Table(title=f"mean errors{named_in_title(transforms)}; {of_seeds}")
    table.add_column("model")
    for name in metrics:
        table.add_column(name, justify="right")
    for model in models:
        for label, member in model.members.items():
            table.add_row(
                label, *(f"{member.scalars[name].mean():.4g}" if name in member.scalars else "" for name in metrics)
            )
        if len(model.members) > 1:
            table.add_row(model.label, *(_over_seeds(model, name) for name in metrics), end_section=True)
    console.print(table)
    for sentence in [*map(_sentence, pairs), *refused]:
        console.print(sentence, soft_wrap=True)


def _over_seeds(model: Model, metric: str) -> str:
    found = model.summaries.get(metric)
    return "" if found is None else f"{found.mean:.4g} ± {found.deviation or 0.0:.2g}"


def _sentence(pair: Pair) -> str:
    name, found = next(iter(pair.metrics.items()))
    return (
        f"{pair.first} against {pair.second}, {name}: smaller on {found.wins} samples, larger on {found.losses}; "
        f"mean difference {found.difference:.3g}, 95 % interval {found.low:.3g} to {found.high:.3g}"
    )


main = command("evaluate", run)

if __name__ == "__main__":
    main()
