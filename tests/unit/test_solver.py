import re
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import batch, make_solver, model_config, moving, scalars, solver_config, spec

from lsm.ensemble import Ensemble
from lsm.errors import InputError, OptionError
from lsm.fields import FieldBatch
from lsm.model.batch_norm import batch_statistics
from lsm.solver import build_solver

MOVING = moving(num_inputs=3, num_targets=4)


def solver_of(fields, samples=None, **config):
    solver = make_solver(fields, **config)
    solver.fit_normalizers(lambda: [samples or physical(fields)])
    return solver.eval()


def physical(fields, **options):
    """Fields in units of their own: mean and scale are far from 0 and 1, and differ between inputs and targets."""
    samples = batch(fields, **options)
    return replace(samples, inputs=50 + 3 * samples.inputs, targets=-200 + 40 * samples.targets)


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
    every_frame = torch.cat([samples.inputs, samples.targets], dim=-1)
    mean, deviation = every_frame.mean(), every_frame.std() + 1e-5
    frames = [samples.inputs[..., i] for i in range(3)]
    with torch.no_grad():
        for _ in range(4):
            window = torch.stack(frames[-3:], dim=-1)
            frames.append(solver.model((window - mean) / deviation)[..., 0] * deviation + mean)
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
    solver = make_solver(MOVING, inputs=kind, targets=kind)
    solver.fit_normalizers(lambda: (FieldBatch(samples.inputs[[i]], samples.targets[[i]]) for i in range(3)))
    values = torch.cat([samples.inputs, samples.targets], dim=-1).double().numpy()
    axes = (0, 1, 2, 3) if kind == "channel" else (0, 3)
    found = solver.target_normalizer
    np.testing.assert_allclose(found.mean[..., 0], values.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(found.deviation[..., 0], values.std(axes, ddof=1) + 1e-5, rtol=1e-5)
    assert found.mean.shape == ((1,) if kind == "channel" else (6, 5, 1))
    for name, statistics in solver.input_normalizer.named_buffers():
        assert torch.equal(statistics, torch.cat([getattr(found, name)] * 3, dim=-1))


def test_a_time_series_that_starts_at_rest_is_normalised():
    samples = physical(MOVING)
    samples.inputs[..., 0] = 0.0  # without a deviation of its own
    solver = solver_of(MOVING, samples)
    for window in (samples.inputs, samples.targets[..., :3]):
        assert solver.input_normalizer.encode(window).abs().max() < 10


TWO_FIELDS = moving(num_inputs=2, num_targets=3, fields=2)


def test_each_field_of_a_roll_out_has_its_own_scale():
    samples = physical(TWO_FIELDS)
    scale = torch.tensor([1.0, 1e3] * 3)
    samples.targets *= scale
    solver = solver_of(TWO_FIELDS, samples)
    values = torch.cat([samples.inputs, samples.targets], dim=-1).double().reshape(-1, 2)
    torch.testing.assert_close(solver.target_normalizer.mean.double(), values.mean(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(solver.target_normalizer.deviation.double(), values.std(0), rtol=1e-5, atol=0)


def test_roll_out_of_two_fields_by_hand():
    """Both fields of a frame leave and enter the window together."""
    samples = physical(TWO_FIELDS)
    solver = solver_of(TWO_FIELDS, samples)
    frames = [samples.inputs[..., :2], samples.inputs[..., 2:]]
    with torch.no_grad():
        for _ in range(3):
            window = torch.cat(frames[-2:], dim=-1)
            output = solver.model(solver.input_normalizer.encode(window))
            frames.append(solver.target_normalizer.decode(output))
        found = solver(samples)
    torch.testing.assert_close(found, torch.cat(frames[2:], dim=-1), rtol=1e-4, atol=1e-2)
    assert found.shape == samples.targets.shape == (3, 6, 5, 6)


def seen_by_model(solver, samples):
    """What each call of the model receives in a prediction."""
    seen = []
    handle = solver.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        solver(samples)
    handle.remove()
    return seen


PARAMETRIC = {
    "grid": spec(inputs=2, parameters=scalars("mach", "angle")),
    "frames": moving(parameters=scalars("viscosity", "forcing")),
    "points": spec("points", (9,), inputs=2, parameters=scalars("load", "stiffness")),
}
SCALE, SHIFT = torch.tensor([1e-3, 500.0]), torch.tensor([5e-3, -2000.0])


def parametric(kind):
    """Solver and samples whose parameters differ in scale by orders of magnitude."""
    fields = PARAMETRIC[kind]
    samples = physical(fields)
    samples.parameters = SHIFT + SCALE * samples.parameters
    config = {"projection": {"modes": 3, "resolution": 8}} if kind == "points" else {}
    return solver_of(fields, samples, **config), samples


@pytest.mark.parametrize("kind", PARAMETRIC)
def test_parameters_reach_every_call_of_the_model_normalised(kind):
    """As the last channels, the same at every site, one scale per parameter whatever that of the fields."""
    solver, samples = parametric(kind)
    values = samples.parameters.double()
    expected = (values - values.mean(0)) / values.std(0)
    calls = seen_by_model(solver, samples)
    assert len(calls) == (4 if kind == "frames" else 1)
    for features in calls:
        assert features.shape == (*samples.inputs.shape[:-1], solver.spec.in_channels)
        found = features[..., -2:].flatten(1, -2)
        # The floor of the deviation: at most a hundredth of it is added.
        torch.testing.assert_close(found, expected.float()[:, None].expand_as(found), rtol=0.011, atol=1e-5)
    inputs = calls[0][..., :-2]
    torch.testing.assert_close(inputs, solver.input_normalizer.encode(samples.inputs))


@pytest.mark.parametrize("kind", PARAMETRIC)
def test_parameters_change_the_prediction_of_their_sample_alone(kind):
    solver, samples = parametric(kind)
    solver, samples = solver.double(), samples.to(torch.float64)
    changed = samples.parameters.clone()
    changed[1, 0] += SCALE[0]
    before, after = solver(samples), solver(replace(samples, parameters=changed))
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]], rtol=1e-12, atol=1e-9)
    assert (after[1] - before[1]).abs().max() > 1e-4


@pytest.mark.parametrize("kind", PARAMETRIC)
def test_arrays_with_parameters_are_predicted(kind):
    solver, samples = parametric(kind)
    expected = solver(samples).detach().numpy()
    arrays = {name: value.numpy() for name, value in vars(samples).items() if value is not None and name != "targets"}
    np.testing.assert_allclose(solver.predict(**arrays), expected, rtol=1e-5, atol=1e-3)
    alone = solver.predict(**{name: value[2] for name, value in arrays.items()})
    np.testing.assert_allclose(alone, expected[2], rtol=1e-4, atol=1e-2)
    with pytest.raises(InputError, match=r"parameters: expected \(2\) for one sample .* missing"):
        solver.predict(arrays["inputs"], arrays.get("coords"))
    with pytest.raises(InputError, match=r"parameters: expected \(2\) .* of shape \(3, 1\)"):
        solver.predict(**arrays | {"parameters": arrays["parameters"][:, :1]})


def test_one_parameter_of_one_sample_is_a_number():
    solver = make_solver(spec(parameters=scalars("mach"))).eval()
    inputs = np.ones((6, 5, 1))
    np.testing.assert_array_equal(solver.predict(inputs, parameters=1.2), solver.predict(inputs, parameters=[1.2]))
    with pytest.raises(InputError, match=r"they are of shape \(\) and the inputs of shape \(2, 6, 5, 1\)$"):
        solver.predict(np.ones((2, 6, 5, 1)), parameters=1.2)
    with pytest.raises(
        InputError, match=r"they are of shape \(2,\) .*; add an axis of channels: parameters\[..., None\]"
    ):
        solver.predict(np.ones((2, 6, 5, 1)), parameters=[1.2, 1.3])


@pytest.mark.parametrize("shape", [(24, 6, 5), (6, 5)])
def test_a_missing_axis_of_channels_is_named(shape):
    told = rf"they are of shape {re.escape(str(shape))}; add an axis of channels: inputs\[..., None\]"
    with pytest.raises(InputError, match=told):
        make_solver(spec()).predict(np.ones(shape))


def test_a_mask_of_missing_points_is_for_clouds():
    with pytest.raises(InputError, match="^mask: only clouds have points that may be missing, not a grid"):
        make_solver(spec()).predict(np.ones((2, 6, 5, 1)), mask=np.ones((2, 6, 5), dtype=bool))


def test_the_unit_of_a_code_does_not_matter():
    cloud = spec("points", (24,), code=3)
    samples = physical(cloud)
    millimetres = replace(samples, code=1000 * samples.code)
    model = model_config() | {"projection": {"resolution": 8, "modes": 4}}
    found = []
    for fields in (samples, millimetres):
        torch.manual_seed(0)
        solver = build_solver({"model": model}, cloud)
        solver.fit_normalizers(lambda fields=fields: [fields])
        found.append(solver.eval()(fields))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", ["parameters", "coords", "code"])
def test_arrays_that_a_solver_does_not_take_are_refused(name):
    samples = physical(spec())
    with pytest.raises(InputError, match=f"^{name}: this solver does not use this array"):
        solver_of(spec(), samples).predict(samples.inputs, **{name: np.ones((3, 1))})


@pytest.mark.parametrize("family", ["lsm", "lsm2"])
def test_missing_points_of_a_cloud_may_be_nan(family):
    cloud = spec("points", (24,), ragged=True)
    samples = physical(cloud)
    given = {"inputs": samples.inputs.numpy(), "coords": samples.coords.numpy(), "mask": np.arange(24) < 20}
    given["mask"] = np.repeat(given["mask"][None], 3, axis=0)
    model = {"name": family, "width": 8} | ({"projection": {"resolution": 8, "modes": 4}} if family == "lsm" else {})
    solver = build_solver({"model": model}, cloud).eval()
    expected = solver.predict(**given)
    for name in ("inputs", "coords"):
        given[name] = given[name].copy()
        given[name][:, 20:] = np.nan
    np.testing.assert_allclose(solver.predict(**given), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="inputs: sample 0 has NaN or infinite values; give a mask"):
        solver.predict(given["inputs"], given["coords"])
    with pytest.raises(InputError, match="mask: sample 1 has no point"):
        solver.predict(**given | {"mask": np.arange(3)[:, None] != np.ones(24)})


def test_a_model_of_other_channels_is_named():
    solver = make_solver(spec())
    solver.model.forward = lambda inputs, *_: inputs.repeat(1, 1, 1, 3)
    with pytest.raises(
        InputError,
        match=r"^LatentSpectralModel gave outputs of shape \(2, 6, 5, 3\) .* expected 1 channels on the same sites",
    ):
        solver.predict(np.ones((2, 6, 5, 1)))


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(InputError, match="device 'cuda:99' is not available"):
        make_solver(spec()).predict(np.ones((6, 5, 1)), device="cuda:99")


def test_a_configuration_without_a_model_is_named():
    with pytest.raises(InputError, match="^the configuration has width, expected model, such as {'name': 'lsm'}$"):
        build_solver({"width": 8}, spec())


def test_values_that_are_not_finite_are_refused():
    inputs = np.ones((3, 6, 5, 1))
    inputs[1, 0, 0] = np.inf
    with pytest.raises(InputError, match="^inputs: sample 1 has NaN or infinite values$"):
        make_solver(spec()).predict(inputs)


def test_configurations_that_do_not_fit_are_named():
    with pytest.raises(OptionError, match="^model.width is 0, expected a whole number of at least 1"):
        build_solver(solver_config(width=0), spec())
    for name, kinds in (("inputs", "none, channel, site"), ("targets", "none, channel, site"), ("coords", "none, box")):
        config = solver_config()
        config["normalization"] |= {name: "batch"}
        with pytest.raises(OptionError, match=f"^normalization.{name} is batch, expected one of {kinds}$"):
            build_solver(config, spec())
    with pytest.raises(OptionError, match="^normalization.outputs is no option"):
        build_solver({"model": model_config(), "normalization": {"outputs": "site"}}, spec())


def test_a_configuration_without_normalisation_is_by_channel():
    solver = build_solver({"model": {"name": "unet", "width": 4, "num_scales": 2}}, spec())
    assert (solver.input_normalizer.kind, solver.target_normalizer.kind) == ("channel", "channel")
    assert solver.config["normalization"] == {
        "inputs": "channel",
        "targets": "channel",
        "coords": "box",
        "code": "channel",
    }


def test_each_sample_is_predicted_on_its_own_in_evaluation_mode():
    samples = physical(spec())
    solver = solver_of(spec(), samples)
    alone = torch.cat([solver(FieldBatch(samples.inputs[[i]], samples.targets[[i]])) for i in range(3)])
    torch.testing.assert_close(solver(samples), alone, rtol=1e-4, atol=1e-3)


def test_another_grid_by_channel_and_the_remedy_by_site():
    larger = physical(spec(sites=(9, 8)))
    assert solver_of(spec())(larger).shape == (3, 9, 8, 1)
    with pytest.raises(InputError, match="train with normalisation by channel") as caught:
        solver_of(spec(), inputs="site", targets="site")(larger)
    assert caught.value.options == ("normalization",)


def test_a_cloud_takes_coordinates_and_code():
    fields = spec("points", (9,), inputs=2, code=3)
    samples = physical(fields)
    solver = solver_of(fields, samples, projection={"modes": 3, "resolution": 8})
    found = solver(samples)
    assert found.shape == (3, 9, 1)
    for changed in (samples.coords.flip(0), None), (None, samples.code.flip(0)):
        coords, code = (
            new if new is not None else old for new, old in zip(changed, (samples.coords, samples.code), strict=True)
        )
        assert not torch.equal(solver(FieldBatch(samples.inputs, samples.targets, coords, code)), found)


def test_units_of_length_do_not_matter_to_a_cloud():
    """The same cloud in metres and in millimetres about another origin, each with statistics of its own."""
    fields = spec("points", (9,), inputs=2, code=3)
    predictions = []
    for unit, origin in ((1.0, 0.0), (1000.0, -400.0)):
        samples = physical(fields)
        coords = unit * samples.coords + origin
        samples = replace(samples, inputs=coords, coords=coords)
        solver = solver_of(fields, samples, projection={"modes": 3, "resolution": 8})
        predictions.append(solver(samples))
    # Single precision: the fastest wave, 128 pi x, turns a rounding error of 1e-7 into a phase of 4e-5.
    torch.testing.assert_close(*predictions, rtol=1e-4, atol=1e-2)
    solver = solver_of(fields, samples, projection={"modes": 3, "resolution": 8})
    moved = replace(samples, coords=samples.coords + 100.0)
    assert (solver(moved) - predictions[1]).abs().max() > 0.02, "coordinates have no effect"


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
        {"projection": {"modes": 3, "resolution": 12}},
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


def test_arrays_are_predicted_in_evaluation_mode():
    """Also by a solver in training mode, or whose model is: each sample on its own, and no running statistics change."""
    inputs = physical(spec()).inputs.numpy()
    solver = solver_of(spec())
    expected, before = solver.predict(inputs), deepcopy(solver.state_dict())
    for part in (solver, solver.model):
        solver.eval()
        part.train()
        modes = [module.training for module in solver.modules()]
        np.testing.assert_array_equal(solver.predict(inputs), expected)
        np.testing.assert_allclose(solver.predict(inputs[0]), expected[0], rtol=1e-4, atol=1e-3)
        mean, _ = Ensemble([solver]).predict_with_spread(inputs=inputs)
        np.testing.assert_array_equal(mean, expected)
        assert all(torch.equal(before[name], value) for name, value in solver.state_dict().items())
        assert [module.training for module in solver.modules()] == modes


def test_a_solver_returns_to_training_mode_also_after_an_error(monkeypatch):
    solver = solver_of(spec()).train()
    solver.model.eval()
    modes = [part.training for part in solver.modules()]
    monkeypatch.setattr(solver.model, "forward", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        solver.predict(np.ones((6, 5, 1)))
    assert [part.training for part in solver.modules()] == modes


def test_batch_statistics_serve_the_prediction_of_arrays_too():
    inputs = physical(spec()).inputs
    solver = solver_of(spec())
    with batch_statistics(solver), torch.no_grad():
        expected = solver.solve(inputs).numpy()
        np.testing.assert_allclose(solver.predict(inputs), expected, rtol=1e-5, atol=1e-3)
    assert np.abs(solver.predict(inputs) - expected).max() > 1e-2


@pytest.mark.parametrize("geometry", ["mesh", "points"])
@pytest.mark.parametrize("others", [("load",), ()])
def test_coordinates_need_not_be_inputs(geometry, others):
    sites, names = ((6, 5) if geometry == "mesh" else (9,)), ("x", "y", *others)
    fields = replace(spec(geometry, sites), inputs=scalars(*names))
    solver = make_solver(fields, **({} if geometry == "mesh" else {"projection": {"modes": 3, "resolution": 8}})).eval()
    coords, load = np.random.default_rng(0).random((4, *sites, 2)), np.ones((4, *sites, 1), dtype="f4")
    whole = np.concatenate([coords, load], axis=-1) if others else coords
    expected, given = solver.predict(whole, coords), load if others else None
    np.testing.assert_array_equal(solver.predict(given, coords), expected)
    alone = solver.predict(None if given is None else given[1], coords[1])
    np.testing.assert_allclose(alone, expected[1], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=rf"{len(names)} channels: {', '.join(names)}; they are of shape"):
        solver.predict(whole[..., :1], coords if not others else None)
    with pytest.raises(InputError, match=r"coords: .*; they are missing"):
        solver.predict(whole)
    if others:
        with pytest.raises(InputError, match=r"1 channel: load, or 3 channels: x, y, load; .*inputs\[..., None\]"):
            solver.predict(load[..., 0], coords)
        with pytest.raises(InputError, match="at the same sites"):
            solver.predict(load[:, 1:], coords)


def test_another_grid_is_predicted():
    solver = solver_of(spec())
    assert solver.predict(np.ones((9, 8, 1))).shape == (9, 8, 1)


@pytest.mark.parametrize(
    ("kind", "spoil", "told"),
    [
        (
            "grid",
            lambda x, c, k: (x[..., :1], c, k),
            r"inputs: expected \(sites, sites, 2\) for one sample .* shape \(3, 6, 5, 1\)",
        ),
        ("grid", lambda x, c, k: (x[0, 0], c, k), r"inputs: expected .* shape \(5, 2\)"),
        (
            "mesh",
            lambda x, c, k: (x, c[0], k),
            r"coords: .* they are of shape \(6, 5, 2\) and the inputs of shape \(3, 6, 5, 2\)$",
        ),
        ("mesh", lambda x, c, k: (x, None, k), r"coords: expected \(sites, sites, 2\).* missing"),
        (
            "mesh",
            lambda x, c, k: (x, c[:, :-1], k),
            r"expected the inputs and their coords at the same sites, found \{'inputs'",
        ),
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


def test_a_batch_of_no_samples_is_refused():
    with pytest.raises(InputError, match="batch_size is -1, expected a whole number of at least 1"):
        solver_of(spec()).predict(np.ones((2, 6, 5, 1)), batch_size=-1)
    with pytest.raises(
        InputError, match=r"expected at least one sample and one site, they are of shape \(0, 6, 5, 1\)"
    ):
        solver_of(spec()).predict(np.ones((0, 6, 5, 1)))


@pytest.mark.parametrize(
    "fields", [spec(sites=(7, 6), mask=0), moving(sites=(7, 6), fields=2)], ids=["mask", "roll-out"]
)
def test_each_scale_is_predicted_in_physical_units(fields):
    """Coarse predictions are decoded, masked and fed back at every second site as the finest is at all sites."""
    torch.manual_seed(0)
    config = {"model": {"name": "lsm2", "width": 8, "num_scales": 2}, "normalization": {"targets": "site"}}
    solver, samples = build_solver(config, fields).eval(), batch(fields)
    solver.fit_normalizers(lambda: [samples])
    model = solver.model
    model.at_scales = lambda *inputs: [model(*inputs), model(*inputs)[:, ::2, ::2]]
    fine, coarse = solver.at_scales(samples)
    torch.testing.assert_close(fine, solver(samples))
    torch.testing.assert_close(coarse, solver(samples)[:, ::2, ::2])


def test_a_model_of_one_scale_predicts_at_that_one():
    solver, samples = make_solver(moving()).eval(), batch(moving())
    (found,) = solver.at_scales(samples)
    assert torch.equal(found, solver(samples))
