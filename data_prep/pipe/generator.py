"""The Pipe benchmark: random bends of a two-dimensional pipe and the laminar flow through them.

Owns the prior over centre lines, the names of the stored arrays and the figures known of the published data; the flow
is solved in ``data_prep.pipe.solver``. The data card is ``README.md``, beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from scipy.integrate import simpson

from data_prep.generation.generator import Generator, Sample, Statistic, StoredField
from data_prep.pipe.mesh import NUM_CENTRE_NODES, pipe_mesh
from data_prep.pipe.solver import FlowOptions, solve_pipe
from lsm.errors import InputError
from lsm.registry import Positive

#: Relative deviation of the flux tolerated by the check against the published data.
FLUX_TOLERANCE = 0.004


@dataclass(frozen=True)
class PipeGenerator(Generator):
    """Draws centre lines and solves the flow.

    The centre line has a value and a slope parameter at five nodes. The first value is 0; the other nine numbers are
    independent and uniform on [-1, 1], drawn in the order of the stored array (value, slope, node by node).
    ``Sample.residual`` is the final residual relative to that of the fluid at rest (Euclidean norm), and
    ``Sample.iterations`` counts Newton steps on the finest mesh.

    Args:
        resolution: velocity nodes per axis, odd.
        viscosity: kinematic viscosity.
        inlet_peak: largest inlet velocity.
    Raises:
        InputError: ``resolution`` is even.
    """

    resolution: Annotated[int, Ge(5)] = 129
    viscosity: Positive = 0.005
    inlet_peak: Positive = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resolution % 2 == 0:
            raise InputError(f"resolution is {self.resolution}, expected an odd number of nodes per axis")

    @property
    def fields(self) -> Mapping[str, StoredField]:
        """Node coordinates, flow and centre line of one sample."""
        grid = (self.resolution, self.resolution)
        return {
            "x": StoredField(grid, "1", "node position along the pipe; axis 0 streamwise, axis 1 lower to upper wall"),
            "y": StoredField(grid, "1", "node position across the pipe"),
            "velocity_x": StoredField(grid, "1", "horizontal velocity at the nodes"),
            "velocity_y": StoredField(grid, "1", "vertical velocity at the nodes"),
            "pressure": StoredField(grid, "1", "pressure over density, its zero set by the outlet condition"),
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
            "prior": "centre line: cubic Hermite on 4 intervals, first value 0, nine parameters uniform on [-1, 1]",
            "resolution": self.resolution,
            "viscosity": self.viscosity,
            "inlet_peak": self.inlet_peak,
        }

    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw a centre line and solve the flow.

        Raises:
            SolverFailure: Newton's method did not converge.
        """
        parameters = np.zeros(2 * NUM_CENTRE_NODES)
        parameters[1:] = rng.uniform(-1.0, 1.0, size=parameters.size - 1)
        centre_line = parameters.reshape(NUM_CENTRE_NODES, 2)
        x, y = pipe_mesh(centre_line, self.resolution)
        flow = solve_pipe(x, y, FlowOptions(viscosity=self.viscosity, inlet_peak=self.inlet_peak))
        arrays = {
            "x": x,
            "y": y,
            "velocity_x": flow.velocity[..., 0],
            "velocity_y": flow.velocity[..., 1],
            "pressure": flow.pressure,
            "centre_line": centre_line,
        }
        return Sample(self.stored(arrays), flow.residual, flow.iterations)

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Peak velocity, flux and answer to bends of a data set; needs only ``y`` and ``velocity_x``, ``(samples, n, n)``."""
        velocity, y = (np.asarray(fields[name], dtype=np.float64) for name in ("velocity_x", "y"))
        flux = simpson(velocity, x=y, axis=-1)
        known_flux = 1.0 / 6.0
        low, high = known_flux * (1.0 - FLUX_TOLERANCE), known_flux * (1.0 + FLUX_TOLERANCE)
        return [
            Statistic(
                "mean over samples of the peak horizontal velocity", velocity.max(axis=(1, 2)).mean(), 0.25, 0.30
            ),
            Statistic("smallest flux through a section", flux.min(), low, high),
            Statistic("largest flux through a section", flux.max(), low, high),
            Statistic("correlation of bend and offset of the flow", _answer_to_bends(velocity, y), 0.75, 0.90),
        ]


def _answer_to_bends(velocity: np.ndarray, y: np.ndarray) -> float:
    """Correlation over all sections, but those near inlet and outlet, of the centre line's curvature and the flow's offset.

    The offset is that of the mean of the section's points, weighted by the velocity, from the centre line.
    """
    sections = y.shape[1]
    across = np.linspace(-0.5, 0.5, sections)
    offset = (velocity @ across / velocity.sum(axis=-1))[:, 1:-1]
    curvature = np.diff(y.mean(axis=-1), n=2, axis=1)
    inner = slice(sections // 16, -1 - sections // 16)
    with np.errstate(invalid="ignore", divide="ignore"):  # a flow that answers to nothing has no correlation: nan
        return float(np.corrcoef(offset[:, inner].ravel(), curvature[:, inner].ravel())[0, 1])
