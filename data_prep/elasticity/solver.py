"""The elasticity benchmark: a sheet with a void, clamped at the bottom and pulled at the top.

Owns the boundary conditions and what is read from a solution. The mesh is that of ``elasticity_mesh``, the equations
are those of ``elasticity_solid``. No randomness and no files here.
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
    """Options of the benchmark.

    Args:
        traction: force on a unit of undeformed top edge, upwards, in the unit of the material's constants.
        material: the solid.
        refinement: parts into which each side of the 108 base elements is cut. The 972 sites stay the Gauss points of
            the base elements.
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
        clamped: numbers of the unknowns on the bottom edge.
        equilibrium: displacement, nodal forces and residuals.
    """

    points: np.ndarray
    stress: np.ndarray
    load: np.ndarray
    clamped: np.ndarray
    equilibrium: Equilibrium


def solve(radius: Radius, cell: UnitCell | None = None, tolerance: float = 1e-10) -> CellState:
    """Equilibrium of the unit cell ``[0, 1]^2`` with a void about its centre.

    The bottom edge is held, the top edge carries a dead traction along y, the sides and the void are free.

    Args:
        radius: the void, angle -> radius.
        cell: options; those of the benchmark if not given.
        tolerance: largest force out of balance that is accepted, relative to the load.
    Raises:
        SolverFailure: Newton's method failed, or the void folds an element.
    """
    cell = cell or UnitCell()
    mesh = morph(base_mesh(cell.refinement), radius)
    clamped, unit_load = _boundary_conditions(cell.refinement)
    load = cell.traction * unit_load
    state = equilibrium(discretise(mesh), cell.material, load, clamped, tolerance=tolerance)
    points, stress = stress_at(mesh, cell.material, state.displacement, *_sites(cell.refinement))
    return CellState(points, von_mises(stress), load, clamped, state)


def to_lattice(points: np.ndarray, values: np.ndarray, radius: Radius, num_nodes: int = 41) -> np.ndarray:
    """Values at scattered points brought to a regular lattice by radial basis functions, zero in the void.

    Multiquadrics ``sqrt((r / eps)^2 + 1)`` through all points, eps about their mean distance (scipy's ``Rbf`` as it
    comes), as the published grid version is understood to have been made.

    Args:
        points: ``(p, 2)``.
        values: ``(p,)``.
        radius: the void.
    Returns:
        ``(num_nodes, num_nodes)``; axis 0 is x.
    """
    interpolant = Rbf(*points.T, values)
    return interpolant(*lattice(num_nodes)) * solid_mask(radius, num_nodes)


@lru_cache(maxsize=8)
def _boundary_conditions(refinement: int) -> tuple[np.ndarray, np.ndarray]:
    """Clamped unknowns, and nodal forces of a unit traction; the morph leaves the outer edges as they are."""
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
