"""Families by name, and the options of the Latent Spectral Model."""

import pytest
import torch
from tiny import batch, model_config, moving, scalars, spec

from lsm.errors import InputError, OptionError
from lsm.model import MODELS


def make(fields=None, **options):
    return MODELS.make(model_config(**options), fields or spec())


def test_the_families():
    assert MODELS.names() == ["ffno", "flare", "fno", "lsm", "lsm2", "transolver", "unet", "vit"]
    with pytest.raises(
        InputError,
        match="model 'os.system' is unknown; choose one of: ffno, flare, fno, lsm, lsm2, transolver, unet, vit",
    ):
        MODELS.make({"name": "os.system"}, spec())


def test_sizes_come_from_the_specification():
    fields = spec(sites=(6, 5), inputs=3, targets=2)
    model = make(fields)
    assert model.projection.lift.in_features == 3 + 2
    assert model(batch(fields).inputs).shape == (3, 6, 5, 2)
    assert make(moving(fields=2)).head[-1].out_features == 2
    assert make(moving(num_inputs=3, fields=2)).projection.lift.in_features == 3 * 2 + 2
    assert make(spec(parameters=scalars("mach", "angle"))).projection.lift.in_features == 1 + 2 + 2
    assert make(spec(sites=(7,)), patch=(1,)).projection.lift.in_features == 2


def test_options_reach_their_part():
    block = make(block={"num_tokens": 5, "num_basis": 6, "heads": 2}).trunk.blocks[0]
    assert block.tokens.shape == (2, 5, 4)
    assert block.spectral.weights.shape == (8, 12)
    model = make(num_scales=3, patch=(2, 3), head_width=7)
    assert (len(model.trunk.down), model.trunk.patch, model.head[0].out_features) == (3, (2, 3), 7)
    plain = MODELS.make(model_config() | {"block": {"name": "identity"}}, spec())
    assert not list(plain.trunk.blocks.parameters())


def test_an_option_that_is_null_keeps_its_default():
    model = MODELS.make({"name": "lsm", "patch": None, "projection": {"resolution": None}, "num_scales": 1}, spec())
    assert model.trunk.patch == (4, 4)
    assert model.projection.lift.out_features == 32


@pytest.mark.parametrize(
    ("part", "names"), [("projection", "fourier, grid"), ("block", "global_spectral, identity, neural_spectral")]
)
def test_an_unknown_name_lists_the_right_ones(part, names):
    with pytest.raises(InputError, match=f"{part} 'os.system' is unknown; choose one of: {names}"):
        MODELS.make(model_config() | {part: {"name": "os.system"}}, spec())


@pytest.mark.parametrize("part", ["projection", "block"])
def test_an_unknown_option_is_named(part):
    config = model_config(projection={"name": "grid"})
    config[part] = config[part] | {"colour": 3}
    with pytest.raises(OptionError, match=rf"^{part}\.colour is no option of"):
        MODELS.make(config, spec())
    with pytest.raises(OptionError, match="^colour is no option of LatentSpectralModel; its options: width, patch"):
        make(colour=3)


@pytest.mark.parametrize(("part", "option", "value"), [("projection", "width", 16), ("block", "channels", 16)])
def test_an_option_that_is_set_elsewhere_is_refused(part, option, value):
    """It would otherwise be taken and ignored."""
    config = model_config(projection={"name": "grid"})
    config[part] = config[part] | {option: value}
    with pytest.raises(OptionError, match=rf"^{part}\.{option} is no option of"):
        MODELS.make(config, spec())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is 0, expected a whole number of at least 1"),
        ({"num_scales": 0}, "num_scales is 0, expected a whole number from 1 to 16"),
        ({"patch": (0, 2)}, "patch is [0, 2], expected a list, each item a whole number of at least 1"),
        ({"patch": (2, -1)}, "patch is [2, -1], expected a list, each item a whole number of at least 1"),
        ({"patch": (3,)}, "patch is [3], expected one number per axis of a grid of rank 2"),
        ({"patch": (1, 2, 3)}, "patch is [1, 2, 3], expected one number per axis of a grid of rank 2"),
        ({"block": {"num_tokens": 0}}, "block.num_tokens is 0, expected a whole number of at least 1"),
        ({"block": {"num_basis": 0}}, "block.num_basis is 0, expected a whole number of at least 1"),
        ({"block": {"latent": 1}}, "block.latent is 1, expected true or false"),
        (
            {"block": {"heads": 3}},
            "block.heads is 3, which does not divide 8 channels; give a width that it divides",
        ),
    ],
)
def test_a_number_that_does_not_fit_is_named(options, message):
    with pytest.raises(OptionError) as caught:
        make(**options)
    assert str(caught.value) == message


def test_parameters_follow_the_seed_alone():
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(torch.cat([value.flatten() for value in make().parameters()]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
