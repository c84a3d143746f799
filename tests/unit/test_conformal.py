"""Conformal bands: the quantiles by hand, the coverage that they state, and their file."""

import json
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tiny import batch, make_solver, moving, spec

from lsm.band_files import read_bands, write_bands
from lsm.conformal import (
    LEVELS,
    Coverage,
    calibrate,
    conformal_quantile,
    expected_coverage,
    largest_scaled,
    measure_coverage,
    pooled_quantile,
    scale_of,
)
from lsm.errors import InputError
from lsm.fields import FieldBatch

CPU = torch.device("cpu")


def zero(samples):
    """Predicts zero, so that the residual is the truth."""
    return torch.zeros_like(samples.targets)


def split_of(fields, size, seed, scale=1.0, cloud_size=None):
    """Samples in batches of uneven size; a sample's sites share a part of their residual."""
    random = np.random.default_rng(seed)
    sites = (cloud_size,) if cloud_size else fields.sites
    shared = random.normal(size=(size, *[1] * len(sites), fields.target_channels))
    truth = torch.tensor((shared + random.normal(size=(size, *sites, fields.target_channels))) * scale)
    whole = FieldBatch(torch.zeros(size, *sites, fields.input_channels), truth)
    return [whole.select(part) for part in torch.arange(size).split(max(size // 3, 1))]


def test_quantiles_by_hand():
    scores = np.array([[5.0, 1.0], [2.0, 3.0], [4.0, 2.0], [3.0, 4.0], [1.0, 5.0], [9.0, 9.0], [8.0, 8.0]])
    np.testing.assert_array_equal(conformal_quantile(scores, 0.5), [4.0, 4.0])  # the fourth of seven
    np.testing.assert_array_equal(conformal_quantile(scores, 0.87), [9.0, 9.0])
    assert np.isinf(conformal_quantile(scores, 0.9)).all(), "seven samples state at most 7 / 8"
    pooled = pooled_quantile(list(scores[..., None]), 0.5)  # the eighth of the fourteen, since (7 + 1) * 2 / 2 = 8
    np.testing.assert_array_equal(pooled, np.sort(scores.ravel())[7:8])
    assert np.isinf(pooled_quantile(list(scores[..., None]), 0.9)).all()


def test_a_quantile_is_of_the_scores_that_exist():
    scores = np.ma.masked_array(np.zeros((4, 3), "f4"), mask=True)
    scores[:, 0], scores[[0, 2, 3], 1] = [4, 1, 3, 2], [9, 7, 8]
    np.testing.assert_array_equal(conformal_quantile(scores, 0.5), [3, 8, np.inf])
    np.testing.assert_array_equal(conformal_quantile(scores, 0.8), [4, np.inf, np.inf])
    assert type(conformal_quantile(scores, 0.8)) is np.ndarray
    assert conformal_quantile(scores, 0.8).dtype == np.float32


def test_the_largest_scaled_residual_of_each_field():
    residuals = np.array([[[1.0, 8.0, 2.0, 1.0], [3.0, 1.0, 1.0, 1.0]]])  # two sites; two frames of two fields
    scale = np.array([[1.0, 4.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(largest_scaled(residuals, scale, 2), [[2.0, 2.0]])


def test_the_scale_has_a_floor_and_is_never_zero():
    scale = scale_of(np.array([[0.0, 0.0], [2.0, 0.0]]), 2)  # the root mean square over the sites is 1
    np.testing.assert_allclose(scale, [[0.1, 1.0], [2**0.5, 1.0]])


def gaussian(size, sites, seed):
    truth = torch.tensor(np.random.default_rng(seed).normal(size=(size, sites, 1)) * np.linspace(1, 3, sites)[:, None])
    return [FieldBatch(torch.zeros(size, sites, 1), truth)]


def test_widths_of_a_known_distribution():
    """Independent normal residuals: the half-width at a site, and the factor of the whole field, from the normal distribution."""
    fields = spec(sites=(4,), axes=("x",))
    bands = calibrate(zero, gaussian(20_000, 4, 0), gaussian(20_000, 4, 1), fields, CPU)
    normal = NormalDist()
    site, whole = (bands.at(0.8, kind).half_width[:, 0] for kind in ("site", "field"))
    np.testing.assert_allclose(site, normal.inv_cdf(0.9) * np.linspace(1, 3, 4), rtol=0.04)
    np.testing.assert_allclose(whole, normal.inv_cdf((1 + 0.8**0.25) / 2) * np.linspace(1, 3, 4), rtol=0.04)


@pytest.mark.parametrize("fields", [spec(targets=2), moving(1, 2, fields=2), spec("points", (20,), targets=2)])
def test_a_band_holds_what_it_states(fields):
    """Averaged over repetitions, the coverage equals ``k / (n + 1)``; each repetition lies within its interval mostly.

    Points that are pooled share a part of their residual, which makes a cloud's bands wider, by the share of one sample at most.
    """
    repetitions, size, inside = 40, 19, []
    shares = {"site": [], "field": []}
    expected = Coverage(LEVELS, np.zeros(()), np.zeros(()), 30, size).expected()
    for number in range(repetitions):
        cloud = 20 if fields.geometry == "points" else None
        training, calibration, tested = (
            split_of(fields, count, (number, part), cloud_size=cloud) for part, count in enumerate((8, size, 30))
        )
        bands = calibrate(zero, training, calibration, fields, CPU)
        found = measure_coverage(bands, zero, tested, CPU)
        assert found.levels == LEVELS, "(19 + 1) 0.95 is the 19th of 19"
        for kind, values in shares.items():
            values.append(getattr(found, kind))
        inside += [
            low <= share <= high for row, (low, high) in zip(found.field, expected, strict=True) for share in row
        ]
    for kind, values in shares.items():
        excess = np.mean(values, axis=0) - np.array(LEVELS)[:, None]
        spread = 4 * np.std(values, axis=0) / repetitions**0.5 + 0.005
        pooled = 1 / (size + 1) if kind == "site" and fields.geometry == "points" else 0
        assert (excess >= -spread).all()
        assert (excess <= pooled + spread).all()
    assert 0.9 < np.mean(inside) <= 1


def test_a_solver_that_is_worse_on_the_test_split_is_found_out():
    fields = spec()
    training, calibration, tested = (split_of(fields, 40, part) for part in range(3))
    bands = calibrate(zero, training, calibration, fields, CPU)
    harder = [replace(part, targets=3 * part.targets) for part in tested]
    found = measure_coverage(bands, zero, harder, CPU)
    low = np.array(found.expected())[:, 0]
    for shares in (found.site, found.field):
        assert (shares[-4:, 0] < low[-4:]).all()


def test_the_interval_of_a_share_by_hand():
    """One calibration sample: at level 1/2 the rank of its score among m + 1 is uniform, so is the number inside."""
    low, high = expected_coverage(0.5, 1, 99)
    assert (low, high) == (2 / 99, 97 / 99)
    assert Coverage((0.5,), np.zeros((1, 1)), np.zeros((1, 1)), 99, 1).expected() == [(low, high)]


def test_what_cannot_be_calibrated_is_refused():
    fields = spec()
    samples = split_of(fields, 3, 0)
    with pytest.raises(InputError, match="no samples to calibrate"):
        calibrate(zero, samples, [], fields, CPU)
    with pytest.raises(InputError, match="no training samples"):
        calibrate(zero, [], samples, fields, CPU)
    with pytest.raises(InputError, match="not finite"):
        calibrate(lambda given: given.targets * np.nan, samples, samples, fields, CPU)
    bands = calibrate(zero, samples, samples, fields, CPU)
    with pytest.raises(
        InputError, match=r"no band of level 0.95; with 3 calibration samples there are bands of level 0.1, .*0.7$"
    ):
        bands.at(0.95, "site")
    with pytest.raises(InputError, match="calibrated on .6, 5. sites, the samples have .7, 5."):
        bands.at(0.5, "site").limits(np.zeros((2, 7, 5, 1)))


def test_a_cloud_may_have_other_points():
    fields = spec("points", (20,))
    training, calibration, tested = (split_of(fields, 9, part, cloud_size=20 + part) for part in range(3))
    band = calibrate(zero, training, calibration, fields, CPU).at(0.5, "site")
    low, high = band.limits(tested[0].targets.numpy())
    assert low.shape == tested[0].targets.shape
    np.testing.assert_allclose(high - low, 2 * band.half_width.item(), rtol=1e-6)


#: Fields on five sites, at which all, most, half, some and none of the samples have a target.
MASKED = spec(sites=(5,), axes=("x",), mask=0)
SHARES = np.array([1.0, 0.8, 0.5, 0.2, 0.0])


def masked_split(size, seed, outside=0.0):
    """Normal residuals, a tenth as large in the samples with the most targets; ``outside`` is what lies in place of a target."""
    random = np.random.default_rng(seed)
    exists = random.random((size, 5)) < SHARES
    scale = np.where(exists.sum(axis=1, keepdims=True) > 2, 0.1, 1.0)
    truth = np.where(exists, random.normal(size=(size, 5)) * scale, outside)
    return [FieldBatch(*(torch.tensor(values[..., None], dtype=torch.float32) for values in (exists, truth)))]


def test_sites_without_a_target_are_in_no_band():
    """Compared with the residuals of the samples that have a target, site by site."""
    samples, tested = masked_split(3000, 0), masked_split(3000, 1)
    bands = calibrate(zero, samples, samples, MASKED, CPU)
    for level in (0.1, 0.5, 0.9):
        found = bands.at(level, "site").half_width[:, 0]
        assert np.isinf(found[4]), "no sample has a target there"
        for site, exists in enumerate(samples[0].inputs[..., 0].T.bool()[:4]):
            residuals = samples[0].targets[exists, site, 0].abs().numpy()
            np.testing.assert_array_equal(found[site], conformal_quantile(residuals, level))
    coverage = measure_coverage(bands, zero, tested, CPU)
    np.testing.assert_allclose(coverage.site[:, 0], LEVELS, atol=0.03)
    np.testing.assert_allclose(coverage.field[:, 0], LEVELS, atol=0.03)


def test_a_band_holds_the_targets_that_exist_with_few_samples():
    """At each site among the samples with a target there, averaged over calibrations with different numbers of these."""
    inside, exist = np.zeros((4, 5)), np.zeros(5)
    for number in range(300):
        bands = calibrate(zero, masked_split(8, (number, 0)), masked_split(9, (number, 1)), MASKED, CPU)
        (tested,) = masked_split(20, (number, 2))
        exists = tested.inputs[..., 0].numpy() > 0
        for row, level in enumerate((0.1, 0.3, 0.6, 0.9)):
            held = tested.targets.abs().numpy() <= bands.at(level, "site").half_width
            inside[row] += (held[..., 0] & exists).sum(axis=0)
        exist += exists.sum(axis=0)
    found = inside[:, :4] / exist[:4]
    assert (found > np.array([0.1, 0.3, 0.6, 0.9])[:, None] - 0.02).all()
    np.testing.assert_allclose(found[:, 0], [0.1, 0.3, 0.6, 0.9], atol=0.02)


def test_the_coverage_is_that_of_all_values_that_exist():
    """By hand: of a sample with four targets two are inside, of one with one target none; one without any does not count."""
    bands = calibrate(zero, masked_split(50, 0), masked_split(50, 1), MASKED, CPU)
    exists = torch.tensor([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])[..., None].float()
    truth = torch.tensor([[0, 0, 99, 99, 99], [99, 99, 99, 99, 99], [99, 99, 99, 99, 99]])[..., None].float()
    found = measure_coverage(bands, zero, [FieldBatch(exists, truth)], CPU)
    np.testing.assert_allclose(found.site[bands.levels.index(0.5)], 2 / 5)
    np.testing.assert_allclose(found.field[bands.levels.index(0.5)], 1 / 3)
    with pytest.raises(InputError, match="no samples on which to measure"):
        measure_coverage(bands, zero, [FieldBatch(0 * exists, truth)], CPU)


def test_bands_of_whole_fields_do_not_depend_on_the_mask():
    samples = masked_split(40, 0)
    found, expected = (calibrate(zero, samples, samples, replace(MASKED, mask=mask), CPU) for mask in (0, None))
    np.testing.assert_array_equal(found.factors, expected.factors)
    np.testing.assert_array_equal(found.scale, expected.scale)
    elsewhere = masked_split(40, 0, outside=7.0)
    found = calibrate(zero, elsewhere, elsewhere, MASKED, CPU)
    np.testing.assert_array_equal(found.factors, expected.factors)


def test_a_residual_that_is_not_finite_is_no_missing_target():
    samples = masked_split(40, 0)
    with pytest.raises(InputError, match="not finite"):
        calibrate(lambda given: given.targets * np.nan, samples, samples, MASKED, CPU)


def test_a_band_is_infinite_where_too_few_samples_have_a_target(tmp_path):
    exists = torch.ones(9, 5, 1)
    exists[3:, 1], exists[:, 2] = 0, 0
    samples = [FieldBatch(exists, exists * torch.arange(1.0, 10)[:, None, None])]
    bands, solver = calibrate(zero, samples, samples, MASKED, CPU), make_solver(MASKED, patch=(1,))
    for level, second in ((0.7, 3), (0.8, np.inf)):
        band = bands.at(level, "site")
        np.testing.assert_array_equal(band.half_width[:3, 0], [10 * level, second, np.inf])
        prediction = np.ones((1, 5, 1), "f4")
        low, high = band.limits(prediction, np.array([1, 1, 0, 0, 0])[:, None] > 0)
        np.testing.assert_allclose(low[0, :, 0], [1 - 10 * level, 1 - second, 1, 1, 1])
        np.testing.assert_allclose(high[0, :, 0], [1 + 10 * level, 1 + second, 1, 1, 1])
        assert low.dtype == np.float32
    assert np.isfinite(bands.at(0.9, "field").half_width).all()
    write_bands(tmp_path / "a.safetensors", bands, [solver], {})
    np.testing.assert_array_equal(read_bands(tmp_path / "a.safetensors", [solver]).site, bands.site)
    write_bands(tmp_path / "b.safetensors", replace(bands, spec=replace(MASKED, mask=None)), [solver], {})
    with pytest.raises(InputError, match="site holds other than finite positive numbers"):
        read_bands(tmp_path / "b.safetensors", [solver])


@pytest.fixture
def written(tmp_path):
    fields = spec()
    solver = make_solver(fields)
    samples = [batch(fields, 9)]
    bands = calibrate(solver.eval(), samples, samples, fields, CPU)
    path = tmp_path / "best.bands.safetensors"
    write_bands(path, bands, [solver], {"split": "validation"})
    return path, bands, solver


def test_a_file_gives_the_same_bands(written):
    path, bands, solver = written
    found = read_bands(path, [solver])
    assert (found.spec, found.levels, found.num_samples) == (bands.spec, bands.levels, 9)
    for kind in ("site", "field"):
        np.testing.assert_array_equal(found.at(0.9, kind).half_width, bands.at(0.9, kind).half_width)


def test_bands_of_other_weights_are_refused(written):
    path, _, solver = written
    with torch.no_grad():
        next(solver.parameters()).add_(1e-3)
    with pytest.raises(InputError, match="belongs to other weights"):
        read_bands(path, [solver])
    with pytest.raises(InputError, match="belongs to other weights"):
        read_bands(path, [solver, solver])


def damage(path, change):
    """Write the file again with changed arrays and record."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        record = json.loads(file.metadata()["lsm"])
    arrays = load_file(path)
    change(arrays, record)
    save_file(arrays, path, metadata={"lsm": json.dumps(record)})


def _widen(arrays, record):
    arrays["site"][0, 0, 0, 0] += 1


def _reshape(arrays, record):
    record["levels"] = record["levels"][:-1]


def _forget(arrays, record):
    del record["solvers"]


def _nan(arrays, record):
    arrays["scale"][0, 0, 0] = np.nan


@pytest.mark.parametrize("change", [_widen, _reshape, _forget, _nan])
def test_a_damaged_file_is_refused(written, change):
    path, _, solver = written
    damage(path, change)
    with pytest.raises(InputError, match=r"best.bands.safetensors is damaged or no file of bands"):
        read_bands(path, [solver])


def test_a_torn_file_is_refused(written):
    path, _, solver = written
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="is damaged or no file of bands"):
        read_bands(path, [solver])
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is damaged or no file of bands"):
        read_bands(path, [solver])


def test_points_of_ragged_clouds_share_the_weight_of_their_sample():
    scores = [np.array([[4.0]]), np.array([[1.0], [2.0], [3.0], [9.0]])]  # of two samples, which weigh 1 / 3 each
    assert [pooled_quantile(scores, level).item() for level in (0.08, 0.16, 0.25, 0.26, 0.58, 0.6)] == [
        1,
        2,
        3,
        4,
        4,
        9,
    ]
    assert np.isinf(pooled_quantile(scores, 0.7)).all()


def test_padding_of_ragged_clouds_is_in_no_band():
    fields = spec("points", sites=(6,), ragged=True)
    samples = split_of(fields, 30, seed=1)
    mask = torch.arange(6) < torch.arange(30)[:, None] % 6 + 1
    padded, alone = [], []
    for part, known in zip(samples, mask.split(10), strict=True):
        padded.append(replace(part, targets=part.targets * known[..., None], mask=known))
        alone += [FieldBatch(part.inputs[i : i + 1, k], part.targets[i : i + 1, k]) for i, k in enumerate(known)]
    found, expected = (calibrate(zero, each, each, fields, CPU) for each in (padded, alone))
    np.testing.assert_array_equal(found.site, expected.site)
    np.testing.assert_array_equal(found.factors, expected.factors)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-6)
    assert np.abs(found.site - calibrate(zero, samples, samples, fields, CPU).site).max() > 0.01
    inside, outside = (measure_coverage(found, zero, each, CPU) for each in (padded, alone))
    np.testing.assert_allclose(inside.site, outside.site)
    np.testing.assert_allclose(inside.field, outside.field)
