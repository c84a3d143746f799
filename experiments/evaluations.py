"""Evaluate the checkpoints that a command names, and group them into models."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from experiments.bands import (
    bands_file,
    calibrate_bands,
    coverage_if_calibrated,
    describe_coverage,
    require_own_data,
)
from experiments.device import choose_device
from experiments.folders import ensemble_folder, find_checkpoints, labels_of
from experiments.revision import code_revision
from experiments.runs import NO_PART, difference, essence, load_run, require_same_samples, with_checkpoint
from lsm.errors import InputError
from lsm.progress import progress_bar
from lsm.provenance import describe_environment

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lsm.checkpoint import Checkpoint
    from lsm.comparison import Model
    from lsm.conformal import Coverage
    from lsm.data.datamodule import FieldDataModule, Split
    from lsm.data.symmetry import Symmetry
    from lsm.evaluation import Evaluation, Predictor
    from lsm.fields import FieldBatch


#: Label of the mean prediction of several checkpoints.
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Evaluated:
    """One checkpoint and its errors.

    Args:
        path: as the option names it.
        checkpoint: the solver.
        data: its data.
        evaluation: errors of each sample.
        metrics: the content of ``metrics.json``.
        coverage: of its bands, if they were calibrated.
    """

    path: Path
    checkpoint: Checkpoint
    data: FieldDataModule
    evaluation: Evaluation
    metrics: dict[str, Any]
    coverage: Coverage | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The recorded configuration."""
        return self.checkpoint.run["config"]

    @cached_property
    def origins(self) -> tuple[str, list[int]]:
        """The file that holds the samples, and the number of each in it."""
        return self.data.origins(self.metrics["split"])


def predictor_of(cfg: DictConfig, checkpoint: Checkpoint, data: FieldDataModule) -> Predictor:
    """What a command measures or draws of a checkpoint on data: the solver on ``device``, with ``transforms``."""
    from lsm.evaluation import with_transforms

    solver = checkpoint.solver.eval().to(choose_device(cfg.device))
    return with_transforms(solver, list(cfg.transforms), _symmetries(checkpoint, data))


def _symmetries(checkpoint: Checkpoint, data: FieldDataModule) -> list[Symmetry]:
    """Those of the benchmark that hold for the data at hand, which need not be those of the training."""
    from lsm.data.symmetry import symmetries_of

    return symmetries_of(checkpoint.run["config"]["benchmark"].get("symmetries"), data.describe()["provenance"])


def named_in_title(transforms: Sequence[str]) -> str:
    """What a title adds if the predictions were transformed, such as ``, training_grid``."""
    return "".join(f", {name}" for name in transforms)


def predict_sample(
    predict: Predictor, data: FieldDataModule, split: Split, index: int, device: torch.device
) -> tuple[FieldBatch, Tensor, float]:
    """A sample of a split, its prediction, both without a batch axis and on the CPU, and its relative L2 error."""
    import torch

    from lsm.fields import FieldBatch
    from lsm.metrics import relative_l2

    batch = FieldBatch.stack([data.dataset(split)[index]]).to(device)
    with torch.inference_mode():
        prediction = predict(batch)
    return batch.sample(0).to("cpu"), prediction[0].cpu(), float(relative_l2(prediction, batch.targets))


def evaluate_all(cfg: DictConfig) -> dict[str, Evaluated]:
    """Evaluate each checkpoint of ``checkpoint``, by its label.

    Args:
        cfg: options as of :func:`experiments.runs.load_run`, ``device``, ``transforms`` and ``bands``, ``ensemble``, which adds
            the mean prediction of several checkpoints under this label; perhaps ``metrics``.
    """
    paths = find_checkpoints(cfg.checkpoint)
    named = dict(zip(labels_of(paths), paths, strict=True))
    loaded = {label: load_run(with_checkpoint(cfg, path)) for label, path in named.items()}
    if cfg.ensemble:
        _require_ensemble(cfg, loaded)
    evaluated = {label: _evaluated(cfg, path, *loaded[label], bands_file(str(path))) for label, path in named.items()}
    if cfg.ensemble:
        evaluated[ENSEMBLE] = _evaluate_together(cfg, list(evaluated.values()))
    return evaluated


def _require_ensemble(cfg: DictConfig, loaded: Mapping[str, tuple[Checkpoint, FieldDataModule]]) -> None:
    if len(loaded) == 1 or ENSEMBLE in loaded:
        raise InputError(f"an ensemble needs several checkpoints, none of them called {ENSEMBLE}", ("ensemble",))
    _, data = next(iter(loaded.values()))
    splits = [cfg.split, "validation"] if cfg.bands else [cfg.split]
    require_same_samples({label: checkpoint for label, (checkpoint, _) in loaded.items()}, data, splits)


def _evaluate_together(cfg: DictConfig, members: Sequence[Evaluated]) -> Evaluated:
    """The mean prediction of several checkpoints on the data of the first; it has neither seed nor epoch."""
    from lsm.ensemble import Ensemble

    first, path = members[0], ensemble_folder(cfg.checkpoint) / ENSEMBLE
    solver = Ensemble([member.checkpoint.solver for member in members])
    config = {**first.config, "model": {"name": ENSEMBLE, "members": len(members)}, "seed": None}
    run = {**first.checkpoint.run, "config": config, "overrides": None}
    checkpoint = replace(first.checkpoint, solver=solver, run=run, epoch=None, path=path)
    return _evaluated(cfg, path, checkpoint, first.data, bands_file(cfg.checkpoint))


def _evaluated(cfg: DictConfig, path: Path, checkpoint: Checkpoint, data: FieldDataModule, bands: Path) -> Evaluated:
    if cfg.bands:
        _require_calibration(cfg, checkpoint, data)
    errors = measure_errors(cfg, checkpoint, data)
    _require_finite(errors, data, cfg.split, cfg.get("metrics") or ["relative_l2"])
    metrics = _describe(cfg, checkpoint, data, errors)
    coverage = _coverage(cfg, checkpoint, data, bands)
    if coverage is not None:
        metrics["bands"] = describe_coverage(bands, coverage, [channel.name for channel in data.spec.targets])
    return Evaluated(path, checkpoint, data, errors, metrics, coverage)


def _require_calibration(cfg: DictConfig, checkpoint: Checkpoint, data: FieldDataModule) -> None:
    if cfg.transforms:
        raise InputError("bands exist only for predictions without transforms; remove transforms")
    require_own_data(checkpoint, data)


def _coverage(cfg: DictConfig, checkpoint: Checkpoint, data: FieldDataModule, path: Path) -> Coverage | None:
    """Coverage of bands that are calibrated now, or with ``bands=null`` of those that were."""
    if cfg.bands is False or (cfg.bands is None and cfg.transforms):
        return None
    find = calibrate_bands if cfg.bands else coverage_if_calibrated
    return find(checkpoint.solver, data, path, cfg.split, choose_device(cfg.device))


def measure_errors(cfg: DictConfig, checkpoint: Checkpoint, data: FieldDataModule) -> Evaluation:
    """Errors of all samples of the split that a command names, after ``transforms``."""
    from lsm.evaluation import measure

    with progress_bar() as progress:
        count = -(-len(data.dataset(cfg.split)) // data.batch_size)
        batches = progress.track(data.batches(cfg.split), total=count, description="batches")
        device = choose_device(cfg.device)
        symmetries = _symmetries(checkpoint, data)
        return measure(checkpoint.solver, batches, device, cfg.get("metrics"), list(cfg.transforms), symmetries)


def _require_finite(errors: Evaluation, data: FieldDataModule, split: str, names: Sequence[str]) -> None:
    from lsm.fields import FieldBatch
    from lsm.metrics import DIVERGED, METRICS, find_fault

    for name in names:
        values = errors.errors[name]
        if name not in errors.parts and not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            metric, sample = METRICS[name], FieldBatch.stack([data.dataset(split)[bad]])
            fault = find_fault(sample, lambda one, metric=metric: metric(one.targets, one, data.spec))
            why = DIVERGED if fault is None else fault[1]
            raise InputError(f"{name} of sample {bad} of the {split} split is not finite: {why}")


def _describe(cfg: DictConfig, checkpoint: Checkpoint, data: FieldDataModule, errors: Evaluation) -> dict[str, Any]:
    config = checkpoint.run["config"]
    return {
        "checkpoint": str(checkpoint.path),
        "benchmark": config["benchmark"]["name"],
        "model": checkpoint.solver.config["model"]["name"],
        "preset": config["preset"],
        "split": cfg.split,
        "data": data.describe(),
        "training_data": checkpoint.data,
        "batch_size": data.batch_size,
        "sites": list(data.spec.sites),
        "samples_digest": errors.digest,
        "epoch": checkpoint.epoch,
        "seed": config["seed"],
        "transforms": list(cfg.transforms),
        **errors.summaries(),
        "code": code_revision(),
        "environment": describe_environment(),
    }


def group_models(evaluated: Mapping[str, Evaluated]) -> list[Model]:
    """Checkpoints that differ in nothing but the seed are one model, which its family names if that is unique."""
    from lsm.comparison import models_of

    groups: list[list[str]] = []
    for label, one in evaluated.items():
        group = next((group for group in groups if _is_another_seed(one, [evaluated[name] for name in group])), None)
        if group is None:
            groups.append([label])
        else:
            group.append(label)
    families = [evaluated[group[0]].metrics["model"] for group in groups]
    names = [
        family if families.count(family) == 1 else f"{family} ({os.path.commonpath(group) or ', '.join(group)})"
        for family, group in zip(families, groups, strict=True)
    ]
    return models_of(
        {
            name: {label: evaluated[label].evaluation for label in group}
            for name, group in zip(names, groups, strict=True)
        }
    )


def _is_another_seed(one: Evaluated, others: Sequence[Evaluated]) -> bool:
    same = not difference(essence(others[0].config), essence(one.config), NO_PART)
    return same and one.config["seed"] not in [other.config["seed"] for other in others]
