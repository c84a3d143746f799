"""Layers that compute their activations a second time: the same numbers, with less kept for the gradients."""

import copy

import pytest
import torch
from tiny import batch, make_solver, spec

from lsm.model import MODELS
from lsm.training.recompute import recompute_layers

FAMILIES = {
    "lsm": {"width": 8, "patch": [2, 2], "num_scales": 2},
    "lsm2": {"width": 8, "num_scales": 3},
    "unet": {"width": 8, "num_scales": 3},
    "ffno": {"width": 8, "modes": 3, "num_layers": 3},
    "vit": {"width": 16, "num_layers": 3, "patch": [2, 2]},
    "transolver": {"width": 16, "num_layers": 3, "num_slices": 4},
    "flare": {"width": 16, "num_blocks": 3, "num_latents": 4},
}


def trained_step(model, fields):
    """Output, gradients and buffers after a step on random samples, and the bytes that were kept for the gradients."""
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that its place is not used again
        return tensor

    samples = batch(fields)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(samples.inputs, samples.coords)
    output.square().sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    found = {"output": output.detach(), **gradients, **dict(model.named_buffers())}
    return found, sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] is None) == (value is None), name
        assert value is None or torch.equal(found[name], value), name


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_and_statistics_stay_the_same_and_less_is_kept(family):
    fields = spec(sites=(16, 16))
    plain = MODELS.make({"name": family, **FAMILIES[family]}, fields).train()
    recomputed = copy.deepcopy(plain)
    recompute_layers(recomputed)
    assert recomputed.state_dict().keys() == plain.state_dict().keys()
    (expected, usual), (found, less) = trained_step(plain, fields), trained_step(recomputed, fields)
    assert_equal(found, expected)
    assert less < 0.8 * usual
    recomputed.load_state_dict(plain.state_dict())
    for model in (plain, recomputed):
        model.eval().zero_grad()
    assert_equal(trained_step(recomputed, fields)[0], trained_step(plain, fields)[0])


def test_a_copy_computes_with_its_own_weights():
    """As the average of the weights does."""
    fields = spec(sites=(16, 16))
    model = make_solver(fields).model.eval()
    recompute_layers(model)
    copied = copy.deepcopy(model)
    expected = trained_step(model, fields)[0]["output"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(trained_step(copied, fields)[0]["output"], expected)
