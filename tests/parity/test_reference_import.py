"""What an import refuses, and that parameter counts are those of the published models."""

import pytest
import torch
from compare import make_model, make_spec
from oracle import cloud_shapes, deformation_shapes, grid_shapes, random_state

from lsm.errors import InputError
from lsm.model import MODELS
from lsm.model.latent_spectral.reference import import_state, only_state


def grid_state(width=8, rank=2, out_channels=1):
    return random_state(grid_shapes(rank, width, 1, out_channels), torch.Generator().manual_seed(0))


def cloud_states(modes=3, code=5):
    generator = torch.Generator().manual_seed(0)
    return random_state(cloud_shapes(8, 2, 1, modes), generator), random_state(deformation_shapes(code), generator)


def cloud(code=5):
    return make_model("points", 2, 8, (1, 1), 2, 1, code=code, modes=3, resolution=16)


@pytest.mark.parametrize(
    ("rank", "width", "patch", "in_channels", "out_channels", "count"),
    [
        pytest.param(2, 64, (6, 6), 1, 1, 19_187_457, id="darcy"),
        pytest.param(2, 64, (4, 4), 10, 1, 19_188_033, id="navier_stokes"),
        pytest.param(2, 32, (3, 3), 1, 1, 4_812_801, id="elasticity_g"),
        pytest.param(2, 32, (14, 4), 2, 1, 4_812_833, id="airfoil"),
        pytest.param(2, 48, (9, 9), 2, 1, 10_804_913, id="pipe"),
        pytest.param(3, 32, (7, 2, 2), 1, 4, 13_457_828, id="plasticity"),
    ],
)
def test_parameter_count_is_the_published_one(rank, width, patch, in_channels, out_channels, count):
    with torch.device("meta"):
        model = make_model("grid", rank, width, patch, in_channels, out_channels)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_import_replaces_every_entry():
    """No entry keeps its random initialisation, and none is imported twice."""
    model = make_model("grid", 2, 8, (1, 1), 1, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = grid_state()
    import_state(model, state)
    after = model.state_dict()
    assert len(after) == len(state)
    assert all(not torch.equal(before[name], after[name]) for name in after)
    found = sorted(value.double().sum().item() for value in after.values())
    expected = sorted(value.double().sum().item() for value in state.values())
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_wrong_width_is_named():
    model = make_model("grid", 2, 16, (1, 1), 1, 1)
    with pytest.raises(InputError, match=r"projection\.lift\.weight has shape \(8, 3\).*\(16, 3\).*width") as caught:
        import_state(model, grid_state(width=8))
    assert caught.value.options == ("width", "patch")


def test_wrong_size_changes_nothing():
    """A state dict that fails at its last entry leaves the model as it was."""
    model = make_model("grid", 2, 8, (1, 1), 1, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = grid_state() | {"process5.weights": torch.zeros(64, 26)}
    with pytest.raises(InputError, match=r"trunk\.blocks\.4\.spectral\.weights"):
        import_state(model, state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("config", [{"name": "fno", "width": 8, "modes": 2}, {"name": "unet", "width": 8}])
def test_other_families_take_no_weights_of_the_reference(config):
    model = MODELS.make(config, make_spec("grid", 2, 1, 1))
    with pytest.raises(InputError, match="those of a Latent Spectral Model, not of (FourierNeuralOperator|UNet)"):
        import_state(model, grid_state())


def test_rank_must_fit():
    with pytest.raises(InputError, match="shape"):
        import_state(make_model("grid", 3, 8, (1, 1, 1), 1, 1), grid_state(rank=2))


def test_missing_deformation_is_named():
    state, _ = cloud_states()
    with pytest.raises(InputError, match=r"projection\.deformation.*missing.*needs its deformation network") as caught:
        import_state(cloud(), state)
    assert caught.value.options == ("deformation",)


def test_deformation_of_a_grid_model_is_refused():
    _, deform = cloud_states()
    with pytest.raises(InputError, match=r"projection\.deformation.*unknown"):
        import_state(make_model("grid", 2, 8, (1, 1), 1, 1), grid_state(), deform)


@pytest.mark.parametrize("name", ["process1.gate", "process6.weights", "attention.weight"])
def test_unknown_key_is_named(name):
    state = grid_state() | {name: torch.zeros(3)}
    with pytest.raises(InputError, match="none missing") as caught:
        import_state(make_model("grid", 2, 8, (1, 1), 1, 1), state)
    assert name.split(".")[-1] in str(caught.value)


def test_missing_key_is_named():
    state = grid_state()
    del state["up2.conv.double_conv.3.weight"]
    with pytest.raises(InputError, match=r"trunk\.up\.2\.3\.weight.*missing"):
        import_state(make_model("grid", 2, 8, (1, 1), 1, 1), state)


@pytest.mark.parametrize("code", [5, 0])
def test_deformation_holds_layers_for_samples_with_and_without_code(code):
    """The reference saves both layers, whichever it used; the other one is left out."""
    state, deform = cloud_states()
    model = cloud(code)
    import_state(model, state, deform)
    layer = model.projection.deformation.code if code else model.projection.deformation.no_code
    theirs = deform["fc_code.weight" if code else "fc_no_code.weight"]
    torch.testing.assert_close(layer.weight.double(), theirs, rtol=1e-6, atol=1e-6)


def test_only_state_dicts_are_taken():
    state = {"fc0.weight": torch.ones(2)}
    assert torch.equal(only_state(state, "FILE")["fc0.weight"], torch.ones(2))
    for content in (torch.nn.Linear(1, 1), {"epoch": 3}, [torch.ones(2)], None):
        with pytest.raises(InputError, match=r"FILE holds no state dict.*state_dict\(\)"):
            only_state(content, "FILE")
