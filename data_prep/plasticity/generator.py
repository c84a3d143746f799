"""The Plasticity benchmark: a block forged by a die of random shape.

Owns the distribution of the dies, the layout of the stored fields and the statistics of the published data. The equations
are solved in ``solver.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from scipy.interpolate import CubicSpline

from data_prep.generation.failure import SolverFailure
from data_prep.generation.generator import Generator, Sample, Statistic, StoredField
from data_prep.plasticity.die import Die
from data_prep.plasticity.kernels import LANES
from data_prep.plasticity.solver import Columns, Forging, ForgingOptions, solve_forging
from data_prep.resampling import between_nodes

#: Width and height of the block, mm.
WIDTH, HEIGHT = 50.0, 15.0
#: Published coordinates of the centre of the bottom of the block, mm.
ORIGIN = (-24.65, -0.1)
NUM_KNOTS = 9
#: Height of the outer knots above the lowest knot, and range of the heights of the others, mm.
OUTER_HEIGHT, INNER_HEIGHTS = 7.5, (1.6, 7.9)
#: Second derivative of the profile of the die at its ends, 1 / mm.
END_CURVATURE = -0.8
#: Distance of the lowest point of the die from the top of the block at time 0, mm.
GAP = 0.2
#: Number of points at which the lowest point of the die is searched.
NUM_FINE = 4001
#: Largest energy imbalance, relative to the work of the die, of an accepted solution.
LARGEST_IMBALANCE = 0.01
#: Travel of the published die between two frames, mm.
TRAVEL_PER_FRAME = 0.3
#: Tolerance of the largest displacement about the indentation depth, relative to the travel.
LARGEST_TOLERANCE = 0.1
#: Range of the height and mean height above the lowest point, mm: mean over 16 published dies, the tolerance of a mean over
#: so few dies, and the standard deviation over the dies of this generator.
DIE_RANGE, DIE_MEAN = (8.83, 0.35, 0.68), (4.82, 0.3, 0.56)


@dataclass(frozen=True)
class PlasticityGenerator(Generator):
    """Draws die profiles and forges the block with them.

    ``Sample.residual`` is the energy imbalance relative to the work of the die, ``Sample.iterations`` the number of time
    steps.

    Args:
        columns: number of cells along the block, a multiple of 20; the cells are square: 100 columns and 30 rows.
        frames: number of frames at intervals of 0.1 ms, including the undeformed block.
    Raises:
        OptionError: the die would pass through the whole block.
    """

    #: 2: dies follow 16 published ones, before 3, and no longer continue beyond their ends; stiffer hourglass modes.
    revision = 2

    drawn = ("knots",)

    columns: Columns = 100
    frames: Annotated[int, Ge(2)] = 20

    def find_problem(self) -> tuple[str, str] | None:
        """More frames than the die needs to reach the bottom; see :meth:`lsm.registry.Options.find_problem`."""
        if TRAVEL_PER_FRAME * (self.frames - 1) - GAP < HEIGHT:
            return None
        most = math.ceil((HEIGHT + GAP) / TRAVEL_PER_FRAME)
        return "frames", f"is {self.frames}, expected at most {most}, before the die reaches the bottom of the block"

    @property
    def forging(self) -> ForgingOptions:
        """Options of the solver."""
        return self._options(self.columns)

    def _options(self, columns: int) -> ForgingOptions:
        return ForgingOptions(columns=columns, rows=3 * columns // 10, cell=WIDTH / columns, frames=self.frames)

    @property
    def fields(self) -> Mapping[str, StoredField]:
        nodes = (self.columns + 1, self.forging.rows + 1)
        return {
            "die": StoredField(
                (nodes[0],), "mm", "height of the underside of the die before it moves, from left to right"
            ),
            "deformation": StoredField(
                (*nodes, self.frames, 4), "mm", "x, y, u_x, u_y; nodes from right to left and from the die downwards"
            ),
            "knots": StoredField((NUM_KNOTS,), "mm", "drawn knot heights, from left to right", "float64"),
        }

    @property
    def display(self) -> Mapping[str, Any]:
        """The block moves with its target positions, and the die above it comes down."""
        span = [ORIGIN[0] - 0.5 * WIDTH, ORIGIN[0] + 0.5 * WIDTH]
        return {"positions": ["x", "y"], "tool": {"height": "die", "span": span, "travel": TRAVEL_PER_FRAME}}

    @property
    def provenance(self) -> Mapping[str, str | float | int]:
        options = self.forging
        return {
            "equation": "rho u_tt = div(stress): plane stress, J2 plasticity without hardening, Jaumann rate",
            "discretisation": "one-point bilinear quadrilaterals, central differences in time, frictionless contact",
            "columns": options.columns,
            "rows": options.rows,
            "frames": options.frames,
            "frame_interval_s": options.interval,
            "die_speed_mm_per_s": options.speed,
            "courant": options.courant,
            "floor_of_the_step": options.floor,
            "die_prior": (
                f"cubic spline, curvature {END_CURVATURE} / mm at the ends; outer knots {OUTER_HEIGHT} mm, one inner knot 0, "
                f"the others U{list(INNER_HEIGHTS)} mm"
            ),
            **{f"material_{name}": value for name, value in options.material._asdict().items()},
        }

    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw the knots of a die and forge the block.

        Raises:
            SolverFailure: a cell collapsed, or the energy imbalance is too large.
        """
        knots = draw_knots(rng)
        die = die_above_block(knots)
        deformation, forging = _forged(die, self.forging)
        x = np.linspace(-0.5 * WIDTH, 0.5 * WIDTH, self.columns + 1)
        fields = {
            "die": (die(x) + ORIGIN[1]).astype(np.float32),
            "deformation": deformation,
            "knots": knots,
        }
        return Sample(fields, residual=forging.energies.imbalance, iterations=forging.steps)

    @property
    def coarsenings(self) -> tuple[float, ...]:
        """Those of which the solver takes the number of columns; see :attr:`Generator.coarsenings`."""
        return tuple(self.columns / columns for columns in range(self.columns, 0, -LANES))

    def solve_again(
        self, fields: Mapping[str, np.ndarray], coarsening: float = 1.0, known_frames: int = 0
    ) -> dict[str, np.ndarray]:
        """Positions and displacements; see :meth:`Generator.solve_again`."""
        deformation, _ = _forged(die_above_block(fields["knots"]), self._options(round(self.columns / coarsening)))
        shape = (self.columns + 1, self.forging.rows + 1)
        return {"deformation": between_nodes(deformation, shape).astype(np.float32)}

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Statistics of ``die`` and ``deformation``, which the published file contains, too."""
        deformation, dies = fields["deformation"], fields["die"]
        travel = TRAVEL_PER_FRAME * (deformation.shape[3] - 1)
        largest = np.array([np.hypot(sample[..., 2], sample[..., 3]).max() for sample in deformation])
        fine = np.linspace(-0.5 * WIDTH, 0.5 * WIDTH, NUM_FINE) + ORIGIN[0]
        lowest = np.array([die_between_points(die)(fine).min() for die in dies])
        return [
            Statistic(
                "largest displacement in frame 0, mm", float(np.abs(deformation[:, :, :, 0, 2:]).max()), 0.0, 0.0
            ),
            Statistic("largest |u_y| at the bottom, mm", float(np.abs(deformation[:, :, -1, :, 3]).max()), 0.0, 0.0),
            Statistic("lowest point of the die, mean, mm", float(lowest.mean()), 15.05, 15.15),
            _mean_over_dies("range of the die's height, mean, mm", np.ptp(dies, axis=1), *DIE_RANGE),
            _mean_over_dies("mean height of the die above its lowest point, mm", dies.mean(1) - dies.min(1), *DIE_MEAN),
            Statistic(
                "travel of the die by the last frame, mean, mm",
                float(np.mean([die_travel(*pair) for pair in zip(dies, deformation, strict=True)])),
                travel - 0.05,
                travel + 0.05,
            ),
            Statistic(
                "largest displacement, mean, mm",
                float(largest.mean()),
                travel - GAP - LARGEST_TOLERANCE * travel,
                travel - GAP + LARGEST_TOLERANCE * travel,
            ),
        ]


def _mean_over_dies(name: str, values: np.ndarray, published: float, tolerance: float, deviation: float) -> Statistic:
    """Mean of ``values``, one per die; the range allows for three standard errors in addition to the tolerance."""
    margin = tolerance + 3.0 * deviation / values.size**0.5
    return Statistic(name, float(values.mean()), published - margin, published + margin)


def _forged(die: Die, options: ForgingOptions) -> tuple[np.ndarray, Forging]:
    """The stored deformation ``(columns + 1, rows + 1, frames, 4)``, and all about it.

    Raises:
        SolverFailure: a cell collapsed, or the energy imbalance is too large.
    """
    forging = solve_forging(die, options)
    imbalance = forging.energies.imbalance
    if not imbalance < LARGEST_IMBALANCE:
        raise SolverFailure(f"energy imbalance {imbalance:.1e}, expected less than {LARGEST_IMBALANCE}")
    published = np.concatenate([forging.positions + ORIGIN, forging.displacements], axis=-1)
    return np.ascontiguousarray(published[:, ::-1, ::-1].transpose(2, 1, 0, 3), dtype=np.float32), forging


def draw_knots(rng: np.random.Generator) -> np.ndarray:
    """Knot heights, mm: ``OUTER_HEIGHT`` at both ends, one of the inner knots at 0, the others uniform in their range."""
    knots = np.full(NUM_KNOTS, OUTER_HEIGHT)
    knots[1:-1] = rng.uniform(*INNER_HEIGHTS, NUM_KNOTS - 2)
    knots[1 + rng.integers(NUM_KNOTS - 2)] = 0.0
    return knots


def die_above_block(knots: np.ndarray) -> Die:
    """Spline through the knots, shifted so that its lowest point is ``GAP`` above the block."""
    die = Die.through(knots, WIDTH, END_CURVATURE)
    lowest = die(np.linspace(-0.5 * WIDTH, 0.5 * WIDTH, NUM_FINE)).min()
    return die.raised(HEIGHT + GAP - lowest)


def die_travel(die: np.ndarray, deformation: np.ndarray) -> float:
    """Distance in mm between the initial position of the die and that of its contact with the block in the last frame.

    Args:
        die: ``(columns + 1,)``, mm.
        deformation: ``(columns + 1, rows + 1, frames, 4)``, mm.
    """
    top = deformation[:, 0, -1].astype(np.float64)
    under = np.abs(top[:, 0] - ORIGIN[0]) <= 0.5 * WIDTH
    return float((die_between_points(die)(top[under, 0]) - top[under, 1]).min())


def die_between_points(die: np.ndarray) -> CubicSpline:
    """Interpolant of stored heights ``(columns + 1,)``, mm, as a function of the published x, mm."""
    x = np.linspace(-0.5 * WIDTH, 0.5 * WIDTH, die.size) + ORIGIN[0]
    return CubicSpline(x, die.astype(np.float64))
