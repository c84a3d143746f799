"""``lsm-evaluate``: errors of a checkpoint on a split of its data."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig
from rich.table import Table

from experiments.app import command
from experiments.device import choose_device
from experiments.revision import code_revision
from experiments.runs import load_run
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console, progress_bar
from lsm.provenance import describe_environment

if TYPE_CHECKING:
    from lsm.checkpoint import Checkpoint
    from lsm.data.datamodule import FieldDataModule
    from lsm.evaluation import Evaluation


def run(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate as configured; write and return the metrics."""
    checkpoint, data = load_run(cfg)
    errors = _measure(cfg, checkpoint, data)
    _require_finite(errors, data, cfg.split)
    config = checkpoint.run["config"]
    metrics = {
        "checkpoint": str(checkpoint.path),
        "benchmark": config["benchmark"]["name"],
        "model": checkpoint.solver.config["model"]["name"],
        "preset": config["preset"],
        "split": cfg.split,
        "data": data.describe(),
        "training_data": checkpoint.data,
        "batch_size": data.batch_size,
        "sites": list(data.spec.sites),
        "epoch": checkpoint.epoch,
        "seed": config["seed"],
        "transforms": list(cfg.transforms),
        **{name: errors.summary(name) for name in errors.errors},
        "relative_l2_by_channel": errors.means_by_channel(),
        "code": code_revision(),
        "environment": describe_environment(),
    }
    folder = Path(cfg.run_dir)
    _write(metrics, errors, folder)
    _report(metrics, errors, folder)
    return metrics


def _measure(cfg: DictConfig, checkpoint: Checkpoint, data: FieldDataModule) -> Evaluation:
    from lsm.data.symmetry import symmetries_of
    from lsm.evaluation import measure

    symmetries = symmetries_of(checkpoint.run["config"]["benchmark"].get("symmetries"))
    with progress_bar() as progress:
        count = -(-len(data.dataset(cfg.split)) // data.batch_size)
        batches = progress.track(data.batches(cfg.split), total=count, description="batches")
        device = choose_device(cfg.device)
        return measure(checkpoint.solver, batches, device, list(cfg.metrics), list(cfg.transforms), symmetries)


def _require_finite(errors: Evaluation, data: FieldDataModule, split: str) -> None:
    from lsm.metrics import describe_fault

    for name, values in errors.errors.items():
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            sample = data.dataset(split)[bad]
            fault = describe_fault(sample.inputs[None], sample.targets[None])
            raise InputError(f"{name} of sample {bad} of the {split} split is not finite: {fault}")


def _write(metrics: dict[str, Any], errors: Evaluation, folder: Path) -> None:
    write_whole(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    columns = dict(errors.errors)
    if len(errors.channels) > 1:
        by_channel = zip(errors.channels, errors.by_channel.T, strict=True)
        columns |= {f"relative_l2 {name}": values for name, values in by_channel}
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["sample", *columns])
    for index, row in enumerate(zip(*columns.values(), strict=True)):
        table.writerow([index, *(f"{value:.8g}" for value in row)])
    write_whole(folder / "samples.csv", text.getvalue())


def _report(metrics: dict[str, Any], errors: Evaluation, folder: Path) -> None:
    table = Table(title=f"{metrics['benchmark']}, {metrics['split']} split")
    table.add_column("error")
    for heading in ("samples", "mean", "std", "median", "worst", "worst sample"):
        table.add_column(heading, justify="right")
    for name in errors.errors:
        summary = metrics[name]
        numbers = (f"{summary[key]:.4g}" for key in ("mean", "std", "median", "worst"))
        table.add_row(name, str(summary["num_samples"]), *numbers, str(summary["worst_sample"]))
    console.print(table)
    if len(errors.channels) > 1:
        for name, error in metrics["relative_l2_by_channel"].items():
            console.print(f"  {name}: " + ("not defined" if error is None else f"{error:.4g}"))
    console.print(f"metrics: {folder / 'metrics.json'}\nsamples: {folder / 'samples.csv'}", soft_wrap=True)


main = command("evaluate", run)

if __name__ == "__main__":
    main()
