from copy import deepcopy

import numpy as np
import pytest
import torch
from tiny import batch, solver_config, spec

from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.solver import NeuralSolver, batch_statistics

MOVING = spec(inputs=3, targets=4, autoregressive=True)


def solver_of(fields, samples=None, **config):
    torch.manual_seed(0)
    solver = NeuralSolver(solver_config(**config), fields)
    solver.fit_normalizers(lambda: [samples or physical(fields)])
    return solver.eval()


def physical(fields, **options):
    """Fields in units of their own: mean and scale are far from 0 and 1, and differ between inputs and targets."""
    samples = batch(fields, **options)
    return FieldBatch(50 + 3 * samples.inputs, -200 + 40 * samples.targets, samples.coords, samples.code)


def test_prediction_is_normalised_before_and_after_the_model():
    fields = spec(inputs=2, targets=3)
    samples = physical(fields)
    solver = solver_of(fields, samples)
    rows = samples.inputs.reshape(-1, 2), samples.targets.reshape(-1, 3)
    encoded = (samples.inputs - rows[0].mean(0)) / (rows[0].std(0) + 1e-5)
    expected = solver.model(encoded) * (rows[1].std(0) + 1e-5) + rows[1].mean(0)
    torch.testing.assert_close(solver(samples), expected, rtol=1e-4, atol=1e-3)


def test_roll_out_by_hand():
    samples = physical(MOVING)
    solver = solver_of(MOVING, samples)
    mean, deviation = samples.inputs.reshape(-1, 3).mean(0), samples.inputs.reshape(-1, 3).std(0) + 1e-5
    shift, scale = samples.targets.mean(), samples.targets.std() + 1e-5
    frames = [samples.inputs[..., i] for i in range(3)]
    with torch.no_grad():
        for _ in range(4):
            window = torch.stack(frames[-3:], dim=-1)
            frames.append(solver.model((window - mean) / deviation)[..., 0] * scale + shift)
        found = solver(samples)
    torch.testing.assert_close(found, torch.stack(frames[3:], dim=-1), rtol=1e-4, atol=1e-2)
    assert found.shape == samples.targets.shape


def test_targets_are_not_looked_at():
    for fields in (MOVING, spec()):
        samples = physical(fields)
        solver = solver_of(fields, samples)
        blind = FieldBatch(samples.inputs, torch.full_like(samples.targets, torch.nan))
        assert torch.equal(solver(blind), solver(samples))


@pytest.mark.parametrize("kind", ["channel", "site"])
def test_frames_are_one_field_with_one_scale(kind):
    samples = physical(MOVING)
    solver = NeuralSolver(solver_config(inputs="none", targets=kind), MOVING)
    solver.fit_normalizers(lambda: (FieldBatch(samples.inputs[[i]], samples.targets[[i]]) for i in range(3)))
    values = samples.targets.double().numpy()
    axes = (0, 1, 2, 3) if kind == "channel" else (0, 3)
    found = solver.target_normalizer
    np.testing.assert_allclose(found.mean[..., 0], values.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(found.deviation[..., 0], values.std(axes, ddof=1) + 1e-5, rtol=1e-5)
    assert found.mean.shape == ((1,) if kind == "channel" else (6, 5, 1))


def test_each_sample_is_predicted_on_its_own_in_evaluation_mode():
    samples = physical(spec())
    solver = solver_of(spec(), samples)
    alone = torch.cat([solver(FieldBatch(samples.inputs[[i]], samples.targets[[i]])) for i in range(3)])
    torch.testing.assert_close(solver(samples), alone, rtol=1e-4, atol=1e-3)


def test_another_grid_by_channel_and_the_remedy_by_site():
    larger = physical(spec(sites=(9, 8)))
    assert solver_of(spec())(larger).shape == (3, 9, 8, 1)
    with pytest.raises(InputError, match="normalization.inputs=channel"):
        solver_of(spec(), inputs="site", targets="site")(larger)


def test_a_cloud_takes_coordinates_and_code():
    fields = spec("points", (9,), inputs=2, code=3)
    samples = physical(fields)
    solver = solver_of(fields, samples, projection={"name": "fourier", "modes": 3, "resolution": 8})
    found = solver(samples)
    assert found.shape == (3, 9, 1)
    for changed in (samples.coords.flip(0), None), (None, samples.code.flip(0)):
        coords, code = (
            new if new is not None else old for new, old in zip(changed, (samples.coords, samples.code), strict=True)
        )
        assert not torch.equal(solver(FieldBatch(samples.inputs, samples.targets, coords, code)), found)


def test_batch_statistics_are_those_of_training_and_leave_no_trace():
    samples = physical(spec())
    solver = solver_of(spec(), samples)
    before = deepcopy(solver.state_dict())
    expected = deepcopy(solver).train()(samples)
    usual = solver(samples)
    with batch_statistics(solver):
        found = solver(samples)
        assert not solver.training
    torch.testing.assert_close(found, expected)
    assert (found - usual).abs().max() > 1e-2
    assert all(torch.equal(before[name], value) for name, value in solver.state_dict().items())
    torch.testing.assert_close(solver(samples), usual, rtol=0, atol=0)


def test_modes_are_restored_as_they_were_also_after_an_error():
    solver = solver_of(spec())
    norms = [layer for layer in solver.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    norms[0].train()
    with pytest.raises(ZeroDivisionError), batch_statistics(solver):
        assert all(norm.training and not norm.track_running_stats for norm in norms)
        raise ZeroDivisionError
    assert [norm.training for norm in norms] == [True] + [False] * (len(norms) - 1)
    assert all(norm.track_running_stats for norm in norms)


KINDS = {
    "grid": (spec(inputs=2), {}),
    "frames": (MOVING, {}),
    "mesh": (spec("mesh", inputs=2), {}),
    "points with a code": (
        spec("points", sites=(30,), inputs=2, code=5),
        {"projection": {"name": "fourier", "modes": 3, "resolution": 12}},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_are_predicted_as_batches_are(kind):
    fields, config = KINDS[kind]
    samples = physical(fields)
    solver = solver_of(fields, samples, **config)
    expected = solver(samples).detach().numpy()
    arrays = [
        None if tensor is None else tensor.double().numpy() for tensor in (samples.inputs, samples.coords, samples.code)
    ]
    found = solver.predict(*arrays)
    assert (type(found), found.dtype) == (np.ndarray, np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    alone = solver.predict(*(None if array is None else array[1] for array in arrays))
    np.testing.assert_allclose(alone, expected[1], rtol=1e-4, atol=1e-2)
    assert not torch.is_inference_mode_enabled()


def test_another_grid_is_predicted():
    solver = solver_of(spec())
    assert solver.predict(np.ones((9, 8, 1))).shape == (9, 8, 1)


@pytest.mark.parametrize(
    ("kind", "spoil", "told"),
    [
        (
            "grid",
            lambda x, c, k: (x[..., :1], c, k),
            r"inputs: expected \(sites, sites, 2\) of one sample .* shape \(3, 6, 5, 1\)",
        ),
        ("grid", lambda x, c, k: (x[0, 0], c, k), r"inputs: expected .* shape \(5, 2\)"),
        ("mesh", lambda x, c, k: (x, None, k), r"coords: expected \(sites, sites, 2\).* missing"),
        ("points with a code", lambda x, c, k: (x, c, None), r"code: expected \(5\).* missing"),
        ("points with a code", lambda x, c, k: (x, c, k[:, :4]), r"code: expected \(5\).* shape \(3, 4\)"),
    ],
)
def test_arrays_that_do_not_fit_are_named(kind, spoil, told):
    fields, config = KINDS[kind]
    samples = physical(fields)
    solver = solver_of(fields, samples, **config)
    with pytest.raises(InputError, match=told):
        solver.predict(*spoil(samples.inputs, samples.coords, samples.code))
