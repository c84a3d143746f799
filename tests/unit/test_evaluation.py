"""Errors of a solver over many samples, and transformations of its predictions."""

import numpy as np
import pytest
import torch
from tiny import batch, make_solver, moving, spec

from lsm.data.symmetry import Symmetry, apply, elements, undo
from lsm.errors import InputError
from lsm.evaluation import Evaluation, measure
from lsm.fields import FieldBatch
from lsm.metrics import METRICS
from lsm.solver import batch_statistics

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
    difference, truth = prediction - samples.targets, samples.targets
    expected = difference.flatten(1, 2).norm(dim=1) / truth.flatten(1, 2).norm(dim=1)
    np.testing.assert_allclose(found.by_channel, expected, rtol=1e-4)
    assert found.channels == ("out0", "out1")


def test_channels_of_a_roll_out_are_its_frames():
    fields = moving(num_targets=3, fields=2)
    solver, samples = solver_of(fields)
    found = measure(solver, [samples], CPU)
    assert found.channels == fields.target_names
    assert found.by_channel.shape == (4, 6)


def test_summary_by_hand():
    errors = np.array([0.3, 0.1, 0.8, 0.2])
    evaluation = Evaluation({"rmse": errors}, np.array([[0.5, np.nan], [0.7, 1.0]]), ("u", "v"))
    assert evaluation.summary("rmse") == {
        "num_samples": 4,
        "mean": pytest.approx(0.35),
        "std": pytest.approx(np.sqrt((0.05**2 + 0.25**2 + 0.45**2 + 0.15**2) / 3)),
        "median": pytest.approx(0.25),
        "worst": 0.8,
        "worst_sample": 2,
    }
    assert evaluation.means_by_channel() == {"u": pytest.approx(0.6), "v": None}
    assert Evaluation({"rmse": errors[:1]}, errors[None], ("u",)).summary("rmse")["std"] == 0.0


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
        InputError, match="transform 'mean' is unknown; choose one of: batch_statistics, symmetry_average"
    ):
        measure(solver, [samples], CPU, transforms=["mean"])
    with pytest.raises(InputError, match="no exact symmetries to average over"):
        measure(solver, [samples], CPU, transforms=["symmetry_average"])
    with pytest.raises(InputError, match="no samples to measure"):
        measure(solver, [], CPU)


def test_samples_without_an_error_are_not_hidden():
    solver, samples = solver_of()
    zero = FieldBatch(samples.inputs, samples.targets * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None, None, None])
    errors = measure(solver, [zero], CPU).errors["relative_l2"]
    assert np.isfinite(errors).tolist() == [True, False, True, True]
