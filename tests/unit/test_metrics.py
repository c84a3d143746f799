import pytest
import torch

from lsm.metrics import (
    LOSSES,
    relative_l2,
    relative_l2_per_channel,
    sum_relative_l2,
    sum_relative_l2_per_channel,
)

TRUTH = torch.tensor([[[3.0, 1.0], [4.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]]])  # two samples, two sites, two channels
PREDICTION = torch.tensor([[[3.0, 1.0], [4.0, 2.0]], [[1.0, 2.0], [2.0, 4.0]]])


def test_values_by_hand():
    expected = torch.tensor([2 / 26**0.5, (17 / 8) ** 0.5])
    torch.testing.assert_close(relative_l2(PREDICTION, TRUTH), expected)
    per_channel = torch.tensor([[0.0, 2.0], [0.5, 2.0]])
    torch.testing.assert_close(relative_l2_per_channel(PREDICTION, TRUTH), per_channel)
    torch.testing.assert_close(sum_relative_l2(PREDICTION, TRUTH), expected.sum())
    torch.testing.assert_close(sum_relative_l2_per_channel(PREDICTION, TRUTH), torch.tensor(4.5))


@pytest.mark.parametrize("metric", [relative_l2, relative_l2_per_channel])
def test_scale_of_each_sample_does_not_matter(metric):
    scale = torch.tensor([1e-3, -50.0])[:, None, None]
    torch.testing.assert_close(metric(scale * PREDICTION, scale * TRUTH), metric(PREDICTION, TRUTH))
    assert torch.equal(metric(TRUTH, TRUTH), torch.zeros_like(metric(TRUTH, TRUTH)))
    torch.testing.assert_close(metric(0 * TRUTH, TRUTH), torch.ones_like(metric(TRUTH, TRUTH)))


def test_channels_keep_their_own_scale():
    scale = torch.tensor([1e6, 1.0])
    found = relative_l2_per_channel(scale * PREDICTION, scale * TRUTH)
    torch.testing.assert_close(found, relative_l2_per_channel(PREDICTION, TRUTH))


@pytest.mark.parametrize("sites", [(5,), (3, 2), (2, 3, 2)])
def test_sites_of_any_rank(sites):
    prediction, truth = torch.randn(2, *sites, 3), torch.randn(2, *sites, 3)
    flat = relative_l2(prediction.reshape(2, -1, 3), truth.reshape(2, -1, 3))
    torch.testing.assert_close(relative_l2(prediction, truth), flat)
    expected = torch.stack([relative_l2(prediction[..., [c]], truth[..., [c]]) for c in range(3)], dim=1)
    torch.testing.assert_close(relative_l2_per_channel(prediction, truth), expected)


@pytest.mark.parametrize("metric", [relative_l2, relative_l2_per_channel, *LOSSES.values()])
def test_shapes_that_would_broadcast_are_refused(metric):
    with pytest.raises(ValueError, match=r"\(2, 2, 1\).*\(2, 2, 2\)"):
        metric(PREDICTION[..., :1], TRUTH)
