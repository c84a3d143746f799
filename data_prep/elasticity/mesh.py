"""Geometry of the elasticity benchmark: the stored base mesh, its refinement, and its deformation to a given void.

Owns the geometry only: it knows no material, no load and no displacement.
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
"""Number of coefficients of a void: cosine and sine of five angular modes."""

Radius = Callable[[np.ndarray], np.ndarray]
"""A void that is star-shaped about the centre of the cell: angle -> distance of its edge from the centre."""


def void_radius(modes: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Radius of a random void, ``r = 0.2 + 0.2 / (1 + exp g)``, always between 0.2 and 0.4.

    ``g = sum_{k=1..5} (t_{2k-1} cos k phi + t_{2k} sin k phi) / (sqrt(pi) (k^2 + 9))``; there is no constant mode.

    Args:
        modes: ``(10,)``, the coefficients t.
        angle: phi in radians, any shape.
    Returns:
        Radius relative to the side of the cell, in the shape of ``angle``.
    """
    if modes.shape != (NUM_MODES,):
        raise ValueError(f"modes have shape {modes.shape}, expected ({NUM_MODES},): cosines and sines of five modes")
    order = np.arange(1, NUM_MODES // 2 + 1)
    phase = np.asarray(angle)[..., None] * order
    damping = 1 / (np.sqrt(np.pi) * (order**2 + 9))
    exponent = np.cos(phase) @ (modes[0::2] * damping) + np.sin(phase) @ (modes[1::2] * damping)
    return 0.2 + 0.2 * expit(-exponent)


def rim(radius: Radius, num_angles: int = 42) -> np.ndarray:
    """Radii at the angles ``linspace(0, 2 pi, num_angles)``; the last value is a copy of the first.

    Returns:
        ``(num_angles,)``.
    """
    distinct = radius(np.linspace(0, 2 * np.pi, num_angles)[:-1])
    return np.append(distinct, distinct[0])


def solid_mask(radius: Radius, num_nodes: int = 41) -> np.ndarray:
    """1 in the solid and 0 in the void, on a regular lattice over the unit square; axis 0 is x.

    Returns:
        ``(num_nodes, num_nodes)``.
    """
    return (edge_distance(radius, num_nodes) >= 0).astype(float)


def edge_distance(radius: Radius, num_nodes: int = 41) -> np.ndarray:
    """Distance of the sites of a regular lattice from the edge of the void, along the ray from the centre; negative in the void.

    Returns:
        ``(num_nodes, num_nodes)`` relative to the side of the cell; axis 0 is x.
    """
    distance, angle = _polar(lattice(num_nodes))
    return distance - radius(angle)


def lattice(num_nodes: int = 41) -> np.ndarray:
    """Coordinates ``(2, num_nodes, num_nodes)`` of a regular lattice over the unit square; axis 1 is x."""
    line = np.linspace(0, 1, num_nodes)
    return np.stack(np.meshgrid(line, line, indexing="ij"))


@lru_cache(maxsize=8)
def base_mesh(refinement: int = 1) -> MeshQuad2:
    """Unit square with a circular hole of radius 0.3: 108 nine-node quadrilaterals, each divided into refinement^2.

    The mesh is cached and shared: callers must not modify it.

    Args:
        refinement: number of parts into which each side of an element is divided.
    Raises:
        OptionError: ``refinement`` is not a whole number of at least 1.
    """
    check_value("refinement", refinement, Count)
    with files(__package__).joinpath("mesh.npz").open("rb") as stream, np.load(stream) as stored:
        mesh = MeshQuad2(stored["nodes"].T, stored["elements"].T)
    return mesh if refinement == 1 else _round_hole(_subdivide(mesh, refinement))


def morph(mesh: MeshQuad2, radius: Radius) -> MeshQuad2:
    """Move the nodes of a base mesh along rays from the centre, so that its circular hole becomes the given void.

    ``rho' = rho + (r(phi) - 0.3) (R - rho) / (R - 0.3)``, with R the length of the ray to the square. Nodes on the sides of
    the square do not move.
    """
    distance, angle = _polar(mesh.doflocs)
    reach = 0.5 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
    stretch = 1 + (radius(angle) - BASE_RADIUS) * (reach - distance) / ((reach - BASE_RADIUS) * distance)
    # Nodes on the sides are copied, since rounding would move them off the line y = 0.
    moved = np.where(distance < reach * (1 - 1e-12), 0.5 + (mesh.doflocs - 0.5) * stretch, mesh.doflocs)
    return MeshQuad2(moved, mesh.t)


def site_locations(refinement: int, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position of given points of the 108 base elements in a refined mesh.

    Args:
        refinement: refinement of the mesh.
        local: ``(2, q)``, reference coordinates in a base element.
    Returns:
        ``(elements, local)``: indices ``(108 q,)`` of the refined elements, and reference coordinates ``(2, 108 q)`` in
        them, ordered by base element.
    """
    child = np.minimum(np.floor(local * refinement), refinement - 1).astype(np.int32)
    num_parents = base_mesh().nelements
    elements = np.arange(num_parents)[:, None] * refinement**2 + child[1] * refinement + child[0]
    return elements.ravel(), np.tile(local * refinement - child, num_parents)


def _polar(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = positions - 0.5
    return np.hypot(x, y), np.arctan2(y, x)


def _subdivide(mesh: MeshQuad2, refinement: int) -> MeshQuad2:
    """Divide the reference square of each element into refinement^2 parts with nine nodes each, mapped by the element."""
    num_lines = 2 * refinement + 1
    line = np.linspace(0, 1, num_lines)
    local = np.stack(np.meshgrid(line, line, indexing="xy")).reshape(2, -1)
    positions = mesh.mapping().F(local)
    corners = [0, 2, 2 * num_lines + 2, 2 * num_lines]
    offsets = np.array([*corners, 1, num_lines + 2, 2 * num_lines + 1, num_lines, num_lines + 1])
    start = 2 * (np.arange(refinement)[:, None] * num_lines + np.arange(refinement)).ravel()
    children = (start[:, None] + offsets)[None] + np.arange(mesh.nelements)[:, None, None] * num_lines**2
    _, kept, number = np.unique(_lattice_numbers(mesh, num_lines), return_index=True, return_inverse=True)
    return MeshQuad2(positions.reshape(2, -1)[:, kept], number.ravel()[children].reshape(-1, 9).T)


def _lattice_numbers(mesh: MeshQuad2, num_lines: int) -> np.ndarray:
    """Number each point of a regular ``num_lines x num_lines`` lattice in every element; shared points have one number.

    The numbers follow from corners and sides of the elements alone. Coordinates are no criterion, since two elements may
    round the position of a shared point differently.

    Returns:
        ``(elements, num_lines**2)``, in the order of the reference coordinates x (fastest), y.
    """
    num_inner = num_lines - 2
    numbers = np.empty((mesh.nelements, num_lines, num_lines), dtype=np.int64)
    corners = mesh.t.T
    first_side = corners.max() + 1
    first_inside = first_side + mesh.facets.shape[1] * num_inner
    numbers[:, 1:-1, 1:-1] = first_inside + np.arange(mesh.nelements * num_inner**2).reshape(-1, num_inner, num_inner)
    numbers[:, [0, 0, -1, -1], [0, -1, -1, 0]] = corners
    # The sides with their first and last corner in the direction of growing x or y.
    sides = (
        (numbers[:, 0, 1:-1], 0, 1),
        (numbers[:, 1:-1, -1], 1, 2),
        (numbers[:, -1, 1:-1], 3, 2),
        (numbers[:, 1:-1, 0], 0, 3),
    )
    for k, (points, first, last) in enumerate(sides):
        along = first_side + mesh.t2f[k][:, None] * num_inner + np.arange(num_inner)
        points[:] = np.where(corners[:, [first]] < corners[:, [last]], along, along[:, ::-1])
    return numbers.reshape(mesh.nelements, -1)


def _round_hole(mesh: MeshQuad2) -> MeshQuad2:
    """Move the nodes on the edge of the hole to its circle, since the parabolic edges of the coarser mesh deviate from it."""
    sides = mesh.boundary_facets()
    boundary = np.unique(np.concatenate([mesh.facets[:, sides].ravel(), mesh.dofs.facet_dofs[0, sides]]))
    distance, _ = _polar(mesh.doflocs[:, boundary])
    hole = boundary[distance < 0.5 * (BASE_RADIUS + 0.5)]
    nodes = mesh.doflocs.copy()
    offset = nodes[:, hole] - 0.5
    nodes[:, hole] = 0.5 + BASE_RADIUS * offset / np.hypot(*offset)
    return MeshQuad2(nodes, mesh.t)
