"""Gaussian random fields on the unit square, drawn mode by mode from a stated covariance.

Owns the random fields; it knows no benchmark, no solver and no file.

Both fields are Karhunen-Loeve sums over the eigenfunctions of a Laplacian. The normal deviates are assigned to the modes
from the largest scale to the smallest, in an order that does not depend on the resolution. A seed therefore gives the
same continuous field on every grid: a finer grid adds modes and keeps those of the coarser grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import idctn


def periodic_field(
    rng: np.random.Generator, resolution: int, alpha: float = 2.5, tau: float = 7.0, amplitude: float = 2.0**0.5
) -> NDArray[np.float64]:
    """A periodic field of zero mean on the unit torus, at the points ``(i, j) / resolution``.

    The covariance operator is ``amplitude^2 tau^(2 alpha - 2) (-Laplace + tau^2)^(-alpha)`` without its constant mode,
    that is ``C(x, y) = sum_k spectrum(k) exp(2 pi i k . (x - y))`` over the integer ``k`` other than zero with

        spectrum(k) = amplitude^2 tau^(2 alpha - 2) (4 pi^2 |k|^2 + tau^2)^(-alpha).

    Modes with ``max(|k_1|, |k_2|) < resolution / 2`` are drawn; the Nyquist modes are zero, since a real grid function
    cannot represent them. The default parameters are those of the Navier-Stokes benchmark (Li et al., Fourier Neural
    Operator, 2021, section 5.3 and the code published with it); they give a standard deviation of 0.262.

    Args:
        rng: the random number generator.
        resolution: grid points per side.
        alpha: smoothness; the spectrum falls as ``|k|^(-2 alpha)``.
        tau: inverse length scale.
        amplitude: factor of the field.

    Returns:
        ``(resolution, resolution)``, first axis x; in the unit of ``amplitude``.
    """
    _check_resolution(resolution)
    first, second = _half_plane(resolution)
    spectrum = amplitude**2 * tau ** (2 * alpha - 2) * (4 * np.pi**2 * (first**2 + second**2) + tau**2) ** -alpha
    deviates = rng.standard_normal((first.size, 2))
    # The coefficients of k and -k are complex conjugates with E|c_k|^2 = spectrum(k); twice the real part includes -k.
    coefficients = np.zeros((resolution, resolution), dtype=np.complex128)
    coefficients[first, second] = np.sqrt(spectrum / 2) * (deviates[:, 0] + 1j * deviates[:, 1])
    return 2 * np.fft.ifft2(coefficients, norm="forward").real


def neumann_field(rng: np.random.Generator, resolution: int, alpha: float, tau: float) -> NDArray[np.float64]:
    """A field of zero mean and zero normal derivative on the unit square, at cell centres.

    The covariance operator is ``tau^(2 alpha - 2) (-Laplace + tau^2)^(-alpha)`` with the zero-Neumann Laplacian and
    without its constant mode, that is ``C(x, y) = sum_k spectrum(k) phi_k(x) phi_k(y)`` over the non-negative integer
    ``k`` other than zero, with the orthonormal cosines ``phi_k`` of ``cos(pi k_1 x_1) cos(pi k_2 x_2)`` and

        spectrum(k) = tau^(2 alpha - 2) (pi^2 |k|^2 + tau^2)^(-alpha).

    The Darcy benchmark takes ``alpha = 2``, ``tau = 3`` (Li et al., Fourier Neural Operator, 2021, section 5.2 and the
    code published with it).

    Args:
        rng: the random number generator.
        resolution: cells per side.
        alpha: smoothness; the spectrum falls as ``|k|^(-2 alpha)``.
        tau: inverse length scale.

    Returns:
        ``(resolution, resolution)`` at the points ``(i + 1/2, j + 1/2) / resolution``, first axis x_1.
    """
    _check_resolution(resolution)
    first, second = _quarter_plane(resolution)
    spectrum = tau ** (2 * alpha - 2) * (np.pi**2 * (first**2 + second**2) + tau**2) ** -alpha
    coefficients = np.zeros((resolution, resolution))
    coefficients[first, second] = np.sqrt(spectrum) * rng.standard_normal(first.size)
    # The orthonormal discrete cosine is phi_k at the grid points divided by the resolution.
    return resolution * idctn(coefficients, norm="ortho")


def _half_plane(resolution: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Wavenumbers below Nyquist, one of each pair ``k, -k``, ordered by ``max(|k_1|, |k_2|)``."""
    largest = (resolution - 1) // 2
    first, second = np.mgrid[0 : largest + 1, -largest : largest + 1]
    chosen = (first > 0) | (second > 0)
    return _by_shell(first[chosen], second[chosen])


def _quarter_plane(resolution: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Wavenumbers of all cosines of the grid except the constant, ordered by ``max(k_1, k_2)``."""
    first, second = (index.ravel()[1:] for index in np.mgrid[:resolution, :resolution])
    return _by_shell(first, second)


def _by_shell(first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    shell = np.maximum(np.abs(first), np.abs(second))
    order = np.lexsort((second, first, shell))
    return first[order], second[order]


def _check_resolution(resolution: int) -> None:
    if resolution < 2:
        raise ValueError(f"resolution is {resolution}, which has no mode besides the mean; expected at least 2")
