"""Steady inviscid transonic flow around a section: implicit pseudo-time marching to the root of the Euler residual.

Owns free stream, start, pseudo-time steps and forces. Fluxes are in ``airfoil_kernels.py``, control volumes in
``airfoil_dual.py``, the linear solver in ``airfoil_gmres.py`` and its preconditioner in ``airfoil_fronts.py``.

    div F(state) = 0,   no flow through the section,   free stream far away, with density and pressure 1.

Each step solves (terms / Courant number + dR/dV) change = -R roughly, with products by the Jacobian of the second-order
residual R taken as differences and the factored first-order Jacobian as preconditioner. The Courant number grows while steps
are taken in full and shrinks when a step has to be cut, so that the last steps are Newton's. The start is the
first-order solution, which takes few steps and puts shocks about where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.solvers import airfoil_kernels as kernels
from data_prep.solvers.airfoil_dual import DualMesh, FloatArray, dual_mesh
from data_prep.solvers.airfoil_fronts import Factors, SingularMatrix, plan_for
from data_prep.solvers.airfoil_gmres import solve_roughly
from lsm.errors import InputError

#: Relative residual of the linear systems.
LINEAR_TOLERANCE = 0.1

#: Relative size of the step that differences the residual; near the square root of the rounding error.
DIFFERENCE = 1e-7

#: Largest relative change of density or pressure in one step.
LARGEST_CHANGE = 0.3

#: A step that is cut to less than the first of these lets the Courant number stay, to less than the second halves it; so
#: does one that raises the residual by more than the third.
FULL_STEP, SHORT_STEP, RISE = 0.9, 0.5, 2.0

LARGEST_COURANT = 3000.0

#: Factors are kept while a linear system takes no more search directions. New ones cost as much as ten directions.
KEEP_FACTORS_UP_TO = 8

#: The start is solved by the first-order scheme to this relative residual, with Courant numbers that grow this fast.
START_TOLERANCE, START_GROWTH = 1e-3, 2.0


class FlowFailure(RuntimeError):
    """The flow did not become steady; the message gives mesh, steps and residual."""


@dataclass(frozen=True)
class FlowOptions:
    """Physical and numerical options.

    Args:
        mach: Mach number of the free stream, below 1.
        angle: its angle to the x axis, degrees.
        tolerance: final residual relative to that of the free stream (Euclidean norm over all volumes and equations).
        courant: first Courant number.
        growth: by what it grows from step to step. Where that fails, the solver tries once more with its square root
            and twice the steps.
        max_iterations: steps allowed.
    Raises:
        InputError: a value that is not positive, or a Mach number of 1 or more.
    """

    mach: float = 0.8
    angle: float = 0.0
    tolerance: float = 1e-3
    courant: float = 30.0
    growth: float = 1.5
    max_iterations: int = 100

    def __post_init__(self) -> None:
        if not 0.0 < self.mach < 1.0:
            raise InputError(f"mach is {self.mach}: the far field is subsonic, give a value between 0 and 1")
        if min(self.tolerance, self.courant, self.max_iterations) <= 0 or self.growth < 1.0:
            raise InputError(
                f"tolerance {self.tolerance}, courant {self.courant} and max_iterations {self.max_iterations} must be "
                f"positive and growth {self.growth} at least 1"
            )

    @property
    def free_stream(self) -> FloatArray:
        """Density, velocity and pressure far away, ``(4,)``."""
        speed, direction = self.mach * kernels.GAMMA**0.5, np.deg2rad(self.angle)
        return np.array([1.0, speed * np.cos(direction), speed * np.sin(direction), 1.0])


@dataclass(frozen=True)
class AirfoilFlow:
    """A solved flow.

    Args:
        state: ``(ni, nj, 4)``: density, velocity x and y, pressure; the units make free-stream density and pressure 1.
        lift, drag: coefficients on the chord and the free stream's dynamic pressure.
        residual: final relative residual, see :class:`FlowOptions`.
        iterations: pseudo-time steps of the second-order scheme in the last attempt.
    """

    state: FloatArray
    lift: float
    drag: float
    residual: float
    iterations: int

    @property
    def mach(self) -> FloatArray:
        """Local Mach number, ``(ni, nj)``."""
        density, x, y, pressure = np.moveaxis(self.state, -1, 0)
        return np.hypot(x, y) / np.sqrt(kernels.GAMMA * pressure / density)


def solve_airfoil(x: FloatArray, y: FloatArray, wake_cells: int, options: FlowOptions | None = None) -> AirfoilFlow:
    """Solve the steady Euler equations on a C-mesh.

    Node-centred finite volumes, MUSCL on primitive variables with least-squares gradients and minmod, Roe's flux: second order
    where the flow is smooth, first at shocks and extrema.

    Args:
        x, y: node coordinates ``(ni, nj)`` from :func:`data_prep.solvers.airfoil_mesh.c_mesh`.
        wake_cells: cells along each side of the wake.
        options: defaults to :class:`FlowOptions`.
    Raises:
        InputError: the mesh is not a C-mesh or is folded.
        FlowFailure: two attempts did not converge.
    """
    options = options or FlowOptions()
    problem = Problem(dual_mesh(x, y, wake_cells), options)
    start, _, _ = problem.march(problem.uniform(), False, START_TOLERANCE, START_GROWTH, options.max_iterations)
    state, residual, steps = problem.march(start, True, options.tolerance, options.growth, options.max_iterations)
    if residual > options.tolerance:
        slower, more = options.growth**0.5, 2 * options.max_iterations
        state, residual, steps = problem.march(start, True, options.tolerance, slower, more)
    if not residual <= options.tolerance:
        raise FlowFailure(f"{len(x)} x {x.shape[1]} nodes: relative residual {residual:.2e} after {steps} steps")
    lift, drag = problem.forces(state)
    return AirfoilFlow(state[problem.mesh.topology.node], lift, drag, residual, steps)


class Problem:
    """The discrete equations on one mesh: net outflow of each control volume as a function of the states at its nodes.

    Args:
        mesh: control volumes.
        options: free stream, and how to march.
    """

    def __init__(self, mesh: DualMesh, options: FlowOptions) -> None:
        self.mesh, self.options = mesh, options
        shared = mesh.topology
        self._factors: Factors | None = None
        self._directions = 0
        self._plan = plan_for(*shared.node.shape, (len(shared.node) - 1 - len(shared.wall)) // 2)
        density, x, y, pressure = options.free_stream
        self._free = np.array([density, x, y, pressure / (kernels.GAMMA - 1.0) + 0.5 * (x * x + y * y)])

    def uniform(self) -> FloatArray:
        """Free stream at every node, ``(N, 4)``."""
        return np.tile(self.options.free_stream, (self.mesh.topology.num_nodes, 1))

    def residual(self, state: FloatArray, second_order: bool = True) -> FloatArray:
        """Net outflow of mass, momentum and energy of every volume, ``(N, 4)``, at a state ``(N, 4)``."""
        mesh, shared = self.mesh, self.mesh.topology
        gradient, outflow = np.zeros((len(state), 8)), np.zeros_like(state)
        if second_order:
            kernels.gradients(state, shared.first_neighbour, shared.neighbours, mesh.weights, gradient)
        kernels.add_face_fluxes(state, gradient, shared.edges, mesh.points, mesh.normals, outflow)
        kernels.add_boundary_fluxes(state, self._free, mesh.wall_normals, mesh.far_normals, outflow)
        return outflow

    def jacobian(self, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivative of the first-order residual: diagonal blocks ``(N, 4, 4)``, couplings ``(E, 2, 4, 4)``."""
        mesh, shared = self.mesh, self.mesh.topology
        diagonal, coupling = np.zeros((len(state), 4, 4)), np.empty((len(shared.edges), 2, 4, 4))
        kernels.face_jacobian(state, shared.edges, mesh.normals, diagonal, coupling)
        kernels.add_boundary_jacobian(state, self._free, mesh.wall_normals, mesh.far_normals, diagonal)
        return diagonal, coupling

    def march(
        self, state: FloatArray, second_order: bool, tolerance: float, growth: float, max_iterations: int
    ) -> tuple[FloatArray, float, int]:
        """Pseudo-time steps from ``state`` until the relative residual is below ``tolerance``.

        Returns:
            State, relative residual and steps; where ``max_iterations`` was reached or a system was singular, the residual
            is not below the tolerance.
        """
        scale = float(np.linalg.norm(self.residual(self.uniform())))
        outflow = self.residual(state, second_order)
        size, courant = float(np.linalg.norm(outflow)) / scale, self.options.courant
        for step in range(max_iterations):
            if size <= tolerance:
                return state, size, step
            try:
                change = self._change(state, outflow, courant, second_order)
            except SingularMatrix:
                return state, size, step
            largest = np.abs(change[:, [0, 3]] / state[:, [0, 3]]).max()
            share = float(min(1.0, LARGEST_CHANGE / largest))
            state = state + share * change
            outflow = self.residual(state, second_order)
            previous, size = size, float(np.linalg.norm(outflow)) / scale
            courant *= 0.5 if share < SHORT_STEP or size > RISE * previous else growth if share > FULL_STEP else 1.0
            courant = min(courant, LARGEST_COURANT)
        return state, size, max_iterations

    def _change(self, state: FloatArray, outflow: FloatArray, courant: float, second_order: bool) -> FloatArray:
        """One implicit step, not yet cut."""
        inertia = kernels.time_terms(state, self.mesh.topology.edges, self.mesh.normals) / courant
        if self._factors is None or self._directions > KEEP_FACTORS_UP_TO:
            diagonal, coupling = self.jacobian(state)
            self._factors = Factors.of(self._plan, diagonal + inertia, coupling)
        length = float(np.linalg.norm(state))

        def apply(direction: FloatArray) -> FloatArray:
            step = DIFFERENCE * length / float(np.linalg.norm(direction))
            difference = (self.residual(state + step * direction, second_order) - outflow) / step
            return difference + np.einsum("nkm,nm->nk", inertia, direction)

        change, self._directions = solve_roughly(apply, self._factors.solve, -outflow, LINEAR_TOLERANCE)
        return change

    def forces(self, state: FloatArray) -> tuple[float, float]:
        """Lift and drag coefficients of the pressure on the section."""
        _, x, y, pressure = self.options.free_stream
        # A uniform pressure has no resultant, up to rounding that would spoil a small lift.
        push = (state[:, 3] - pressure) @ self.mesh.wall_normals
        speed = np.hypot(x, y)
        along, across = (x * push[0] + y * push[1]) / speed, (x * push[1] - y * push[0]) / speed
        return float(2.0 * across / speed**2), float(2.0 * along / speed**2)
