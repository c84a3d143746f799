"""Softmax attention in its plain form; the oracle of any fused one."""

from __future__ import annotations

from torch import Tensor


def attention_weights(queries: Tensor, keys: Tensor) -> Tensor:
    """``softmax(q k^T)`` over the keys, without the usual ``1/sqrt(c)`` scale (the published model has none).

    Args:
        queries: ``(..., q, c)``.
        keys: ``(..., k, c)``.
    Returns:
        ``(..., q, k)``; each row sums to one.
    """
    return (queries @ keys.transpose(-2, -1)).softmax(dim=-1)
