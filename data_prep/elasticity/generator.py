"""The Elasticity benchmarks: unit cells with random voids; one solution gives both Elasticity-P and Elasticity-G.

Owns the distribution of the voids, the stored fields and the statistics of the published data. The equations are solved
in ``solver.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from data_prep.elasticity.mesh import NUM_MODES, edge_distance, rim, solid_mask, void_radius
from data_prep.elasticity.solver import UnitCell, solve, to_lattice
from data_prep.generation.generator import Generator, Sample, Statistic, StoredField
from lsm.registry import Count

MODE_DEVIATION = 16.0
"""Standard deviation of each coefficient of a void."""

MEAN_DEVIATION = 15.2
"""Standard deviation over samples of the mean stress, measured on 2000 samples of this generator."""

LOW_MEAN, LOW_SHARE = 160.0, 0.03
"""A mean stress in Pa, and the share of the published samples whose mean stress is lower."""

EXTREMES = {"mean": (148.0, 255.0), "largest": (454.0, 1443.0)}
"""Extremes over all 2000 published samples of the mean and of the largest stress of a sample, Pa."""

EXTREMES_TOLERANCE = 0.1
"""Relative amount by which the extremes over another 2000 samples may exceed the published ones."""

GRID_CORRELATION = 0.99
"""Smallest correlation of the stress at the points and on the grid. Over 12 samples of this generator it is 0.9995, with
exchanged axes, mirrored grids, or grids of other samples below 0.8."""

FIELDS = {
    "points": StoredField((972, 2), "1", "sites of the point cloud: Gauss points of 108 elements, undeformed"),
    "stress": StoredField((972,), "Pa", "von Mises stress (Cauchy, plane stress) at the sites"),
    "radius": StoredField((42,), "1", "radius of the void at linspace(0, 2 pi, 42); the last repeats the first"),
    "grid_mask": StoredField((41, 41), "1", "1 in the solid, 0 in the void, at (i / 40, j / 40); axis 0 is x"),
    "grid_distance": StoredField(
        (41, 41), "1", "distance along the ray from the edge of the void, negative in it; axis 0 is x"
    ),
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

    drawn = ("modes",)

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
        values, residuals = self._deformed(rng.normal(0.0, MODE_DEVIATION, NUM_MODES))
        return Sample(self.stored(values), residual=residuals[-1], iterations=len(residuals) - 1)

    def _deformed(self, modes: np.ndarray) -> tuple[dict[str, np.ndarray], Sequence[float]]:
        """All arrays for a void ``(NUM_MODES,)``, and the residuals of Newton's method."""

        def radius(angle: np.ndarray) -> np.ndarray:
            return void_radius(modes, angle)

        state = solve(radius, UnitCell(refinement=self.refinement))
        values = {
            "points": state.points,
            "stress": state.stress,
            "radius": rim(radius),
            "grid_mask": solid_mask(radius),
            "grid_distance": edge_distance(radius),
            "grid_stress": to_lattice(state.points, state.stress, radius),
            "modes": modes,
        }
        return values, state.equilibrium.residuals

    def solve_again(
        self, fields: Mapping[str, np.ndarray], coarsening: float = 1.0, known_frames: int = 0
    ) -> dict[str, np.ndarray]:
        """The stress, on the mesh of the data; there is none coarser than the 108 base elements.

        See :meth:`Generator.solve_again`.
        """
        values = self.stored(self._deformed(fields["modes"])[0])
        return {name: values[name] for name in ("stress", "grid_stress")}

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Statistics of stress and radius with those of all 2000 published samples; whether points and grid hold the same stress.

        Extremes depend on the number of samples, so for fewer samples they are bounded on the outer side only; the lower
        tail shows in the share of low means. Mean and share are allowed three standard errors.
        """
        if not {"stress", "radius"} <= set(fields):
            return []
        stress = np.asarray(fields["stress"], dtype=float)
        mean, peak, radius = stress.mean(1), stress.max(1), np.asarray(fields["radius"], dtype=float)
        margin = 2.0 + 3.0 * MEAN_DEVIATION / len(mean) ** 0.5
        low_margin = 0.01 + 3.0 * (LOW_SHARE * (1.0 - LOW_SHARE) / len(mean)) ** 0.5
        # The radius is stored in single precision, where 0.2 and 0.4 are rounded.
        within = (0.2 - 1e-7, 0.4 + 1e-7)
        figures = [
            Statistic("mean stress over samples, Pa", float(mean.mean()), 186.0 - margin, 186.0 + margin),
            Statistic(
                f"share of samples with a mean stress below {LOW_MEAN:g} Pa",
                float((mean < LOW_MEAN).mean()),
                max(0.0, LOW_SHARE - low_margin),
                LOW_SHARE + low_margin,
            ),
            *_extremes("mean", mean),
            *_extremes("largest", peak),
            Statistic("smallest radius of a void", float(radius.min()), *within),
            Statistic("largest radius of a void", float(radius.max()), *within),
        ]
        if {"points", "grid_mask", "grid_stress"} <= set(fields):
            name = "correlation of the stress at the points and on the grid"
            figures.append(Statistic(name, _grid_correlation(fields), GRID_CORRELATION, 1.0))
        return figures


def _extremes(name: str, values: np.ndarray) -> list[Statistic]:
    """Extremes over samples of a stress, Pa, with bounds on the outer side."""
    low, high = EXTREMES[name]
    outer = (low * (1.0 - EXTREMES_TOLERANCE), high * (1.0 + EXTREMES_TOLERANCE))
    return [
        Statistic(f"{extreme} {name} stress of a sample, Pa", float(value), *outer)
        for extreme, value in (("lowest", values.min()), ("highest", values.max()))
    ]


def _grid_correlation(fields: Mapping[str, np.ndarray]) -> float:
    """Correlation over samples and points of the stress there and that between the four nodes around it, where all are solid."""
    pairs = []
    for points, stress, mask, lattice in zip(
        *(np.asarray(fields[name], dtype=float) for name in ("points", "stress", "grid_mask", "grid_stress")),
        strict=True,
    ):
        at = points.T * (len(mask) - 1)
        solid = map_coordinates(mask, at, order=1) > 1.0 - 1e-6
        pairs.append(np.stack([stress[solid], map_coordinates(lattice, at[:, solid], order=1)]))
    both = np.concatenate(pairs, axis=1)
    return float(np.corrcoef(both)[0, 1]) if both.shape[1] > 1 else 0.0
