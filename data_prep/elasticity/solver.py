"""The unit cell of the elasticity benchmark: a sheet with a void, clamped at the bottom and loaded at the top.

Owns the boundary conditions and the evaluation of a solution at the sites. The mesh is in ``mesh.py``, the equations are
in ``solid.py``. It draws no random number and reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.interpolate import Rbf
from skfem.quadrature import get_quadrature
from skfem.refdom import RefQuad

from data_prep.elasticity.mesh import Radius, base_mesh, lattice, morph, site_locations, solid_mask
from data_prep.elasticity.solid import (
    GAUSS_ORDER,
    Equilibrium,
    MooneyRivlin,
    discretise,
    edge_load,
    equilibrium,
    stress_at,
    von_mises,
)
from lsm.registry import Count, Options


@dataclass(frozen=True)
class UnitCell(Options):
    """Load, material and mesh of the unit cell.

    Args:
        traction: upward force per unit length of the undeformed top edge, in the unit of the material constants.
        material: constants of the solid.
        refinement: number of parts into which each side of the 108 base elements is divided. The 972 sites remain the
            Gauss points of the base elements.
    """

    traction: float = 100.0
    material: MooneyRivlin = field(default_factory=MooneyRivlin)
    refinement: Count = 1


@dataclass(frozen=True)
class CellState:
    """Solution for one void.

    Args:
        points: ``(972, 2)``, sites in the undeformed sheet.
        stress: ``(972,)``, von Mises stress (Cauchy, plane stress) at the sites.
        load: ``(2 n,)``, nodal forces of the traction.
        clamped: indices of the unknowns on the bottom edge.
        equilibrium: displacement, nodal forces and residuals.
    """

    points: np.ndarray
    stress: np.ndarray
    load: np.ndarray
    clamped: np.ndarray
    equilibrium: Equilibrium


def solve(radius: Radius, cell: UnitCell | None = None, tolerance: float = 1e-10) -> CellState:
    """Equilibrium of the unit cell ``[0, 1]^2`` with a void around its centre.

    The bottom edge is fixed, the top edge carries a dead traction along y, the sides and the void are free.

    Args:
        radius: radius of the void as a function of the angle.
        cell: load, material and mesh; by default those of the benchmark.
        tolerance: largest norm of the unbalanced forces relative to that of the load.
    Raises:
        SolverFailure: Newton's method did not converge, or the void folds an element.
    """
    cell = cell or UnitCell()
    mesh = morph(base_mesh(cell.refinement), radius)
    clamped, unit_load = _boundary_conditions(cell.refinement)
    load = cell.traction * unit_load
    state = equilibrium(discretise(mesh), cell.material, load, clamped, tolerance=tolerance)
    points, stress = stress_at(mesh, cell.material, state.displacement, *_sites(cell.refinement))
    return CellState(points, von_mises(stress), load, clamped, state)


def to_lattice(points: np.ndarray, values: np.ndarray, radius: Radius, num_nodes: int = 41) -> np.ndarray:
    """Interpolate values at scattered points to a regular lattice by radial basis functions; zero in the void.

    Multiquadrics ``sqrt((r / eps)^2 + 1)`` through all points, with eps about their mean distance (the defaults of scipy's
    ``Rbf``). To our knowledge the published grid version was made in this way.

    Args:
        points: ``(p, 2)``.
        values: ``(p,)``.
        radius: radius of the void as a function of the angle.
        num_nodes: nodes per side of the lattice.
    Returns:
        ``(num_nodes, num_nodes)``; axis 0 is x.
    """
    interpolant = Rbf(*points.T, values)
    return interpolant(*lattice(num_nodes)) * solid_mask(radius, num_nodes)


@lru_cache(maxsize=8)
def _boundary_conditions(refinement: int) -> tuple[np.ndarray, np.ndarray]:
    """Clamped unknowns, and nodal forces of a unit traction; the same for every void, which leaves the outer edges unchanged."""
    mesh = base_mesh(refinement)
    bottom = np.flatnonzero(mesh.doflocs[1] == 0)
    top = mesh.facets_satisfying(lambda x: x[1] > 1 - 1e-9, boundaries_only=True)
    upwards = np.array([0.0, 1.0])[:, None, None]
    load = edge_load(mesh, top, lambda x, _: np.broadcast_to(upwards, x.shape))
    return (2 * bottom[:, None] + np.arange(2)).ravel(), load


@lru_cache(maxsize=8)
def _sites(refinement: int) -> tuple[np.ndarray, np.ndarray]:
    local, _ = get_quadrature(RefQuad, GAUSS_ORDER)
    return site_locations(refinement, local)
