import pytest
import torch

from lsm.model.latent_spectral.patches import from_patches, to_patches


@pytest.mark.parametrize(("grid", "patch"), [((6,), (2,)), ((4, 6), (2, 3)), ((4, 6, 2), (1, 3, 2)), ((5, 3), (5, 1))])
def test_round_trip(grid, patch):
    field = torch.randn(2, 3, *grid)
    points = to_patches(field, patch)
    assert points.shape == (2 * torch.tensor(grid).prod() // torch.tensor(patch).prod(), torch.tensor(patch).prod(), 3)
    assert torch.equal(from_patches(points, patch, grid), field)


def test_which_site_goes_where():
    field = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]])[None, None]
    expected = torch.tensor([[0.0, 1.0, 2.0, 10.0, 11.0, 12.0], [3.0, 4.0, 5.0, 13.0, 14.0, 15.0]])
    assert torch.equal(to_patches(field, (2, 3))[..., 0], expected)
    expected = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [10.0, 11.0], [12.0, 13.0], [14.0, 15.0]])
    assert torch.equal(to_patches(field, (1, 2))[..., 0], expected)


def test_a_patch_is_a_block_of_neighbours_along_both_axes():
    """Four rows and columns in patches of two: strided patches, or patches counted column by column, differ."""
    field = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0], [8.0, 9.0, 12.0, 13.0], [10.0, 11.0, 14.0, 15.0]]
    assert to_patches(field, (2, 2))[..., 0].tolist() == expected


def test_channels_stay_with_their_site_and_samples_apart():
    field = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    points = to_patches(field, (2,))
    assert torch.equal(points[1, 0], field[0, :, 2])
    assert torch.equal(points[2, 1], field[1, :, 1])


def test_a_grid_that_patches_do_not_tile_is_refused():
    with pytest.raises(Exception, match="can.t divide axis of length 5"):
        to_patches(torch.zeros(1, 1, 5, 4), (2, 2))
