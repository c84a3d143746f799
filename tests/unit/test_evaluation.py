"""Errors of a solver over many samples, and transformations of its predictions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import batch, make_solver, moving, spec

from lsm.data.symmetry import Symmetry, apply, elements, undo
from lsm.errors import InputError
from lsm.evaluation import Evaluation, measure, standard_metrics, summaries_in
from lsm.fields import Channel, FieldBatch
from lsm.metrics import METRICS
from lsm.metrics import parts_of as names_of_parts
from lsm.model.batch_norm import batch_statistics
from lsm.resize import resize
from lsm.statistics import bootstrap_intervals

FIELDS = spec(sites=(6, 6), targets=2)
SQUARE = [Symmetry(swap=["x", "y"]), Symmetry(flip=["x"]), Symmetry(flip=["y"])]
CPU = torch.device("cpu")


def solver_of(fields=FIELDS):
    solver = make_solver(fields)
    samples = batch(fields, size=4)
    solver.fit_normalizers(lambda: [samples])
    with torch.no_grad():
        solver(samples)  # in training mode: running statistics are no longer those of a new model
    return solver, samples


def parts_of(samples, size):
    return [samples.select(torch.arange(4)[first : first + size]) for first in range(0, 4, size)]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_every_sample_is_measured_whatever_the_batches(size):
    solver, samples = solver_of()
    names = ("relative_l2", "rmse", "relative_h1")
    found = measure(solver, parts_of(samples, size), CPU, names)
    assert not solver.training
    with torch.no_grad():
        prediction = solver.eval()(samples)
    for name in names:
        expected = METRICS[name](prediction, samples, FIELDS).numpy()
        np.testing.assert_allclose(found.errors[name], expected, rtol=1e-4)
    whole = measure(solver, [samples], CPU, names)
    assert found.digest == whole.digest, "the same samples, whatever the batches"
    assert found.digest != measure(solver, [samples.select(torch.arange(3))], CPU).digest


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        (spec(sites=(10, 9)), ["relative_h1", "relative_l2_per_band", "relative_l2_per_region"]),
        (spec(sites=(2, 9)), ["relative_l2_per_band"]),
        (
            spec("mesh", targets=2),
            [
                "relative_h1",
                "max_error_per_channel",
                "relative_l2_per_channel",
                "relative_l2_per_region",
                "rmse_per_channel",
            ],
        ),
        (spec("points", (9,)), []),
        (moving(), ["relative_h1", "relative_l2_per_band", "relative_l2_per_frame", "relative_l2_per_region"]),
    ],
)
def test_by_default_every_error_is_measured_that_is_defined(fields, more):
    several = ["relative_l2_by_field"] if len(fields.targets) > 1 else []
    assert standard_metrics(fields) == ["relative_l2", *several, "rmse", "max_error", *more]


def test_fields_of_several_units_have_no_common_error_with_a_unit():
    fields = replace(spec("points", (9,)), targets=(Channel("T", "K"), Channel("q", "W/m2")))
    per_field = ["max_error_per_channel", "relative_l2_per_channel", "rmse_per_channel"]
    assert standard_metrics(fields) == ["relative_l2", "relative_l2_by_field", *per_field]
    assert names_of_parts(METRICS["rmse_per_channel"], fields) == ("T [K]", "q [W/m2]")


def test_errors_in_parts_have_a_column_for_each():
    fields = moving(num_inputs=2, num_targets=3, fields=2)
    solver, samples = solver_of(fields)
    found = measure(solver, parts_of(samples, 3), CPU, ["relative_l2_per_frame", "rmse"])
    assert found.parts == {"relative_l2_per_frame": ("frame 3", "frame 4", "frame 5")}
    assert list(found.scalars) == ["rmse"]
    assert list(found.columns()) == [f"relative_l2_per_frame frame {t}" for t in (3, 4, 5)] + ["rmse"]
    with torch.no_grad():
        expected = METRICS["relative_l2_per_frame"](solver.eval()(samples), samples, fields).numpy()
    np.testing.assert_allclose(np.stack([*found.columns().values()][:3], axis=1), expected, rtol=1e-4)
    summaries = found.summaries()
    assert summaries["relative_l2_per_frame"]["frame 5"]["mean"] == pytest.approx(expected[:, 2].mean(), rel=1e-5)
    assert summaries["rmse"]["num_samples"] == 4


def test_bands_are_those_of_the_grid_that_is_measured():
    """A solver trained on 6 x 6 sites has low waves only; on 30 x 30 there are others."""
    solver, _ = solver_of()
    found = measure(solver, [batch(spec(sites=(30, 30), targets=2))], CPU)
    assert found.parts["relative_l2_per_band"] == ("low", "middle", "high")


def test_summary_by_hand():
    errors = np.array([0.3, 0.1, 0.8, 0.2])
    (found,) = Evaluation({"rmse": errors}).summaries().values()
    low, high = found.pop("interval")
    assert 0.1 < low < 0.35 < high < 0.8
    assert found == {
        "num_samples": 4,
        "mean": pytest.approx(0.35),
        "std": pytest.approx(np.sqrt((0.05**2 + 0.25**2 + 0.45**2 + 0.15**2) / 3)),
        "median": pytest.approx(0.25),
        "best": 0.1,
        "worst": 0.8,
        "best_sample": 1,
        "median_sample": 3,
        "worst_sample": 2,
    }
    (alone,) = Evaluation({"rmse": errors[:1]}).summaries().values()
    assert (alone["std"], alone["interval"]) == (0.0, [0.3, 0.3])


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    """Of 400 intervals, each from 60 draws: 0.95 within three deviations (0.033), less the small bias of the bootstrap."""
    draws = np.random.default_rng(0).normal(1.0, 1.0, size=(400, 60))
    covered = [low <= 1 <= high for low, high in bootstrap_intervals(draws.T[None], replicates=1000)]
    assert 0.91 < np.mean(covered) < 0.983


def test_an_error_that_a_sample_does_not_have_has_no_summary():
    errors = {"rmse": np.ones(2), "relative_l2_per_channel": np.array([[0.5, np.nan], [0.7, 1.0]])}
    found = Evaluation(errors, {"relative_l2_per_channel": ("u", "v")}).summaries()
    assert found["relative_l2_per_channel"]["v"] is None
    assert found["relative_l2_per_channel"]["u"]["mean"] == pytest.approx(0.6)
    assert found["relative_l2_per_channel"]["u"]["interval"] == [0.5, 0.7]


def test_summaries_are_told_from_errors_in_parts_whatever_the_parts_are_called():
    errors = {"rmse": np.ones(2), "per_field": np.ones((2, 2)), "undefined": np.full((2, 1), np.nan)}
    parts = {"per_field": ("mean", "std"), "undefined": ("mean",)}
    metrics = {"split": "test", "data": {"num_samples": 2}, **Evaluation(errors, parts).summaries()}
    assert metrics["undefined"] == {"mean": None}
    assert summaries_in(metrics) == {"rmse": metrics["rmse"]}
    damaged = {"rmse": {**metrics["rmse"], "mean": None}}
    assert summaries_in(damaged) == damaged, "who shows it has to refuse it"


def test_batch_statistics_replace_those_of_the_training():
    solver, samples = solver_of()
    solver.eval()
    with torch.no_grad(), batch_statistics(solver):
        expected = METRICS["rmse"](solver(samples), samples, FIELDS).numpy()
    found = measure(solver, [samples], CPU, ["rmse"], ["batch_statistics"]).errors["rmse"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    usual = measure(solver, [samples], CPU, ["rmse"]).errors["rmse"]
    assert np.abs(found / usual - 1).max() > 1e-3


class Lopsided(torch.nn.Module):
    """A predictor that depends on the place: its input times the first index, and a solver's other attributes."""

    spec = spec(sites=(3, 3))

    def forward(self, samples):
        return samples.inputs * torch.arange(3.0)[:, None, None]


def test_average_over_the_motions_of_a_square_by_hand():
    """Each row weight 0, 1, 2 becomes the mean over rows and columns from both sides, which is 1."""
    samples = batch(Lopsided.spec, size=2)
    found = measure(Lopsided(), [samples], CPU, ["rmse"], ["symmetry_average"], SQUARE)
    expected = METRICS["rmse"](samples.inputs, samples, Lopsided.spec).numpy()
    np.testing.assert_allclose(found.errors["rmse"], expected, rtol=1e-5)


def test_an_averaged_prediction_is_that_of_images_mapped_back():
    fields = moving(sites=(4, 4))
    symmetries = [
        Symmetry(roll={"x": 1, "y": -1}, order=None),
        Symmetry(swap=["x", "y"], shift={"x": 0.5}, reflect={"out0": 0.0}, periodic=True),
    ]
    solver, samples = solver_of(fields)
    solver.eval()
    with torch.no_grad():
        group = elements(symmetries, fields)
        images = [undo(element, solver(apply(element, samples, fields)), fields) for element in group]
    expected = METRICS["rmse"](torch.stack(images).mean(0), samples, fields).numpy()
    found = measure(solver, [samples], CPU, ["rmse"], ["symmetry_average"], symmetries).errors["rmse"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_images_are_those_of_the_sites_at_hand():
    """A shift by half of the period is one by as many sites as the grid has, not as that of the training had."""
    symmetries = [Symmetry(shift={"x": 0.5}, order=2, periodic=True)]
    fields = moving(sites=(4, 4))
    solver, _ = solver_of(fields)
    finer = replace(fields, sites=(8, 8))
    samples = batch(finer, size=2)
    solver.eval()
    with torch.no_grad():
        images = [
            undo(element, solver(apply(element, samples, finer)), finer) for element in elements(symmetries, finer)
        ]
    expected = METRICS["rmse"](torch.stack(images).mean(0), samples, finer).numpy()
    found = measure(solver, [samples], CPU, ["rmse"], ["symmetry_average"], symmetries).errors["rmse"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_transforms_apply_one_after_the_other():
    """Each image of a batch is normalised by its own statistics."""
    solver, samples = solver_of()
    solver.eval()
    with torch.no_grad(), batch_statistics(solver):
        group = elements(SQUARE, FIELDS)
        images = [undo(element, solver(apply(element, samples, FIELDS)), FIELDS) for element in group]
    expected = METRICS["rmse"](torch.stack(images).mean(0), samples, FIELDS).numpy()
    for names in (["batch_statistics", "symmetry_average"], ["symmetry_average", "batch_statistics"]):
        found = measure(solver, [samples], CPU, ["rmse"], names, SQUARE).errors["rmse"]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_cannot_be_measured_is_named():
    solver, samples = solver_of()
    with pytest.raises(InputError, match="metric 'mse' is unknown; choose one of: max_error"):
        measure(solver, [samples], CPU, ["mse"])
    with pytest.raises(
        InputError, match="transform 'mean' is unknown; choose one of: batch_statistics, symmetry_average, training"
    ):
        measure(solver, [samples], CPU, transforms=["mean"])
    with pytest.raises(InputError, match="no exact symmetries to average over"):
        measure(solver, [samples], CPU, transforms=["symmetry_average"])
    with pytest.raises(InputError, match="relative_l2_per_frame is not defined for these fields"):
        measure(solver, [samples], CPU, ["relative_l2_per_frame"])
    with pytest.raises(InputError, match="no samples to measure"):
        measure(solver, [], CPU)


def test_samples_without_an_error_are_not_hidden():
    solver, samples = solver_of()
    zero = FieldBatch(samples.inputs, samples.targets * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None, None, None])
    errors = measure(solver, [zero], CPU).errors["relative_l2"]
    assert np.isfinite(errors).tolist() == [True, False, True, True]


@pytest.mark.parametrize("fields", [spec(sites=(5, 7)), spec("mesh", sites=(5, 7), inputs=2), moving(sites=(6, 8))])
def test_the_grid_of_the_training_serves_another_grid(fields):
    """The error is that of a prediction on the sites of the training, interpolated to those of the samples."""
    solver = make_solver(fields)
    solver.fit_normalizers(lambda: [batch(fields)])
    other = batch(replace(fields, sites=(9, 11)))
    inputs = resize(other.inputs, fields.sites, fields)
    coords = None if other.coords is None else resize(other.coords, fields.sites, fields)
    with torch.no_grad():
        there = solver.eval()(FieldBatch(inputs, other.targets, coords))
    expected = METRICS["rmse"](resize(there, (9, 11), fields), other, fields)
    found = measure(solver, [other], CPU, ["rmse"], ["training_grid"]).errors["rmse"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    given = {"inputs": other.inputs, "coords": other.coords, "training_grid": True}
    np.testing.assert_allclose(solver.predict(**given), resize(there, (9, 11), fields), rtol=1e-4, atol=1e-5)
    plain = measure(solver, [batch(fields)], CPU, ["rmse"]).errors["rmse"]
    np.testing.assert_array_equal(
        measure(solver, [batch(fields)], CPU, ["rmse"], ["training_grid"]).errors["rmse"], plain
    )


def test_points_have_no_grid():
    fields = spec("points", sites=(11,), inputs=2)
    with pytest.raises(InputError, match="these fields lie on points"):
        measure(make_solver(fields), [batch(replace(fields, sites=(9,)))], CPU, ["rmse"], ["training_grid"])
