"""Steady inviscid transonic flow around a section: implicit pseudo-time marching to the root of the Euler residual.

Owns free stream, start, pseudo-time steps and forces. Fluxes are in ``airfoil_kernels.py``, control volumes in
``airfoil_dual.py``, the linear solver in ``airfoil_gmres.py`` and its preconditioner in ``airfoil_fronts.py``.

    div F(state) = 0,   no flow through the section,   free stream far away, with density and pressure 1.

Each step solves (terms / Courant number + dR/dV) change = -R roughly, with products by the Jacobian of the second-order
residual R taken as differences and the factored first-order Jacobian as preconditioner. The Courant number grows while steps
are taken in full and shrinks when a step has to be cut, so that the last steps are Newton's. The start is the
first-order solution, which takes few steps and puts shocks about where they belong. Where that start is too far off, the
reconstruction's slopes are raised by degrees, each flow being the start of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.solvers import airfoil_kernels as kernels
from data_prep.solvers.airfoil_dual import DualMesh, dual_mesh
from data_prep.solvers.airfoil_fronts import Factors, plan_for
from data_prep.solvers.airfoil_gmres import solve_roughly
from data_prep.types import FloatArray
from lsm.errors import InputError, require_number, require_whole

#: Relative residual of the linear systems.
LINEAR_TOLERANCE = 0.1

#: Relative size of the step that differences the residual; near the square root of the rounding error.
DIFFERENCE = 1e-7

#: Largest relative change of density or pressure in one step.
LARGEST_CHANGE = 0.3

#: A step is halved, up to so many times, while it leaves more of the residual than the stage admits.
HALVINGS = 5

#: The Courant number grows after a step cut to no less than the first of these, and is halved after one cut to less than the
#: second.
FULL_STEP, SHORT_STEP = 0.9, 0.5

#: Factors are kept while a linear system takes no more search directions. New ones cost as much as ten directions.
KEEP_FACTORS_UP_TO = 8


class FlowFailure(RuntimeError):
    """The flow did not become steady; the message gives mesh, steps and residual."""


@dataclass(frozen=True)
class FlowOptions:
    """Physical and numerical options.

    Args:
        mach: Mach number of the free stream, below 1.
        angle: its angle to the x axis, degrees.
        tolerance: final residual relative to that of the free stream (Euclidean norm over all volumes and equations).
        direct_iterations: steps allowed to the direct march from the first-order solution; more helps on finer meshes.
        max_iterations: steps allowed to the last stage of the continuation; smaller numbers bound the other stages, too.
            The first-order start has a bound of its own.
    Raises:
        InputError: a value out of range.
    """

    mach: float = 0.8
    angle: float = 0.0
    tolerance: float = 1e-3
    direct_iterations: int = 40
    max_iterations: int = 80

    def __post_init__(self) -> None:
        if not 0.0 < self.mach < 1.0:
            raise InputError(f"mach is {self.mach}: the far field is subsonic, give a value between 0 and 1")
        require_number("angle", self.angle, -90.0, 90.0)
        require_number(
            "tolerance (no looser than that of the first-order start)",
            self.tolerance,
            most=START.tolerance,
            positive=True,
        )
        require_whole("direct_iterations", self.direct_iterations, 1)
        require_whole("max_iterations", self.max_iterations, 1)

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
        iterations: pseudo-time steps after the first-order solution, of the march that converged.
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
        InputError: the mesh is not a C-mesh.
        FoldedMesh: the mesh is folded.
        FlowFailure: neither the direct march nor the continuation converged.
    """
    options = options or FlowOptions()
    problem = Problem(dual_mesh(x, y, wake_cells), options)
    start, _, _ = problem.march(problem.uniform(), START)
    steps: dict[str, int] = {}
    for march, stages in (("direct", direct_stages(options)), ("continuation", continuation_stages(options))):
        state, steps[march] = start, 0
        for stage in stages:
            state, residual, taken = problem.march(state, stage)
            steps[march] += taken
        if residual <= options.tolerance:
            lift, drag = problem.forces(state)
            return AirfoilFlow(state[problem.mesh.topology.node], lift, drag, residual, steps[march])
    raise FlowFailure(
        f"{len(x)} x {x.shape[1]} nodes: relative residual {residual:.2e} exceeds {options.tolerance:g} after "
        f"{steps['direct']} direct and {steps['continuation']} continuation steps"
    )


@dataclass(frozen=True)
class Stage:
    """How to march.

    Args:
        tolerance: relative residual at which to stop.
        max_iterations: steps at which to stop.
        slopes: share of the limited slopes in the reconstruction; 0 for the first-order, 1 for the second-order scheme.
        first_courant, largest_courant: Courant number of the first step, and its bound.
        growth: by what the Courant number grows.
        rise: a step is halved while its remaining residual, pseudo-time term included, exceeds this many times the one before.
    """

    tolerance: float
    max_iterations: int
    slopes: float = 1.0
    first_courant: float = 30.0
    largest_courant: float = 3000.0
    growth: float = 1.5
    rise: float = 2.0


#: The first-order solution is easy to come by, and a rough one will do.
START = Stage(1e-2, 100, slopes=0.0, growth=2.0)

#: Shares of the slopes through which the continuation passes, each solved to the tolerance as far as the steps suffice.
PARTIAL_SLOPES, PARTIAL_TOLERANCE, PARTIAL_ITERATIONS = (0.5, 0.75, 0.9), 5e-3, 60


def direct_stages(options: FlowOptions) -> list[Stage]:
    """The second-order scheme at once, which suffices for most flows."""
    return [Stage(options.tolerance, min(options.direct_iterations, options.max_iterations))]


def continuation_stages(options: FlowOptions) -> list[Stage]:
    """From first to second order by degrees.

    Where shocks separate the flow from the section, the direct march wanders from one unsteady flow to the next. Smaller
    slopes damp these; each flow becomes the start for the next larger ones, and Courant numbers are kept small.
    """
    careful = {"first_courant": 100.0, "largest_courant": 1000.0, "rise": 1.5}
    limit = min(PARTIAL_ITERATIONS, options.max_iterations)
    partial = [Stage(PARTIAL_TOLERANCE, limit, slopes, **careful) for slopes in PARTIAL_SLOPES]
    return [*partial, Stage(options.tolerance, options.max_iterations, **careful)]


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

    def residual(self, state: FloatArray, slopes: float = 1.0) -> FloatArray:
        """Net outflow of mass, momentum and energy of every volume, ``(N, 4)``, at a state ``(N, 4)``."""
        mesh, shared = self.mesh, self.mesh.topology
        gradient, outflow = np.zeros((len(state), 8)), np.zeros_like(state)
        if slopes:
            kernels.gradients(state, shared.first_neighbour, shared.neighbours, mesh.weights, gradient)
        kernels.add_face_fluxes(state, gradient, slopes, shared.edges, mesh.points, mesh.normals, outflow)
        kernels.add_boundary_fluxes(state, self._free, mesh.wall_normals, mesh.far_normals, outflow)
        return outflow

    def jacobian(self, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivative of the first-order residual: diagonal blocks ``(N, 4, 4)``, couplings ``(E, 2, 4, 4)``."""
        mesh, shared = self.mesh, self.mesh.topology
        diagonal, coupling = np.zeros((len(state), 4, 4)), np.empty((len(shared.edges), 2, 4, 4))
        kernels.face_jacobian(state, shared.edges, mesh.normals, diagonal, coupling)
        kernels.add_boundary_jacobian(state, self._free, mesh.wall_normals, mesh.far_normals, diagonal)
        return diagonal, coupling

    def march(self, state: FloatArray, stage: Stage) -> tuple[FloatArray, float, int]:
        """Pseudo-time steps from ``state``, ``(N, 4)``.

        Returns:
            State, relative residual and steps; where the steps ran out or a system had no solution, the residual is not
            below the tolerance.
        """
        self._factors = None
        scale = float(np.linalg.norm(self.residual(self.uniform())))
        outflow = self.residual(state, stage.slopes)
        courant, steps = stage.first_courant, 0
        while np.linalg.norm(outflow) > stage.tolerance * scale and steps < stage.max_iterations:
            inertia = kernels.time_terms(state, self.mesh.topology.edges, self.mesh.normals) / courant
            try:
                change = self._change(state, outflow, inertia, stage.slopes)
            except ArithmeticError:  # singular factors, or numbers that are not finite
                break
            state, outflow, share = self._advance(state, outflow, inertia, change, stage)
            steps += 1
            if share < SHORT_STEP:
                courant *= 0.5
            elif share > FULL_STEP:
                courant = min(courant * stage.growth, stage.largest_courant)
        return state, float(np.linalg.norm(outflow)) / scale, steps

    def _change(self, state: FloatArray, outflow: FloatArray, inertia: FloatArray, slopes: float) -> FloatArray:
        """One implicit step, not yet cut."""
        if self._factors is None or self._directions > KEEP_FACTORS_UP_TO:
            diagonal, coupling = self.jacobian(state)
            self._factors = Factors.of(self._plan, diagonal + inertia, coupling)
        length = float(np.linalg.norm(state))

        def apply(direction: FloatArray) -> FloatArray:
            step = DIFFERENCE * length / float(np.linalg.norm(direction))
            difference = (self.residual(state + step * direction, slopes) - outflow) / step
            return difference + _times(inertia, direction)

        change, self._directions = solve_roughly(apply, self._factors.solve, -outflow, LINEAR_TOLERANCE)
        return change

    def _advance(
        self, state: FloatArray, outflow: FloatArray, inertia: FloatArray, change: FloatArray, stage: Stage
    ) -> tuple[FloatArray, FloatArray, float]:
        """Take as much of a step as keeps density and pressure positive and, unless halved too often, the residual in bounds.

        Returns:
            New state, its residual, and the share of the step that was taken.
        """
        largest = float(np.abs(change[:, [0, 3]] / state[:, [0, 3]]).max())
        longest = min(1.0, LARGEST_CHANGE / largest)
        bound = stage.rise * np.linalg.norm(outflow)
        for halving in range(HALVINGS + 1):
            share = longest * 0.5**halving
            after = self.residual(state + share * change, stage.slopes)
            if np.linalg.norm(after + share * _times(inertia, change)) < bound:
                break
        return state + share * change, after, share

    def forces(self, state: FloatArray) -> tuple[float, float]:
        """Lift and drag coefficients of the pressure on the section."""
        _, x, y, pressure = self.options.free_stream
        # A uniform pressure has no resultant, up to rounding that would spoil a small lift.
        push = (state[:, 3] - pressure) @ self.mesh.wall_normals
        speed = np.hypot(x, y)
        along, across = (x * push[0] + y * push[1]) / speed, (x * push[1] - y * push[0]) / speed
        return float(2.0 * across / speed**2), float(2.0 * along / speed**2)


def _times(blocks: FloatArray, vectors: FloatArray) -> FloatArray:
    """Products of blocks ``(N, 4, 4)`` and vectors ``(N, 4)``."""
    return np.einsum("nkm,nm->nk", blocks, vectors)
