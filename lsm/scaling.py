"""How a cost grows with the number of sites: the exponent of a power law, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PowerLaw:
    """``cost = factor * sites^exponent``.

    Args:
        exponent: slope in log-log axes.
        factor: cost at one site, extrapolated.
        error: standard error of the exponent, from the residuals; None for two sizes, which every line fits.
        num_sizes: number of sizes that were fitted.
    """

    exponent: float
    factor: float
    error: float | None
    num_sizes: int


def fit_power_law(sites: Sequence[int], costs: Sequence[float | None], fit_from: float = 0.0) -> PowerLaw | None:
    """Fit a power law by least squares of the logarithms.

    Small sizes cost mainly what does not depend on the sites, such as the start of each operation, so they are left out.

    Args:
        sites: number of sites of each size, ``(n,)``.
        costs: cost at each size, ``(n,)``; None where it is unknown.
        fit_from: sizes with fewer sites are left out.
    Returns:
        The fit; None if fewer than two sizes are left.

    Example:
        >>> law = fit_power_law([10, 100, 1000, 10000], [9.0, 2.0, 20.0, 200.0], fit_from=100)
        >>> round(law.exponent, 6), round(law.factor, 6), law.num_sizes
        (1.0, 0.02, 3)
    """
    kept = [(size, cost) for size, cost in zip(sites, costs, strict=True) if cost is not None and size >= fit_from]
    if len({size for size, _ in kept}) < 2:
        return None
    x, y = np.log(np.array(kept, dtype=np.float64)).T
    spread = x - x.mean()
    exponent = float(spread @ y / (spread @ spread))
    residuals = y - y.mean() - exponent * spread
    freedom = len(kept) - 2
    error = math.sqrt(float(residuals @ residuals) / freedom / float(spread @ spread)) if freedom else None
    return PowerLaw(exponent, math.exp(float(y.mean() - exponent * x.mean())), error, len(kept))
