"""Softmax attention in its plain form; the oracle of any fused one."""

from __future__ import annotations

import torch
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


def scaled_attention_weights(queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """``softmax(q k^T / sqrt(c))``, the weights of PyTorch's ``scaled_dot_product_attention``, which does not return them.

    Args:
        queries: ``(..., q, c)``.
        keys: ``(..., k, c)``.
        mask: True where a key exists, in a shape that fits ``(..., q, k)``.
    Returns:
        ``(..., q, k)``; each row sums to one.
    """
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(dim=-1)
