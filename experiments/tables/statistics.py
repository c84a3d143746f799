"""Mean, deviation and bootstrap interval over seeds and test samples, and which of several methods is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Share of the bootstrap replicates inside the interval.
LEVEL = 0.95

_REPLICATES = 10_000


@dataclass(frozen=True)
class Summary:
    """Errors of several seeds.

    Args:
        mean: over seeds and samples.
        deviation: standard deviation of the seeds' means, with one degree of freedom less; None for a single seed.
        low: lower end of the bootstrap interval of the mean.
        high: upper end.
        seeds: mean error of each seed.
    """

    mean: float
    deviation: float | None
    low: float
    high: float
    seeds: tuple[float, ...]


def summarise(errors: Sequence[np.ndarray]) -> Summary:
    """Statistics of errors ``(num_samples,)`` of each seed, all on the same test samples."""
    table = np.stack(errors)
    means = table.mean(axis=1)
    deviation = float(means.std(ddof=1)) if len(means) > 1 else None
    low, high = bootstrap_interval(table)
    return Summary(float(means.mean()), deviation, low, high, tuple(map(float, means)))


def bootstrap_interval(table: np.ndarray, replicates: int = _REPLICATES) -> tuple[float, float]:
    """Interval of the mean of ``(seeds, samples)`` when both seeds and samples are drawn again, with replacement.

    The random numbers are the same in every call.
    """
    random = np.random.default_rng(0)
    num_seeds, num_samples = table.shape
    seeds = random.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), replicates) / num_seeds
    samples = random.multinomial(num_samples, np.full(num_samples, 1 / num_samples), replicates) / num_samples
    means = np.einsum("rs,sn,rn->r", seeds, table, samples, optimize=True)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def clear_best(summaries: Mapping[str, Summary]) -> str | None:
    """The method with the least mean, if its difference to every other one exceeds the deviation of that difference.

    The deviation of a difference is ``sqrt(s1^2 + s2^2)``. With a single seed none is known, and no method is the best.

    Returns:
        Its name; None if no method is clearly the best, or there is only one.
    """
    if len(summaries) < 2 or any(summary.deviation is None for summary in summaries.values()):
        return None
    best, *others = sorted(summaries, key=lambda name: summaries[name].mean)
    first = summaries[best]
    for name in others:
        other = summaries[name]
        if other.mean - first.mean <= math.hypot(first.deviation or 0.0, other.deviation or 0.0):
            return None
    return best
