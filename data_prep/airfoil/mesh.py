"""C-meshes around NACA 0012 sections: the deformed ones of the benchmark, and a clustered one to compare with literature.

Index ``i`` runs from the upper end of the wake (far downstream) to the trailing edge, over the upper surface to the leading
edge, back over the lower surface, and along the lower side of the wake; ``j`` runs outward. Chord 1, leading edge at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from lsm.errors import InputError

FloatArray = NDArray[np.float64]

#: Width and height of the design element; its centre is at (0.5, 0).
ELEMENT_WIDTH, ELEMENT_HEIGHT = 1.5, 0.2

#: Corners of the design element: four below from left to right, then four above from right to left.
NUM_DISPLACEMENTS = 8

#: Rays of a clustered mesh stand this nearly normal to the section (1) and not evenly spread (0). Even rays lean by up to 45
#: degrees, which at equal size more than doubles the error in drag.
NORMAL_SHARE = 0.7

#: A mesh line whose cells grow faster than this resolves nothing.
LARGEST_RATIO = 5.0

#: Growth from cell to cell of the benchmark's rays and wake, and the share of the points that grow so slowly.
SLOW_GROWTH, SLOW_SHARE = 1.02, 0.75


@dataclass(frozen=True)
class MeshOptions:
    """Size and spacing of a C-mesh; the defaults are those of the benchmark.

    Args:
        wake_cells: cells along each side of the wake.
        surface_cells: cells around the section, even.
        normal_cells: cells along a ray from the section to the far field.
        radius: distance of the far field from the trailing edge, and abscissa of the mesh's downstream end, chords.
        first_spacing: length of a ray's first cell where the ray is as long as ``radius``, chords.
        clustering: "published" spaces surface points evenly in x, but for one near the leading edge, and lets three
            quarters of a ray's points grow by 2 %; "cosine" gathers them at both edges, turns the rays towards the
            normal, and lets all cells of a line grow at one ratio.
    Raises:
        InputError: counts too small or odd, or lengths that leave no room.
    """

    wake_cells: int = 50
    surface_cells: int = 120
    normal_cells: int = 50
    radius: float = 40.0
    first_spacing: float = 2.0 / 120.0
    clustering: Literal["published", "cosine"] = "published"

    def __post_init__(self) -> None:
        if self.surface_cells % 2 or self.surface_cells < 8 or min(self.wake_cells, self.normal_cells) < 4:
            raise InputError(
                f"a C-mesh of {self.wake_cells} wake, {self.surface_cells} surface and {self.normal_cells} normal cells: "
                "give at least 4, 8 (even) and 4"
            )
        if not 0.0 < self.first_spacing * self.normal_cells < self.radius or self.radius < 2.0:
            raise InputError(
                f"first_spacing {self.first_spacing} and radius {self.radius}: give a radius of at least 2 chords and a "
                f"spacing between 0 and radius / normal_cells"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes along i and j."""
        return 2 * self.wake_cells + self.surface_cells + 1, self.normal_cells + 1


def c_mesh(displacements: FloatArray, options: MeshOptions | None = None) -> tuple[FloatArray, FloatArray]:
    """Mesh around a deformed section: straight rays from section and wake to a half circle and two straight lines.

    Args:
        displacements: ``(8,)``, vertical, see :func:`deform`.
        options: defaults to the benchmark's mesh.
    Returns:
        Node coordinates ``x, y``, each ``options.shape``. At ``j = 0`` the nodes ``i`` and ``-1 - i`` of the wake coincide.
    Raises:
        InputError: other than eight displacements, or too few cells to grow from the first spacing to the far field.
    """
    options = options or MeshOptions()
    upper = _surface_abscissae(options)[::-1]
    thickness = naca0012(upper)
    thickness[0] = 0.0  # up to rounding it is
    x_surface, section = np.concatenate([upper, upper[-2::-1]]), np.concatenate([thickness, -thickness[-2::-1]])
    y_surface = deform(displacements, x_surface, section)
    edge_cell = float(np.hypot(upper[0] - upper[1], thickness[0] - thickness[1]))

    # The wake, trailing edge included, is computed once: the nodes of its two sides are equal to the last bit.
    along = _stretched(options.wake_cells, edge_cell / (options.radius - 1.0), options)[::-1]
    x_wake, y_wake = 1.0 + along * (options.radius - 1.0), (1.0 - along) * y_surface[0]
    x_inner = np.concatenate([x_wake, x_surface[1:-1], x_wake[::-1]])
    y_inner = np.concatenate([y_wake, y_surface[1:-1], y_wake[::-1]])

    angle = _far_angles(x_surface, section, options)
    straight = np.linspace(options.radius, 1.0, options.wake_cells + 1)[:-1]
    level = np.full(options.wake_cells, options.radius)
    x_outer = np.concatenate([straight, 1.0 + options.radius * np.cos(angle), straight[::-1]])
    y_outer = np.concatenate([level, options.radius * np.sin(angle), -level])

    outward = _stretched(options.normal_cells, options.first_spacing / options.radius, options)
    x = np.outer(x_inner, 1.0 - outward) + np.outer(x_outer, outward)
    y = np.outer(y_inner, 1.0 - outward) + np.outer(y_outer, outward)
    return x, y


def naca0012(x: FloatArray) -> FloatArray:
    """Half thickness of the section whose trailing edge is closed by the coefficient -0.1036; chord 1."""
    return 0.6 * (0.2969 * np.sqrt(x) - x * (0.1260 + x * (0.3516 - x * (0.2843 - x * 0.1036))))


def deform(displacements: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Ordinates after displacing the corners of the design element vertically: cubic in x, linear in y.

    Args:
        displacements: ``(8,)``: four corners below from left to right, then four above from right to left, chords.
        x, y: points before.
    Raises:
        InputError: other than eight displacements.
    """
    if np.shape(displacements) != (NUM_DISPLACEMENTS,):
        raise InputError(f"displacements of shape {np.shape(displacements)}: the design element has 8 corners")
    corners = 0.5 + ELEMENT_WIDTH * (np.arange(4) / 3.0 - 0.5)
    shapes = [_lagrange(corners, k, x) for k in range(4)]
    share = y / ELEMENT_HEIGHT + 0.5
    # Elementwise sums: a product by BLAS may round equal columns differently.
    below = sum(value * shape for value, shape in zip(displacements[:4], shapes, strict=True))
    above = sum(value * shape for value, shape in zip(displacements[:3:-1], shapes, strict=True))
    return y + (1.0 - share) * below + share * above


def _lagrange(points: FloatArray, which: int, x: FloatArray) -> FloatArray:
    others = np.delete(points, which)
    return np.prod((x[..., None] - others) / (points[which] - others), axis=-1)


def _far_angles(x: FloatArray, y: FloatArray, options: MeshOptions) -> FloatArray:
    """Where on the half circle the rays from the surface end, ``(surface_cells + 1,)``, from upward to downward."""
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


def _stretched(cells: int, first: float, options: MeshOptions) -> FloatArray:
    """Points from 0 to 1, ``(cells + 1,)``, the first two ``first`` apart."""
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
    """Ratio of a geometric series of ``cells`` terms that starts with 1 and adds up to ``total``."""

    def excess(ratio: float) -> float:
        return float(np.sum(ratio ** np.arange(cells))) - total

    if not 1.0 < total < excess(LARGEST_RATIO) + total:
        raise InputError(
            f"{cells} cells growing from 1 to a length of {total:.4g}: give more of them, or another first spacing"
        )
    return float(brentq(excess, 0.0, LARGEST_RATIO, xtol=1e-15))
