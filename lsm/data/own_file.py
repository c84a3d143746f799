"""A user's file of arrays: how it is laid out, and the store that is made of it, block by block.

The samples of the store are those of the file in a random order, so that ranges of them are random splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lsm.data import hdf5, vtk_files
from lsm.data.array_files import NAMELESS, ArrayInFile, ArraysInFile, as_vector, open_arrays
from lsm.data.layout import Column, Layout, Roles
from lsm.data.layout_search import find_layout
from lsm.data.mesh_set import is_mesh_set, open_mesh_set
from lsm.data.ragged import even_out, is_one_coordinate
from lsm.data.store import StoredField, StoreWriter, first_not_finite
from lsm.errors import InputError

#: Bytes of the file that are read at once.
_BLOCK_BYTES = 5e7

#: A field whose values single precision rounds by more than this part of its range is refused.
_MOST_ROUNDING = 1e-3

#: Least and greatest magnitude of a target field: errors are sums of squares in single precision, over up to millions of sites.
_MAGNITUDES = (1e-15, 1e15)

#: Formats that hold arrays of many samples by name.
SUFFIXES = (".npz", *hdf5.SUFFIXES, ".mat")


@dataclass(frozen=True)
class OwnFile:
    """An open file of arrays.

    Args:
        path: the file.
        arrays: by name.
        layout: how they are read.
    """

    path: Path
    arrays: Mapping[str, ArrayInFile]
    layout: Layout

    def blocks(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """The samples in the order of the file: the first sample of each block, and the columns ``(b, ...)`` by name.

        They are as precise as in the file.
        """
        sample_bytes = sum(8 * prod(column.shape) for column in self.layout.columns)
        step = max(1, int(_BLOCK_BYTES) // max(sample_bytes, 1))
        for start in range(0, self.layout.num_samples, step):
            yield start, self._exact(start, min(start + step, self.layout.num_samples))

    def columns(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The columns ``(stop - start, ...)`` of some samples in single precision, by name."""
        return {name: values.astype(np.float32) for name, values in self._exact(start, stop).items()}

    def _exact(self, start: int, stop: int) -> dict[str, np.ndarray]:
        parts = {part.array: part for column in self.layout.columns for part in column.parts}
        read = {
            name: self.arrays[name][slice(None) if part.shared else slice(start, stop)] for name, part in parts.items()
        }
        return {column.name: column.values(read, stop - start) for column in self.layout.columns}


def lay_out(path: Path, arrays: ArraysInFile, roles: Roles) -> OwnFile:
    """Find the layout of an open file.

    Raises:
        InputError: the arrays do not fit together, hold no samples, or have a role without being real numbers; or the only one
            has no name.
    """
    if NAMELESS in arrays:
        raise InputError(
            f"{path} holds one array without a name; write all arrays to one file, such as "
            'np.savez("my.npz", inputs=inputs, targets=targets), or np.savez("my.npz", targets=series) for a time series'
        )
    if unusable := sorted(arrays.others.keys() & roles.named()):
        raise InputError(arrays.others[unusable[0]])
    coords = ("coords",) if roles.coords is None else roles.coords
    of_samples = [*(roles.parameters or ["parameters"]), roles.code or "code"]
    by_axis = len(coords) > 1 or any(is_one_coordinate(arrays[name].shape) for name in coords if name in arrays)
    evened, counts = even_out(path, arrays, coords, of_samples, by_axis=by_axis)
    evened = _with_scalars(evened, roles)
    shapes = {name: array.shape for name, array in evened.items()}
    named = {name: array for name, array in evened.items() if name in roles.named()}
    names, units = ({name: getattr(array, what) for name, array in named.items()} for what in ("names", "units"))
    try:
        layout = find_layout(shapes, roles, names, units)
    except InputError as error:
        raise InputError(f"{path}: {error}", error.options) from error
    if layout.num_samples < 1:
        first = next(column for column in layout.columns if column.name == layout.reader["targets"][0])
        raise InputError(f"{path} holds no samples: its targets have shape {shapes[first.parts[0].array]}")
    if not prod(layout.sites):
        raise InputError(f"{path} holds no values: its sites are {layout.sites}")
    if counts is not None and layout.kind == "points":
        layout = layout.with_counts((int(counts.min()), int(counts.max())))
    return OwnFile(path, evened, layout)


def _with_scalars(arrays: Mapping[str, Any], roles: Roles) -> Mapping[str, Any]:
    """The arrays, of which parameters are vectors if they are a row of a MATLAB file with one number for each sample."""
    targets = [arrays[name] for name in roles.targets or ["targets"] if name in arrays]
    row = (1, *targets[0].shape[:1]) if targets else None
    names = roles.parameters or ["parameters"]
    return {name: as_vector(array) if name in names and array.shape == row else array for name, array in arrays.items()}


@contextmanager
def open_own_file(path: Path, roles: Roles) -> Iterator[OwnFile]:
    """Open a file, or a set of VTK files, and find the layout.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is damaged, of a format that does not hold arrays of many samples by name, or cannot be laid out.
    """
    if path.suffix not in SUFFIXES and not is_mesh_set(path):
        single = ", which holds one sample," if path.suffix in vtk_files.SUFFIXES else ""
        raise InputError(
            f"{path}{single} cannot be used as training data; give a file {', '.join(SUFFIXES)} with named arrays of many "
            "samples, or a folder or pattern of VTK files"
        )
    with open_samples(path) as arrays:
        yield lay_out(path, arrays, roles)


def open_samples(path: Path) -> AbstractContextManager[ArraysInFile]:
    """Open the arrays of a file, or those of a set of VTK files."""
    return open_mesh_set(path) if is_mesh_set(path) else open_arrays(path)


def write_store(
    file: OwnFile,
    store: Path,
    order: Sequence[int],
    provenance: Mapping[str, Any],
    track: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:
    """Make a store of a file.

    Args:
        file: the open file.
        store: the store to make.
        order: place in the store of each sample of the file.
        provenance: plain data.
        track: wraps the blocks, to show progress.
    Raises:
        InputError: a value is not finite, or the true fields of a sample are zero (the message names the sample), or single
            precision does not suffice.
    """
    fields = {column.name: StoredField(column.shape, column.unit, _origin(column)) for column in file.layout.columns}
    name, points = file.path.stem, file.layout.reader.get("points")
    ranges = {column: _Range(field.shape[-1] if column == points else 1) for column, field in fields.items()}
    with StoreWriter(store, name, fields, len(order), provenance, bookkeeping={"sample": "int64"}) as writer:
        for start, columns in track(file.blocks()):
            _require_finite(file, start, columns)
            _require_nonzero(file, start, columns)
            for position in range(len(next(iter(columns.values())))):
                sample = {column: values[position] for column, values in columns.items()}
                writer.write(order[start + position], sample, {"sample": start + position})
            for column, values in columns.items():
                ranges[column].add(values)
        _require_precision(file, ranges)


class _Range:
    """Range of a field, or of each coordinate of points, and the greatest error of its values in single precision.

    Args:
        components: 1, or the number of coordinates.
    """

    def __init__(self, components: int) -> None:
        self.low = np.full(components, np.inf)
        self.high = np.full(components, -np.inf)
        self.rounding = np.zeros(components)

    def add(self, values: np.ndarray) -> None:
        rows = values.astype(np.float64, copy=False).reshape(-1, len(self.low))
        self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))
        self.rounding = np.maximum(self.rounding, np.abs(rows.astype(np.float32) - rows).max(axis=0))

    @property
    def magnitude(self) -> np.ndarray:
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def is_lost(self) -> np.ndarray:
        """Whether single precision loses what varies, unless this is noise of double precision, ``(components,)``."""
        span = self.high - self.low
        return (self.rounding > _MOST_ROUNDING * span) & (span > 1e-12 * self.magnitude)


def _require_precision(file: OwnFile, ranges: Mapping[str, _Range]) -> None:
    for name, found in ranges.items():
        for index in np.flatnonzero(found.is_lost()):
            low, high = found.low[index], found.high[index]
            raise InputError(
                f"{name} in {file.path} lies between {low:.10g} and {high:.10g}, which single precision rounds by up to "
                f"{found.rounding[index]:.2g}; subtract a constant from it, such as {low:.10g}, or change its unit"
            )
    least, greatest = _MAGNITUDES
    for name in file.layout.reader["targets"]:
        magnitude = ranges[name].magnitude.max()
        if magnitude and not least <= magnitude <= greatest:
            raise InputError(
                f"{name} in {file.path} has magnitudes of up to {magnitude:.3g}, whose squares single precision cannot hold; "
                f"give it in a unit in which they lie between {least:g} and {greatest:g}"
            )


def _origin(column: Column) -> str:
    names = (part.array + ("" if part.channel is None else f"[..., {part.channel}]") for part in column.parts)
    return "from " + ", ".join(names)


def _require_finite(file: OwnFile, start: int, columns: Mapping[str, np.ndarray]) -> None:
    for name, values in columns.items():
        bad = first_not_finite(values)
        if bad is not None and np.isfinite(values[bad]).all():
            raise InputError(
                f"{name} in {file.path} exceeds {np.finfo(np.float32).max:.3g}, the greatest number of single precision, "
                f"in sample {start + bad}; give it in another unit"
            )
        if bad is not None:
            of_cloud = "; to mark unused points of a cloud, set their coordinates to NaN"
            raise InputError(
                f"{name} in {file.path} contains NaN or infinity in sample {start + bad}; replace the value or remove the sample"
                f"{of_cloud if file.layout.kind == 'points' else ''}"
            )


def _require_nonzero(file: OwnFile, start: int, columns: Mapping[str, np.ndarray]) -> None:
    """Refuse samples for which every loss would be undefined, since they are relative to the truth."""
    truths = [columns[name] for name in file.layout.reader["targets"]]
    is_zero = ~np.any([truth.reshape(len(truth), -1).any(axis=1) for truth in truths], axis=0)
    if is_zero.any():
        raise InputError(
            f"the true fields of sample {start + is_zero.argmax()} in {file.path} are zero everywhere, so that their relative "
            "error is undefined; remove the sample, or add a constant to the targets of all"
        )


def split_sizes(num_samples: int, fractions: Sequence[float]) -> tuple[int, int, int]:
    """Samples for training, validation and test; a split of a positive fraction has one at least.

    Raises:
        InputError: there are too few samples, or the fractions do not sum to 1.

    Example:
        >>> split_sizes(50, (0.8, 0.1, 0.1))
        (40, 5, 5)
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            f"fractions of training, validation and test are {list(fractions)}, expected three that sum to 1",
            options=("fractions",),
        )
    validation, test = (max(round(share * num_samples), 1) if share else 0 for share in fractions[1:])
    train = num_samples - validation - test
    if train < 1:
        raise InputError(
            f"{num_samples} samples are too few for the fractions {list(fractions)}", options=("fractions",)
        )
    return train, validation, test
