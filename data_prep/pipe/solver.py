"""Steady laminar flow through a bent pipe: Newton's method on Q2-Q1 finite elements, from coarse to fine meshes.

Owns boundary conditions, Newton's method and nested iteration. The weak form is in ``elements.py``; geometry and numbering
are in ``mesh.py``.

    (u . grad) u - nu lap u + grad p = f,   div u = 0,      f = 0 unless a body force is given,
    u = (4 peak s (1 - s), 0) at the inlet (s: relative distance from the lower to the upper wall),   u = 0 on the walls,
    nu du/dn - p n = 0 at the outlet.

Factorising the Jacobian of the finest mesh takes most of the time and is done once: the solution of the mesh with half
the elements per side is a starting point so close that its factors serve for all steps (chord iteration). The Jacobian is
factorised again when a step does not reduce the residual enough, as happens on the coarse meshes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU, splu

from data_prep.generation.failure import SolverFailure
from data_prep.pipe.elements import (
    BodyForce,
    ElementTables,
    add_jacobian,
    add_residual,
    linear_shapes,
    load_vector,
    quadratic_shapes,
    tabulate,
)
from data_prep.pipe.mesh import FloatArray, Numbering, numbering
from lsm.registry import Count, Options, Positive

#: Meshes are halved down to this many nodes per axis; a coarser mesh no longer resolves the bends.
COARSEST_RESOLUTION = 17

#: Tolerance on coarse meshes, below their discretisation error.
COARSE_TOLERANCE = 1e-5

#: Factors are kept while a step reduces the residual below this fraction. A factorisation on the finest mesh costs as much
#: as fifteen to twenty steps.
KEEP_FACTORS_BELOW = 0.2

#: A residual larger than this, relative to that of the fluid at rest, counts as divergence.
DIVERGED_ABOVE = 1e4


@dataclass(frozen=True)
class FlowOptions(Options):
    """Physical and numerical options.

    Args:
        viscosity: kinematic viscosity ``nu`` (density 1).
        inlet_peak: largest inlet velocity; in a pipe of width 1 the flux is two thirds of it.
        tolerance: final residual relative to that of the fluid at rest, Euclidean norm over all unknowns.
        max_iterations: largest number of Newton steps on each mesh.
    """

    viscosity: Positive = 0.005
    inlet_peak: Positive = 0.25
    tolerance: Positive = 1e-10
    max_iterations: Count = 40


@dataclass(frozen=True)
class PipeFlow:
    """A solved flow.

    Args:
        velocity: ``(n, n, 2)``, horizontal and vertical component at the mesh nodes.
        pressure: ``(n, n)``, the Q1 pressure at the mesh nodes; the outlet condition defines its zero.
        residual: final relative residual, see :class:`FlowOptions`.
        iterations: Newton steps on the finest mesh.
    """

    velocity: FloatArray
    pressure: FloatArray
    residual: float
    iterations: int


def solve_pipe(
    x: FloatArray, y: FloatArray, options: FlowOptions | None = None, force: BodyForce | None = None
) -> PipeFlow:
    """Solve the steady incompressible Navier-Stokes equations on a structured mesh.

    Taylor-Hood Q2-Q1 isoparametric quadrilaterals: for smooth flows order 3 in the velocity and order 2 in the pressure, in
    the L2 norm.

    Args:
        x, y: node coordinates ``(n, n)``, ``n`` odd; axis 0 from inlet to outlet, axis 1 from lower to upper wall.
        options: defaults to :class:`FlowOptions`.
        force: body force, for manufactured solutions; none by default.
    Raises:
        ValueError: coordinates of unequal or non-square shape, or an even or too small ``n``.
        SolverFailure: an element is folded, or Newton's method did not converge.
    """
    if x.shape != y.shape or x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(f"coordinates must be two equal square arrays, got {x.shape} and {y.shape}")
    options = options or FlowOptions()
    state, residual, iterations = _solve_nested(x, y, options, force)
    velocity, corners = numbering(len(x)).split(state)
    return PipeFlow(velocity.copy(), refine_pressure(corners), residual, iterations)


def _solve_nested(
    x: FloatArray, y: FloatArray, options: FlowOptions, force: BodyForce | None
) -> tuple[FloatArray, float, int]:
    """Full solution vector, relative residual and number of steps, starting from the solution on every second node."""
    problem = _Problem.on_mesh(x, y, options, force)
    return problem.converge(_start(problem, x, y, force))


def _start(problem: _Problem, x: FloatArray, y: FloatArray, force: BodyForce | None) -> FloatArray:
    """Initial guess: the solution on every second node if that mesh is fine enough and solvable, else the inlet profile."""
    n = len(x)
    if n % 4 != 1 or n // 2 + 1 < COARSEST_RESOLUTION:
        return problem.from_profile()
    options = replace(problem.options, tolerance=max(problem.options.tolerance, COARSE_TOLERANCE))
    try:
        coarse, _, _ = _solve_nested(x[::2, ::2], y[::2, ::2], options, force)
    except SolverFailure:
        # Elements of the coarse mesh may be folded although those of the fine mesh are not.
        return problem.from_profile()
    return problem.from_coarse(coarse)


def refine_velocity(coarse: FloatArray) -> FloatArray:
    """Q2 interpolation of nodal values ``(n, n, 2)`` to the mesh with twice the elements per side, ``(2n - 1, 2n - 1, 2)``."""
    along = np.repeat(coarse, 2, axis=0)[:-1]
    along[1::2] = _quadratic_midpoints(coarse)
    fine = np.repeat(along, 2, axis=1)[:, :-1]
    fine[:, 1::2] = _quadratic_midpoints(along.swapaxes(0, 1)).swapaxes(0, 1)
    return fine


def _quadratic_midpoints(values: FloatArray) -> FloatArray:
    """Values of the Q2 interpolant at the midpoints between neighbouring nodes of axis 0."""
    shapes, _ = quadratic_shapes(np.array([-0.5, 0.5]))
    elements = np.stack([values[:-2:2], values[1:-1:2], values[2::2]])
    halves = np.tensordot(shapes, elements, axes=1)
    return np.stack([halves[0], halves[1]], axis=1).reshape(-1, *values.shape[1:])


def refine_pressure(corners: FloatArray) -> FloatArray:
    """Q1 interpolation of corner values ``(m, m)`` to the nodes of the same mesh, ``(2m - 1, 2m - 1)``."""
    middle = linear_shapes(np.array([0.0]))[0]
    along = np.repeat(corners, 2, axis=0)[:-1]
    along[1::2] = middle[0] * corners[:-1] + middle[1] * corners[1:]
    fine = np.repeat(along, 2, axis=1)[:, :-1]
    fine[:, 1::2] = middle[0] * along[:, :-1] + middle[1] * along[:, 1:]
    return fine


@dataclass(frozen=True)
class _Problem:
    """The discrete equations on one mesh."""

    numbers: Numbering
    tables: ElementTables
    load: FloatArray
    options: FlowOptions
    x: FloatArray
    y: FloatArray

    @classmethod
    def on_mesh(cls, x: FloatArray, y: FloatArray, options: FlowOptions, force: BodyForce | None) -> _Problem:
        """Number the unknowns and tabulate the elements."""
        numbers = numbering(len(x))
        tables = tabulate(x, y, numbers.element_dofs[:, :9] // 2)
        load: FloatArray = np.zeros(numbers.num_dofs)
        if force is not None:
            load = load_vector(x, y, numbers.element_dofs, tables, force, numbers.num_dofs)
        return cls(numbers, tables, load, options, x, y)

    def at_rest(self) -> FloatArray:
        """Full vector with the Dirichlet values, and zero elsewhere."""
        state = np.zeros(self.numbers.num_dofs)
        velocity, _ = self.numbers.split(state)
        velocity[0, :, 0] = self._profile()[0]
        return state

    def from_profile(self) -> FloatArray:
        """Initial guess: the inlet profile in every section, with velocities parallel to the mesh lines."""
        state = self.at_rest()
        velocity, _ = self.numbers.split(state)
        slope = np.gradient(self.y, axis=0) / np.gradient(self.x, axis=0)
        velocity[1:, :, 0] = self._profile()[1:]
        velocity[1:, :, 1] = (self._profile() * slope)[1:]
        return state

    def from_coarse(self, coarse: FloatArray) -> FloatArray:
        """Initial guess: the interpolated solution of the mesh with half the elements per side."""
        coarse_velocity, coarse_pressure = numbering(self.numbers.resolution // 2 + 1).split(coarse)
        state = self.at_rest()
        velocity, pressure = self.numbers.split(state)
        velocity[1:, 1:-1] = refine_velocity(coarse_velocity)[1:, 1:-1]
        pressure[:] = refine_pressure(coarse_pressure)
        return state

    def converge(self, state: FloatArray) -> tuple[FloatArray, float, int]:
        """Newton's method with reused factors.

        Args:
            state: full vector, the initial guess.
        Returns:
            Solution, relative residual and number of steps.
        Raises:
            SolverFailure: divergence, a singular Jacobian or too many steps.
        """
        state = state.copy()
        scale = float(np.linalg.norm(self._residual(self.at_rest())))
        residual = self._residual(state)
        size, previous = float(np.linalg.norm(residual)) / scale, np.inf
        factors: SuperLU | None = None
        for iteration in range(self.options.max_iterations + 1):
            if size <= self.options.tolerance:
                return state, size, iteration
            if not size < DIVERGED_ABOVE or iteration == self.options.max_iterations:
                break
            if factors is None or size > KEEP_FACTORS_BELOW * previous:
                factors = self._factorise(state)
            state[self.numbers.order] -= factors.solve(residual)
            residual = self._residual(state)
            size, previous = float(np.linalg.norm(residual)) / scale, size
        n = self.numbers.resolution
        missed = f"relative residual {size:.2e} exceeds {self.options.tolerance:g}"
        raise SolverFailure(f"{n} x {n} nodes: {missed} after {iteration} Newton steps")

    def _profile(self) -> FloatArray:
        """Parabola across every section, ``(n, n)``: zero on the walls, ``inlet_peak`` in the middle."""
        fraction = (self.y - self.y[:, :1]) / (self.y[:, -1:] - self.y[:, :1])
        return 4.0 * self.options.inlet_peak * fraction * (1.0 - fraction)

    def _residual(self, state: FloatArray) -> FloatArray:
        """Reduced residual vector."""
        residual = -self.load
        add_residual(state, self.numbers.element_dofs, self.tables, self.options.viscosity, residual)
        return residual[self.numbers.order]

    def _factorise(self, state: FloatArray) -> SuperLU:
        """LU factors of the reduced Jacobian, in the stored elimination order and without pivoting."""
        numbers = self.numbers
        data = np.zeros(len(numbers.indices) + 1)
        add_jacobian(state, numbers.element_dofs, self.tables, self.options.viscosity, numbers.slots, data)
        jacobian = csc_matrix((data[:-1], numbers.indices, numbers.indptr), shape=(len(numbers.order),) * 2)
        try:
            return splu(jacobian, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError as error:
            raise SolverFailure(f"singular Jacobian on {numbers.resolution} x {numbers.resolution} nodes") from error
