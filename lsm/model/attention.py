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


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """``softmax(q k^T) v``, unscaled; linear in the number of keys for a fixed number of queries.

    Args:
        queries: ``(..., q, c)``.
        keys: ``(..., k, c)``.
        values: ``(..., k, d)``.
    Returns:
        ``(..., q, d)``.
    """
    return attention_weights(queries, keys) @ values
