"""Grid models of rank 1, 2 and 3 with imported weights against plain loops: outputs, statistics, gradients, float32."""

import pytest
import torch
from compare import close, compare_state, imported_names, make_model
from oracle import differentiable, grid_model, grid_shapes, random_state, trunk, upsample
from torch.nn import functional

from lsm.model.latent_spectral.reference import import_state

# rank, scales, sites (none a multiple of 2^(scales - 1) * patch along every axis), patch, samples, channels in and out
CASES = [
    pytest.param(1, 5, (37,), (3,), 3, 2, 1, id="rank1"),
    pytest.param(2, 5, (13, 33), (1, 2), 2, 2, 3, id="rank2"),
    pytest.param(2, 5, (32, 16), (2, 1), 2, 1, 1, id="rank2-no-padding"),
    pytest.param(3, 3, (3, 9, 5), (1, 1, 2), 2, 1, 4, id="rank3"),
]
WIDTH = 8


def draw_case(rank, num_scales, sites, samples, in_channels, out_channels):
    generator = torch.Generator().manual_seed(10 * rank)
    state = random_state(grid_shapes(rank, WIDTH, in_channels, out_channels, num_scales), generator)
    inputs = torch.randn(samples, *sites, in_channels, generator=generator, dtype=torch.float64)
    weight = torch.randn(samples, *sites, out_channels, generator=generator, dtype=torch.float64)
    return state, inputs, weight


@pytest.fixture
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("rank", "num_scales", "sites", "patch", "samples", "in_channels", "out_channels"), CASES)
def test_grid_model_equals_loops(rank, num_scales, sites, patch, samples, in_channels, out_channels, training):
    state, inputs, weight = draw_case(rank, num_scales, sites, samples, in_channels, out_channels)

    def make():
        return make_model("grid", rank, WIDTH, patch, in_channels, out_channels, num_scales=num_scales)

    model = make().train(training)
    import_state(model, state)
    reference = differentiable(state)
    ours, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    expected = grid_model(theirs, reference, patch, training, num_scales)
    found = model(ours)
    close(found, expected, 1e-8)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    close(ours.grad, theirs.grad, 1e-8)
    compare_state(model, imported_names(make, state), reference, 1e-8, floor=1e-3)
    counted = model.state_dict()["trunk.down.0.1.num_batches_tracked"]
    assert counted == 3 + training


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("rank", "num_scales", "sites", "patch", "samples", "in_channels", "out_channels"), CASES)
def test_grid_model_in_single_precision(rank, num_scales, sites, patch, samples, in_channels, out_channels, training):
    state, inputs, _ = draw_case(rank, num_scales, sites, samples, in_channels, out_channels)
    single = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    rounded = {name: value.to(state[name].dtype) for name, value in single.items()}
    model = make_model("grid", rank, WIDTH, patch, in_channels, out_channels, num_scales=num_scales).train(training)
    import_state(model, single)
    with torch.no_grad():
        close(model(inputs.float()), grid_model(inputs.float().double(), rounded, patch, training, num_scales), 1e-5)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("num_scales", [1, 2, 3, 4])
def test_trunk_of_fewer_scales_equals_loops(num_scales):
    state, _, _ = draw_case(1, num_scales, (11,), 2, 1, 1)
    model = make_model("grid", 1, WIDTH, (3,), 1, 1, num_scales=num_scales).eval()
    import_state(model, state)
    features = torch.randn(2, WIDTH, 11, generator=torch.Generator().manual_seed(5))
    close(model.trunk(features), trunk(features, state, (3,), False, num_scales), 1e-8)


def test_upsampling_of_the_oracle_is_linear_and_keeps_the_ends():
    """The oracle's own loop, checked on a straight line and against the interpolation that the model names."""
    line = torch.linspace(2, 5, 4, dtype=torch.float64)[None, None]
    torch.testing.assert_close(upsample(line), torch.linspace(2, 5, 8, dtype=torch.float64)[None, None])
    field = torch.randn(1, 2, 3, 1, dtype=torch.float64)
    expected = functional.interpolate(field, scale_factor=2, mode="bilinear", align_corners=True)
    torch.testing.assert_close(upsample(field), expected)
