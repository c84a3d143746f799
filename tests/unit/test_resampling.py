"""Values on another grid against functions that the interpolation reproduces."""

import numpy as np
import pytest

from data_prep.resampling import between_centres, between_nodes, cell_means, on_torus


def on_lattice(function, first, second):
    return function(*np.meshgrid(first, second, indexing="ij"))


def centres(count):
    return (np.arange(count) + 0.5) / count


def test_polynomials_between_nodes():
    def polynomial(x, y):
        return (1 + x) ** 3 * (2 - y) ** 3

    given, wanted = (on_lattice(polynomial, np.linspace(0, 1, n), np.linspace(0, 1, m)) for n, m in ((5, 7), (11, 7)))
    there = between_nodes(np.stack([given, 2 * given], axis=-1), (11, 7))
    np.testing.assert_allclose(there, np.stack([wanted, 2 * wanted], axis=-1), rtol=1e-12)


def test_between_centres_the_field_falls_to_zero_on_the_boundary():
    def bubble(x, y):
        return x * (1 - x) * y * (1 - y) * (1 + x)

    given, wanted = (on_lattice(bubble, centres(n), centres(n)) for n in (6, 15))
    np.testing.assert_allclose(between_centres(given, 15), wanted, atol=1e-14)


@pytest.mark.parametrize("count", [8, 12, 32])
def test_waves_on_the_torus(count):
    def waves(x, y):
        return np.sin(2 * np.pi * (x - 2 * y)) + np.cos(2 * np.pi * 3 * y)

    given, wanted = (on_lattice(waves, np.arange(n) / n, np.arange(n) / n) for n in (16, count))
    np.testing.assert_allclose(on_torus(given, count), wanted, atol=1e-12)


@pytest.mark.parametrize("count", [2, 4, 5, 6])
def test_means_over_cells_keep_the_total(count):
    values = np.random.default_rng(0).uniform(1, 2, (6, 6))
    means = cell_means(values, count)
    assert means.mean() == pytest.approx(values.mean(), rel=1e-14)
    if 6 % count == 0:
        blocks = values.reshape(count, 6 // count, count, 6 // count)
        np.testing.assert_allclose(means, blocks.mean(axis=(1, 3)), rtol=1e-14)
