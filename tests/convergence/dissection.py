"""Nested dissection: an elimination order for sparse direct solves on regular grids.

Source: George, "Nested dissection of a regular finite element mesh", SIAM J. Numer. Anal. 10 (1973). With it, factors of a
grid of ``n`` nodes have ``O(n log n)`` entries; the order depends on the grid alone, so one serves all samples.
"""

from __future__ import annotations

import numpy as np


def nested_dissection(shape: tuple[int, int], leaf: int = 8) -> np.ndarray:
    """Order the nodes of a grid, each coupled to its neighbours, so that separators come last.

    Args:
        shape: nodes along each axis.
        leaf: blocks of at most this many nodes along both axes are not cut further.
    Returns:
        Permutation ``p`` of the nodes in row-major numbering: factor ``A[p][:, p]``.
    """
    nodes = np.arange(shape[0] * shape[1]).reshape(shape)
    return np.concatenate(list(_dissect(nodes, leaf)))


def _dissect(block: np.ndarray, leaf: int) -> list[np.ndarray]:
    if max(block.shape) <= leaf:
        return [block.ravel()]
    if block.shape[0] < block.shape[1]:
        block = block.T
    middle = len(block) // 2
    halves = _dissect(block[:middle], leaf) + _dissect(block[middle + 1 :], leaf)
    return [*halves, block[middle]]
