"""Steady inviscid transonic flow around a section: implicit pseudo-time stepping to the root of the Euler residual.

Owns free stream, initial guess, pseudo-time steps and forces. Fluxes are in ``kernels.py``, control volumes in ``dual.py``,
the linear solver in ``gmres.py`` and its preconditioner in ``fronts.py``.

    div F(state) = 0,   no flow through the section,   free stream far away, with density and pressure 1.

Each step solves (terms / Courant number + dR/dV) change = -R approximately. Products with the Jacobian of the second-order
residual R are differences; the factorised first-order Jacobian is the preconditioner. The Courant number grows while full
steps are taken and is reduced when a step has to be shortened, so that the final steps are close to Newton's. The initial
guess is the flow on every other mesh line, which costs a fifth of the time and contains the shocks at about their positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from data_prep.airfoil import kernels
from data_prep.airfoil.dual import DualMesh, dual_mesh
from data_prep.airfoil.fronts import Factors, plan_for
from data_prep.airfoil.gmres import solve_roughly
from data_prep.airfoil.mesh import FloatArray
from data_prep.generation.failure import SolverFailure
from lsm.registry import Count, Options

#: Relative residual of the linear systems. With 0.1 a flow needs fewer steps, but 25 % more time.
LINEAR_TOLERANCE = 0.3

#: Relative residual of the flow on a coarser mesh, the initial guess.
COARSE_TOLERANCE = 1e-2

#: Relative step of the differences of the residual; about the square root of the rounding error.
DIFFERENCE = 1e-7

#: Courant number of the first step, growth factor, and upper bound.
FIRST_COURANT, GROWTH, LARGEST_COURANT = 30.0, 1.5, 3000.0

#: Largest relative change of density or pressure in one step.
LARGEST_CHANGE = 0.3

#: A step is halved, at most this many times, while its residual including the pseudo-time term is larger than this multiple of
#: the previous residual.
HALVINGS, LARGEST_RISE = 5, 2.0

#: The Courant number grows after a step of more than the first share of the full one, and is halved after a step of less than
#: the second share.
FULL_STEP, SHORT_STEP = 0.9, 0.5

#: Factors are reused while a linear system needs at most this many search directions. New factors cost as much as ten directions.
KEEP_FACTORS_UP_TO = 8


#: Mach number of a subsonic free stream, which the far-field condition assumes.
Subsonic = Annotated[float, Interval(gt=0, lt=1)]


@dataclass(frozen=True)
class FlowOptions(Options):
    """Physical and numerical options.

    Args:
        mach: Mach number of the free stream, below 1.
        angle: angle of the free stream to the x axis, degrees.
        tolerance: final residual relative to that of the free stream (Euclidean norm over all volumes and equations), at most
            that of the initial guess.
        max_iterations: largest number of pseudo-time steps on each mesh.
    """

    mach: Subsonic = 0.8
    angle: Annotated[float, Interval(ge=-90, le=90)] = 0.0
    tolerance: Annotated[float, Interval(gt=0, le=COARSE_TOLERANCE)] = 1e-4
    max_iterations: Count = 150

    @property
    def free_stream(self) -> FloatArray:
        """Density, velocity and pressure far away, ``(4,)``."""
        speed, direction = self.mach * kernels.GAMMA**0.5, np.deg2rad(self.angle)
        return np.array([1.0, speed * np.cos(direction), speed * np.sin(direction), 1.0])


@dataclass(frozen=True)
class AirfoilFlow:
    """A solved flow.

    Args:
        state: ``(ni, nj, 4)``: density, velocity x and y, pressure; density and pressure of the free stream are 1.
        lift, drag: coefficients with respect to the chord and the dynamic pressure of the free stream.
        residual: final relative residual, see :class:`FlowOptions`.
        iterations: number of pseudo-time steps on the finest mesh.
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

    Node-centred finite volumes, MUSCL reconstruction of primitive variables with least-squares gradients and minmod, Roe's flux:
    second order where the flow is smooth, first order at shocks and extrema.

    Args:
        x, y: node coordinates ``(ni, nj)`` from :func:`data_prep.airfoil.mesh.c_mesh`.
        wake_cells: number of cells along each side of the wake.
        options: defaults to :class:`FlowOptions`.
    Raises:
        ValueError: the mesh is not a C-mesh.
        SolverFailure: the mesh is folded, or the flow did not become steady within ``max_iterations`` steps.
    """
    options = options or FlowOptions()
    problem = Problem(dual_mesh(x, y, wake_cells), options)
    state, residual, steps = problem.march(_start(x, y, wake_cells, problem), options.tolerance)
    if not residual <= options.tolerance:
        raise SolverFailure(
            f"{len(x)} x {x.shape[1]} nodes: relative residual {residual:.2e} exceeds {options.tolerance:g} after "
            f"{steps} steps"
        )
    lift, drag = problem.forces(state)
    return AirfoilFlow(state[problem.mesh.topology.node], lift, drag, residual, steps)


def _start(x: FloatArray, y: FloatArray, wake_cells: int, problem: Problem) -> FloatArray:
    """Initial guess ``(N, 4)``, interpolated from the flow on every other mesh line.

    It is the free stream if a number of cells is odd, or if the coarser mesh is folded or its flow does not become steady.
    """
    cells = (wake_cells, len(x) // 2 - wake_cells, x.shape[1] - 1)
    if any(count % 2 for count in cells):
        return problem.uniform()
    x, y, wake_cells = x[::2, ::2], y[::2, ::2], wake_cells // 2
    try:
        coarse = Problem(dual_mesh(x, y, wake_cells), problem.options)
    except SolverFailure:
        return problem.uniform()
    state, residual, _ = coarse.march(_start(x, y, wake_cells, coarse), COARSE_TOLERANCE)
    if not residual <= COARSE_TOLERANCE:
        return problem.uniform()
    start = np.empty_like(problem.uniform())
    start[problem.mesh.topology.node] = _refined(state[coarse.mesh.topology.node])
    return start


def _refined(nodal: FloatArray) -> FloatArray:
    """Values at the nodes of a mesh with twice the cells along both axes; new nodes get the mean of their neighbours."""
    for axis in (0, 1):
        nodal = np.moveaxis(nodal, axis, 0)
        fine = np.empty((2 * len(nodal) - 1, *nodal.shape[1:]))
        fine[::2], fine[1::2] = nodal, 0.5 * (nodal[:-1] + nodal[1:])
        nodal = np.moveaxis(fine, 0, axis)
    return nodal


class Problem:
    """The discrete equations on one mesh: net outflow of each control volume as a function of the states at the nodes.

    Args:
        mesh: control volumes.
        options: free stream and pseudo-time steps.
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
        """Net outflow of mass, momentum and energy of every volume, ``(N, 4)``, for a state ``(N, 4)``."""
        mesh, edges = self.mesh, self.mesh.topology.edges
        gradient, outflow = np.zeros((len(state), 8)), np.zeros_like(state)
        if second_order:  # zero gradients give zero slopes
            kernels.add_gradients(state, edges, mesh.weights, gradient)
        kernels.add_face_fluxes(state, gradient, edges, mesh.points, mesh.normals, outflow)
        kernels.add_boundary_fluxes(state, self._free, mesh.wall_normals, mesh.far_normals, outflow)
        return outflow

    def jacobian(self, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivative of the first-order residual: diagonal blocks ``(N, 4, 4)``, couplings ``(E, 2, 4, 4)``."""
        mesh, shared = self.mesh, self.mesh.topology
        diagonal, coupling = np.zeros((len(state), 4, 4)), np.empty((len(shared.edges), 2, 4, 4))
        kernels.face_jacobian(state, shared.edges, mesh.normals, diagonal, coupling)
        kernels.add_boundary_jacobian(state, self._free, mesh.wall_normals, mesh.far_normals, diagonal)
        return diagonal, coupling

    def march(self, state: FloatArray, tolerance: float) -> tuple[FloatArray, float, int]:
        """Pseudo-time steps from ``state``, ``(N, 4)``, to the relative residual ``tolerance``.

        Returns:
            State, relative residual and number of steps. The residual is larger than the tolerance if the number of steps was
            not sufficient or a linear system had no solution.
        """
        self._factors = None
        scale = float(np.linalg.norm(self.residual(self.uniform())))
        outflow = self.residual(state)
        courant, steps = FIRST_COURANT, 0
        while np.linalg.norm(outflow) > tolerance * scale and steps < self.options.max_iterations:
            inertia = kernels.time_terms(state, self.mesh.topology.edges, self.mesh.normals) / courant
            try:
                change = self._change(state, outflow, inertia)
            except ArithmeticError:  # singular factors, or numbers that are not finite
                break
            state, outflow, share = self._advance(state, outflow, inertia, change)
            steps += 1
            if share < SHORT_STEP:
                courant *= 0.5
            elif share > FULL_STEP:
                courant = min(courant * GROWTH, LARGEST_COURANT)
        return state, float(np.linalg.norm(outflow)) / scale, steps

    def _change(self, state: FloatArray, outflow: FloatArray, inertia: FloatArray) -> FloatArray:
        """Change of the state in a full implicit step."""
        if self._factors is None or self._directions > KEEP_FACTORS_UP_TO:
            diagonal, coupling = self.jacobian(state)
            self._factors = Factors.of(self._plan, diagonal + inertia, coupling)
        length = float(np.linalg.norm(state))

        def apply(direction: FloatArray) -> FloatArray:
            step = DIFFERENCE * length / float(np.linalg.norm(direction))
            return (self.residual(state + step * direction) - outflow) / step + _times(inertia, direction)

        change, self._directions = solve_roughly(apply, self._factors.solve, -outflow, LINEAR_TOLERANCE)
        return change

    def _advance(
        self, state: FloatArray, outflow: FloatArray, inertia: FloatArray, change: FloatArray
    ) -> tuple[FloatArray, FloatArray, float]:
        """Take the largest part of a step that keeps density and pressure positive and bounds the growth of the residual.

        Returns:
            New state, its residual, and the share of the full step. After ``HALVINGS`` halvings the residual may exceed its
            bound.
        """
        largest = float(np.abs(change[:, [0, 3]] / state[:, [0, 3]]).max())
        longest = min(1.0, LARGEST_CHANGE / largest)
        bound = LARGEST_RISE * np.linalg.norm(outflow)
        for halving in range(HALVINGS + 1):
            share = longest * 0.5**halving
            after = self.residual(state + share * change)
            if np.linalg.norm(after + share * _times(inertia, change)) < bound:
                break
        return state + share * change, after, share

    def forces(self, state: FloatArray) -> tuple[float, float]:
        """Lift and drag coefficients of the pressure on the section."""
        _, x, y, pressure = self.options.free_stream
        # A uniform pressure has no resultant; it is subtracted since its rounding error would affect a small lift.
        push = (state[:, 3] - pressure) @ self.mesh.wall_normals
        speed = np.hypot(x, y)
        along, across = (x * push[0] + y * push[1]) / speed, (x * push[1] - y * push[0]) / speed
        return float(2.0 * across / speed**2), float(2.0 * along / speed**2)


def _times(blocks: FloatArray, vectors: FloatArray) -> FloatArray:
    """Products of blocks ``(N, 4, 4)`` and vectors ``(N, 4)``."""
    return np.einsum("nkm,nm->nk", blocks, vectors)
