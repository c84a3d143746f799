"""Errors of a solver over many samples, and transformations of its predictions before they are measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsm.data.symmetry import Symmetry, apply, elements, undo
from lsm.ensemble import Ensemble
from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.metrics import METRICS, Metric, has_interior, measure_one, parts_of
from lsm.model.batch_norm import batch_statistics
from lsm.registry import Registry
from lsm.resize import through_training_grid
from lsm.solver import NeuralSolver
from lsm.statistics import bootstrap_intervals

#: Fields ``(b, *sites, c_out)`` in physical units for a batch.
Predictor = Callable[[FieldBatch], Tensor]

#: Evaluation-time transforms: take a predictor, the solver and the benchmark's symmetries, and return a predictor.
TRANSFORMS: Registry = Registry("transform")


@TRANSFORMS.register("batch_statistics")
def use_batch_statistics(
    predict: Predictor, solver: NeuralSolver | Ensemble, symmetries: Sequence[Symmetry]
) -> Predictor:
    """Normalise by the statistics of each test batch ``(b, *sites, c)``, as the published Navier-Stokes script does."""

    def transformed(batch: FieldBatch) -> Tensor:
        with batch_statistics(solver):
            return predict(batch)

    return transformed


@TRANSFORMS.register("symmetry_average")
def average_over_symmetries(
    predict: Predictor, solver: NeuralSolver | Ensemble, symmetries: Sequence[Symmetry]
) -> Predictor:
    """Average the predictions ``(b, *sites, c)`` for all images of a sample under the benchmark's symmetry group.

    Raises:
        InputError: the data have no symmetries, or they do not fit the sites of the fields.
    """
    if not symmetries:
        raise InputError("these data have no exact symmetries to average over")

    @cache
    def fields_at(sites: tuple[int, ...]) -> tuple[FieldSpec, list[Sequence[Symmetry]]]:
        """The fields on these sites, which need not be those of the training, and the group there."""
        spec = replace(solver.spec, sites=sites)
        return spec, elements(symmetries, spec)

    fields_at(solver.spec.sites)

    def transformed(batch: FieldBatch) -> Tensor:
        spec, group = fields_at(tuple(batch.inputs.shape[1:-1]))
        images = (undo(element, predict(apply(element, batch, spec)), spec) for element in group)
        return sum(images, start=torch.zeros(())) / len(group)

    return transformed


@TRANSFORMS.register("training_grid")
def use_training_grid(predict: Predictor, solver: NeuralSolver | Ensemble, symmetries: Sequence[Symmetry]) -> Predictor:
    """Predict ``(b, *sites, c)`` on the grid of the training: inputs are interpolated to it, and the prediction back.

    A model whose layers reach over a number of sites, such as one of convolutions, sees another problem on another grid.

    Raises:
        InputError: the sites are points without order.
    """

    def transformed(batch: FieldBatch) -> Tensor:
        def solve(inputs: Tensor, targets: Tensor, coords: Tensor | None) -> Tensor:
            return predict(replace(batch, inputs=inputs, targets=targets, coords=coords))

        return through_training_grid(solve, batch.inputs, (batch.targets, batch.coords), solver.spec)

    return transformed


def with_transforms(
    solver: NeuralSolver | Ensemble, transforms: Sequence[str] = (), symmetries: Sequence[Symmetry] = ()
) -> Predictor:
    """The predictions ``(b, *sites, c_out)`` of a solver after transforms.

    Args:
        solver: the solver, or several as one.
        transforms: names of :data:`TRANSFORMS`, applied one after the other.
        symmetries: those of the benchmark, for transforms that use them.
    Raises:
        InputError: a name is unknown, or a transform does not suit these fields.
    """
    predict: Predictor = solver
    for name in transforms:
        predict = TRANSFORMS[name](predict, solver, symmetries)
    return predict


#: Errors that have the unit of the fields.
_WITH_UNIT = ("rmse", "max_error")


def standard_metrics(spec: FieldSpec) -> list[str]:
    """Names of the metrics that are defined for some fields: those ``(b,)`` first, then those in parts, ``(b, parts)``."""
    absolute = _WITH_UNIT if len({channel.unit for channel in spec.targets}) == 1 else ()
    several = ["relative_l2_by_field"] if len(spec.targets) > 1 else []
    slope = ["relative_h1"] if has_interior(spec) else []
    return [
        "relative_l2",
        *several,
        *absolute,
        *slope,
        *(name for name in METRICS.names() if parts_of(METRICS[name], spec)),
    ]


@dataclass(frozen=True)
class Evaluation:
    """Errors of the samples of a split.

    Args:
        errors: ``(n,)`` or in parts ``(n, k)``, by the name of the metric; NaN or inf where one is not defined.
        parts: names of the k parts, by the name of the metric.
        digest: of the truth of all samples: two evaluations with equal digests saw the same samples.
    """

    errors: Mapping[str, np.ndarray]
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""

    @property
    def scalars(self) -> dict[str, np.ndarray]:
        """The errors with one number per sample, ``(n,)`` by the name of the metric."""
        return {name: errors for name, errors in self.errors.items() if name not in self.parts}

    def columns(self) -> dict[str, np.ndarray]:
        """Each number of a sample, ``(n,)``, by its name such as ``rmse`` or ``relative_l2_per_band low``."""
        columns: dict[str, np.ndarray] = {}
        for name, errors in self.errors.items():
            parts = self.parts.get(name)
            columns |= (
                {name: errors} if parts is None else {f"{name} {part}": errors[:, i] for i, part in enumerate(parts)}
            )
        return columns

    def summaries(self) -> dict[str, dict[str, Any] | None]:
        """Statistics over the samples ``(n,)`` of each metric, see :func:`summary`; of one in parts those of each part by name.

        None stands for an error that is not defined for a sample.
        """
        columns = self.columns()
        known = {name: errors for name, errors in columns.items() if np.isfinite(errors).all()}
        intervals = bootstrap_intervals(np.stack([*known.values()], axis=-1)[None]) if known else []
        found = {name: summary(known[name], interval) for name, interval in zip(known, intervals, strict=True)}
        return {
            name: {part: found.get(f"{name} {part}") for part in self.parts[name]}
            if name in self.parts
            else found.get(name)
            for name in self.errors
        }


def summary(errors: np.ndarray, interval: tuple[float, float]) -> dict[str, Any]:
    """Statistics of the errors ``(n,)`` of a split, and the samples with the smallest, the median and the largest one.

    Args:
        errors: one for each sample.
        interval: bootstrap interval of their mean.
    """
    order = np.argsort(errors, kind="stable")
    best, middle, worst = (int(order[place]) for place in (0, (len(order) - 1) // 2, -1))
    return {
        "num_samples": len(errors),
        "mean": float(errors.mean()),
        "interval": list(interval),
        "std": float(errors.std(ddof=1)) if len(errors) > 1 else 0.0,
        "median": float(np.median(errors)),
        "best": float(errors[best]),
        "worst": float(errors[worst]),
        "best_sample": best,
        "median_sample": middle,
        "worst_sample": worst,
    }


def summaries_in(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The entries of metrics that are a :func:`summary`, by the name of the metric.

    An error in parts has one for each part instead, or None. A part may be called as an entry of a summary is: a field ``mean``.

    Args:
        metrics: as :meth:`Evaluation.summaries` gives them, perhaps among other entries.
    """
    groups = {name: value for name, value in metrics.items() if isinstance(value, Mapping) and "mean" in value}
    return {
        name: value
        for name, value in groups.items()
        if not all(part is None or isinstance(part, Mapping) for part in value.values())
    }


def measure(
    solver: NeuralSolver | Ensemble,
    batches: Iterable[FieldBatch],
    device: torch.device,
    metrics: Sequence[str] | None = None,
    transforms: Sequence[str] = (),
    symmetries: Sequence[Symmetry] = (),
) -> Evaluation:
    """Errors of every sample, in evaluation mode and without gradients.

    Args:
        solver: the solver, or several as one; it is moved to the device.
        batches: samples with their truth, ``(b, *sites, c)`` in physical units, at any resolution that the solver takes.
        device: where to compute.
        metrics: names of :data:`lsm.metrics.METRICS`; by default those of :func:`standard_metrics`.
        transforms: of the predictions, see :func:`with_transforms`.
        symmetries: those of the benchmark.
    Raises:
        InputError: a name is unknown, a metric is not defined for these fields, or there are no batches.
    """
    predict = with_transforms(solver.eval().to(device), transforms, symmetries)
    waiting = iter(batches)
    first = next(waiting, None)
    if first is None:
        raise InputError("there are no samples to measure")
    spec = replace(solver.spec, sites=tuple(first.targets.shape[1:-1]))
    named = list(metrics or standard_metrics(spec))
    parts = _parts({name: METRICS[name] for name in named}, spec)
    found: dict[str, list[Tensor]] = {name: [] for name in named}
    digest = hashlib.sha256()
    with torch.inference_mode():
        for batch in chain([first], waiting):
            digest.update(batch.real(batch.targets).numpy().tobytes())
            batch = batch.to(device)
            prediction = predict(batch)
            for name in named:
                found[name].append(measure_one(name, prediction, batch, spec).cpu())
    errors = {name: torch.cat(values).double().numpy() for name, values in found.items()}
    return Evaluation(errors, parts, digest.hexdigest())


def _parts(named: Mapping[str, Metric], spec: FieldSpec) -> dict[str, tuple[str, ...]]:
    """Names of the parts of those metrics that have any.

    Raises:
        InputError: the fields have no such parts.
    """
    found = {name: names for name, metric in named.items() if (names := parts_of(metric, spec)) is not None}
    for name, names in found.items():
        if not names:
            raise InputError(f"{name} is not defined for these fields, which have no such parts; leave it out")
    return found
