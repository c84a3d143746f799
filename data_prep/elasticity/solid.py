"""Finite-strain statics of a thin hyperelastic sheet on nine-node quadrilaterals.

Equation: ``Div P = 0`` with the first Piola-Kirchhoff stress ``P = dW/dF``, in total Lagrangian form; order 2 in the
stress. Owns the material, the discrete equations and Newton's method, for any mesh and load. scikit-fem provides the
shape functions, the mapping and the numbering of unknowns. This module does not know the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu
from skfem import Basis, ElementQuad2, FacetBasis, MeshQuad2

from data_prep.generation.failure import SolverFailure

GAUSS_ORDER = 5
"""Polynomial degree that the quadrature integrates exactly: 3 x 3 Gauss points per element."""

COFACTOR = np.array([[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]], dtype=float)
"""The linear map from the four entries of a 2 x 2 matrix, row by row, to those of its cofactor matrix."""

Traction = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Points and outward normals, each ``(2, ...)`` -> force per unit length of undeformed edge, ``(2, ...)``."""


@dataclass(frozen=True)
class MooneyRivlin:
    """Incompressible Mooney-Rivlin solid in plane stress, ``W = c1 (I1 - 3) + c2 (I2 - 3)``.

    By incompressibility the stretch across the sheet is ``1 / J``, with J the determinant of the in-plane deformation
    gradient F; the condition of zero stress on the faces eliminates the pressure. With ``s = F : F``,

        I1 = s + 1 / J^2,    I2 = J^2 + s / J^2.

    All methods take F as ``(..., 4)``, row by row (xx, xy, yx, yy).

    Args:
        c1, c2: constants, in the unit of stress.
    """

    c1: float = 1.863e5
    c2: float = 9.79e3

    def energy(self, gradient: np.ndarray) -> np.ndarray:
        """Energy per unit of undeformed volume, ``(...)``."""
        s, j, _ = self._invariants(gradient)
        return self.c1 * (s + j**-2 - 3) + self.c2 * (j**2 + s * j**-2 - 3)

    def nominal_stress(self, gradient: np.ndarray) -> np.ndarray:
        """First Piola-Kirchhoff stress ``P = dW/dF``, ``(..., 4)``."""
        s, j, cofactor = self._invariants(gradient)
        by_s, by_j = self._slopes(s, j)
        return 2 * by_s[..., None] * gradient + by_j[..., None] * cofactor

    def tangent(self, gradient: np.ndarray) -> np.ndarray:
        """Derivative ``dP/dF``, symmetric, ``(..., 4, 4)``."""
        s, j, cofactor = self._invariants(gradient)
        by_s, by_j = self._slopes(s, j)
        by_sj = -2 * self.c2 * j**-3
        by_jj = 6 * self.c1 * j**-4 + 2 * self.c2 + 6 * self.c2 * s * j**-4
        mixed = 2 * by_sj[..., None, None] * gradient[..., :, None] * cofactor[..., None, :]
        return (
            2 * by_s[..., None, None] * np.eye(4)
            + by_j[..., None, None] * COFACTOR
            + mixed
            + mixed.swapaxes(-1, -2)
            + by_jj[..., None, None] * cofactor[..., :, None] * cofactor[..., None, :]
        )

    def cauchy_stress(self, gradient: np.ndarray) -> np.ndarray:
        """In-plane Cauchy stress ``P F^T`` (the volume is preserved), ``(..., 4)``."""
        shape = (*gradient.shape[:-1], 2, 2)
        nominal = self.nominal_stress(gradient).reshape(shape)
        return (nominal @ gradient.reshape(shape).swapaxes(-1, -2)).reshape(gradient.shape)

    def _slopes(self, s: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.c1 + self.c2 * j**-2, 2 * self.c2 * j - 2 * (self.c1 + self.c2 * s) * j**-3

    @staticmethod
    def _invariants(gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cofactor = gradient @ COFACTOR
        return (gradient**2).sum(-1), (gradient * cofactor).sum(-1) / 2, cofactor


def von_mises(stress: np.ndarray) -> np.ndarray:
    """Von Mises stress in plane stress, ``sqrt(s1^2 - s1 s2 + s2^2)`` in principal stresses.

    Args:
        stress: ``(..., 4)``, symmetric, row by row.
    """
    xx, xy, _, yy = np.moveaxis(stress, -1, 0)
    return np.sqrt(xx**2 - xx * yy + yy**2 + 3 * xy**2)


@dataclass(frozen=True)
class Operators:
    """The discretisation of a mesh: the map from nodal displacements to gradients, and the quadrature weights.

    Args:
        gradient: ``(e, q, 4, 18)``, displacement gradient (rows xx, xy, yx, yy) at the q Gauss points of an element
            for each of its 18 displacements.
        weights: ``(e, q)``, quadrature weight times the Jacobian determinant.
        unknowns: ``(e, 18)``, indices of the displacements of an element: twice the index of the node, plus one for y.
        num_unknowns: number of displacements of the mesh.
    """

    gradient: np.ndarray
    weights: np.ndarray
    unknowns: np.ndarray
    num_unknowns: int


@dataclass(frozen=True)
class Equilibrium:
    """A solution of the discrete equations.

    Args:
        displacement: ``(2 n,)``, x and y components, node by node.
        internal: ``(2 n,)``, internal nodal forces; they balance the load at the free unknowns.
        residuals: norm of the unbalanced forces relative to that of the load, before each iteration and after the last.
    """

    displacement: np.ndarray
    internal: np.ndarray
    residuals: tuple[float, ...]


def discretise(mesh: MeshQuad2) -> Operators:
    """Nine-node isoparametric quadrilaterals with 3 x 3 Gauss points.

    Raises:
        SolverFailure: an element is folded: its Jacobian determinant is not positive at a Gauss point.
    """
    mapping = mesh.mapping()
    basis = Basis(mesh, ElementQuad2(), mapping=mapping, intorder=GAUSS_ORDER, dofs=mesh.dofs, disable_doflocs=True)
    smallest = mapping.detDF(basis.X).min()
    if smallest <= 0:
        raise SolverFailure(f"an element is folded: smallest Jacobian determinant {smallest:.3g}, expected above 0")
    unknowns = 2 * mesh.dofs.element_dofs.T[..., None] + np.arange(2)
    shapes = np.stack([shape[0].grad for shape in basis.basis])
    return Operators(_gradient_operator(shapes), basis.dx, unknowns.reshape(len(unknowns), -1), 2 * basis.N)


def edge_load(mesh: MeshQuad2, edges: np.ndarray, traction: Traction) -> np.ndarray:
    """Nodal forces ``(2 n,)`` of a dead traction on the given edges of the undeformed mesh."""
    basis = FacetBasis(mesh, ElementQuad2(), facets=edges, intorder=GAUSS_ORDER)
    force = traction(np.asarray(basis.global_coordinates()), np.asarray(basis.normals)) * basis.dx
    load = np.zeros((basis.N, 2))
    for shape, numbers in zip(basis.basis, basis.dofs.element_dofs[:, basis.tind], strict=True):
        np.add.at(load, numbers, (force * np.asarray(shape[0])).sum(-1).T)
    return load.ravel()


def equilibrium(
    operators: Operators,
    material: MooneyRivlin,
    load: np.ndarray,
    fixed: np.ndarray,
    start: np.ndarray | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 20,
) -> Equilibrium:
    """Solve ``int P(F) : grad v = load . v`` for every v that vanishes at the fixed unknowns, by full Newton steps.

    Args:
        operators: discretisation of the mesh.
        material: constants of the solid.
        load: ``(2 n,)``, nodal forces; not all zero.
        fixed: indices of the unknowns that keep their value in ``start``.
        start: ``(2 n,)``, initial guess; zero if not given.
        tolerance: largest norm of the unbalanced forces relative to that of the load.
        max_iterations: largest number of Newton steps.
    Raises:
        SolverFailure: no equilibrium within ``max_iterations`` steps, or a singular stiffness.
    """
    displacement = np.zeros(operators.num_unknowns) if start is None else start.copy()
    free = np.setdiff1d(np.arange(operators.num_unknowns), fixed)
    scale = np.linalg.norm(load)
    residuals: list[float] = []
    while True:
        deformation = deformation_gradient(operators, displacement)
        internal = _internal_forces(operators, material.nominal_stress(deformation))
        imbalance = (load - internal)[free]
        residuals.append(float(np.linalg.norm(imbalance) / scale))
        if residuals[-1] <= tolerance:
            return Equilibrium(displacement, internal, tuple(residuals))
        if len(residuals) > max_iterations or not np.isfinite(residuals[-1]):
            raise SolverFailure(f"residual {residuals[-1]:.3g} after {len(residuals) - 1} Newton iterations")
        stiffness = _stiffness(operators, material.tangent(deformation), free)
        displacement[free] += _solve_symmetric(stiffness, imbalance)


def deformation_gradient(operators: Operators, displacement: np.ndarray) -> np.ndarray:
    """F at the Gauss points, ``(e, q, 4)``."""
    local = displacement[operators.unknowns]
    return np.eye(2).ravel() + np.einsum("eqgu,eu->eqg", operators.gradient, local)


def _gradient_operator(shapes: np.ndarray) -> np.ndarray:
    """The map ``(e, q, 4, 18)`` from nodal displacements to the gradient, given shape gradients ``(9, 2, e, q)``."""
    nodal = np.moveaxis(shapes, (0, 1), (3, 2))
    operator = np.einsum("eqja,ik->eqijak", nodal, np.eye(2))
    return operator.reshape(*operator.shape[:2], 4, 18)


def _internal_forces(operators: Operators, nominal: np.ndarray) -> np.ndarray:
    local = np.einsum("eqgu,eqg->eu", operators.gradient, nominal * operators.weights[..., None])
    return np.bincount(operators.unknowns.ravel(), local.ravel(), operators.num_unknowns)


def _stiffness(operators: Operators, tangent: np.ndarray, free: np.ndarray) -> csc_matrix:
    """Derivative of the internal forces with respect to the displacements, sparse, at the free unknowns."""
    num_elements, num_local = operators.unknowns.shape
    # The sums over Gauss points and gradient entries are one matrix product per element.
    weighted = tangent * operators.weights[..., None, None]
    rows = (weighted @ operators.gradient).reshape(num_elements, -1, num_local)
    columns = operators.gradient.reshape(num_elements, -1, num_local)
    local = columns.swapaxes(1, 2) @ rows
    position = np.full(operators.num_unknowns, -1)
    position[free] = np.arange(len(free))
    numbers = position[operators.unknowns]
    row, column = np.broadcast_arrays(numbers[:, :, None], numbers[:, None, :])
    kept = (row >= 0) & (column >= 0)
    return coo_matrix((local[kept], (row[kept], column[kept])), shape=(len(free), len(free))).tocsc()


def _solve_symmetric(matrix: csc_matrix, right: np.ndarray) -> np.ndarray:
    try:
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    except RuntimeError as error:
        raise SolverFailure(f"the stiffness matrix cannot be factorised: {error}") from error
    return factors.solve(right)


def stress_at(
    mesh: MeshQuad2, material: MooneyRivlin, displacement: np.ndarray, elements: np.ndarray, local: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Position and Cauchy stress at given points of a mesh.

    Args:
        mesh: the undeformed mesh.
        material: constants of the solid.
        displacement: ``(2 n,)``.
        elements: ``(p,)``, the element of each point.
        local: ``(2, p)``, reference coordinates of each point in its element.
    Returns:
        ``(points, stress)``: undeformed positions ``(p, 2)``, and stress ``(p, 4)``, row by row.
    """
    mapping = mesh.mapping()
    reference = local[:, :, None]
    nodes = mesh.dofs.element_dofs[:, elements]
    shapes = [ElementQuad2().gbasis(mapping, reference, i, tind=elements)[0].grad[..., 0] for i in range(len(nodes))]
    nodal = displacement.reshape(-1, 2)[nodes]
    gradient = np.eye(2).ravel() + np.einsum("api,ajp->pij", nodal, np.stack(shapes)).reshape(-1, 4)
    return mapping.F(reference, tind=elements)[..., 0].T, material.cauchy_stress(gradient)
