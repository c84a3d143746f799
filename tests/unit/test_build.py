import pytest
import torch
from tiny import batch, model_config, spec

from lsm.errors import InputError
from lsm.model.build import build_model, choose


def test_sizes_come_from_the_specification():
    fields = spec(sites=(6, 5), inputs=3, targets=2)
    model = build_model(model_config(), fields)
    assert model.projection.lift.in_features == 3 + 2
    assert model(batch(fields).inputs).shape == (3, 6, 5, 2)
    assert build_model(model_config(), spec(targets=4, autoregressive=True)).head[-1].out_features == 1
    assert build_model(model_config(patch=(1,)), spec(sites=(7,))).projection.lift.in_features == 2


def test_options_reach_their_part():
    block = build_model(model_config(block={"num_tokens": 5, "num_basis": 6, "heads": 2}), spec()).trunk.blocks[0]
    assert block.tokens.shape == (2, 5, 4)
    assert block.spectral.weights.shape == (8, 12)
    assert len(build_model(model_config(num_scales=3), spec()).trunk.down) == 3
    config = model_config() | {"block": {"name": "identity"}}
    assert not list(build_model(config, spec()).trunk.blocks.parameters())


@pytest.mark.parametrize(
    ("part", "names"),
    [("projection", "fourier, grid"), ("block", "identity, neural_spectral"), ("trunk", "multiscale")],
)
def test_an_unknown_name_lists_the_right_ones(part, names):
    with pytest.raises(InputError, match=f"{part} 'os.system' is unknown; choose one of: {names}"):
        build_model(model_config() | {part: {"name": "os.system"}}, spec())


@pytest.mark.parametrize("part", ["projection", "block", "trunk"])
def test_an_unknown_option_is_named(part):
    config = model_config()
    config[part] = config[part] | {"colour": 3}
    with pytest.raises(InputError, match="colour"):
        build_model(config, spec())


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [("trunk", "patch", [5, 5]), ("trunk", "width", 16), ("projection", "width", 16), ("block", "channels", 16)],
)
def test_an_option_that_is_set_elsewhere_is_refused(part, option, value):
    """It would otherwise be taken and ignored."""
    config = model_config()
    config[part] = config[part] | {option: value}
    with pytest.raises(InputError, match=option):
        build_model(config, spec())


def test_choose():
    assert choose("loss", {"a": 1, "b": 2}, "b") == 2
    with pytest.raises(InputError, match="loss 'c' is unknown; choose one of: a, b"):
        choose("loss", {"b": 2, "a": 1}, "c")


def test_parameters_follow_the_seed_alone():
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(torch.cat([value.flatten() for value in build_model(model_config(), spec()).parameters()]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
