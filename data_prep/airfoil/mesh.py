"""C-meshes around NACA 0012 sections: the mesh of the benchmark, and a clustered mesh for comparison with the literature.

Owns the deformation of the section and the positions of the nodes. Index ``i`` runs from the upper end of the wake (far
downstream) to the trailing edge, over the upper surface to the leading edge, back over the lower surface, and along the
lower side of the wake; ``j`` runs outward. The chord is 1, the leading edge at the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, MultipleOf
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.optimize import brentq

from lsm.registry import Options, Positive

FloatArray = NDArray[np.float64]

#: Width and height of the design element; its centre is at (0.5, 0).
ELEMENT_WIDTH, ELEMENT_HEIGHT = 1.5, 0.2

#: Corners of the design element: four below from left to right, then four above from right to left.
NUM_DISPLACEMENTS = 8

#: Direction of the rays of a clustered mesh, between evenly spread (0) and normal to the section (1). Evenly spread rays are
#: inclined by up to 45 degrees, which more than doubles the error of the drag on a mesh of the same size.
NORMAL_SHARE = 0.7

#: Largest growth from cell to cell; a mesh line with larger growth would not resolve the flow.
LARGEST_RATIO = 5.0

#: Growth from cell to cell on the first part of the rays and the wake of the benchmark, and the share of points in this part.
SLOW_GROWTH, SLOW_SHARE = 1.02, 0.75


@dataclass(frozen=True)
class MeshOptions(Options):
    """Size and spacing of a C-mesh; the defaults are those of the benchmark.

    Args:
        wake_cells: number of cells along each side of the wake.
        surface_cells: number of cells around the section, even.
        normal_cells: number of cells along a ray from the section to the far field.
        radius: distance of the far field from the trailing edge, and abscissa of the downstream end of the mesh, chords.
        first_spacing: length of the first cell of a ray of length ``radius``, chords.
        clustering: "published" spaces surface points evenly in x, except for one near the leading edge, and lets three
            quarters of the cells of a ray grow by 2 %; "cosine" clusters the points at both edges, turns the rays towards
            the normal, and uses one growth ratio for all cells of a line.
    Raises:
        OptionError: the cells of a ray would have to shrink.
    """

    wake_cells: Annotated[int, Ge(4)] = 50
    surface_cells: Annotated[int, Ge(8), MultipleOf(2)] = 120
    normal_cells: Annotated[int, Ge(4)] = 50
    radius: Annotated[float, Ge(2)] = 40.0
    first_spacing: Positive = 2.0 / 120.0
    clustering: Literal["published", "cosine"] = "published"

    def find_problem(self) -> tuple[str, str] | None:
        """Cells that would have to shrink; see :meth:`lsm.registry.Options.find_problem`."""
        wide = self.first_spacing * self.normal_cells >= self.radius
        return ("first_spacing", f"is {self.first_spacing}, expected less than radius / normal_cells") if wide else None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of nodes along i and j."""
        return 2 * self.wake_cells + self.surface_cells + 1, self.normal_cells + 1


def c_mesh(displacements: FloatArray, options: MeshOptions | None = None) -> tuple[FloatArray, FloatArray]:
    """Mesh around a deformed section: straight rays from the section and the wake to a half circle and two straight lines.

    Args:
        displacements: ``(8,)``, vertical displacements, see :func:`deform`.
        options: size and spacing; by default those of the benchmark.
    Returns:
        Node coordinates ``x, y``, each ``options.shape``. At ``j = 0`` the nodes ``i`` and ``-1 - i`` of the wake coincide.
    Raises:
        ValueError: not eight displacements, or no growth ratio fits the number of cells and the first spacing.
    """
    options = options or MeshOptions()
    upper = _surface_abscissae(options)[::-1]
    thickness = naca0012(upper)
    thickness[0] = 0.0  # removes the rounding error
    x_surface, section = np.concatenate([upper, upper[-2::-1]]), np.concatenate([thickness, -thickness[-2::-1]])
    y_surface = deform(displacements, x_surface, section)
    edge_cell = float(np.hypot(upper[0] - upper[1], thickness[0] - thickness[1]))

    # The wake including the trailing edge is computed once and copied, so that the nodes of its two sides are equal.
    along = _stretched(options.wake_cells, edge_cell / (options.radius - 1.0), options)[::-1]
    x_wake, y_wake = 1.0 + along * (options.radius - 1.0), (1.0 - along) * y_surface[0]
    x_inner = np.concatenate([x_wake, x_surface[1:-1], x_wake[::-1]])
    y_inner = np.concatenate([y_wake, y_surface[1:-1], y_wake[::-1]])

    angle = _far_angles(x_surface, section, options)
    straight = np.linspace(options.radius, 1.0, options.wake_cells + 1)[:-1]
    level = np.full(options.wake_cells, options.radius)
    x_outer = np.concatenate([straight, 1.0 + options.radius * np.cos(angle), straight[::-1]])
    y_outer = np.concatenate([level, options.radius * np.sin(angle), -level])

    outward = _outward(options)
    x = np.outer(x_inner, 1.0 - outward) + np.outer(x_outer, outward)
    y = np.outer(y_inner, 1.0 - outward) + np.outer(y_outer, outward)
    return x, y


def between_meshes(
    values: FloatArray, displacements: FloatArray, given: MeshOptions, wanted: MeshOptions
) -> FloatArray:
    """Linear interpolation of nodal values to the nodes of another mesh around the same section.

    First along the rays, by the distance from the section. Then along the mesh lines around the section, by their length from
    the ends of wake and section and from the leading edge, which are nodes of both meshes.

    Args:
        values: ``(*given.shape, k)``.
        displacements: ``(8,)``, vertical displacements, see :func:`deform`.
        given, wanted: sizes and spacings of the two meshes, with equal radius.
    Returns:
        ``(*wanted.shape, k)``.
    """
    nodes, sites = (np.stack(c_mesh(displacements, options), axis=-1) for options in (given, wanted))
    both = np.concatenate([nodes, values], axis=-1)
    both = make_interp_spline(_outward(given), both, 1, axis=1)(_outward(wanted))
    there, here = _around(both[..., :2], given.wake_cells), _around(sites, wanted.wake_cells)
    lines = zip(there.T, both[..., 2:].swapaxes(0, 1), here.T, strict=True)
    return np.stack([make_interp_spline(start, line, 1)(end) for start, line, end in lines], axis=1)


def _around(nodes: FloatArray, wake_cells: int) -> FloatArray:
    """Coordinate along the mesh lines around the section: 0 to 4, whole at the ends of wake and section and at the leading edge.

    Args:
        nodes: ``(ni, nj, 2)``.
    Returns:
        ``(ni, nj)``, in each quarter linear in the length.
    """
    last = len(nodes) - 1
    ends = [0, wake_cells, last // 2, last - wake_cells, last]
    steps = np.linalg.norm(np.diff(nodes, axis=0), axis=-1)
    length = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
    return np.stack([np.interp(line, line[ends], np.arange(5)) for line in length.T], axis=1)


def naca0012(x: FloatArray) -> FloatArray:
    """Half thickness of the section of chord 1; the last coefficient, -0.1036, closes the trailing edge."""
    return 0.6 * (0.2969 * np.sqrt(x) - x * (0.1260 + x * (0.3516 - x * (0.2843 - x * 0.1036))))


def deform(displacements: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Ordinates after vertical displacements of the corners of the design element: cubic in x, linear in y.

    Args:
        displacements: ``(8,)``: four corners below from left to right, then four above from right to left, chords.
        x, y: undeformed points, of the same shape.
    Returns:
        Deformed ordinates, in the shape of ``y``.
    Raises:
        ValueError: not eight displacements.
    """
    if np.shape(displacements) != (NUM_DISPLACEMENTS,):
        raise ValueError(f"displacements have shape {np.shape(displacements)}, the design element has 8 corners")
    corners = 0.5 + ELEMENT_WIDTH * (np.arange(4) / 3.0 - 0.5)
    shapes = [_lagrange(corners, k, x) for k in range(4)]
    share = y / ELEMENT_HEIGHT + 0.5
    # Elementwise sums, since a BLAS product may round equal columns differently.
    below = sum(value * shape for value, shape in zip(displacements[:4], shapes, strict=True))
    above = sum(value * shape for value, shape in zip(displacements[:3:-1], shapes, strict=True))
    return y + (1.0 - share) * below + share * above


def _lagrange(points: FloatArray, which: int, x: FloatArray) -> FloatArray:
    others = np.delete(points, which)
    return np.prod((x[..., None] - others) / (points[which] - others), axis=-1)


def _far_angles(x: FloatArray, y: FloatArray, options: MeshOptions) -> FloatArray:
    """Angles of the ends of the surface rays on the half circle, ``(surface_cells + 1,)``, from upward to downward."""
    even = np.linspace(0.5 * np.pi, 1.5 * np.pi, len(x))
    if options.clustering == "published":
        return even
    normal = np.unwrap(np.arctan2(-np.gradient(x), np.gradient(y)))
    return (1.0 - NORMAL_SHARE) * even + NORMAL_SHARE * np.interp(normal, normal[[0, -1]], even[[0, -1]])


def _surface_abscissae(options: MeshOptions) -> FloatArray:
    """Abscissae from the leading to the trailing edge, ``(surface_cells / 2 + 1,)``."""
    cells = options.surface_cells // 2
    if options.clustering == "cosine":
        return 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, cells + 1))
    even = np.linspace(0.0, 1.0, cells)
    return np.concatenate([[0.0, even[1] / 4.0], even[1:]])


def _outward(options: MeshOptions) -> FloatArray:
    """Distances of the nodes of a ray from the section over its length, ``(normal_cells + 1,)``."""
    return _stretched(options.normal_cells, options.first_spacing / options.radius, options)


def _stretched(cells: int, first: float, options: MeshOptions) -> FloatArray:
    """Points from 0 to 1, ``(cells + 1,)``, with the first spacing ``first``."""
    steps = first * _ratio(cells, 1.0 / first) ** np.arange(cells)
    if options.clustering == "published" and steps[1] > SLOW_GROWTH * steps[0]:
        slow = int(SLOW_SHARE * (cells + 1))
        steps = first * SLOW_GROWTH ** np.arange(slow, dtype=np.float64)
        start, left = steps[:-1].sum(), cells - slow + 1
        tail = steps[-1] * _ratio(left, (1.0 - start) / steps[-1]) ** np.arange(left)
        steps = np.concatenate([steps[:-1], tail])
    points = np.concatenate([[0.0], np.cumsum(steps)])
    points[-1] = 1.0
    return points


def _ratio(cells: int, total: float) -> float:
    """Ratio of a geometric series of ``cells`` terms with the first term 1 and the sum ``total``."""

    def excess(ratio: float) -> float:
        return float(np.sum(ratio ** np.arange(cells))) - total

    if not 1.0 < total < excess(LARGEST_RATIO) + total:
        raise ValueError(
            f"{cells} cells with a first cell of 1 have no growth ratio below {LARGEST_RATIO:g} that gives the length "
            f"{total:.4g}; change their number or first_spacing"
        )
    return float(brentq(excess, 0.0, LARGEST_RATIO, xtol=1e-15))
