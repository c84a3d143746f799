"""Mean, deviation and bootstrap interval over seeds and samples, and which of two or several methods is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Share of the bootstrap replicates inside the interval.
LEVEL = 0.95

_REPLICATES = 10_000

#: Random numbers that are held in memory at once.
_MOST_DRAWS = 1 << 22


@dataclass(frozen=True)
class Summary:
    """Errors ``(seeds, n)`` of several seeds on ``n`` samples.

    Args:
        mean: over seeds and samples.
        deviation: sample standard deviation of the seeds' means (divisor: seeds less one); None for a single seed.
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
    return summarise_each({"": np.stack(errors)})[""]


def summarise_each(tables: Mapping[str, np.ndarray]) -> dict[str, Summary]:
    """Statistics of several errors by name, each ``(seeds, samples)``."""
    if not tables:
        return {}
    intervals = bootstrap_intervals(np.stack([*tables.values()], axis=-1))
    found = {}
    for (name, table), (low, high) in zip(tables.items(), intervals, strict=True):
        means = table.mean(axis=1)
        deviation = float(means.std(ddof=1)) if len(means) > 1 else None
        found[name] = Summary(float(means.mean()), deviation, low, high, tuple(map(float, means)))
    return found


def bootstrap_interval(table: np.ndarray, replicates: int = _REPLICATES) -> tuple[float, float]:
    """Interval of the mean of ``(seeds, samples)`` when both seeds and samples are drawn again, with replacement.

    The random numbers are the same in every call.
    """
    (interval,) = bootstrap_intervals(table[..., None], replicates)
    return interval


def bootstrap_intervals(tables: np.ndarray, replicates: int = _REPLICATES) -> list[tuple[float, float]]:
    """:func:`bootstrap_interval` of each of the numbers of ``(seeds, samples, numbers)``, from the same draws."""
    random = np.random.default_rng(0)
    seeds = _draw(random, len(tables), replicates)
    return _intervals(_means([(seeds, tables)], random, replicates))


def bootstrap_differences(
    first: np.ndarray, second: np.ndarray, replicates: int = _REPLICATES
) -> list[tuple[float, float]]:
    """Intervals of ``mean(first) - mean(second)``, errors ``(seeds, samples, numbers)`` of two methods on the same samples.

    Both are drawn with the same samples, since they are paired, and with seeds of their own.
    """
    random = np.random.default_rng(0)
    seeds = [_draw(random, len(table), replicates) for table in (first, second)]
    return _intervals(_means([(seeds[0], first), (-seeds[1], second)], random, replicates))


def _draw(random: np.random.Generator, count: int, replicates: int) -> np.ndarray:
    """Shares ``(replicates, count)`` of each of some things when as many are drawn with replacement."""
    return random.multinomial(count, np.full(count, 1 / count), replicates) / count


def _means(
    weighted: Sequence[tuple[np.ndarray, np.ndarray]], random: np.random.Generator, replicates: int
) -> np.ndarray:
    """Sum of weighted means ``(replicates, numbers)`` of tables ``(seeds, samples, numbers)``, with the same samples in each."""
    num_samples = weighted[0][1].shape[1]
    rows = max(_MOST_DRAWS // num_samples, 1)
    parts = []
    for first in range(0, replicates, rows):
        block = slice(first, min(first + rows, replicates))
        samples = _draw(random, num_samples, block.stop - block.start)
        means = [np.einsum("rs,snk,rn->rk", seeds[block], table, samples, optimize=True) for seeds, table in weighted]
        parts.append(sum(means[1:], start=means[0]))
    return np.concatenate(parts)


def _intervals(means: np.ndarray) -> list[tuple[float, float]]:
    ends = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [(float(low), float(high)) for low, high in ends.T]


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same samples; errors ``(seeds, n)`` are averaged over the seeds of each.

    Args:
        wins: samples on which the first has the smaller error.
        losses: samples on which the second has.
        ties: samples with equal errors.
        difference: mean error of the first minus that of the second.
        low: lower end of the bootstrap interval of the difference.
        high: upper end.
    """

    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float


def compare(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict[str, Comparison]:
    """Compare errors of two methods on the same samples, by the name of the error; each is ``(seeds, samples)``.

    Example:
        >>> a, b = np.array([[0.1, 0.2, 0.4]]), np.array([[0.2, 0.3, 0.3]])
        >>> found = compare({"rmse": a}, {"rmse": b})["rmse"]
        >>> found.wins, found.losses, round(found.difference, 3)
        (2, 1, -0.033)
    """
    tables = [np.stack([errors[name] for name in first], axis=-1) for errors in (first, second)]
    intervals = bootstrap_differences(tables[0], tables[1])
    return {
        name: _compared(first[name].mean(axis=0), second[name].mean(axis=0), interval)
        for name, interval in zip(first, intervals, strict=True)
    }


def _compared(first: np.ndarray, second: np.ndarray, interval: tuple[float, float]) -> Comparison:
    wins, losses = int((first < second).sum()), int((first > second).sum())
    return Comparison(wins, losses, len(first) - wins - losses, float(first.mean() - second.mean()), *interval)


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
