"""Gaussian random fields, each with its covariance stated and drawn from the generator handed in."""

from __future__ import annotations

import numpy as np
from scipy.fft import idctn


def neumann_field(rng: np.random.Generator, resolution: int, alpha: float = 2.0, tau: float = 3.0) -> np.ndarray:
    """Draw from ``N(0, tau^(2 alpha - 2) (-Laplace + tau^2)^-alpha)`` on the unit square.

    The Laplacian has zero Neumann boundary values and acts on fields of zero mean: its eigenfunctions are products of cosines
    ``cos(k pi x)``, here at the cell centres ``(i + 1/2) / n``.

    Args:
        rng: source of all randomness.
        resolution: cells ``n`` along each axis.
        alpha: smoothness.
        tau: inverse length scale.
    Returns:
        ``(n, n)``, double precision.
    """
    wave_numbers = np.pi * np.arange(resolution)
    squares = wave_numbers[:, None] ** 2 + wave_numbers**2
    amplitudes = tau ** (alpha - 1) * (squares + tau**2) ** (-alpha / 2)
    coefficients = resolution * amplitudes * rng.standard_normal((resolution, resolution))
    coefficients[0, 0] = 0.0
    return idctn(coefficients, norm="ortho")
