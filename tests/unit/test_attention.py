import math

import pytest
import torch

from lsm.model.latent_spectral.attention import attention_weights

pytestmark = pytest.mark.numerics


def test_rows_sum_to_one_over_the_keys():
    queries, keys = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 7, 5)
    weights = attention_weights(queries, keys)
    assert weights.shape == (2, 3, 4, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 4))
    assert (weights > 0).all()


def test_weights_by_hand_without_scale():
    """Scores 0 and ln 3 in four channels: 1/4 and 3/4. A scale of 1/sqrt(4) would give 1/(1+sqrt 3)."""
    queries = torch.tensor([[math.log(3.0), 0.0, 0.0, 0.0]])
    keys = torch.tensor([[0.0, 5.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(attention_weights(queries, keys), torch.tensor([[0.25, 0.75]]))
    values = torch.tensor([[4.0, 0.0], [8.0, 100.0]])
    torch.testing.assert_close(attention_weights(queries, keys) @ values, torch.tensor([[7.0, 75.0]]))


def test_large_scores_stay_finite():
    weights = attention_weights(torch.full((1, 1), 1e4), torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0]]))
