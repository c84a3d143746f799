"""Geometry of the elasticity benchmark: the stored base mesh, its refinement, and its morph to a given void.

Owns shapes only: it knows no material, no load and no displacement.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files

import numpy as np
from scipy.special import expit
from skfem import MeshQuad2

from lsm.registry import Count, check_value

BASE_RADIUS = 0.3
"""Radius of the circular hole in the stored base mesh."""

NUM_MODES = 10
"""Coefficients of a void: cosine and sine of five angular modes."""

Radius = Callable[[np.ndarray], np.ndarray]
"""A void that is star-shaped about the cell's centre: angle -> distance of its edge from the centre."""


def void_radius(modes: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Radius of a random void, ``r = 0.2 + 0.2 / (1 + exp g)``, always between 0.2 and 0.4.

    ``g = sum_{k=1..5} (t_{2k-1} cos k phi + t_{2k} sin k phi) / (sqrt(pi) (k^2 + 9))``; there is no constant mode.

    Args:
        modes: ``(10,)``, the coefficients t.
        angle: phi in radians, any shape.
    Returns:
        Radius in lengths of the cell's side, shaped as ``angle``.
    """
    if modes.shape != (NUM_MODES,):
        raise ValueError(f"modes have shape {modes.shape}, expected ({NUM_MODES},): cosine and sine of five modes")
    order = np.arange(1, NUM_MODES // 2 + 1)
    phase = np.asarray(angle)[..., None] * order
    damping = 1 / (np.sqrt(np.pi) * (order**2 + 9))
    exponent = np.cos(phase) @ (modes[0::2] * damping) + np.sin(phase) @ (modes[1::2] * damping)
    return 0.2 + 0.2 * expit(-exponent)


def rim(radius: Radius, num_angles: int = 42) -> np.ndarray:
    """Radii at ``linspace(0, 2 pi, num_angles)``; the last repeats the first exactly.

    Returns:
        ``(num_angles,)``.
    """
    distinct = radius(np.linspace(0, 2 * np.pi, num_angles)[:-1])
    return np.append(distinct, distinct[0])


def solid_mask(radius: Radius, num_nodes: int = 41) -> np.ndarray:
    """One in the solid and zero in the void, on a regular lattice over the unit square; axis 0 is x.

    Returns:
        ``(num_nodes, num_nodes)``.
    """
    distance, angle = _polar(lattice(num_nodes))
    return (distance >= radius(angle)).astype(float)


def lattice(num_nodes: int = 41) -> np.ndarray:
    """Coordinates ``(2, num_nodes, num_nodes)`` of a regular lattice over the unit square; axis 1 is x."""
    line = np.linspace(0, 1, num_nodes)
    return np.stack(np.meshgrid(line, line, indexing="ij"))


@lru_cache(maxsize=8)
def base_mesh(refinement: int = 1) -> MeshQuad2:
    """Unit square with a circular hole of radius 0.3: 108 nine-node quadrilaterals, each cut into refinement^2.

    Callers share the mesh returned: it must not be changed in place.

    Args:
        refinement: parts into which each side of an element is cut.
    Raises:
        OptionError: ``refinement`` is not a whole number of at least 1.
    """
    check_value("refinement", refinement, Count)
    with files(__package__).joinpath("mesh.npz").open("rb") as stream, np.load(stream) as stored:
        mesh = MeshQuad2(stored["nodes"].T, stored["elements"].T)
    return mesh if refinement == 1 else _round_hole(_subdivide(mesh, refinement))


def morph(mesh: MeshQuad2, radius: Radius) -> MeshQuad2:
    """Move the nodes of a base mesh along rays from the centre, so that its circular hole takes the shape of a void.

    ``rho' = rho + (r(phi) - 0.3) (R - rho) / (R - 0.3)``, R the ray's length to the square: the sides stay in place.
    """
    distance, angle = _polar(mesh.doflocs)
    reach = 0.5 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
    stretch = 1 + (radius(angle) - BASE_RADIUS) * (reach - distance) / ((reach - BASE_RADIUS) * distance)
    # Assigned where the square's sides were left exactly alone: rounding would push a node off the line y = 0.
    moved = np.where(distance < reach * (1 - 1e-12), 0.5 + (mesh.doflocs - 0.5) * stretch, mesh.doflocs)
    return MeshQuad2(moved, mesh.t)


def site_locations(refinement: int, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where given points of the 108 base elements lie in a refined mesh.

    Args:
        refinement: that of the mesh asked about.
        local: ``(2, q)``, reference coordinates in a base element.
    Returns:
        ``(elements, local)``: ``(108 q,)`` numbers of refined elements, ``(2, 108 q)`` coordinates within them; the
        points of one base element follow each other.
    """
    child = np.minimum(np.floor(local * refinement), refinement - 1).astype(np.int32)
    num_parents = base_mesh().nelements
    elements = np.arange(num_parents)[:, None] * refinement**2 + child[1] * refinement + child[0]
    return elements.ravel(), np.tile(local * refinement - child, num_parents)


def _polar(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = positions - 0.5
    return np.hypot(x, y), np.arctan2(y, x)


def _subdivide(mesh: MeshQuad2, refinement: int) -> MeshQuad2:
    """Cut the reference square of each element into refinement^2 and give every part nine nodes of its own map."""
    num_lines = 2 * refinement + 1
    line = np.linspace(0, 1, num_lines)
    local = np.stack(np.meshgrid(line, line, indexing="xy")).reshape(2, -1)
    positions = mesh.mapping().F(local)
    corners = [0, 2, 2 * num_lines + 2, 2 * num_lines]
    offsets = np.array([*corners, 1, num_lines + 2, 2 * num_lines + 1, num_lines, num_lines + 1])
    start = 2 * (np.arange(refinement)[:, None] * num_lines + np.arange(refinement)).ravel()
    children = (start[:, None] + offsets)[None] + np.arange(mesh.nelements)[:, None, None] * num_lines**2
    # Nodes that neighbours share differ by rounding only; ten digits are far below any distance of nodes.
    _, kept, number = np.unique(positions.reshape(2, -1).round(10), axis=1, return_index=True, return_inverse=True)
    return MeshQuad2(positions.reshape(2, -1)[:, kept], number.ravel()[children].reshape(-1, 9).T)


def _round_hole(mesh: MeshQuad2) -> MeshQuad2:
    """Put the nodes of the hole's edge on its circle, from which the parabolic edges of a coarser mesh stray."""
    sides = mesh.boundary_facets()
    boundary = np.unique(np.concatenate([mesh.facets[:, sides].ravel(), mesh.dofs.facet_dofs[0, sides]]))
    distance, _ = _polar(mesh.doflocs[:, boundary])
    hole = boundary[distance < 0.5 * (BASE_RADIUS + 0.5)]
    nodes = mesh.doflocs.copy()
    offset = nodes[:, hole] - 0.5
    nodes[:, hole] = 0.5 + BASE_RADIUS * offset / np.hypot(*offset)
    return MeshQuad2(nodes, mesh.t)
