"""Predict from a file of inputs (:mod:`lsm.data.input_file`) to a file of fields, in blocks of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lsm.conformal import Band
from lsm.data import vtk_files
from lsm.data.array_files import require_format, write_arrays, write_record
from lsm.data.input_file import InputFile, open_inputs
from lsm.data.layout import Roles
from lsm.data.store import MAX_SAMPLE_BYTES
from lsm.ensemble import Ensemble
from lsm.errors import InputError
from lsm.fields import FieldSpec, given_channels
from lsm.solver import NeuralSolver


def predicted_arrays(spec: FieldSpec, suffixes: Sequence[str] = ("",)) -> dict[str, str]:
    """Names of predicted arrays, ``(samples, *sites[, frames])``, and their units; each field once for each suffix."""
    return {channel.name + suffix: channel.unit for suffix in suffixes for channel in spec.targets}


@dataclass
class RangeCheck:
    """Which inputs ``(b, *sites, c_in)``, parameters ``(b, p)`` and codes ``(b, k)`` lie outside the range of the training data.

    Args:
        solver: whose ranges count.
        training_grid: whether inputs on another grid are interpolated to that of the training.
        samples: number of samples outside, by the name of a field or parameter, or "code".
        found: smallest and largest value found, and those of the training data.
        sites: number of sites along each axis, if they are not those of the training.
        unbounded: number of samples whose band is infinite at some sites.
        notes: sentences about what is left out of the file of inputs, and about such a band.
    """

    solver: NeuralSolver | Ensemble
    training_grid: bool = False
    samples: dict[str, int] = field(default_factory=dict)
    found: dict[str, list[float]] = field(default_factory=dict)
    sites: tuple[int, ...] | None = None
    unbounded: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, given: Mapping[str, np.ndarray]) -> None:
        """Look at the samples of a block: ``inputs`` ``(b, *sites, c_in)``, ``parameters`` ``(b, p)`` and ``code`` ``(b, k)``."""
        sites = given["inputs"].shape[1:-1]
        if self.solver.spec.geometry != "points" and sites != self.solver.spec.sites:
            self.sites = sites
        channels = given_channels(self.solver.spec)
        for kind, pairs in self.solver.ranges.items():
            limits, values = np.array(pairs, dtype=np.float64), given[kind]
            values = values.reshape(len(values), -1, len(pairs))
            lows, highs = values.min(axis=1), values.max(axis=1)
            # Single precision rounds limits; a millionth of the range is no extrapolation.
            slack = 1e-6 * np.maximum(limits[:, 1] - limits[:, 0], np.abs(limits).max(axis=1))
            outside = (lows < limits[:, 0] - slack) | (highs > limits[:, 1] + slack)
            for index, channel in enumerate(channels[kind]):
                every = slice(index, None, len(channels[kind]))
                if count := int(outside[:, every].any(axis=1).sum()):
                    self._note(channel.name, count, lows[:, every].min(), highs[:, every].max(), limits[every])

    def _note(self, name: str, count: int, low: float, high: float, limits: np.ndarray) -> None:
        before = self.found.get(name, [low, high])
        trained = [float(limits[:, 0].min()), float(limits[:, 1].max())]
        self.samples[name] = self.samples.get(name, 0) + count
        self.found[name] = [min(float(low), before[0]), max(float(high), before[1]), *trained]

    def require_no_interpolation(self) -> None:
        """Refuse a band around predictions that are interpolated: bands are calibrated on those of the solver itself.

        Raises:
            InputError: the inputs that were looked at lie on another grid, and ``training_grid`` is set.
        """
        if self.training_grid and self.sites:
            raise InputError(
                f"bands exist only for predictions that are not interpolated, but {self._grids()}; predict without bands, or "
                "remove training_grid and take bands that were calibrated on the sites of the inputs",
                ("level",),
            )

    def _grids(self) -> str:
        """On which sites the inputs lie, and those of the training, in words."""
        given, trained = (" x ".join(map(str, sites)) for sites in (self.sites or (), self.solver.spec.sites))
        return f"the inputs have {given} sites, the training had {trained}"

    def warnings(self) -> list[str]:
        """A sentence for each field, parameter or code that leaves its range, and one for inputs on another grid."""
        other = f"{self._grids()}; training_grid=true interpolates between them"
        told = [other] if self.sites and not self.training_grid else []
        return told + [
            f"{name} of {self.samples[name]} samples leaves the range of the training data: "
            f"{low:.6g} to {high:.6g}, trained on {least:.6g} to {most:.6g}"
            for name, (low, high, least, most) in self.found.items()
        ]


def predict_file(
    solver: NeuralSolver | Ensemble,
    source: Path,
    target: Path,
    provenance: Mapping[str, Any],
    *,
    batch_size: int = 20,
    band: Band | None = None,
    training_grid: bool = False,
    roles: Roles | None = None,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> RangeCheck:
    """Predict the fields of all samples of a file, a block of samples in memory at a time.

    Args:
        solver: on the device that computes; of an ensemble the spread ``NAME_spread`` is written too.
        source: file of inputs.
        target: file to make, one array per predicted field, of the axes of the input arrays; in a ``.npy`` file one array
            ``prediction``, ``(samples, *sites, c)``. A VTK file is made from a VTK file.
        provenance: plain data to store with the fields.
        batch_size: samples in a block.
        band: whose limits ``NAME_low`` and ``NAME_high`` are written too.
        training_grid: whether inputs on another grid are interpolated to that of the training, and predictions back.
        roles: that arrays of other names had in the training data.
        track: wraps the first samples of the blocks, to show progress.
    Raises:
        InputError: a file is of another format, or its arrays do not fit; or a band is asked of predictions that
            ``training_grid`` interpolates.
    """
    require_format(target)
    suffixes = _suffixes(solver, band)
    if problem := _find_conflict(source, target, suffixes):
        raise InputError(problem)
    check = RangeCheck(solver, training_grid)
    record: dict[str, Any] = {"fields": predicted_arrays(solver.spec, suffixes), "input": source.name, **provenance}
    record |= {} if band is None else {"band": band.describe()}
    with open_inputs(source, solver.spec, roles) as inputs:
        check.notes = inputs.notes()
        # A block has at most as many bytes as one sample may have.
        batch_size = max(1, min(batch_size, int(MAX_SAMPLE_BYTES) // inputs.sample_bytes))
        starts = range(0, inputs.num_samples, batch_size)
        blocks = _blocks(solver, inputs, track(starts), batch_size, check, band)
        if target.suffix in vtk_files.SUFFIXES:
            _write_vtk(solver.spec.target_names, source, target, blocks, record, check)
        else:
            _write_blocks(solver.spec, target, inputs.num_samples, blocks, record, check)
    if check.unbounded:
        check.notes.append(
            f"the band of {check.unbounded} samples is infinite at some sites, where too few calibration samples have a target"
        )
    return check


def _find_conflict(source: Path, target: Path, suffixes: Sequence[str]) -> str | None:
    if target.suffix == ".npy" and len(suffixes) > 1:
        return f"{target}: a .npy file holds one array, no band or spread beside it; choose another format"
    if source.resolve() == target.resolve():
        return f"{target} is the file of inputs; choose another output"
    if target.suffix in vtk_files.SUFFIXES and source.suffix not in vtk_files.SUFFIXES:
        return f"{target}: a VTK output takes its points from a VTK input; give an input in {', '.join(vtk_files.SUFFIXES)}"
    return None


#: Arrays of one block by what is added to the name of a field.
_Block = tuple[slice, dict[str, np.ndarray]]


def _suffixes(solver: NeuralSolver | Ensemble, band: Band | None) -> list[str]:
    spread, limits = isinstance(solver, Ensemble), band is not None
    return ["", *(["_spread"] if spread else []), *(["_low", "_high"] if limits else [])]


def _predict(solver: NeuralSolver | Ensemble, given: Mapping[str, Any], band: Band | None) -> dict[str, np.ndarray]:
    """All target channels ``(b, *sites, c)`` by suffix: the prediction, the spread of an ensemble, the limits of a band."""
    if isinstance(solver, Ensemble):
        mean, spread = solver.predict_with_spread(**given)
        found = {"": mean, "_spread": spread}
    else:
        found = {"": solver.predict(**given)}
    if band is not None:
        mask = solver.spec.mask
        exists = None if mask is None else given["inputs"][..., mask, None] > 0.5
        found["_low"], found["_high"] = band.limits(found[""], exists)
    if "mask" in given:
        found = {suffix: np.where(given["mask"][..., None], values, np.nan) for suffix, values in found.items()}
    return found


def _blocks(
    solver: NeuralSolver | Ensemble,
    inputs: InputFile,
    starts: Iterable[int],
    batch_size: int,
    check: RangeCheck,
    band: Band | None,
) -> Iterator[_Block]:
    for start in starts:
        stop = min(start + batch_size, inputs.num_samples)
        given = inputs.block(start, stop)
        check.add(given)
        if band is not None:
            check.require_no_interpolation()
        found = _predict(solver, {**given, "training_grid": check.training_grid}, band)
        if band is not None:
            check.unbounded += sum(bool(np.isinf(limits).any()) for limits in found["_high"])
        yield slice(start, stop), found


def _by_field(spec: FieldSpec, values: np.ndarray) -> dict[str, np.ndarray]:
    """Fields ``(samples, *sites, [frames])`` by name, from all target channels."""
    split = values.reshape(*values.shape[:-1], -1, len(spec.targets))
    fields = {channel.name: split[..., index] for index, channel in enumerate(spec.targets)}
    return fields if spec.frames else {name: values[..., 0] for name, values in fields.items()}


def _write_blocks(
    spec: FieldSpec,
    target: Path,
    num_samples: int,
    blocks: Iterator[_Block],
    record: dict[str, Any],
    check: RangeCheck,
) -> None:
    def named(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if target.suffix == ".npy":
            return {"prediction": values[""]}
        fields = {suffix: _by_field(spec, array) for suffix, array in values.items()}
        return {name + suffix: array for suffix, each in fields.items() for name, array in each.items()}

    where, values = next(blocks)
    first = named(values)
    made = {name: (num_samples, *array.shape[1:]) for name, array in first.items()}
    with write_arrays(target, made, record["fields"], record) as arrays:
        for name, array in first.items():
            arrays[name][where] = array
        for where, values in blocks:
            for name, array in named(values).items():
                arrays[name][where] = array
        record["outside_training_range"] = check.warnings()


def _write_vtk(
    names: Sequence[str],
    source: Path,
    target: Path,
    blocks: Iterator[_Block],
    record: dict[str, Any],
    check: RangeCheck,
) -> None:
    ((_, values),) = blocks
    fields = {
        name + suffix: array[0, ..., index].flatten(order="F")
        for suffix, array in values.items()
        for index, name in enumerate(names)
    }
    vtk_files.write_mesh(target, source, fields)
    write_record(target, {**record, "outside_training_range": check.warnings()})
