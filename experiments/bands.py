"""Bands of predictions: where they lie, how a command calibrates, tests and reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.table import Table

from experiments.folders import ensemble_folder, find_checkpoints
from experiments.runs import difference_of_data
from lsm.errors import InputError
from lsm.progress import console
from lsm.run_folder import best_checkpoint

if TYPE_CHECKING:
    import torch

    from lsm.checkpoint import Checkpoint
    from lsm.conformal import Band, Coverage
    from lsm.data.datamodule import FieldDataModule
    from lsm.ensemble import Ensemble
    from lsm.fields import FieldBatch
    from lsm.solver import NeuralSolver

#: Training samples from which the scale of the residuals is taken.
_SCALE_SAMPLES = 256


def bands_file(checkpoint: str | Sequence[str]) -> Path:
    """Where bands lie: beside the checkpoint; those of an ensemble in the folder of its results."""
    from lsm.band_files import SUFFIX

    paths = find_checkpoints(checkpoint)
    if len(paths) > 1:
        return ensemble_folder(checkpoint) / f"ensemble{SUFFIX}"
    path = best_checkpoint(paths[0])
    return path / f"model{SUFFIX}" if path.is_dir() else path.with_name(path.stem + SUFFIX)


def members_of(solver: NeuralSolver | Ensemble) -> list[NeuralSolver]:
    """The solvers of an ensemble, or the solver itself."""
    return list(getattr(solver, "solvers", [solver]))


def require_own_data(checkpoint: Checkpoint, data: FieldDataModule) -> None:
    """Check that bands are calibrated on data and sites of the training, since ``lsm-predict`` finds no others.

    Raises:
        InputError: the data were made otherwise, or are evaluated at other sites.
    """
    changed = difference_of_data(checkpoint.data, data.describe())
    if changed:
        raise InputError(
            f"bands are calibrated on the data of the training, and {data.path} holds other ones ({changed}); bands=null "
            "measures how often the bands that are there hold the truth of these"
        )
    before, now = checkpoint.solver.spec.sites, data.spec.sites
    if before != now:
        raise InputError(
            f"bands belong to the sites of the training, {before}, not to {now}; leave out bands=true, or resolution="
        )


def calibrate_bands(
    solver: NeuralSolver | Ensemble, data: FieldDataModule, path: Path, split: str, device: torch.device
) -> Coverage:
    """Calibrate bands on the validation split, write them, and measure their coverage on another split.

    Raises:
        InputError: there is no validation split, or the coverage is to be measured on it.
    """
    from lsm.band_files import write_bands
    from lsm.conformal import calibrate, measure_coverage

    if split == "validation" or not data.has_validation:
        raise InputError(
            "bands are calibrated on the validation split, which "
            + ("says nothing about their coverage: choose another split" if data.has_validation else "is empty here")
        )
    solver.eval().to(device)
    bands = calibrate(solver, _first(data), data.batches("validation"), data.spec, device)
    described = {"split": "validation", "num_samples": bands.num_samples, "data": data.describe()}
    write_bands(path, bands, members_of(solver), described)
    return measure_coverage(bands, solver, data.batches(split), device)


def _first(data: FieldDataModule) -> Iterator[FieldBatch]:
    return islice(data.batches("train"), -(-_SCALE_SAMPLES // data.batch_size))


def coverage_if_calibrated(
    solver: NeuralSolver | Ensemble, data: FieldDataModule, path: Path, split: str, device: torch.device
) -> Coverage | None:
    """Coverage of the bands in a file, if it is there and fits; a file that does not is named."""
    from lsm.band_files import read_bands
    from lsm.conformal import measure_coverage, require_same_sites

    if not path.is_file() or split == "validation":
        return None
    try:
        bands = read_bands(path, members_of(solver))
        require_same_sites(bands.spec, data.spec.sites)
    except InputError as error:
        console.print(f"warning: {error}", soft_wrap=True)
        return None
    return measure_coverage(bands, solver.eval().to(device), data.batches(split), device)


def band_of(cfg: DictConfig, solver: NeuralSolver | Ensemble) -> Band | None:
    """The band that ``level`` asks for, None without it.

    Raises:
        FileNotFoundError: they have not been calibrated; the message says how.
    """
    from lsm.band_files import read_bands

    if cfg.level is None:
        return None
    path = bands_file(cfg.checkpoint)
    if not path.is_file():
        several = " ensemble=true" if len(members_of(solver)) > 1 else ""
        raise FileNotFoundError(
            f"{path} does not exist: calibrate the bands by lsm-evaluate with the same checkpoint and{several} bands=true"
        )
    return read_bands(path, members_of(solver)).at(cfg.level, cfg.band)


def carry_bands(checkpoint: str, solver: NeuralSolver, folder: Path) -> None:
    """Write the bands of a checkpoint into a folder that holds the same weights; bands that do not fit are named."""
    from lsm.band_files import read_bands, write_bands

    path = bands_file(checkpoint)
    if not path.is_file():
        return
    try:
        bands = read_bands(path, [solver])
    except InputError as error:
        console.print(f"warning: {error}", soft_wrap=True)
        return
    # Where the data lay concerns nobody who gets the folder.
    write_bands(bands_file(str(folder)), bands, [solver], {"split": "validation", "num_samples": bands.num_samples})


def describe_coverage(path: Path, coverage: Coverage, fields: Sequence[str]) -> dict[str, Any]:
    """What ``metrics.json`` says of bands: shares of each field by kind and level, and what is to be expected."""
    found = {"site": coverage.site, "field": coverage.field}
    return {
        "file": str(path),
        "calibration_samples": coverage.calibration,
        "coverage": {
            kind: {f"{level:g}": dict(zip(fields, map(float, row), strict=True)) for level, row in rows}
            for kind, shares in found.items()
            for rows in [list(zip(coverage.levels, shares, strict=True))]
        },
        "expected": {
            f"{level:g}": list(limits) for level, limits in zip(coverage.levels, coverage.expected(), strict=True)
        },
    }


def print_coverage(described: dict[str, Any], fields: Sequence[str], num_samples: int) -> None:
    """A table of the coverage, as :func:`describe_coverage` gives it."""
    table = Table(title=f"bands: share of {num_samples} samples inside")
    table.add_column("field", overflow="fold")
    for heading in ("level", "sites", "whole field", "95 % range"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in fields:
        for level, (low, high) in described["expected"].items():
            shares = (described["coverage"][kind][level][name] for kind in ("site", "field"))
            table.add_row(name, level, *(f"{share:.3f}" for share in shares), f"{low:.3f} to {high:.3f}")
        table.add_section()
    console.print(table)
    console.print(f"bands: {described['file']}", soft_wrap=True)
