"""Predict from a file of inputs to a file of fields, in blocks of samples.

The file holds one array per input field, by its name: ``(samples, *sites)``, in a roll-out ``(samples, *sites, frames)``; also
``code`` ``(samples, k)``, and a scalar parameter by its name ``(samples,)``. Or it holds the arrays that
:meth:`lsm.solver.NeuralSolver.predict` takes, ``inputs``, ``coords``, ``code`` and ``parameters``; a ``.npy`` file holds
``inputs`` alone. Or it is laid out as a file of training data, see :mod:`lsm.data.layout`: ``inputs`` without the coordinates,
which are ``coords``, and without an axis of channels if there is one. A field that is the same along the last axes may lack them.
VTK files number their points with the first axis fastest. Clouds with different numbers of points are laid out as
:mod:`lsm.data.ragged` says; predictions are NaN where there is no point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lsm.conformal import Band
from lsm.data import vtk_files
from lsm.data.array_files import NAMELESS, ArrayInFile, open_arrays, require_format, write_arrays, write_record
from lsm.data.ragged import even_out
from lsm.data.store import MAX_SAMPLE_BYTES
from lsm.ensemble import Ensemble
from lsm.errors import InputError
from lsm.fields import FieldSpec, shapes
from lsm.solver import NeuralSolver


def expected_arrays(spec: FieldSpec) -> dict[str, tuple[int, ...]]:
    """Shape of each array of one sample, by name."""
    frames = (spec.frames.inputs,) if spec.frames else ()
    arrays: dict[str, tuple[int, ...]] = {channel.name: (*spec.sites, *frames) for channel in spec.inputs}
    arrays |= {"code": (spec.code,)} if spec.code else {}
    return arrays | {channel.name: () for channel in spec.parameters}


def predicted_arrays(spec: FieldSpec, suffixes: Sequence[str] = ("",)) -> dict[str, str]:
    """Names of predicted arrays, ``(samples, *sites[, frames])``, and their units; each field once for each suffix."""
    return {channel.name + suffix: channel.unit for suffix in suffixes for channel in spec.targets}


class InputFile:
    """Samples of an open file, as arguments of :meth:`lsm.solver.NeuralSolver.predict`.

    Args:
        arrays: by name, see :func:`lsm.data.array_files.open_arrays`.
        spec: the fields of the solver.
        path: the file, for messages; in a VTK file the sites of a lattice are one axis, the first axis of the lattice fastest.
    Raises:
        InputError: an array is missing, or has another shape than the solver takes.
    """

    def __init__(self, arrays: Mapping[str, ArrayInFile], spec: FieldSpec, path: Path) -> None:
        self.spec, self.path = spec, path
        self._counts = None
        if spec.geometry == "points":
            places = ["coords"] if "coords" in arrays else [channel.name for channel in spec.inputs[: spec.space]]
            arrays, self._counts = even_out(path, arrays, places)
        arrays = _by_name(_with_channels(arrays, spec), spec)
        packed = arrays.get("inputs", arrays.get(NAMELESS))
        self._packed = packed is not None
        needed = shapes(spec) if self._packed else expected_arrays(spec)
        found: dict[str, Any] = {**arrays, "inputs": packed} if self._packed else dict(arrays)
        # A mesh's or cloud's coordinates are the first of its inputs, as the readers of training data arrange them.
        self._shapes = {n: shape for n, shape in needed.items() if shape is not None and (n in found or n != "coords")}
        missing = [name for name in self._shapes if name not in found]
        if missing:
            held = ", ".join(name for name in arrays if name) or "one array without a name"
            raise InputError(
                f"{path} lacks {', '.join(missing)} (it holds {held}); template=FILE writes what is expected"
            )
        self._arrays = {
            n: _as_vector(path, n, found[n]) if shape == () else found[n] for n, shape in self._shapes.items()
        }
        if path.suffix in vtk_files.SUFFIXES and spec.geometry != "points":
            self._arrays = {name: self._on_lattice(name, values) for name, values in self._arrays.items()}
        self.has_samples = all(self._fits(name, array.shape[1:]) for name, array in self._arrays.items())
        if not self.has_samples and not all(self._fits(name, array.shape) for name, array in self._arrays.items()):
            self._refuse_shapes()
        counts = {array.shape[0] for array in self._arrays.values()}
        self.num_samples = counts.pop() if self.has_samples else 1
        if (self.has_samples and counts) or not self.num_samples or not self.sample_bytes:
            self._refuse_shapes()
        self._require_size()

    def _require_size(self) -> None:
        if self.sample_bytes > MAX_SAMPLE_BYTES:
            raise InputError(
                f"a sample of {self.path} has {self.sample_bytes:.4g} bytes, expected at most {MAX_SAMPLE_BYTES:.4g}"
            )

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample of all arrays, in single precision."""
        sizes = [array.shape[1:] if self.has_samples else array.shape for array in self._arrays.values()]
        return 4 * sum(map(prod, sizes))

    def _fits(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self._shapes[name]
        if name in ("code", "parameters") or wanted == ():
            return shape == wanted or (wanted == () and shape == (1,))
        if self._packed or self.spec.frames:
            return len(shape) == len(wanted) and shape[-1] == wanted[-1]
        return len(shape) == len(wanted) or (len(shape) > 0 and shape == wanted[: len(shape)])

    def _refuse_shapes(self) -> None:
        found = ", ".join(f"{name} {tuple(array.shape)}" for name, array in self._arrays.items())
        wanted = ", ".join(f"{name} {_shape_text(shape)}" for name, shape in self._shapes.items())
        raise InputError(f"{self.path} holds {found}; expected are {wanted}, with the same number of samples in all")

    def _on_lattice(self, name: str, values: Any) -> Any:
        if self._shapes[name][:1] != self.spec.sites[:1]:
            return values
        if values.shape != (1, prod(self.spec.sites)):
            raise InputError(
                f"{self.path} holds {name} of shape {values.shape[1:]} at its points, the solver takes {self.spec.sites}"
            )
        return values[:].reshape(1, *self.spec.sites[::-1]).transpose(0, *range(len(self.spec.sites), 0, -1))

    def block(self, start: int, stop: int) -> dict[str, Any]:
        """Samples ``start`` to ``stop`` as arrays ``(stop - start, ...)``, in float32.

        Raises:
            InputError: a value is not finite.
        """
        read = {name: self._read(name, start, stop) for name in self._arrays}
        given = read if self._packed else self._combined(read)
        if self.spec.geometry != "grid" and "coords" not in given:
            given["coords"] = given["inputs"][..., : self.spec.space_dim]
        if self._counts is not None:
            given["mask"] = np.arange(given["inputs"].shape[1]) < self._counts[start:stop, None]
        return given

    def _read(self, name: str, start: int, stop: int) -> np.ndarray:
        array = self._arrays[name]
        values = np.array(array[start:stop] if self.has_samples else array[:][None], dtype=np.float32)
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise InputError(
                f"{name or 'the array'} of sample {start + int(bad.argmax())} in {self.path} is not finite"
            )
        return values

    def _combined(self, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One array of all input channels, ordered by frame, then by field; and one of all parameters."""
        fields = [read[channel.name] for channel in self.spec.inputs]
        whole = max((values.shape for values in fields), key=len)
        full = len(self.spec.sites) + 1 + bool(self.spec.frames)
        whole = whole if len(whole) == full else (whole[0], *self.spec.sites)
        stacked = np.stack([np.broadcast_to(_with_axes(values, full), whole) for values in fields], axis=-1)
        inputs = stacked.reshape(*whole[: len(self.spec.sites) + 1], -1)
        given = {"inputs": inputs} | ({"code": read["code"]} if self.spec.code else {})
        if self.spec.parameters:
            scalars = [read[channel.name].reshape(-1) for channel in self.spec.parameters]
            given["parameters"] = np.stack(scalars, axis=-1)
        return given


class _LastBlock:
    """An array in a file whose last block is kept, since several channels are cut out of each."""

    def __init__(self, array: ArrayInFile) -> None:
        self._array, self._key, self._values = array, "", np.empty(0)
        self.shape = array.shape

    def __getitem__(self, block: slice | tuple[()]) -> np.ndarray:
        if self._key != repr(block):
            self._key, self._values = repr(block), self._array[block]
        return self._values


class _Channel:
    """One channel of an array in a file, which looks like an array in a file.

    Args:
        array: ``(samples, ..., channels)``, or ``(..., channels)`` if samples share it.
        index: of the channel.
        shared: number of samples that share the array; None if it has an axis of samples.
    """

    def __init__(self, array: _LastBlock, index: int, shared: int | None = None) -> None:
        self._array, self._index, self._shared = array, index, shared
        self.shape = (*(() if shared is None else (shared,)), *array.shape[:-1])

    def __getitem__(self, block: Any) -> np.ndarray:
        if self._shared is None:
            return self._array[block][..., self._index]
        values = self._array[:][..., self._index]
        return np.broadcast_to(values, (len(range(self._shared)[block]), *values.shape))


def _with_channels(arrays: Mapping[str, Any], spec: FieldSpec) -> Mapping[str, Any]:
    """The arrays, and as ``velocity_2``, as training data are called, the second channel of an array ``velocity``."""
    kept = {name: _LastBlock(array) for name, array in arrays.items() if array.shape}
    found = dict(arrays)
    for channel in (*spec.inputs, *spec.parameters):
        stem, _, number = channel.name.rpartition("_")
        if channel.name not in arrays and stem in kept and number.isdecimal():
            index = int(number) - 1
            found |= {channel.name: _Channel(kept[stem], index)} if 0 <= index < kept[stem].shape[-1] else {}
    return found


def _by_name(arrays: Mapping[str, ArrayInFile], spec: FieldSpec) -> Mapping[str, Any]:
    """The arrays of a file that is laid out as one of training data, by the names of fields; any others as they are."""
    inputs, rank = arrays.get("inputs"), len(spec.sites)
    whole = inputs is not None and len(inputs.shape) in (rank + 1, rank + 2) and inputs.shape[-1] == spec.input_channels
    if whole or spec.frames:
        return arrays
    num_positions = 0 if spec.geometry == "grid" else spec.space_dim
    names = [channel.name for channel in spec.inputs]
    found: dict[str, Any] = {name: array for name, array in arrays.items() if name != "inputs"}
    if inputs is not None:
        found |= _channels_of(inputs, names[num_positions:], rank)
    if num_positions and (coords := arrays.get("coords")) is not None:
        shared = inputs.shape[0] if inputs is not None and len(coords.shape) == rank + 1 else None
        found |= _channels_of(coords, names[:num_positions], rank, shared)
    if (scalars := arrays.get("parameters")) is not None:
        found |= _channels_of(scalars, [channel.name for channel in spec.parameters], 0)
    return found if all(name in found for name in expected_arrays(spec)) else arrays


def _channels_of(array: ArrayInFile, names: Sequence[str], rank: int, shared: int | None = None) -> dict[str, Any]:
    """The channels of an array by name, if it has as many; one channel needs no axis."""
    if len(names) == 1 and len(array.shape) == rank + 1:
        return {names[0]: array}
    if array.shape[-1:] != (len(names),):
        return {}
    kept = _LastBlock(array)
    return {name: _Channel(kept, index, shared) for index, name in enumerate(names)}


def _as_vector(path: Path, name: str, numbers: ArrayInFile) -> np.ndarray:
    """One number per sample; MATLAB has no vectors but rows and columns."""
    if 8 * prod(numbers.shape) > MAX_SAMPLE_BYTES:
        raise InputError(f"{path} holds {name} {numbers.shape}; expected is (samples,)")
    return np.ravel(numbers[:] if numbers.shape else numbers[()])


def _with_axes(values: np.ndarray, rank: int) -> np.ndarray:
    return values.reshape(*values.shape, *[1] * (rank - values.ndim))


def _shape_text(shape: Sequence[int]) -> str:
    return f"(samples{''.join(f', {size}' for size in shape)})"


@dataclass
class RangeCheck:
    """Which inputs ``(b, *sites, c_in)`` and parameters ``(b, p)`` lie outside the range of the training data.

    Args:
        solver: whose ranges count.
        samples: number of samples outside, by the name of a field or parameter.
        found: smallest and largest value found, and those of the training data.
    """

    solver: NeuralSolver | Ensemble
    samples: dict[str, int] = field(default_factory=dict)
    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, given: Mapping[str, np.ndarray]) -> None:
        """Look at the samples of a block: ``inputs`` ``(b, *sites, c_in)`` and ``parameters`` ``(b, p)``."""
        channels = {"inputs": self.solver.spec.inputs, "parameters": self.solver.spec.parameters}
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

    def warnings(self) -> list[str]:
        """A sentence for each field or parameter that leaves its range."""
        return [
            f"{name} of {self.samples[name]} samples leaves the range of the training data: "
            f"{low:.6g} to {high:.6g}, trained on {least:.6g} to {most:.6g}"
            for name, (low, high, least, most) in self.found.items()
        ]


@contextmanager
def open_inputs(path: Path, spec: FieldSpec) -> Iterator[InputFile]:
    """Open a file of inputs; see :class:`InputFile`."""
    with open_arrays(path) as arrays:
        yield InputFile(arrays, spec, path)


def predict_file(
    solver: NeuralSolver | Ensemble,
    source: Path,
    target: Path,
    provenance: Mapping[str, Any],
    *,
    batch_size: int = 20,
    band: Band | None = None,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> RangeCheck:
    """Predict the fields of all samples of a file, a block of samples in memory at a time.

    Args:
        solver: in evaluation mode, on the device that computes; of an ensemble the spread ``NAME_spread`` is written too.
        source: file of inputs.
        target: file to make, one array per predicted field, of the axes of the input arrays; in a ``.npy`` file one array
            ``prediction``, ``(samples, *sites, c)``. A VTK file is made from a VTK file.
        provenance: plain data to store with the fields.
        batch_size: samples in a block.
        band: whose limits ``NAME_low`` and ``NAME_high`` are written too.
        track: wraps the first samples of the blocks, to show progress.
    Raises:
        InputError: a file is of another format, or its arrays do not fit.
    """
    require_format(target)
    suffixes = _suffixes(solver, band)
    if problem := _find_conflict(source, target, suffixes):
        raise InputError(problem)
    check = RangeCheck(solver)
    record: dict[str, Any] = {"fields": predicted_arrays(solver.spec, suffixes), "input": source.name, **provenance}
    record |= {} if band is None else {"band": band.describe()}
    with open_inputs(source, solver.spec) as inputs:
        # A block has at most as many bytes as one sample may have.
        batch_size = max(1, min(batch_size, int(MAX_SAMPLE_BYTES) // inputs.sample_bytes))
        starts = range(0, inputs.num_samples, batch_size)
        blocks = _blocks(solver, inputs, track(starts), batch_size, check, band)
        write = _write_vtk if target.suffix in vtk_files.SUFFIXES else _write_blocks
        write(solver.spec, source, target, inputs.num_samples, blocks, record, check)
    return check


def _find_conflict(source: Path, target: Path, suffixes: Sequence[str]) -> str | None:
    if target.suffix == ".npy" and len(suffixes) > 1:
        return f"{target}: a .npy file holds one array, no band or spread beside it; choose another format"
    if source.resolve() == target.resolve():
        return f"{target} is the file of inputs; choose another output"
    if target.suffix in vtk_files.SUFFIXES and source.suffix not in vtk_files.SUFFIXES:
        return f"{target}: a VTK file needs the points of one; give an input in .vtu or .vtk"
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
        found["_low"], found["_high"] = band.limits(found[""])
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
        yield slice(start, stop), _predict(solver, given, band)


def _by_field(spec: FieldSpec, values: np.ndarray) -> dict[str, np.ndarray]:
    """Fields ``(samples, *sites, [frames])`` by name, from all target channels."""
    split = values.reshape(*values.shape[:-1], -1, len(spec.targets))
    fields = {channel.name: split[..., index] for index, channel in enumerate(spec.targets)}
    return fields if spec.frames else {name: values[..., 0] for name, values in fields.items()}


def _write_blocks(
    spec: FieldSpec,
    source: Path,
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
    spec: FieldSpec,
    source: Path,
    target: Path,
    num_samples: int,
    blocks: Iterator[_Block],
    record: dict[str, Any],
    check: RangeCheck,
) -> None:
    ((_, values),) = blocks
    fields = {
        name + suffix: array[0, ..., index].flatten(order="F")
        for suffix, array in values.items()
        for index, name in enumerate(spec.target_names)
    }
    vtk_files.write_mesh(target, source, fields)
    write_record(target, {**record, "outside_training_range": check.warnings()})


def write_template(solver: NeuralSolver, path: Path, num_samples: int = 2) -> dict[str, tuple[int, ...]]:
    """Write a file of inputs that shows what is expected: names, shapes, and values of the magnitude of the training data.

    Args:
        solver: the solver that shall read it.
        path: a ``.npz``, ``.h5`` or ``.mat`` file.
        num_samples: how many samples.
    Returns:
        The shape of each array.
    Raises:
        InputError: the format does not hold arrays by name.
    """
    require_format(path)
    if path.suffix in (*vtk_files.SUFFIXES, ".npy"):
        raise InputError(f"{path}: a template is a .npz, .h5 or .mat file, which holds arrays by name")
    spec = solver.spec
    made = {name: (num_samples, *shape) for name, shape in expected_arrays(spec).items()}
    units = {channel.name: channel.unit for channel in (*spec.inputs, *spec.parameters)} | {"code": "1"}
    record = {"fields": {name: units[name] for name in made}}
    with write_arrays(path, made, units, record) as arrays:
        for name, values in _drawn(solver, num_samples).items():
            arrays[name][:] = values
    return made


def _drawn(solver: NeuralSolver, num_samples: int) -> dict[str, np.ndarray]:
    """Random values with the mean and deviation of the training data."""
    spec, generator = solver.spec, torch.Generator().manual_seed(0)
    normal = torch.randn(num_samples, *spec.sites, spec.input_channels, generator=generator)
    inputs = solver.input_normalizer.cpu().decode(normal).numpy()
    inputs = inputs.reshape(num_samples, *spec.sites, -1, len(spec.inputs))
    drawn = {channel.name: inputs[..., index] for index, channel in enumerate(spec.inputs)}
    drawn = drawn if spec.frames else {name: values[..., 0] for name, values in drawn.items()}
    if spec.code:
        drawn["code"] = torch.randn(num_samples, spec.code, generator=generator).numpy()
    if solver.parameter_normalizer is not None:
        normal = torch.randn(num_samples, len(spec.parameters), generator=generator)
        scalars = solver.parameter_normalizer.cpu().decode(normal).numpy()
        drawn |= {channel.name: scalars[:, index] for index, channel in enumerate(spec.parameters)}
    return drawn
