"""Losses: weights of their terms, the reduction over the batch, and what the published ones were."""

import re

import pytest
import torch
from tiny import batch, moving, spec

from lsm.errors import InputError, OptionError
from lsm.fields import FieldBatch
from lsm.losses import LOSSES, loss_at_scales
from lsm.metrics import METRICS, parts_of, relative_l2

GRID = spec(sites=(7, 5), targets=2)


def make(terms, **options):
    return LOSSES.make({"name": "weighted_sum", "terms": terms, **options})


def case(fields, seed=1):
    """A prediction and samples that do not agree."""
    return batch(fields, seed=seed).targets, batch(fields)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_terms_are_weighted_and_the_batch_is_reduced(reduction):
    prediction, samples = case(GRID)
    terms = {"relative_l2": 2.0, "rmse": 0.25, "relative_h1": 3.0}
    errors = torch.stack([weight * METRICS[name](prediction, samples, GRID) for name, weight in terms.items()])
    expected = errors.sum() if reduction == "sum" else errors.sum() / len(samples)
    found = make(terms, reduction=reduction)(prediction, samples, GRID)
    assert found.shape == ()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(), (3, 1), (3, 2)])
def test_a_metric_of_another_shape_is_refused(shape, monkeypatch):
    """A sum with (b, 1) would have (b, b) numbers, and be b times too large."""
    prediction, samples = case(GRID)
    monkeypatch.setitem(METRICS._parts, "mine", lambda *_: torch.ones(shape))
    with pytest.raises(
        InputError, match=rf"metric mine gave numbers of shape {re.escape(str(shape))} for 3 samples, expected \(3,\)"
    ):
        make({"relative_l2": 1.0, "mine": 1.0})(prediction, samples, GRID)


def test_the_published_losses():
    """A sum over the batch; of a roll-out also over its frames, each relative to its own norm."""
    published = make({"relative_l2_by_frame": 1.0})
    prediction, samples = case(GRID)
    torch.testing.assert_close(published(prediction, samples, GRID), relative_l2(prediction, samples.targets).sum())
    prediction, samples = case(moving())
    expected = METRICS["relative_l2_per_frame"](prediction, samples, moving()).sum()
    torch.testing.assert_close(published(prediction, samples, moving()), expected)


@pytest.mark.parametrize("name", [name for name in METRICS.names() if parts_of(METRICS[name], GRID) is None])
def test_every_metric_with_one_number_per_sample_trains(name):
    """Finite gradients that vanish nowhere but where an error is largest only."""
    prediction, samples = case(GRID)
    prediction.requires_grad_()
    make({name: 1.0})(prediction, samples, GRID).backward()
    assert prediction.grad.isfinite().all()
    moved = (prediction.grad != 0).sum()
    assert moved == (len(samples) if name == "max_error" else prediction.numel())


def test_the_gradient_term_needs_the_spacing_of_the_mesh():
    """The same values on a mesh stretched along one axis: only slopes along that axis are smaller."""
    fields = spec("mesh", sites=(7, 5), inputs=2)
    prediction, samples = case(fields)
    square = torch.stack(torch.meshgrid(torch.linspace(0, 1, 7), torch.linspace(0, 1, 5), indexing="ij"), dim=-1)

    def loss(coords, name):
        placed = FieldBatch(samples.inputs, samples.targets, coords.expand(3, 7, 5, 2))
        return make({name: 1.0})(prediction, placed, fields).item()

    assert loss(square, "relative_h1") == pytest.approx(loss(7 * square, "relative_h1"), rel=1e-5)
    stretched = square * torch.tensor([10.0, 1.0])
    assert abs(loss(stretched, "relative_h1") / loss(square, "relative_h1") - 1) > 0.01
    assert loss(stretched, "relative_l2") == loss(square, "relative_l2")


def test_axes_of_a_grid_have_one_length_whatever_their_sites():
    """Slopes ``2 x_0`` and ``x_1``, off by one along the second axis: the number of sites along each does not matter."""

    def loss(*sites):
        axes = [torch.linspace(0, 1, size) for size in sites]
        first, second = torch.meshgrid(*axes, indexing="ij")
        truth = (2 * first + second)[None, ..., None]
        samples = FieldBatch(truth, truth)
        return make({"relative_h1": 1.0})(truth + second[None, ..., None], samples, spec(sites=sites)).item()

    for sites in ((5, 5), (5, 17), (17, 5)):
        assert loss(*sites) == pytest.approx(0.2**0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"terms": {}}, "terms is {}, expected a group of options, each a positive number"),
        ({"terms": {"rmse": 0.0}}, "terms is {'rmse': 0.0}, expected a group of options, each a positive number"),
        ({"terms": None}, "terms is missing"),
        ({"terms": {"rmse": 1.0}, "reduction": "max"}, "reduction is max, expected one of sum, mean"),
    ],
)
def test_options_that_do_not_fit_are_named(options, named):
    with pytest.raises(OptionError, match=named):
        LOSSES.make({"name": "weighted_sum", **options})


def test_unknown_names_are_listed():
    with pytest.raises(
        InputError, match="metric 'l2' is unknown; choose one of: max_error, max_error_per_channel, relative_h1"
    ):
        make({"l2": 1.0})
    with pytest.raises(
        InputError, match="relative_l2_per_band has several numbers .* expected one of: max_error, relative"
    ):
        make({"relative_l2_per_band": 1.0})
    with pytest.raises(InputError, match="loss 'mse' is unknown; choose one of: sobolev, weighted_sum"):
        LOSSES.make({"name": "mse"})


def test_coarser_scales_are_compared_with_the_truth_at_their_sites():
    fields = spec("mesh", sites=(9, 7), inputs=2, targets=2)
    prediction, samples = case(fields)
    coarse, coarsest = prediction[:, ::2, ::2] + 0.5, prediction[:, ::4, ::4]
    loss = make({"relative_l2": 1.0, "relative_h1": 0.1})
    half = FieldBatch(*(field[:, ::2, ::2] for field in (samples.inputs, samples.targets, samples.coords)))
    expected = loss(prediction, samples, fields) + 0.3 * loss(coarse, half, spec("mesh", sites=(5, 4)))
    found = loss_at_scales(loss, [prediction, coarse], samples, fields, 0.3)
    torch.testing.assert_close(found, expected)
    assert torch.equal(loss_at_scales(loss, [prediction], samples, fields, 0.3), loss(prediction, samples, fields))
    sobolev = LOSSES.make("sobolev")
    assert loss_at_scales(sobolev, [prediction, coarse, coarsest], samples, fields, 1.0).isfinite()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_sobolev_loss_has_a_gradient_where_there_is_one(reduction):
    loss = LOSSES.make({"name": "sobolev", "slope": 0.3, "reduction": reduction})
    both = make({"relative_l2": 1.0, "relative_h1": 0.3}, reduction=reduction)
    for fields, expected in (
        (GRID, both),
        (spec("points", sites=(9,), inputs=2), make({"relative_l2": 1.0}, reduction=reduction)),
        (spec(sites=(9, 2)), make({"relative_l2": 1.0}, reduction=reduction)),
    ):
        torch.testing.assert_close(loss(*case(fields), fields), expected(*case(fields), fields))
