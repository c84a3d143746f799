"""Control volumes of a C-mesh: one around each node, bounded by lines from edge midpoints to cell centres.

Owns the numbering, in which coinciding wake nodes are one control volume, and face normals, volumes, boundary normals and
weights of least-squares gradients. It knows no flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_prep.airfoil.mesh import FloatArray
from data_prep.generation.failure import SolverFailure

IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class Topology:
    """Numbering of the control volumes, common to all C-meshes of the same size.

    Args:
        node: ``(ni, nj)``, index of the control volume of each mesh node; equal on both sides of the wake.
        edges: ``(E, 2)``, pairs of control volumes with a common face.
        wall: ``(surface_cells,)``, control volumes on the section, from the trailing edge over the upper to the lower surface.
    """

    node: IntArray
    edges: IntArray
    wall: IntArray

    @property
    def num_nodes(self) -> int:
        """Number of control volumes."""
        return int(self.node.max()) + 1


@dataclass(frozen=True)
class DualMesh:
    """Geometry of the control volumes; lengths in chords.

    Args:
        topology: numbering.
        points: ``(N, 2)``, node positions.
        normals: ``(E, 2)``, face normals times face length, from the first node of an edge to the second.
        volumes: ``(N,)``, areas.
        wall_normals, far_normals: ``(N, 2)``, outward boundary normals times length, zero off the boundary.
        weights: ``(E, 2, 2)``: the gradient of a field at a node is the sum over its edges of the weight times the difference
            along the edge, with the weight ``[:, 0]`` for the first node of an edge and ``[:, 1]`` for the second; exact for
            linear fields.
    """

    topology: Topology
    points: FloatArray
    normals: FloatArray
    volumes: FloatArray
    wall_normals: FloatArray
    far_normals: FloatArray
    weights: FloatArray


@lru_cache(maxsize=8)
def topology(ni: int, nj: int, wake_cells: int) -> Topology:
    """Number nodes and edges of a C-mesh of ``ni`` by ``nj`` nodes."""
    node = np.arange(ni * nj, dtype=np.int32).reshape(ni, nj)
    node[ni - wake_cells - 1 :, 0] = node[wake_cells::-1, 0]
    node = np.unique(node, return_inverse=True)[1].reshape(ni, nj).astype(np.int32)
    along = np.stack([node[:-1], node[1:]], axis=-1)
    outward = np.stack([node[:, :-1], node[:, 1:]], axis=-1)
    edges = np.concatenate([along[: ni - 1 - wake_cells, 0], along[:, 1:].reshape(-1, 2), outward.reshape(-1, 2)])
    return Topology(node, edges, node[wake_cells : ni - 1 - wake_cells, 0])


def dual_mesh(x: FloatArray, y: FloatArray, wake_cells: int) -> DualMesh:
    """Metrics of a C-mesh.

    Args:
        x, y: node coordinates ``(ni, nj)`` from :func:`data_prep.airfoil.mesh.c_mesh`.
        wake_cells: number of cells along each side of the wake.
    Raises:
        ValueError: the two sides of the wake do not coincide.
        SolverFailure: a control volume is folded.
    """
    ni, nj = x.shape
    shared = topology(ni, nj, wake_cells)
    grid = np.stack([x, y], axis=-1)
    wake = grid[: wake_cells + 1, 0]
    if not np.array_equal(wake, grid[: ni - wake_cells - 2 : -1, 0]):
        raise ValueError(f"the nodes of the {wake_cells} wake cells above and below the cut differ at j = 0")
    volumes = _volumes(shared, grid)
    if volumes.min() <= 0.0:
        raise SolverFailure(f"a control volume has area {volumes.min():.2e}: the mesh is folded")
    points = np.empty((shared.num_nodes, 2))
    points[shared.node] = grid
    wall, far = _boundary_normals(shared, grid, wake_cells)
    return DualMesh(
        shared, points, _face_normals(grid, wake_cells), volumes, wall, far, _gradient_weights(shared, points)
    )


def _turn_right(vectors: FloatArray) -> FloatArray:
    """Vectors rotated clockwise by a right angle."""
    return np.stack([vectors[..., 1], -vectors[..., 0]], axis=-1)


def _corners(nodal: NDArray) -> list[NDArray]:
    """Nodal values at the corners (i, j), (i, j+1), (i+1, j+1), (i+1, j) of each cell, counterclockwise."""
    return [nodal[:-1, :-1], nodal[:-1, 1:], nodal[1:, 1:], nodal[1:, :-1]]


def _centres(grid: FloatArray) -> FloatArray:
    return np.mean(_corners(grid), axis=0)


def _face_normals(grid: FloatArray, wake_cells: int) -> FloatArray:
    """Normals in the order of ``Topology.edges``."""
    centre = _centres(grid)
    along_middle, outward_middle = 0.5 * (grid[:-1] + grid[1:]), 0.5 * (grid[:, :-1] + grid[:, 1:])
    along = np.zeros(along_middle.shape)
    along[:, :-1] -= _turn_right(centre - along_middle[:, :-1])
    along[:, 1:] += _turn_right(centre - along_middle[:, 1:])
    outward = np.zeros(outward_middle.shape)
    outward[:-1] += _turn_right(centre - outward_middle[:-1])
    outward[1:] -= _turn_right(centre - outward_middle[1:])
    # Below the cut the same edges have the opposite direction.
    along[:wake_cells, 0] -= along[: -wake_cells - 1 : -1, 0]
    first_row = along[: len(along) - wake_cells, 0]
    return np.concatenate([first_row, along[:, 1:].reshape(-1, 2), outward.reshape(-1, 2)])


def _volumes(shared: Topology, grid: FloatArray) -> FloatArray:
    """Areas ``(N,)``: sums over cells of the quadrilateral between corner, adjacent edge midpoints and cell centre."""
    centre, corners = _centres(grid), _corners(grid)
    total = np.zeros(shared.num_nodes)
    for k, node in enumerate(_corners(shared.node)):
        diagonal = centre - corners[k]
        across = 0.5 * (corners[k - 1] - corners[(k + 1) % 4])
        areas = 0.5 * (diagonal[..., 0] * across[..., 1] - diagonal[..., 1] * across[..., 0])
        total += np.bincount(node.ravel(), areas.ravel(), shared.num_nodes)
    return total


def _boundary_normals(shared: Topology, grid: FloatArray, wake_cells: int) -> tuple[FloatArray, FloatArray]:
    """Outward normals ``(N, 2)`` of the section and of the far field: each end of an edge gets half of its normal."""
    section = slice(wake_cells, len(grid) - wake_cells)
    wall = _add_halves(shared, [(shared.node[section, 0], -grid[section, 0])])
    far = [
        (shared.node[:, -1], grid[:, -1]),
        (shared.node[0], grid[0]),
        (shared.node[-1], -grid[-1]),
    ]
    return wall, _add_halves(shared, far)


def _add_halves(shared: Topology, lines: list[tuple[IntArray, FloatArray]]) -> FloatArray:
    total = np.zeros((shared.num_nodes, 2))
    for nodes, positions in lines:
        halves = 0.5 * _turn_right(np.diff(positions, axis=0))
        np.add.at(total, nodes[:-1], halves)
        np.add.at(total, nodes[1:], halves)
    return total


def _gradient_weights(shared: Topology, points: FloatArray) -> FloatArray:
    """Weights from the normal equations of every node: unweighted least squares over the neighbours along its edges."""
    steps = points[shared.edges[:, 1]] - points[shared.edges[:, 0]]
    moments = np.zeros((shared.num_nodes, 2, 2))
    for end in shared.edges.T:
        np.add.at(moments, end, steps[:, :, None] * steps[:, None, :])
    (xx, xy), (_, yy) = np.moveaxis(moments, 0, -1)
    inverse = np.stack([yy, -xy, -xy, xx], axis=-1).reshape(-1, 2, 2) / (xx * yy - xy * xy)[:, None, None]
    return np.einsum("esab,eb->esa", inverse[shared.edges], steps)
