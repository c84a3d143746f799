"""Values on another grid: what a solution on a coarse grid says at the sites of a finer one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.signal import resample


def between_nodes(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Cubic splines between nodes that are evenly spaced along the leading axes, from end to end.

    Args:
        values: ``(*nodes, ...)``.
        shape: wanted number of nodes along each of these axes.
    Returns:
        ``(*shape, ...)``.
    """
    for axis, count in enumerate(shape):
        given = values.shape[axis]
        if given != count:
            values = make_interp_spline(np.linspace(0, 1, given), values, 3, axis=axis)(np.linspace(0, 1, count))
    return values


def between_centres(values: np.ndarray, count: int) -> np.ndarray:
    """Cubic splines between the centres of cells ``(n, n)`` of a field that is zero on the boundary; ``(count, count)``."""
    given, wanted = _centres(len(values)), _centres(count)
    for axis in (0, 1):
        padded = np.pad(values, [(int(axis == each),) * 2 for each in (0, 1)])
        values = make_interp_spline(np.concatenate([[0.0], given, [1.0]]), padded, 3, axis=axis)(wanted)
    return values


def on_torus(values: np.ndarray, count: int) -> np.ndarray:
    """Trigonometric interpolation of a periodic field ``(n, n, ...)``, or what remains of its modes on fewer points."""
    for axis in (0, 1):
        if values.shape[axis] != count:
            values = resample(values, count, axis=axis)
    return values


def cell_means(values: np.ndarray, count: int) -> np.ndarray:
    """Means over the cells of a grid ``(count, count)`` of values that are constant in the cells of ``(n, n)``."""
    shares = _overlaps(len(values), count)
    return shares @ values @ shares.T


def _centres(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count


def _overlaps(given: int, wanted: int) -> np.ndarray:
    """Share that each of ``given`` intervals has of each of ``wanted`` ones, ``(wanted, given)``; rows add up to 1."""
    fine, coarse = np.linspace(0, 1, given + 1), np.linspace(0, 1, wanted + 1)
    ends = np.minimum(fine[1:], coarse[1:, None])
    starts = np.maximum(fine[:-1], coarse[:-1, None])
    return np.clip(ends - starts, 0, None) * wanted
