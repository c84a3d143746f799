"""Geometry and numbering of the bent pipe: centre line, mesh nodes, elements, elimination order, sparsity pattern.

Owns coordinates and indices; the equations are in ``elements.py`` and ``solver.py``. ``Numbering`` contains everything that
depends only on the number of nodes, and not on the shape of the pipe; it is built once per resolution.

Index conventions: node ``(i, j)`` of the ``n x n`` grid, ``i`` streamwise, ``j`` from the lower to the upper wall. An
element has 3 x 3 nodes (local node ``3 a + b``) and 2 x 2 pressure corners (local corner ``2 a + b``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.integer]

PIPE_LENGTH = 10.0
PIPE_WIDTH = 1.0
NUM_CENTRE_NODES = 5

#: Subdomains of at most this many nodes per side are eliminated without further dissection.
LEAF_NODES = 4


def centre_line_height(nodes: FloatArray, x: FloatArray) -> FloatArray:
    """Height ``d(x)`` of the centre line, piecewise cubic Hermite on equal intervals.

    On the interval that starts at node ``k``, of length ``h`` and with the coordinate ``t`` in [0, 1],

        d = d_k + (d_{k+1} - d_k) t^2 (3 - 2t) + s_k t (1 - t)^2 - s_{k+1} t^2 (1 - t).

    The slope parameters ``s`` are derivatives by ``t``, not by ``x``: the slope of the centre line at a node is ``s_k / h``.

    Args:
        nodes: ``(k, 2)``, value and slope parameter at ``k`` equidistant nodes from 0 to ``PIPE_LENGTH``.
        x: positions in [0, ``PIPE_LENGTH``].
    Returns:
        Heights, in the shape of ``x``.
    """
    num_intervals = len(nodes) - 1
    scaled = x / (PIPE_LENGTH / num_intervals)
    k = np.clip(np.floor(scaled).astype(int), 0, num_intervals - 1)
    t = scaled - k
    (left, left_slope), (right, right_slope) = nodes[k].T, nodes[k + 1].T
    smooth = t * t * (3.0 - 2.0 * t)
    return left + (right - left) * smooth + t * (1.0 - t) * (left_slope * (1.0 - t) - right_slope * t)


def pipe_mesh(nodes: FloatArray, resolution: int) -> tuple[FloatArray, FloatArray]:
    """Coordinates of the mesh nodes: equidistant vertical sections of width 1, shifted by the centre line.

    Args:
        nodes: ``(k, 2)``, see :func:`centre_line_height`.
        resolution: nodes per axis, odd.
    Returns:
        ``x`` and ``y``, each ``(resolution, resolution)``, axis 0 streamwise, axis 1 from lower to upper wall.
    """
    stations = np.linspace(0.0, PIPE_LENGTH, resolution)
    across = np.linspace(-PIPE_WIDTH / 2, PIPE_WIDTH / 2, resolution)
    x = np.repeat(stations[:, None], resolution, axis=1)
    y = centre_line_height(nodes, stations)[:, None] + across
    return x, y


@dataclass(frozen=True)
class Numbering:
    """Unknowns of the Q2-Q1 discretisation on an ``n x n`` node grid, and the pattern of its Jacobian.

    The full vector contains ``u, v`` of every node (indices ``2 (n i + j)`` and ``+ 1``), then the pressure of every corner.
    The reduced vector contains the unknowns without Dirichlet values, in elimination order.

    Args:
        resolution: ``n``.
        element_dofs: ``(elements, 22)``, full indices: nine ``u``, nine ``v``, four pressures.
        order: full indices of the unknowns of the reduced vector.
        indptr, indices: compressed columns of the reduced Jacobian (structurally symmetric).
        slots: ``(elements, 22, 22)``, position of each entry of an element in the data of the matrix; entries that vanish
            or belong to Dirichlet unknowns share one additional position at the end.
    """

    resolution: int
    element_dofs: IndexArray
    order: IndexArray
    indptr: IndexArray
    indices: IndexArray
    slots: IndexArray

    @property
    def num_dofs(self) -> int:
        """Length of the full vector."""
        return 2 * self.resolution**2 + (self.resolution // 2 + 1) ** 2

    def split(self, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Views of a full vector: velocity ``(n, n, 2)`` and corner pressure ``(m, m)`` with ``m = n // 2 + 1``."""
        n, m = self.resolution, self.resolution // 2 + 1
        return state[: 2 * n * n].reshape(n, n, 2), state[2 * n * n :].reshape(m, m)


@lru_cache(maxsize=8)
def numbering(resolution: int) -> Numbering:
    """The :class:`Numbering` of a square node grid; cached, since it does not depend on the shape of the pipe.

    Raises:
        ValueError: ``resolution`` is even or below 5.
    """
    if resolution < 5 or resolution % 2 == 0:
        raise ValueError(f"resolution is {resolution}: Q2 elements need an odd number of nodes per axis, at least 5")
    element_dofs = _element_dofs(resolution)
    order = _elimination_order(resolution)
    indptr, indices, slots = _sparsity(element_dofs, order, 2 * resolution**2 + (resolution // 2 + 1) ** 2)
    return Numbering(resolution, element_dofs.astype(np.int32), order, indptr, indices, slots)


def _element_dofs(n: int) -> IndexArray:
    """Full indices ``(elements, 22)`` of the unknowns of each element."""
    num_elements, m = n // 2, n // 2 + 1
    first = np.arange(num_elements)
    local3, local2 = np.arange(3), np.arange(2)
    rows = 2 * first[:, None] + local3
    nodes = (n * rows[:, None, :, None] + rows[None, :, None, :]).reshape(-1, 9)
    corner_rows = first[:, None] + local2
    corners = (m * corner_rows[:, None, :, None] + corner_rows[None, :, None, :]).reshape(-1, 4)
    return np.concatenate([2 * nodes, 2 * nodes + 1, 2 * n * n + corners], axis=1)


def _elimination_order(n: int) -> IndexArray:
    """Full indices of the unknowns without Dirichlet values, ordered by geometric nested dissection.

    Separators are lines of element edges (even indices). A pressure is eliminated with its own separator or leaf, after the
    velocities there; by then its zero diagonal entry has been filled, so that no pivoting is needed.
    """
    blocks: list[IndexArray] = []

    def dissect(i0: int, i1: int, j0: int, j1: int) -> None:
        """Order the nodes ``i0 <= i < i1``, ``j0 <= j < j1``: first both halves, then the separator between them."""
        if i0 >= i1 or j0 >= j1:
            return
        if max(i1 - i0, j1 - j0) <= LEAF_NODES:
            blocks.append(_block_unknowns(n, range(i0, i1), range(j0, j1)))
        elif i1 - i0 >= j1 - j0:
            middle = _even_middle(i0, i1)
            dissect(i0, middle, j0, j1)
            dissect(middle + 1, i1, j0, j1)
            blocks.append(_block_unknowns(n, range(middle, middle + 1), range(j0, j1)))
        else:
            middle = _even_middle(j0, j1)
            dissect(i0, i1, j0, middle)
            dissect(i0, i1, middle + 1, j1)
            blocks.append(_block_unknowns(n, range(i0, i1), range(middle, middle + 1)))

    dissect(0, n, 0, n)
    return np.concatenate(blocks)


def _even_middle(start: int, stop: int) -> int:
    """Even index nearest the middle of ``start .. stop - 1``."""
    return 2 * ((start + stop) // 4)


def _block_unknowns(n: int, rows: range, columns: range) -> IndexArray:
    """Unknowns of a rectangle of nodes: first the free velocities, then the pressures."""
    i, j = (index.ravel() for index in np.meshgrid(rows, columns, indexing="ij"))
    # The inlet (i = 0) and the walls have Dirichlet values; the outlet is free.
    free = (i > 0) & (j > 0) & (j < n - 1)
    node = (n * i + j)[free]
    velocities = np.stack([2 * node, 2 * node + 1], axis=1).ravel()
    corner = (i % 2 == 0) & (j % 2 == 0)
    pressures = 2 * n * n + (n // 2 + 1) * (i[corner] // 2) + j[corner] // 2
    return np.concatenate([velocities, pressures])


def _sparsity(element_dofs: IndexArray, order: IndexArray, num_dofs: int) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Compressed-column pattern in elimination order, and the position of each entry of the elements in it."""
    size = len(order)
    reduced = np.full(num_dofs, -1, dtype=np.int64)
    reduced[order] = np.arange(size)
    local = reduced[element_dofs]
    row, column = np.broadcast_arrays(local[:, :, None], local[:, None, :])
    is_pressure = np.arange(22) >= 18
    # Pressures are not coupled with each other, but the factorisation needs every diagonal entry in the pattern.
    couples = ~(is_pressure[:, None] & is_pressure[None, :]) | np.eye(22, dtype=bool)
    stored = (row >= 0) & (column >= 0) & couples
    keys, inverse = np.unique(column[stored] * size + row[stored], return_inverse=True)
    slots = np.full(stored.shape, len(keys), dtype=np.int32)
    slots[stored] = inverse
    indptr = np.searchsorted(keys, np.arange(size + 1) * size).astype(np.int32)
    return indptr, (keys % size).astype(np.int32), slots
