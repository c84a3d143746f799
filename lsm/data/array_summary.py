"""What an array holds, in a few numbers: range, mean, and values that are missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan, prod

import numpy as np

from lsm.data.array_files import ArrayInFile

#: Bytes that are read at once.
_BLOCK_BYTES = 5e7


@dataclass(frozen=True)
class ArraySummary:
    """An array ``(samples, ...)`` in a few numbers.

    Args:
        low: smallest finite value; NaN without one.
        mean: of the finite values.
        high: largest finite value.
        missing: number of values that are NaN.
        infinite: number of infinite values.
        samples: number of entries of the first axis that hold such values.
    """

    low: float
    mean: float
    high: float
    missing: int = 0
    infinite: int = 0
    samples: int = 0

    @property
    def remark(self) -> str:
        """What is wrong with the values, such as ``12 NaN in 3 samples``; empty if nothing is."""
        counts = {"NaN": self.missing, "infinite": self.infinite}
        bad = " and ".join(f"{count} {what}" for what, count in counts.items() if count)
        return f"{bad} in {self.samples} sample{'' if self.samples == 1 else 's'}" if bad else ""


def summarise(array: ArrayInFile) -> ArraySummary:
    """Read an array ``(samples, ...)`` once, block by block, and summarise it; sums are in double precision."""
    if not array.shape:
        return _of([np.atleast_1d(array[()]).astype(np.float64)])
    step = max(1, int(_BLOCK_BYTES // max(8 * prod(array.shape[1:]), 1)))
    starts = range(0, array.shape[0], step)
    return _of(array[start : min(start + step, array.shape[0])].astype(np.float64) for start in starts)


def _of(blocks: Iterable[np.ndarray]) -> ArraySummary:
    low, high, total, count, missing, infinite, samples = np.inf, -np.inf, 0.0, 0, 0, 0, 0
    for block in blocks:
        finite = np.isfinite(block)
        values = block[finite]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        total, count = total + float(values.sum()), count + values.size
        missing, infinite = missing + int(np.isnan(block).sum()), infinite + int(np.isinf(block).sum())
        samples += int((~finite).reshape(len(block), -1).any(axis=1).sum())
    if not count:
        return ArraySummary(nan, nan, nan, missing, infinite, samples)
    return ArraySummary(low, total / count, high, missing, infinite, samples)
