"""The random fields have the covariance that they state, and one seed names one continuous field."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dctn

from data_prep.random_fields import neumann_field, periodic_field

NUM_SAMPLES = 1500
# Five standard errors of a variance estimated from NUM_SAMPLES normal draws.
VARIANCE_TOLERANCE = 5 * (2 / NUM_SAMPLES) ** 0.5


def periodic_modes(resolution: int, num_samples: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    fields = np.stack([periodic_field(rng, resolution) for _ in range(num_samples)])
    return np.fft.fft2(fields, norm="forward")


def periodic_spectrum(k1: np.ndarray, k2: np.ndarray) -> np.ndarray:
    return 2 * 7.0**3 * (4 * np.pi**2 * (k1**2 + k2**2) + 49) ** -2.5


def neumann_modes(resolution: int, num_samples: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    fields = np.stack([neumann_field(rng, resolution, alpha=2.0, tau=3.0) for _ in range(num_samples)])
    return dctn(fields, axes=(1, 2), norm="ortho") / resolution


def test_periodic_modes_have_the_stated_variances():
    modes = periodic_modes(8, NUM_SAMPLES)
    k = np.fft.fftfreq(8, 1 / 8)
    k1, k2 = np.meshgrid(k, k, indexing="ij")
    expected = periodic_spectrum(k1, k2)
    inner = (np.abs(k1) < 4) & (np.abs(k2) < 4) & (k1**2 + k2**2 > 0)
    measured = (np.abs(modes) ** 2).mean(axis=0)
    assert np.abs(measured / expected - 1)[inner].max() < VARIANCE_TOLERANCE
    assert np.abs(modes[:, ~inner]).max() < 1e-15
    # Real and imaginary part share the variance: no direction or phase, hence no point, is preferred.
    assert np.abs((modes**2).mean(axis=0) / expected)[inner].max() < VARIANCE_TOLERANCE


def test_periodic_field_has_the_stated_point_variance_everywhere():
    rng = np.random.default_rng(3)
    fields = np.stack([periodic_field(rng, 8) for _ in range(NUM_SAMPLES)])
    k = np.arange(-3, 4)
    spectrum = periodic_spectrum(k[:, None], k[None, :])
    spectrum[3, 3] = 0
    assert np.abs(fields.var(axis=0) / spectrum.sum() - 1).max() < VARIANCE_TOLERANCE


def test_periodic_defaults_have_the_deviation_of_the_docstring():
    k = np.arange(-127, 128)
    spectrum = periodic_spectrum(k[:, None], k[None, :])
    spectrum[127, 127] = 0
    assert spectrum.sum() ** 0.5 == pytest.approx(0.262, abs=5e-4)


def test_modes_of_different_wavenumbers_are_uncorrelated():
    modes = periodic_modes(8, NUM_SAMPLES)[:, [0, 1, 1, 7, 2], [1, 0, 1, 1, 3]]
    correlation = np.corrcoef(modes.T)
    assert np.abs(correlation - np.eye(5)).max() < 5 / NUM_SAMPLES**0.5


def test_neumann_modes_have_the_stated_variances_and_are_uncorrelated():
    modes = neumann_modes(6, NUM_SAMPLES)
    k1, k2 = np.mgrid[:6, :6]
    expected = 3.0**2 * (np.pi**2 * (k1**2 + k2**2) + 9) ** -2
    measured = (modes**2).mean(axis=0)
    measured[0, 0] = expected[0, 0]
    assert np.abs(measured / expected - 1).max() < VARIANCE_TOLERANCE
    correlation = np.corrcoef(modes.reshape(NUM_SAMPLES, -1)[:, 1:].T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / NUM_SAMPLES**0.5


@pytest.mark.numerics
def test_neumann_field_is_the_sum_of_orthonormal_cosines_at_cell_centres():
    field = neumann_field(np.random.default_rng(4), 5, alpha=2.0, tau=3.0)
    modes = dctn(field, norm="ortho") / 5
    x = (np.arange(5) + 0.5) / 5
    cosines = np.cos(np.pi * np.arange(5)[:, None] * x) * np.where(np.arange(5) > 0, 2**0.5, 1)[:, None]
    assert field == pytest.approx(np.einsum("kl,ki,lj->ij", modes, cosines, cosines), abs=1e-14)


@pytest.mark.numerics
@pytest.mark.parametrize("resolution", [7, 16])
def test_fields_have_zero_mean(resolution: int):
    rng = np.random.default_rng(5)
    assert abs(periodic_field(rng, resolution).mean()) < 1e-15
    assert abs(neumann_field(rng, resolution, alpha=2.0, tau=3.0).mean()) < 1e-15


@pytest.mark.numerics
def test_one_seed_is_one_continuous_periodic_field():
    coarse = np.fft.fft2(periodic_field(np.random.default_rng(6), 16), norm="forward")
    fine = np.fft.fft2(periodic_field(np.random.default_rng(6), 64), norm="forward")
    low = np.arange(-7, 8)
    np.testing.assert_allclose(fine[np.ix_(low, low)], coarse[np.ix_(low, low)], rtol=0, atol=1e-15)


@pytest.mark.numerics
def test_one_seed_is_one_continuous_neumann_field():
    coarse = dctn(neumann_field(np.random.default_rng(6), 12, 2.0, 3.0), norm="ortho") / 12
    fine = dctn(neumann_field(np.random.default_rng(6), 30, 2.0, 3.0), norm="ortho") / 30
    np.testing.assert_allclose(fine[:12, :12], coarse, rtol=0, atol=1e-15)


@pytest.mark.numerics
def test_the_generator_handed_in_is_the_only_randomness():
    np.random.seed(0)  # noqa: NPY002 - a global seed must have no effect
    first = periodic_field(np.random.default_rng(7), 32)
    np.random.seed(1)  # noqa: NPY002
    again = periodic_field(np.random.default_rng(7), 32)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, periodic_field(np.random.default_rng(8), 32))


@pytest.mark.numerics
def test_a_grid_without_modes_is_refused():
    with pytest.raises(ValueError, match="resolution is 1,"):
        periodic_field(np.random.default_rng(0), 1)
