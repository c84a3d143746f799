"""Neural spectral block and patches against plain loops."""

import itertools

import pytest
import torch
from oracle import (
    block_on_grid,
    differentiable,
    grid_shapes,
    part,
    patch_members,
    random_state,
    spectral_block,
    spectral_block_by_scalars,
)

from lsm.model.latent_spectral.patches import from_patches, to_patches
from lsm.model.latent_spectral.spectral_block import NeuralSpectralBlock


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def block_and_state(width=16, num_tokens=3, num_basis=5):
    """A block and its random weights under the reference's names; all sizes differ from the published ones."""
    generator = torch.Generator().manual_seed(1)
    shapes = grid_shapes(2, width, 1, 1, num_scales=1, num_tokens=num_tokens, num_basis=num_basis)
    state = part(random_state(shapes, generator), "process1")
    block = NeuralSpectralBlock(width, heads=8, num_tokens=num_tokens, num_basis=num_basis)
    with torch.no_grad():
        block.spectral.weights.copy_(state["weights"])
        block.tokens.copy_(state["latent"])
        block.to_kv.weight.copy_(state["encoder_attn.weight"][..., 0, 0])
        block.to_kv.bias.copy_(state["encoder_attn.bias"])
        block.to_q.weight.copy_(state["decoder_attn.weight"][..., 0, 0])
        block.to_q.bias.copy_(state["decoder_attn.bias"])
    return block, state


def test_block_equals_scalar_arithmetic():
    block, state = block_and_state()
    points = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2))
    expected = torch.tensor([spectral_block_by_scalars(patch.tolist(), state) for patch in points])
    assert (expected - points).abs().max() > 0.1
    torch.testing.assert_close(block(points), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(spectral_block(points, state), expected, rtol=0, atol=1e-10)


@pytest.mark.numerics
def test_gradients_of_block_equal_those_of_loops():
    block, state = block_and_state()
    state = differentiable(state)
    points = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2))
    ours, theirs = points.clone().requires_grad_(), points.clone().requires_grad_()
    weight = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    (block(ours) * weight).sum().backward()
    (spectral_block(theirs, state) * weight).sum().backward()
    pairs = {
        "weights": block.spectral.weights,
        "latent": block.tokens,
        "encoder_attn.weight": block.to_kv.weight,
        "encoder_attn.bias": block.to_kv.bias,
        "decoder_attn.weight": block.to_q.weight,
        "decoder_attn.bias": block.to_q.bias,
    }
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10)
    for name, parameter in pairs.items():
        torch.testing.assert_close(parameter.grad, state[name].grad.reshape(parameter.shape), rtol=1e-8, atol=1e-10)
        if name not in ("encoder_attn.bias", "decoder_attn.bias"):
            assert state[name].grad.abs().max() > 1e-3


@pytest.mark.numerics
@pytest.mark.parametrize(("grid", "patch"), [((6,), (3,)), ((4, 6), (2, 3)), ((4, 2, 3), (2, 1, 3))])
def test_members_of_patches(grid, patch):
    """Patches hold the sites that a search site by site finds, in the same order, samples one after the other."""
    field = torch.arange(2 * 3 * torch.tensor(grid).prod(), dtype=torch.float64).reshape(2, 3, *grid)
    members = patch_members(grid, patch)
    expected = [
        [[field[sample, channel].flatten()[site] for channel in range(3)] for site in sites]
        for sample, sites in itertools.product(range(2), members)
    ]
    points = to_patches(field, patch)
    assert torch.equal(points, torch.tensor(expected))
    assert torch.equal(from_patches(points, patch, grid), field)


@pytest.mark.numerics
@pytest.mark.parametrize(("grid", "patch"), [((6,), (2,)), ((4, 6), (2, 3)), ((4, 2, 3), (2, 1, 3))])
def test_block_on_patches_of_every_rank(grid, patch):
    block, state = block_and_state()
    field = torch.randn(2, 16, *grid, generator=torch.Generator().manual_seed(4))
    found = from_patches(block(to_patches(field, patch)), patch, grid)
    torch.testing.assert_close(found, block_on_grid(field, state, patch), rtol=0, atol=1e-10)
