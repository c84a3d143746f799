"""The Elasticity benchmarks: unit cells with random voids; one solution gives both Elasticity-P and Elasticity-G.

Owns the distribution of the voids, the stored fields and the statistics of the published data. The equations are solved
in ``solver.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_prep.elasticity.mesh import NUM_MODES, rim, solid_mask, void_radius
from data_prep.elasticity.solver import UnitCell, solve, to_lattice
from data_prep.generation.generator import Generator, Sample, Statistic, StoredField
from lsm.registry import Count

MODE_DEVIATION = 16.0
"""Standard deviation of each coefficient of a void."""

MEAN_DEVIATION = 15.2
"""Standard deviation over samples of the mean stress, measured on 2000 samples of this generator."""

FIELDS = {
    "points": StoredField((972, 2), "1", "sites of the point cloud: Gauss points of 108 elements, undeformed"),
    "stress": StoredField((972,), "Pa", "von Mises stress (Cauchy, plane stress) at the sites"),
    "radius": StoredField((42,), "1", "radius of the void at linspace(0, 2 pi, 42); the last repeats the first"),
    "grid_mask": StoredField((41, 41), "1", "1 in the solid, 0 in the void, at (i / 40, j / 40); axis 0 is x"),
    "grid_stress": StoredField((41, 41), "Pa", "the stress interpolated to the grid, 0 in the void; axis 0 is x"),
    "modes": StoredField((NUM_MODES,), "1", "drawn coefficients t of the void's angular modes", "float64"),
}


@dataclass(frozen=True)
class ElasticityGenerator(Generator):
    """Unit cell with a random void, clamped at the bottom, loaded at the top; Mooney-Rivlin solid in plane stress.

    ``Sample.residual`` is the norm of the unbalanced forces relative to that of the load, ``Sample.iterations`` the number
    of Newton steps.

    Args:
        refinement: number of parts into which each side of the 108 elements is divided; the 972 sites are the same points
            of the base elements for every refinement. 1 gives the published data set.
    """

    refinement: Count = 1

    @property
    def fields(self) -> Mapping[str, StoredField]:
        return FIELDS

    @property
    def provenance(self) -> Mapping[str, str | float | int]:
        cell = UnitCell(refinement=self.refinement)
        return {
            "equation": "Div P = 0, incompressible Mooney-Rivlin, plane stress, finite strain",
            "boundary": "bottom clamped, dead traction along +y on the top, sides and void free",
            "discretisation": "nine-node quadrilaterals, 3 x 3 Gauss points, full Newton",
            "num_elements": 108 * self.refinement**2,
            "refinement": self.refinement,
            "c1": cell.material.c1,
            "c2": cell.material.c2,
            "traction": cell.traction,
            "mode_deviation": MODE_DEVIATION,
        }

    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw a void and solve for the equilibrium.

        Raises:
            SolverFailure: Newton's method did not converge, or the void folds an element.
        """
        modes = rng.normal(0.0, MODE_DEVIATION, NUM_MODES)

        def radius(angle: np.ndarray) -> np.ndarray:
            return void_radius(modes, angle)

        state = solve(radius, UnitCell(refinement=self.refinement))
        values = {
            "points": state.points,
            "stress": state.stress,
            "radius": rim(radius),
            "grid_mask": solid_mask(radius),
            "grid_stress": to_lattice(state.points, state.stress, radius),
            "modes": modes,
        }
        residuals = state.equilibrium.residuals
        return Sample(self.stored(values), residual=residuals[-1], iterations=len(residuals) - 1)

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Statistics of stress and radius with the published ranges, which refer to an unknown number of samples.

        The distribution over samples is compared by its quartiles, since extremes depend on the number of samples. The
        range of the mean allows for three standard errors.
        """
        if not {"stress", "radius"} <= set(fields):
            return []
        stress = np.asarray(fields["stress"], dtype=float)
        mean, peak, radius = stress.mean(1), stress.max(1), np.asarray(fields["radius"], dtype=float)
        margin = 2.0 + 3.0 * MEAN_DEVIATION / len(mean) ** 0.5
        figures = [Statistic("mean stress over samples, Pa", float(mean.mean()), 186.0 - margin, 186.0 + margin)]
        for name, values, low, high in (("mean", mean, 160.0, 255.0), ("largest", peak, 670.0, 1440.0)):
            for share in (25, 75):
                quartile = float(np.percentile(values, share))
                figures.append(Statistic(f"{name} stress of a sample, percentile {share}, Pa", quartile, low, high))
        extremes = (("smallest", radius.min()), ("largest", radius.max()))
        # The radius is stored in single precision, where 0.2 and 0.4 are rounded.
        figures += [
            Statistic(f"{name} radius of a void", float(value), 0.2 - 1e-7, 0.4 + 1e-7) for name, value in extremes
        ]
        return figures
