"""Errors of a solver over many samples, and transformations of its predictions before they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lsm.data.symmetry import Symmetry, apply, elements, undo
from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.metrics import METRICS, relative_l2_per_channel
from lsm.registry import Registry
from lsm.solver import NeuralSolver, batch_statistics

#: Fields ``(b, *sites, c_out)`` in physical units for a batch.
Predictor = Callable[[FieldBatch], Tensor]

#: Evaluation-time transforms: take a predictor, the solver and the benchmark's symmetries, and return a predictor.
TRANSFORMS: Registry = Registry("transform")


@TRANSFORMS.register("batch_statistics")
def use_batch_statistics(predict: Predictor, solver: NeuralSolver, symmetries: Sequence[Symmetry]) -> Predictor:
    """Normalise by the statistics of each test batch, as the published Navier-Stokes script does."""

    def transformed(batch: FieldBatch) -> Tensor:
        with batch_statistics(solver):
            return predict(batch)

    return transformed


@TRANSFORMS.register("symmetry_average")
def average_over_symmetries(predict: Predictor, solver: NeuralSolver, symmetries: Sequence[Symmetry]) -> Predictor:
    """Average the predictions for all images of a sample under the benchmark's symmetry group.

    Raises:
        InputError: the benchmark has no symmetries.
    """
    if not symmetries:
        raise InputError("this benchmark has no exact symmetries to average over")
    group = elements(symmetries, solver.spec)

    def transformed(batch: FieldBatch) -> Tensor:
        images = (undo(element, predict(apply(element, batch, solver.spec)), solver.spec) for element in group)
        return sum(images, start=torch.zeros(())) / len(group)

    return transformed


@dataclass(frozen=True)
class Evaluation:
    """Errors of the samples of a split.

    Args:
        errors: ``(n,)`` by the name of the metric.
        by_channel: ``(n, c)``, relative L2 error of each target channel alone; NaN or inf where the truth is zero everywhere.
        channels: names of the target channels.
    """

    errors: Mapping[str, np.ndarray]
    by_channel: np.ndarray
    channels: tuple[str, ...]

    def summary(self, metric: str) -> dict[str, float | int]:
        """Mean, standard deviation, median and largest error, and the index of the sample that has it."""
        errors = self.errors[metric]
        return {
            "num_samples": len(errors),
            "mean": float(errors.mean()),
            "std": float(errors.std(ddof=1)) if len(errors) > 1 else 0.0,
            "median": float(np.median(errors)),
            "worst": float(errors.max()),
            "worst_sample": int(errors.argmax()),
        }

    def means_by_channel(self) -> dict[str, float | None]:
        """Mean relative L2 error of each channel alone; None where a true channel is zero everywhere."""
        means = self.by_channel.mean(axis=0)
        return {
            name: float(mean) if np.isfinite(mean) else None for name, mean in zip(self.channels, means, strict=True)
        }


def measure(
    solver: NeuralSolver,
    batches: Iterable[FieldBatch],
    device: torch.device,
    metrics: Sequence[str] = ("relative_l2",),
    transforms: Sequence[str] = (),
    symmetries: Sequence[Symmetry] = (),
) -> Evaluation:
    """Errors of every sample, in evaluation mode and without gradients.

    Args:
        solver: the solver; it is moved to the device.
        batches: samples with their truth, ``(b, *sites, c)`` in physical units.
        device: where to compute.
        metrics: names of :data:`lsm.metrics.METRICS`.
        transforms: names of :data:`TRANSFORMS`, applied one after the other.
        symmetries: those of the benchmark, for transforms that use them.
    Raises:
        InputError: a name is unknown, or there are no batches.
    """
    named = {name: METRICS[name] for name in metrics}
    predict: Predictor = solver.eval().to(device)
    for name in transforms:
        predict = TRANSFORMS[name](predict, solver, symmetries)
    columns: dict[str, list[Tensor]] = {name: [] for name in named}
    by_channel = []
    with torch.inference_mode():
        for batch in batches:
            batch = batch.to(device)
            prediction = predict(batch)
            for name, metric in named.items():
                columns[name].append(metric(prediction, batch, solver.spec).cpu())
            by_channel.append(relative_l2_per_channel(prediction, batch.targets).cpu())
    if not by_channel:
        raise InputError("there are no samples to measure")
    errors = {name: torch.cat(parts).double().numpy() for name, parts in columns.items()}
    return Evaluation(errors, torch.cat(by_channel).double().numpy(), solver.spec.target_names)
