"""Results that are computed a second time, of whole layers or cheap ones: the same numbers, with less kept for the gradients."""

import copy
import gc
from contextlib import nullcontext
from weakref import ref

import pytest
import torch
from tiny import batch, make_solver, spec

from lsm.model import MODELS
from lsm.model.cheap import _Kept, cheap, dropping_cheap_results
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


def step_within(context, model, fields, precision=torch.float32):
    """Output, gradients and buffers after a step on random samples, whose forward pass is done within a context."""
    samples = batch(fields)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16), context:
        output = model(samples.inputs, samples.coords)
    output.float().square().sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    return {"output": output.detach(), **gradients, **dict(model.named_buffers())}


def trained_step(model, fields):
    """Output, gradients and buffers after a step on random samples, and the bytes that were kept for the gradients."""
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that its place is not used again
        return tensor

    found = step_within(torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), model, fields)
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


def test_norms_that_are_synchronised_keep_their_statistics():
    """They refuse to be without a count of batches."""
    fields = spec(sites=(16, 16))
    plain = MODELS.make({"name": "unet", **FAMILIES["unet"]}, fields).train()
    recomputed = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    recompute_layers(recomputed)
    (expected, _), (found, _) = trained_step(plain, fields), trained_step(recomputed, fields)
    assert_equal(found, expected)


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


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_cheap_results_are_the_same_a_second_time(family, precision):
    fields = spec(sites=(15, 16))  # padded
    plain = MODELS.make({"name": family, **FAMILIES[family]}, fields).train()
    forgetful = copy.deepcopy(plain)
    for mode in (True, False):
        for model in (plain, forgetful):
            model.train(mode).zero_grad()
        expected = step_within(nullcontext(), plain, fields, precision)
        assert_equal(step_within(dropping_cheap_results(), forgetful, fields, precision), expected)


def test_compilers_see_one_graph():
    fields = spec(sites=(16, 16))
    model = MODELS.make({"name": "lsm", **FAMILIES["lsm"]}, fields).train()
    samples = batch(fields)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(samples.inputs, samples.coords), model(samples.inputs, samples.coords))


def test_lsm_keeps_much_less_without_cheap_results():
    fields = spec(sites=(16, 16))
    model = MODELS.make({"name": "lsm", **FAMILIES["lsm"]}, fields).train()
    _, usual = trained_step(model, fields)
    with dropping_cheap_results():
        output = model(batch(fields).inputs)
    tensors = [kept._tensor for kept in gc.get_objects() if type(kept) is _Kept and kept._tensor is not None]
    less = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    assert output.requires_grad
    assert sum(less.values()) < 0.6 * usual


def test_results_of_cheap_functions_are_not_kept_and_computed_once_for_all_that_need_them():
    calls = []

    def double(x):
        calls.append("double")
        return 2 * x

    def shift(x):
        calls.append("shift")
        return x + 1

    given = torch.arange(4.0, requires_grad=True)
    with dropping_cheap_results():
        doubled = cheap(double, given.sin())
        shifted = cheap(shift, doubled)
        result = shifted * shifted + shifted.cos() * doubled.view(2, 2).flatten()
        kept = [ref(doubled), ref(shifted)]
        del doubled, shifted
        gc.collect()
        assert all(reference() is None for reference in kept)
    calls.clear()
    result.sum().backward()
    assert sorted(calls) == ["double", "shift"]
    again = given.detach().requires_grad_()
    doubled = 2 * again.sin()
    ((doubled + 1).square() + (doubled + 1).cos() * doubled).sum().backward()
    torch.testing.assert_close(given.grad, again.grad)


def test_a_graph_can_be_used_twice():
    given = torch.arange(3.0, requires_grad=True)
    with dropping_cheap_results():
        result = (cheap(torch.exp, given.sin()) ** 2).sum()
    first, second = (torch.autograd.grad(result, given, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_view_of_what_was_given_is_left_alone():
    given = torch.arange(6.0, requires_grad=True)
    with dropping_cheap_results():
        product = given * 1
        result = (cheap(lambda x: x.view(2, 3), product) ** 2).sum()
    result.backward()
    assert torch.equal(given.grad, 2 * given.detach())
