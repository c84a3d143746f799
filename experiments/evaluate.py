"""``lsm-evaluate``: errors of a checkpoint on a split of its data."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig
from rich.table import Table

from experiments.cli import command, console, progress_bar
from experiments.device import choose_device
from experiments.environment import describe_environment
from lsm.errors import InputError

if TYPE_CHECKING:
    import torch

    from lsm.fields import FieldBatch
    from lsm.solver import NeuralSolver


@dataclass(frozen=True)
class Errors:
    """Relative L2 errors of a split.

    Args:
        samples: ``(n,)``, each sample's error over all sites and channels.
        channels: ``(n, c)``, the error of each channel alone; NaN where the true channel is zero everywhere.
        names: the channels' names.
    """

    samples: np.ndarray
    channels: np.ndarray
    names: tuple[str, ...]

    def summary(self) -> dict[str, float | int]:
        """Mean, standard deviation, median and worst error, and where the worst one is."""
        return {
            "num_samples": len(self.samples),
            "mean": float(self.samples.mean()),
            "std": float(self.samples.std(ddof=1)) if len(self.samples) > 1 else 0.0,
            "median": float(np.median(self.samples)),
            "worst": float(self.samples.max()),
            "worst_sample": int(self.samples.argmax()),
        }

    def means_by_channel(self) -> dict[str, float | None]:
        """Mean error of each channel alone; None where it is not defined, the true channel of a sample being zero."""
        means = self.channels.mean(axis=0)
        return {name: float(mean) if np.isfinite(mean) else None for name, mean in zip(self.names, means, strict=True)}


def measure(
    solver: NeuralSolver, batches: Iterable[FieldBatch], device: torch.device, use_batch_statistics: bool = False
) -> Errors:
    """Relative L2 error of every sample, in evaluation mode.

    Args:
        solver: the solver; it is moved to the device.
        batches: samples with their truth.
        device: where to compute.
        use_batch_statistics: see :func:`lsm.solver.batch_statistics`.
    """
    import torch

    from lsm.metrics import relative_l2, relative_l2_per_channel
    from lsm.solver import batch_statistics

    solver.eval().to(device)
    samples, channels = [], []
    with torch.inference_mode(), batch_statistics(solver) if use_batch_statistics else nullcontext():
        for batch in batches:
            batch = batch.to(device)
            prediction = solver(batch)
            samples.append(relative_l2(prediction, batch.targets).cpu())
            channels.append(relative_l2_per_channel(prediction, batch.targets).cpu())
    names = tuple(channel.name for channel in solver.spec.targets)
    return Errors(torch.cat(samples).double().numpy(), torch.cat(channels).double().numpy(), names)


def run(cfg: DictConfig) -> dict[str, Any]:
    """Evaluate as configured; write and return the metrics."""
    from experiments.build import load_run
    from lsm.metrics import describe_fault

    checkpoint, data = load_run(cfg, cfg.split)
    folder = Path(cfg.run_dir)
    with progress_bar() as progress:
        loader = data.batches(cfg.split)
        batches = progress.track(
            loader, total=-(-len(data.dataset(cfg.split)) // data.batch_size), description="batches"
        )
        errors = measure(checkpoint.solver, batches, choose_device(cfg.device), cfg.batch_statistics)
    if not np.isfinite(errors.samples).all():
        bad = int(np.argmin(np.isfinite(errors.samples)))
        sample = data.dataset(cfg.split)[bad]
        fault = describe_fault(sample.inputs[None], sample.targets[None])
        raise InputError(f"the error of sample {bad} of the {cfg.split} split is not finite: {fault}")
    metrics = {
        "checkpoint": str(checkpoint.path),
        "benchmark": checkpoint.run["benchmark"]["name"],
        "preset": checkpoint.run["preset"],
        "split": cfg.split,
        "data": data.describe(),
        "training_data": checkpoint.data,
        "batch_size": data.batch_size,
        "sites": list(data.spec.sites),
        "epoch": checkpoint.epoch,
        "seed": checkpoint.run["seed"],
        "batch_statistics": cfg.batch_statistics,
        "relative_l2": errors.summary(),
        "relative_l2_by_channel": errors.means_by_channel(),
        "environment": describe_environment(),
    }
    _write(metrics, errors, folder)
    _tell(metrics, errors, folder)
    return metrics


def _write(metrics: dict[str, Any], errors: Errors, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    with (folder / "samples.csv").open("w", newline="") as file:
        table = csv.writer(file)
        several = errors.names if len(errors.names) > 1 else ()
        table.writerow(["sample", "relative_l2", *(f"relative_l2 {name}" for name in several)])
        for index, (error, parts) in enumerate(zip(errors.samples, errors.channels, strict=True)):
            table.writerow([index, f"{error:.8g}", *(f"{part:.8g}" for part in parts[: len(several)])])


def _tell(metrics: dict[str, Any], errors: Errors, folder: Path) -> None:
    table = Table(title=f"{metrics['benchmark']}, {metrics['split']} split: relative L2 error")
    summary = metrics["relative_l2"]
    for heading in ("samples", "mean", "std", "median", "worst", "worst sample"):
        table.add_column(heading, justify="right")
    table.add_row(
        str(summary["num_samples"]),
        *(f"{summary[name]:.5f}" for name in ("mean", "std", "median", "worst")),
        str(summary["worst_sample"]),
    )
    console.print(table)
    if len(errors.names) > 1:
        for name, error in metrics["relative_l2_by_channel"].items():
            console.print(f"  {name}: " + ("not defined" if error is None else f"{error:.5f}"))
    console.print(f"metrics: {folder / 'metrics.json'}\nsamples: {folder / 'samples.csv'}", soft_wrap=True)


main = command("evaluate", run)

if __name__ == "__main__":
    main()
