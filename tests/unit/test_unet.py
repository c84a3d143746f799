"""The U-Net: the Latent Spectral Model's trunk without its blocks."""

import pytest
import torch
from tiny import batch, model_config, moving, scalars, spec

from lsm.errors import InputError, OptionError
from lsm.model import MODELS


def make(fields, **options):
    torch.manual_seed(0)
    return MODELS.make({"name": "unet", "width": 4, "num_scales": 3, "head_width": 10, **options}, fields)


@pytest.mark.parametrize("sites", [(16,), (12, 9), (6, 5, 7)])
def test_fields_of_any_rank(sites):
    fields = spec(sites=sites, inputs=2, targets=3)
    assert make(fields)(batch(fields).inputs).shape == (3, *sites, 3)


def test_a_trained_lattice_is_not_a_limit():
    model = make(spec("mesh", sites=(12, 9), inputs=2)).eval()
    for sites in ((12, 9), (24, 18), (5, 4), (1, 2)):
        assert model(torch.randn(2, *sites, 2)).shape == (2, *sites, 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fields", [spec(sites=(11,), targets=2), moving(sites=(9, 6)), spec(sites=(4, 5, 3))])
def test_it_is_the_latent_spectral_model_without_blocks(fields, training):
    """The same weights give the same output."""
    model = make(fields)
    other = MODELS.make(
        model_config(patch=[1] * len(fields.sites), width=4, num_scales=3, head_width=10)
        | {"block": {"name": "identity"}},
        fields,
    )
    state = {name.replace("lift.", "projection.lift."): value for name, value in model.state_dict().items()}
    other.load_state_dict(state)
    inputs = batch(fields).inputs
    torch.testing.assert_close(model.train(training)(inputs), other.train(training)(inputs))


def double_conv(rank, channels, out, mid):
    """Convolutions without bias, batch norms with weight and bias."""
    return 3**rank * (channels * mid + mid * out) + 2 * (mid + out)


@pytest.mark.parametrize(
    ("fields", "in_channels", "out_channels"),
    [
        (spec(sites=(8,), inputs=2, targets=3), 2, 3),
        (spec(parameters=scalars("mach", "angle")), 1 + 2, 1),
        (moving(num_inputs=5, fields=2), 5 * 2, 2),
        (spec(sites=(4, 4, 4)), 1, 1),
    ],
)
def test_number_of_parameters(fields, in_channels, out_channels):
    """Three scales of 4, 8 and 8 channels."""
    rank, head = len(fields.sites), 10
    down = double_conv(rank, 4, 4, 4) + double_conv(rank, 4, 8, 8) + double_conv(rank, 8, 8, 8)
    up = double_conv(rank, 8, 4, 4) + double_conv(rank, 16, 4, 8)
    expected = (in_channels + rank + 1) * 4 + down + up + 4 * 5 + 5 * head + (head + 1) * out_channels
    assert sum(parameter.numel() for parameter in make(fields).parameters()) == expected


def test_a_cloud_is_refused_with_the_families_that_serve_it():
    with pytest.raises(
        InputError,
        match="model unet does not support 'points' sites; models that do: flare, lsm, lsm2, transolver, vit$",
    ):
        make(spec("points", (9,)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_scales": 0}, "num_scales is 0, expected a whole number from 1 to 16"),
        ({"patch": [1, 1]}, "patch is no option of UNet; its options: width, num_scales, head_width"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(OptionError) as caught:
        make(spec(), **options)
    assert str(caught.value) == message
