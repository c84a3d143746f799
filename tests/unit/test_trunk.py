import pytest
import torch
from torch import nn

from lsm.errors import InputError
from lsm.model.batch_norm import batch_statistics
from lsm.model.latent_spectral.spectral_block import IdentityBlock
from lsm.model.latent_spectral.trunk import MultiscaleTrunk

pytestmark = pytest.mark.numerics


class Recording(nn.Module):
    """A block that remembers the shape it saw and adds nothing."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, points):
        self.shape = tuple(points.shape)
        return points


@pytest.mark.parametrize(
    ("patch", "sites"),
    [
        ((1,), (1,)),
        ((3,), (50,)),
        ((1, 1), (1, 40)),
        ((2, 3), (17, 48)),
        ((1, 1, 1), (3, 17, 5)),
        ((1, 2, 1), (16, 32, 1)),
    ],
)
def test_any_grid_size_comes_back(patch, sites):
    trunk = MultiscaleTrunk(len(patch), 4, patch, IdentityBlock).eval()
    assert trunk(torch.randn(2, 4, *sites)).shape == (2, 4, *sites)


@pytest.mark.parametrize(
    ("patch", "sites", "padded"),
    [
        ((6, 6), (85, 85), (96, 96)),  # Darcy
        ((4, 4), (64, 64), (64, 64)),  # Navier-Stokes
        ((3, 3), (41, 41), (48, 48)),  # Elasticity-G
        ((14, 4), (221, 51), (224, 64)),  # Airfoil
        ((9, 9), (129, 129), (144, 144)),  # Pipe
        ((2, 3), (32, 49), (32, 96)),  # axes are padded on their own
    ],
)
def test_padding_is_the_next_multiple_at_the_end_of_each_axis(patch, sites, padded):
    trunk = MultiscaleTrunk(2, 1, patch, IdentityBlock).eval()
    seen = []
    trunk.down[0][0].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    grid = torch.rand(1, 1, *sites) + 1
    trunk.encode(grid)
    assert seen[0].shape[2:] == padded
    assert torch.equal(seen[0][..., : sites[0], : sites[1]], grid)
    assert seen[0].sum() == pytest.approx(grid.sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("num_scales", "channels"), [(1, [4]), (2, [4, 4]), (3, [4, 8, 8]), (4, [4, 8, 16, 16]), (5, [4, 8, 16, 32, 32])]
)
def test_channels_and_patches_of_each_scale(num_scales, channels):
    trunk = MultiscaleTrunk(2, 4, (1, 2), Recording, num_scales=num_scales).eval()
    unit = 2 ** (num_scales - 1)
    assert trunk(torch.randn(1, 4, unit, 2 * unit + 1)).shape == (1, 4, unit, 2 * unit + 1)
    assert [block.channels for block in trunk.blocks] == channels
    # padded to (unit, 4 unit): 2 unit^2 patches of two points, a quarter of them at each next scale
    assert [block.shape for block in trunk.blocks] == [
        (2 * unit**2 // 4**scale, 2, count) for scale, count in enumerate(channels)
    ]


def test_blocks_of_every_scale_reach_the_output():
    torch.manual_seed(0)
    trunk = MultiscaleTrunk(2, 4, (1, 1), Recording, num_scales=4).eval()
    grid = torch.randn(1, 4, 8, 8)
    before = trunk(grid)
    for block in trunk.blocks:
        handle = block.register_forward_hook(lambda _module, _inputs, output: output + 1)
        assert (trunk(grid) - before).abs().max() > 1e-5
        handle.remove()
    assert torch.equal(trunk(grid), before)


@pytest.mark.parametrize("sites", [(8,), (8, 4), (4, 8, 4)])
def test_scales_agree_with_and_without_gradients(sites):
    """Without gradients maxima of neighbours are taken in place of max-pooling."""
    trunk = MultiscaleTrunk(len(sites), 4, (1,) * len(sites), IdentityBlock, num_scales=3).eval()
    field = torch.randn(2, 4, *sites)
    with torch.no_grad():
        found = trunk.encode(field)
    for alone, expected in zip(found, trunk.encode(field), strict=True):
        assert expected.requires_grad
        torch.testing.assert_close(alone, expected, rtol=1e-6, atol=1e-6)


def test_a_rank_that_does_not_fit_is_named():
    with pytest.raises(InputError, match="rank 4"):
        MultiscaleTrunk(4, 4, (1, 1, 1, 1), IdentityBlock)


def test_statistics_of_a_single_value_are_refused():
    """A batch of one sample whose deepest scale has one site; running statistics, more sites or samples will do."""
    trunk = MultiscaleTrunk(2, 4, (1, 1), IdentityBlock, num_scales=3)
    lone = torch.randn(1, 4, 4, 3)
    with pytest.raises(
        InputError, match=r"one sample .* deepest of 3 scales.* choose a batch size .* or fewer scales"
    ) as bad:
        trunk(lone)
    assert bad.value.options == ("batch_size", "num_scales")
    assert trunk(lone.expand(2, -1, -1, -1)).shape == (2, 4, 4, 3)
    assert trunk(torch.randn(1, 4, 4, 5)).shape == (1, 4, 4, 5)
    assert trunk.eval()(lone).shape == (1, 4, 4, 3)
    with batch_statistics(trunk), pytest.raises(InputError, match="one sample"):
        trunk(lone)
