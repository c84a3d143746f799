"""The Airfoil benchmark: randomly deformed NACA 0012 sections and the transonic flow around them.

Owns the distribution of the deformations, the stored fields and the statistics of the published data. The flow is solved in
``solver.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from data_prep.airfoil.mesh import NUM_DISPLACEMENTS, MeshOptions, between_meshes, c_mesh
from data_prep.airfoil.solver import COARSE_TOLERANCE, AirfoilFlow, FlowOptions, Subsonic, solve_airfoil
from data_prep.generation.generator import Generator, Sample, Statistic, StoredField
from lsm.registry import Count

#: Tolerance of the Mach number at the far field, which is 40 chords away.
FAR_FIELD_TOLERANCE = 0.02

#: Central 95 % of the Mach number at the leading edge, the smallest of a sample, by coarsening. 1: 80 draws of an independent
#: solver that reproduces a published sample (0.183); 2: 40 draws of this generator, with half as many nodes at the nose.
NOSE_MACH = {1: (0.116, 0.262), 2: (0.19, 0.38)}

#: Largest spacing over that of the published mesh.
COARSEST = 2.5

#: Smallest number of samples for which a correlation is reported; for n samples its standard error is about this over sqrt(n).
FEW, CORRELATION_DEVIATION = 10, 0.6


@dataclass(frozen=True)
class AirfoilGenerator(Generator):
    """Draws deformations and solves the flow.

    The eight corners of a design element around the section are displaced vertically: the first, below and ahead of the leading
    edge, is fixed; the other displacements are independent and uniform. ``Sample.residual`` is the final residual relative to
    that of the free stream (Euclidean norm), ``Sample.iterations`` the number of pseudo-time steps.

    Args:
        mach: Mach number of the free stream.
        angle: angle of the free stream to the chord of the undeformed section, degrees.
        largest_displacement: bound of the displacements, chords; larger ones would fold the section.
        tolerance: relative residual of a steady flow, at most that of the initial guess.
        max_iterations: largest number of pseudo-time steps on each mesh of the solver.
        coarsening: 1 for the published mesh, 2 for one with half the cells along both axes.
    """

    #: 3: gradients over edge neighbours, as in the published data; the start is the flow on a coarser mesh.
    revision = 3

    drawn = ("displacements",)

    mach: Subsonic = 0.8
    angle: Annotated[float, Interval(ge=-90, le=90)] = 0.0
    largest_displacement: Annotated[float, Interval(ge=0, le=0.05)] = 0.05
    tolerance: Annotated[float, Interval(gt=0, le=COARSE_TOLERANCE)] = 1e-4
    max_iterations: Count = 150
    coarsening: Annotated[int, Interval(ge=1, le=2)] = 1

    @property
    def flow_options(self) -> FlowOptions:
        """Options of the solver."""
        return FlowOptions(self.mach, self.angle, self.tolerance, self.max_iterations)

    @property
    def mesh_options(self) -> MeshOptions:
        """Options of the mesh."""
        return coarse_mesh(self.coarsening)

    @property
    def fields(self) -> Mapping[str, StoredField]:
        """Node coordinates, flow and deformation of one sample."""
        grid = self.mesh_options.shape
        return {
            "x": StoredField(
                grid, "chord", "node position; axis 0 from the upper wake around the section, axis 1 outward"
            ),
            "y": StoredField(grid, "chord", "node position across the chord"),
            "density": StoredField(grid, "1", "density over that of the free stream"),
            "velocity_x": StoredField(grid, "1", "velocity along the chord; the speed of sound far away is 1.4 ** 0.5"),
            "velocity_y": StoredField(grid, "1", "velocity across the chord"),
            "pressure": StoredField(grid, "1", "pressure over that of the free stream"),
            "mach": StoredField(grid, "1", "local Mach number"),
            "displacements": StoredField(
                (NUM_DISPLACEMENTS,),
                "chord",
                "of the corners of the design element: four below from left to right, four above from right to left",
                "float64",
            ),
        }

    @property
    def display(self) -> Mapping[str, Any]:
        """The section and its surroundings; the far field is 40 chords away."""
        return {"window": [[-0.5, 1.75], [-0.9, 0.9]]}

    @property
    def provenance(self) -> Mapping[str, str | float | int]:
        """Equation, discretisation and options."""
        return {
            "equation": "steady Euler equations, gamma 1.4; density and pressure 1 in the free stream",
            "boundary": "slip on the section, Steger-Warming far field 40 chords away",
            "discretisation": "node-centred finite volumes on a C-mesh, Roe, MUSCL (beta 1/3) with minmod, implicit",
            "gradients": "least squares over edge neighbours",
            "prior": "design element 1.5 x 0.2, cubic x linear; first displacement 0, seven uniform, symmetric about 0",
            "mach": self.mach,
            "angle": self.angle,
            "largest_displacement": self.largest_displacement,
            "tolerance": self.tolerance,
            "max_iterations": self.max_iterations,
            "coarsening": self.coarsening,
        }

    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw a deformation and solve the flow.

        Raises:
            SolverFailure: the section is folded, or the flow did not become steady.
        """
        displacements = np.zeros(NUM_DISPLACEMENTS)
        displacements[1:] = self.largest_displacement * rng.uniform(-1.0, 1.0, NUM_DISPLACEMENTS - 1)
        x, y, flow = self._flow(displacements, self.mesh_options)
        arrays = _fields_of(flow) | {"x": x, "y": y, "displacements": displacements}
        return Sample(self.stored(arrays), flow.residual, flow.iterations)

    def _flow(self, displacements: np.ndarray, mesh: MeshOptions) -> tuple[np.ndarray, np.ndarray, AirfoilFlow]:
        """Nodes ``mesh.shape``, and the flow."""
        x, y = c_mesh(displacements, mesh)
        return x, y, solve_airfoil(x, y, mesh.wake_cells, self.flow_options)

    @property
    def coarsenings(self) -> tuple[float, ...]:
        """As far as the cells of a ray can grow; see :attr:`Generator.coarsenings`."""
        return tuple(ratio for ratio in (1.0, 1.25, 5 / 3, 2.0, 2.5) if self.coarsening * ratio <= COARSEST)

    def solve_again(
        self, fields: Mapping[str, np.ndarray], coarsening: float = 1.0, known_frames: int = 0
    ) -> dict[str, np.ndarray]:
        """The flow; linear between the nodes by their positions, since there are shocks. See :meth:`Generator.solve_again`.

        With shocks the interpolation has an error of its own, of 1 % for 1.25 times the spacing of ``coarsening=2``.
        """
        displacements, coarse = fields["displacements"], coarse_mesh(self.coarsening * coarsening)
        solved = _fields_of(self._flow(displacements, coarse)[-1])
        values = between_meshes(np.stack(list(solved.values()), axis=-1), displacements, coarse, self.mesh_options)
        return dict(zip(solved, np.moveaxis(values.astype(np.float32), -1, 0), strict=True))

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Range and levels of the Mach number, and for at least ten samples of different sections its correlation with camber.

        Needs only ``y`` and ``mach``, ``(samples, ni, nj)``. The range of the correlation allows for three standard errors.
        """
        mach, y = (np.asarray(fields[name], dtype=np.float64) for name in ("mach", "y"))
        nose = mach.shape[1] // 2
        ahead, stagnation = mach[:, nose, -1], mach[:, nose, 0]
        low, high = self.mach - FAR_FIELD_TOLERANCE, self.mach + FAR_FIELD_TOLERANCE
        figures = [
            Statistic("largest Mach number of a sample, mean", mach.max(axis=(1, 2)).mean(), 1.3, 1.6),
            Statistic(
                "smallest Mach number of a sample, mean", mach.min(axis=(1, 2)).mean(), *NOSE_MACH[self.coarsening]
            ),
            Statistic("Mach number far ahead of the section, mean", ahead.mean(), low, high),
            Statistic("Mach number at the leading edge, mean", stagnation.mean(), *NOSE_MACH[self.coarsening]),
            Statistic("Mach number, mean over all nodes", mach.mean(), 0.7, 0.85),
        ]
        if len(mach) >= FEW and np.ptp(y, axis=0).any():
            margin = 3 * CORRELATION_DEVIATION / len(mach) ** 0.5
            correlation = self._camber_correlation(mach[:, :, 0], y[:, :, 0])
            figures.append(Statistic("correlation of camber and Mach numbers", correlation, 0.4 - margin, 0.9))
        return figures

    def _camber_correlation(self, mach: np.ndarray, y: np.ndarray) -> float:
        """Correlation over samples of camber and of the difference of the largest Mach numbers above and below.

        Args:
            mach, y: on the innermost mesh line, ``(samples, ni)``.
        """
        wake, nose = self.mesh_options.wake_cells, mach.shape[1] // 2
        above, below = slice(wake, nose + 1), slice(nose, mach.shape[1] - wake)
        camber = y[:, above].max(axis=1) + y[:, below].min(axis=1)
        return float(np.corrcoef(camber, mach[:, above].max(axis=1) - mach[:, below].max(axis=1))[0, 1])


def coarse_mesh(coarsening: float) -> MeshOptions:
    """The mesh of the benchmark with ``coarsening`` times its spacing."""
    full = MeshOptions()
    return MeshOptions(
        wake_cells=int(full.wake_cells / coarsening),
        surface_cells=2 * int(full.surface_cells / coarsening / 2),
        normal_cells=int(full.normal_cells / coarsening),
        first_spacing=full.first_spacing * coarsening,
    )


def _fields_of(flow: AirfoilFlow) -> dict[str, np.ndarray]:
    names = ("density", "velocity_x", "velocity_y", "pressure")
    return {**dict(zip(names, np.moveaxis(flow.state, -1, 0), strict=True)), "mach": flow.mach}
