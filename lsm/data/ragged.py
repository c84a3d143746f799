"""Clouds with different numbers of points in a file of arrays.

They are padded: coordinates ``(samples, n, d)`` that are NaN behind the last point of a sample, or an array ``num_points``
``(samples,)`` that says how many points come before the padding. Or they lie one after the other: ``num_points`` says how many
of the rows of coordinates ``(rows, d)`` and fields ``(rows, ...)`` belong to each sample. All become padded arrays, in which the
last point of a sample is repeated, so that every value is one of the sample. Knows no solver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lsm.data.array_files import ArrayInFile, as_vector
from lsm.errors import InputError

#: The array that says how many points each sample has.
NUM_POINTS = "num_points"

#: More samples than this are refused.
_MOST_SAMPLES = 10_000_000

#: Padded arrays hold at most so many times the points.
_MOST_PADDING = 1000

#: A last axis of at most so many values holds the coordinates of a point.
_MOST_COORDINATES = 3

#: Bytes of coordinates that are read at once.
_BLOCK_BYTES = 5e7


class PaddedArray:
    """An array of ragged clouds, which looks like an array ``(samples, n, ...)`` in a file.

    Args:
        array: ``(samples, n, ...)``, or ``(rows, ...)`` of all samples one after the other.
        counts: ``(samples,)``, points of each sample.
        width: ``n``.
        in_rows: whether the samples lie one after the other.
    """

    def __init__(self, array: Any, counts: np.ndarray, width: int, in_rows: bool) -> None:
        self._array, self._counts, self._in_rows = array, counts, in_rows
        self._ends = np.concatenate([[0], counts.cumsum()])
        self.name = array.name
        self.shape = (len(counts), width, *array.shape[1 if in_rows else 2 :])

    @property
    def names(self) -> tuple[str, ...]:
        """As of :class:`lsm.data.array_files.ArrayInFile`."""
        return self._array.names

    @property
    def units(self) -> tuple[str, ...]:
        """As of :class:`lsm.data.array_files.ArrayInFile`."""
        return self._array.units

    def __getitem__(self, samples: Any) -> np.ndarray:
        """Values of some samples, given as a slice."""
        start, stop, _ = samples.indices(len(self._counts))
        # Behind the last point of a sample its number is repeated.
        numbers = np.minimum(np.arange(self.shape[1]), self._counts[start:stop, None] - 1)
        if self._in_rows:
            rows = self._array[int(self._ends[start]) : int(self._ends[stop])]
            return rows[self._ends[start:stop, None] - self._ends[start] + numbers]
        return self._array[start:stop][np.arange(stop - start)[:, None], numbers]


def is_one_coordinate(shape: tuple[int, ...]) -> bool:
    """Whether coordinates of this shape are the only ones of their points, ``(n,)`` or ``(samples, n)``, not ``(n, d)``."""
    return len(shape) == 1 or (len(shape) == 2 and shape[-1] > _MOST_COORDINATES)


def even_out(
    path: Path,
    arrays: Mapping[str, Any],
    coords: Sequence[str],
    of_samples: Sequence[str] = ("parameters", "code"),
    *,
    by_axis: bool = False,
) -> tuple[Mapping[str, Any], np.ndarray | None]:
    """The arrays of a file, those of ragged clouds padded.

    Args:
        path: the file, for messages.
        arrays: by name.
        coords: name of the array of coordinates, ``(..., d)``, or names of one array per coordinate.
        of_samples: names of arrays of samples, not of their points, whatever their shapes.
        by_axis: whether ``coords`` names one array per coordinate; each may be a row or a column of a MATLAB file.
    Returns:
        The arrays, with one called :data:`NUM_POINTS`, and the numbers of points ``(samples,)``; without padding and None if
        there are no clouds, or if these need none.
    Raises:
        InputError: a sample has no point, NaN lies between points, or the numbers of points do not fit the arrays.
    """
    places = [arrays[name] for name in coords if name in arrays]
    if not places:
        return arrays, None
    if NUM_POINTS in (others := getattr(arrays, "others", {})):
        raise InputError(others[NUM_POINTS])
    if by_axis:
        arrays = {name: as_vector(array) if name in coords else array for name, array in arrays.items()}
        places = [arrays[name] for name in coords if name in arrays]
    counts = _stated(path, arrays) if NUM_POINTS in arrays else _counted(path, places, by_axis)
    if counts is None:
        return arrays, None
    of_points = _axes_of_points(path, counts, places[0].shape, by_axis)
    rank, width = len(of_points), of_points[1] if len(of_points) > 1 else int(counts.max())
    fields = {name: array for name, array in arrays.items() if name not in (NUM_POINTS, *of_samples)}
    fields |= {name: as_vector(array) for name, array in fields.items() if array.shape[:rank] != of_points}
    padded = {
        name: PaddedArray(array, counts, width, rank == 1)
        for name, array in fields.items()
        if array.shape[:rank] == of_points
    }
    return {**arrays, **padded, NUM_POINTS: ArrayInFile(path, NUM_POINTS, counts)}, counts


def _axes_of_points(path: Path, counts: np.ndarray, first: tuple[int, ...], by_axis: bool) -> tuple[int, ...]:
    """First axes of what is known at the points, ``(rows,)``, or ``(samples, n)`` if padded, from a shape of coordinates."""
    rows, most = int(counts.sum()), int(counts.max())
    in_rows = first[:1] == (rows,) and rows != len(counts)
    axes = first if by_axis else first[:-1]
    if len(axes) != (1 if in_rows else 2) or not (in_rows or (axes[0] == len(counts) and axes[1] >= most)):
        last = "" if by_axis else ", d"
        raise InputError(
            f"{path}: {NUM_POINTS} lists {rows} points in {len(counts)} samples, at most {most} each, but coordinates of shape "
            f"{first} are neither stacked, (rows{last}), nor padded, (samples, points{last})"
        )
    if len(counts) * most > _MOST_PADDING * rows:
        mean = rows / len(counts)
        raise InputError(f"a sample in {path} has {most} points, the average is {mean:.3g}; remove that sample")
    return axes


def _stated(path: Path, arrays: Mapping[str, Any]) -> np.ndarray:
    stated = arrays[NUM_POINTS]
    # MATLAB has no vectors but rows and columns.
    is_vector = len(stated.shape) in (1, 2) and 0 < prod(stated.shape) == max(stated.shape) <= _MOST_SAMPLES
    counts = np.ravel(stated[:]) if is_vector else np.zeros(1)
    # A sum of integers might overflow.
    if counts.min() < 1 or (counts != np.floor(counts)).any() or counts.sum(dtype=float) > 1 << 40:
        raise InputError(
            f"{NUM_POINTS} {stated.shape} in {path} has to hold one whole number, at least 1, for each sample"
        )
    return counts.astype(np.int64)


def _counted(path: Path, places: Sequence[Any], by_axis: bool) -> np.ndarray | None:
    """Points of each sample with coordinates that are not NaN; None if all have as many, or the arrays are not of clouds."""
    of_clouds = all(len(array.shape) == (2 if by_axis else 3) for array in places)
    if not of_clouds or len({array.shape[:2] for array in places}) > 1 or not prod(places[0].shape):
        return None
    found = []
    for start, known in _known(places):
        counts = known.sum(axis=1)
        if (gaps := known != (np.arange(known.shape[1]) < counts[:, None])).any():
            sample = start + int(gaps.any(axis=1).argmax())
            raise InputError(
                f"{path} has NaN between the coordinates of sample {sample}; NaN may only follow its last point"
            )
        if not counts.all():
            raise InputError(f"sample {start + int(counts.argmin())} in {path} has no points; remove it")
        found.append(counts)
    counts = np.concatenate(found)
    return None if (counts == places[0].shape[1]).all() else counts


def _known(places: Sequence[Any]) -> Iterator[tuple[int, np.ndarray]]:
    """First sample of each block, and which of its points have coordinates, ``(b, n)``."""
    samples, width = places[0].shape[:2]
    step = max(1, int(_BLOCK_BYTES) // (8 * width * sum(prod(array.shape[2:]) for array in places)))
    for start in range(0, samples, step):
        known = np.zeros((min(step, samples - start), width), dtype=bool)
        for array in places:
            values = array[start : start + len(known)]
            known |= ~np.isnan(values.reshape(*known.shape, -1)).all(axis=-1)
        yield start, known
