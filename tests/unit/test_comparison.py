"""Several evaluations beside one another: seeds of a model, pairs on the same samples, and the bootstrap of a difference."""

import numpy as np
import pytest

from lsm.comparison import Model, compare_pairs, models_of
from lsm.evaluation import Evaluation
from lsm.statistics import bootstrap_differences, bootstrap_interval, compare


def evaluation(*errors, digest="same", **more):
    return Evaluation({"relative_l2": np.array(errors), **more}, digest=digest)


def test_wins_and_the_difference_by_hand():
    first, second = np.array([[0.1, 0.5, 0.3, 0.2], [0.3, 0.5, 0.3, 0.2]]), np.array([[0.3, 0.4, 0.3, 0.9]])
    found = compare({"rmse": first}, {"rmse": second})["rmse"]  # means of the first: 0.2, 0.5, 0.3, 0.2
    assert (found.wins, found.losses, found.ties) == (2, 1, 1)
    assert found.difference == pytest.approx(0.3 - 0.475)
    assert found.low < found.difference < found.high


def test_a_difference_is_paired_by_samples():
    """Errors that vary much from sample to sample, and a method that is better by a tenth on every one."""
    errors = np.random.default_rng(0).lognormal(size=(1, 50))
    ((low, high),) = bootstrap_differences(0.9 * errors[..., None], errors[..., None])
    assert low < -0.1 * errors.mean() < high < 0
    apart = [bootstrap_interval(table) for table in (0.9 * errors, errors)]
    assert apart[0][1] > apart[1][0], "intervals of the two means overlap"
    ((low, high),) = bootstrap_differences(errors[..., None], errors[..., None])
    assert (low, high) == pytest.approx((0, 0), abs=1e-12)


def test_seeds_widen_the_interval_of_a_difference():
    """Seeds of each method are drawn on their own: with means of 1 and 3 against 2, the difference is from -1 to 1."""
    first, second = np.array([[1.0] * 4, [3.0] * 4]), np.full((1, 4), 2.0)
    found = compare({"rmse": first}, {"rmse": second})["rmse"]
    assert (found.low, found.high) == pytest.approx((-1.0, 1.0))
    assert found.ties == 4


def test_the_interval_of_a_difference_does_not_hang_on_the_size_of_its_blocks(monkeypatch):
    tables = np.random.default_rng(1).normal(size=(2, 1, 30, 2))
    whole = bootstrap_differences(*tables, replicates=500)
    monkeypatch.setattr("lsm.statistics._MOST_DRAWS", 30 * 7)
    np.testing.assert_allclose(bootstrap_differences(*tables, replicates=500), whole, rtol=1e-9)


def test_models_hold_seeds_on_the_same_samples():
    groups = {
        "lsm": {"a": evaluation(1.0, 2.0), "b": evaluation(3.0, 2.0)},
        "fno": {"c": evaluation(9.0, digest="other")},
    }
    lsm, fno = models_of(groups)
    assert (lsm.label, list(lsm.members), lsm.digest, fno.digest) == ("lsm", ["a", "b"], "same", "other")
    assert lsm.means("relative_l2").tolist() == [2.0, 2.0]
    found = lsm.summaries["relative_l2"]
    assert (found.mean, found.deviation, found.seeds) == (2.0, pytest.approx(0.5**0.5), (1.5, 2.5))
    split = models_of({"lsm": {"a": evaluation(1.0), "b": evaluation(2.0, digest="other")}})
    assert [(model.label, list(model.members)) for model in split] == [("lsm (a)", ["a"]), ("lsm (b)", ["b"])]


def test_an_error_that_a_sample_does_not_have_is_left_out():
    model = Model("lsm", {"a": evaluation(1.0, 2.0, relative_h1=np.array([1.0, np.nan]))})
    assert list(model.summaries) == ["relative_l2"]
    other = Model("fno", {"b": evaluation(2.0, 1.0, relative_h1=np.array([1.0, 1.0]))})
    ((pair,), refused) = compare_pairs([model, other])
    assert (list(pair.metrics), refused) == (["relative_l2"], [])


def test_pairs_of_models_or_of_the_seeds_of_one():
    seeds = models_of({"lsm": {"a": evaluation(1.0, 2.0), "b": evaluation(3.0, 1.0), "c": evaluation(3.0, 3.0)}})
    pairs, _ = compare_pairs(seeds)
    assert [(pair.first, pair.second) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    models = models_of(
        {"lsm": {"a": evaluation(1.0)}, "fno": {"b": evaluation(2.0)}, "unet": {"c": evaluation(1.0, digest="x")}}
    )
    pairs, refused = compare_pairs(models)
    assert [(pair.first, pair.second) for pair in pairs] == [("lsm", "fno")]
    assert [sentence.partition(" are not")[0] for sentence in refused] == ["lsm and unet", "fno and unet"]


def test_errors_in_parts_alone_make_no_pair():
    parts = [
        Evaluation({"relative_l2_per_band": np.ones((2, 1))}, {"relative_l2_per_band": ("low",)}, "same") for _ in "ab"
    ]
    models = models_of({"lsm": {"a": parts[0]}, "fno": {"b": parts[1]}})
    assert compare_pairs(models) == ([], [])
    assert models[0].summaries["relative_l2_per_band low"].mean == 1.0
    undefined = Model("lsm", {"a": evaluation(np.nan, 1.0)})
    assert undefined.summaries == {}


def test_errors_are_paired_by_their_names():
    one = {"a": np.array([[0.1, 0.2]]), "b": np.array([[5.0, 7.0]])}
    two = {"a": np.array([[0.2, 0.4]]), "b": np.array([[6.0, 7.0]])}
    assert compare(one, dict(reversed(two.items()))) == compare(one, two)
