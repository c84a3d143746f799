import pytest
import torch
from tiny import lively

from lsm.errors import OptionError
from lsm.model.latent_spectral.parts import BLOCKS
from lsm.model.latent_spectral.spectral_block import IdentityBlock, NeuralSpectralBlock

pytestmark = pytest.mark.numerics


def test_initial_values_lie_between_zero_and_one_over_channels():
    block = NeuralSpectralBlock(32)
    for parameter in (block.tokens, block.spectral.weights):
        assert 0 <= parameter.min() < 0.1 / 32
        assert 0.9 / 32 < parameter.max() < 1 / 32
    assert block.tokens.shape == (8, 4, 4)
    assert block.spectral.weights.shape == (32, 24)


def test_permuted_points_give_permuted_output():
    block = lively(NeuralSpectralBlock(16))
    points = torch.randn(2, 6, 16)
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    torch.testing.assert_close(block(points[:, order]), block(points)[:, order], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(block(points)[:, order], block(points))


def test_patches_do_not_exchange_data_but_points_of_one_patch_do():
    block = lively(NeuralSpectralBlock(16))
    points = torch.randn(3, 6, 16)
    changed = points.clone()
    changed[1, 0] += 1
    before, after = block(points), block(changed)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert all((after[1, point] - before[1, point]).abs().max() > 1e-4 for point in range(6))


def test_inspection_agrees_with_forward():
    block = lively(NeuralSpectralBlock(16, heads=4, num_tokens=3))
    points = torch.randn(2, 6, 16)
    seen = block.inspect(points)
    assert seen.tokens.shape == seen.solved.shape == (2, 4, 3, 4)
    assert (seen.gathering.shape, seen.spreading.shape) == ((2, 4, 3, 6), (2, 4, 6, 3))
    torch.testing.assert_close(seen.gathering.sum(-1), torch.ones(2, 4, 3))
    torch.testing.assert_close(seen.spreading.sum(-1), torch.ones(2, 4, 6))
    flat = seen.tokens.permute(0, 2, 1, 3).reshape(2, 3, 16)
    torch.testing.assert_close(block.spectral(flat), seen.solved.permute(0, 2, 1, 3).reshape(2, 3, 16))
    spread = (seen.spreading @ seen.solved).permute(0, 2, 1, 3).reshape(2, 6, 16)
    torch.testing.assert_close(points + spread, block(points))
    assert not seen.tokens.requires_grad


def test_bfloat16_deviates_by_its_rounding():
    """What the block adds deviates by 0.4 percent, one unit of bfloat16's last digit, or a few of them."""
    block = NeuralSpectralBlock(64)
    points = torch.randn(8, 16, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = block(points.bfloat16()).float()
    added = block(points) - points
    assert 0 < (found - points - added).norm() < 0.02 * added.norm()


def test_large_scores_stay_finite():
    block = lively(NeuralSpectralBlock(16))
    assert block(1e4 * torch.randn(2, 6, 16)).isfinite().all()


def test_without_latent_space_the_sum_acts_on_every_point():
    block = lively(NeuralSpectralBlock(16, latent=False))
    points = torch.randn(2, 6, 16)
    assert {name for name, _ in block.named_parameters()} == {"spectral.weights"}
    torch.testing.assert_close(block(points), block.spectral(points))
    torch.testing.assert_close(block(points)[:1, 2:3], block(points[:1, 2:3]))


def test_without_spectral_sum_tokens_pass_unchanged():
    block = lively(NeuralSpectralBlock(16, spectral=False))
    assert not any("spectral" in name for name, _ in block.named_parameters())
    points = torch.randn(2, 6, 16)
    seen = block.inspect(points)
    assert torch.equal(seen.tokens, seen.solved)
    full = lively(NeuralSpectralBlock(16))
    full.load_state_dict(block.state_dict() | {"spectral.weights": torch.zeros(16, 24)})
    torch.testing.assert_close(block(points), full(points))
    assert not torch.allclose(block(points), points)


def test_identity_block():
    points = torch.randn(2, 6, 16)
    assert torch.equal(IdentityBlock(16)(points), points)
    assert not list(IdentityBlock(16).parameters())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"heads": 3}, "heads is 3, which does not divide 16 channels"),
        ({"num_tokens": 0}, "num_tokens is 0, expected a whole number of at least 1"),
        ({"num_basis": 0}, "num_basis is 0, expected a whole number of at least 1"),
    ],
)
def test_numbers_that_do_not_fit_are_named(options, named):
    with pytest.raises(OptionError, match=named):
        BLOCKS.make({"name": "neural_spectral", **options}, 16)
