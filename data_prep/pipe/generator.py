"""The Pipe benchmark: random bends of a two-dimensional pipe and the laminar flow through them.

Owns the distribution of the centre lines, the stored fields and the statistics of the published data. The flow is solved
in ``solver.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from scipy.integrate import simpson

from data_prep.generation.generator import Generator, Sample, Statistic, StoredField, coarser
from data_prep.pipe.mesh import NUM_CENTRE_NODES, pipe_mesh
from data_prep.pipe.solver import FlowOptions, PipeFlow, solve_pipe
from data_prep.resampling import between_nodes
from lsm.registry import Positive

#: Bounds of value and slope parameter at a node of the centre line.
LARGEST_HEIGHT, LARGEST_SLOPE = 1.0, 2.0

#: Relative tolerance of the flux through a section, and the part of the pipe in which it is checked: in the rest the
#: published data are disturbed by their outlet.
FLUX_TOLERANCE, FLUX_LENGTH = 0.01, 0.9

#: Intervals across the published mesh; they define the distance of its first row of inner nodes from the wall.
PUBLISHED_INTERVALS = 128

#: Relative tolerance of the statistics of this row in addition to the sampling error; that of the 1000 published samples is 1 %.
WALL_TOLERANCE = 0.05

#: Relative standard error of these statistics for a single sample, measured on 400 samples of this generator.
WALL_SPREAD = 0.24


@dataclass(frozen=True)
class PipeGenerator(Generator):
    """Draws centre lines and solves the flow.

    The centre line has a value and a slope parameter at five nodes. The first value is 0; the other four values are
    uniform on [-1, 1] and the five slope parameters on [-2, 2], all independent, drawn in the order of the stored array
    (value and slope, node by node). ``Sample.residual`` is the final residual relative to that of the fluid at rest
    (Euclidean norm), ``Sample.iterations`` the number of Newton steps on the finest mesh.

    Args:
        resolution: velocity nodes per axis, odd.
        viscosity: kinematic viscosity.
        inlet_peak: largest inlet velocity.
    Raises:
        OptionError: ``resolution`` is even.
    """

    #: 2: the slope parameters of the centre line are in [-2, 2], before in [-1, 1].
    revision = 2

    drawn = ("centre_line",)

    resolution: Annotated[int, Ge(5)] = 129
    viscosity: Positive = 0.005
    inlet_peak: Positive = 0.25

    def find_problem(self) -> tuple[str, str] | None:
        """An even number of nodes; see :meth:`lsm.registry.Options.find_problem`."""
        even = self.resolution % 2 == 0
        return ("resolution", f"is {self.resolution}, expected an odd number of nodes per axis") if even else None

    @property
    def fields(self) -> Mapping[str, StoredField]:
        """Node coordinates, flow and centre line of one sample."""
        grid = (self.resolution, self.resolution)
        return {
            "x": StoredField(grid, "1", "node position along the pipe; axis 0 streamwise, axis 1 lower to upper wall"),
            "y": StoredField(grid, "1", "node position across the pipe"),
            "velocity_x": StoredField(grid, "1", "horizontal velocity at the nodes"),
            "velocity_y": StoredField(grid, "1", "vertical velocity at the nodes"),
            "pressure": StoredField(grid, "1", "pressure over density; the outlet condition defines its zero"),
            "centre_line": StoredField(
                (NUM_CENTRE_NODES, 2), "1", "value and slope parameter of the centre line at its nodes", "float64"
            ),
        }

    @property
    def provenance(self) -> Mapping[str, str | float | int]:
        """Equation, discretisation and options."""
        return {
            "equation": "steady incompressible Navier-Stokes: (u . grad) u - nu lap u + grad p = 0, div u = 0",
            "boundary": "parabolic inlet, no slip on the walls, nu du/dn - p n = 0 at the outlet",
            "discretisation": "Taylor-Hood Q2-Q1 isoparametric finite elements, Newton, sparse direct",
            "prior": (
                f"centre line: cubic Hermite on 4 intervals; first value 0, the others U[-{LARGEST_HEIGHT}, "
                f"{LARGEST_HEIGHT}], slope parameters U[-{LARGEST_SLOPE}, {LARGEST_SLOPE}]"
            ),
            "resolution": self.resolution,
            "viscosity": self.viscosity,
            "inlet_peak": self.inlet_peak,
        }

    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw a centre line and solve the flow.

        Raises:
            SolverFailure: Newton's method did not converge.
        """
        centre_line = draw_centre_line(rng)
        x, y, flow = self._flow(centre_line, self.resolution)
        arrays = {
            "x": x,
            "y": y,
            "velocity_x": flow.velocity[..., 0],
            "velocity_y": flow.velocity[..., 1],
            "pressure": flow.pressure,
            "centre_line": centre_line,
        }
        return Sample(self.stored(arrays), flow.residual, flow.iterations)

    def _flow(self, centre_line: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray, PipeFlow]:
        """Nodes ``(resolution, resolution)`` of the mesh, and the flow."""
        x, y = pipe_mesh(centre_line, resolution)
        return x, y, solve_pipe(x, y, FlowOptions(viscosity=self.viscosity, inlet_peak=self.inlet_peak))

    @property
    def coarsenings(self) -> tuple[float, ...]:
        """As far as 8 intervals along each axis; see :attr:`Generator.coarsenings`."""
        return coarser((16 / 15, 8 / 7, 4 / 3, 2.0, 8 / 3, 4.0, 16 / 3, 8.0), self.resolution - 1, 8)

    def solve_again(
        self, fields: Mapping[str, np.ndarray], coarsening: float = 1.0, known_frames: int = 0
    ) -> dict[str, np.ndarray]:
        """Velocity and pressure; see :meth:`Generator.solve_again`."""
        _, _, flow = self._flow(fields["centre_line"], 2 * round((self.resolution - 1) / coarsening / 2) + 1)
        solved = {
            "velocity_x": flow.velocity[..., 0],
            "velocity_y": flow.velocity[..., 1],
            "pressure": flow.pressure,
        }
        shape = (self.resolution, self.resolution)
        return {name: between_nodes(values, shape).astype(np.float32) for name, values in solved.items()}

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Peak velocity, flux, offset of the flow in bends, and velocities near the wall.

        Needs only ``y`` and ``velocity_x``, ``(samples, n, n)``.
        """
        velocity, y = (np.asarray(fields[name], dtype=np.float64) for name in ("velocity_x", "y"))
        undisturbed = slice(round(FLUX_LENGTH * y.shape[1]))
        flux = simpson(velocity[:, undisturbed], x=y[:, undisturbed], axis=-1)
        known_flux = 2.0 / 3.0 * self.inlet_peak
        low, high = known_flux * (1.0 - FLUX_TOLERANCE), known_flux * (1.0 + FLUX_TOLERANCE)
        figures = [
            Statistic(
                "mean over samples of the peak horizontal velocity", velocity.max(axis=(1, 2)).mean(), 0.25, 0.30
            ),
            Statistic("smallest flux through a section", flux.min(), low, high),
            Statistic("largest flux through a section", flux.max(), low, high),
            Statistic("correlation of bend and offset of the flow", _bend_correlation(velocity, y), 0.75, 0.90),
            _near_wall("deviation of the horizontal velocity", np.std, velocity, 3.43e-3),
        ]
        if "velocity_y" in fields:
            vertical = np.asarray(fields["velocity_y"], dtype=np.float64)
            figures += [
                _near_wall("mean magnitude of the vertical velocity", _mean_magnitude, vertical, 2.47e-3),
                _near_wall("deviation of the vertical velocity", np.std, vertical, 3.23e-3),
            ]
        return figures


def draw_centre_line(rng: np.random.Generator) -> np.ndarray:
    """Value and slope parameter at the nodes, ``(NUM_CENTRE_NODES, 2)``; the first value is 0, the others are uniform."""
    centre_line = np.zeros(2 * NUM_CENTRE_NODES)
    centre_line[1:] = rng.uniform(-1.0, 1.0, size=centre_line.size - 1)
    return centre_line.reshape(NUM_CENTRE_NODES, 2) * [LARGEST_HEIGHT, LARGEST_SLOPE]


def _near_wall(
    name: str, measure: Callable[[np.ndarray], np.floating], velocity: np.ndarray, published: float
) -> Statistic:
    """Statistic of a velocity component in the first row of inner nodes at the lower wall, over all samples.

    The velocity there is proportional to the distance from the wall; the value is scaled to the distance in the published
    mesh. The range allows for three standard errors.
    """
    num_samples, intervals = len(velocity), velocity.shape[2] - 1
    value = float(measure(velocity[:, :, 1])) * intervals / PUBLISHED_INTERVALS
    margin = published * (WALL_TOLERANCE + 3.0 * WALL_SPREAD / num_samples**0.5)
    return Statistic(f"{name} next to the lower wall", value, published - margin, published + margin)


def _mean_magnitude(values: np.ndarray) -> np.floating:
    return np.abs(values).mean()


def _bend_correlation(velocity: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the curvature of the centre line and the offset of the flow, over all sections.

    The offset is the distance of the velocity-weighted mean of the points of a section from the centre line. Sections near
    inlet and outlet are excluded.
    """
    sections = y.shape[1]
    across = np.linspace(-0.5, 0.5, sections)
    offset = (velocity @ across / velocity.sum(axis=-1))[:, 1:-1]
    curvature = np.diff(y.mean(axis=-1), n=2, axis=1)
    inner = slice(sections // 16, -1 - sections // 16)
    with np.errstate(invalid="ignore", divide="ignore"):  # nan for a constant offset
        return float(np.corrcoef(offset[:, inner].ravel(), curvature[:, inner].ravel())[0, 1])
