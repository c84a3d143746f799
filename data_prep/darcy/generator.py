"""The Darcy benchmark: two-phase permeability from a thresholded Gaussian field, and its pressure.

Owns the distribution of the permeability, the stored fields and the statistics of the published data. The equation is
solved in ``solver.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge

from data_prep.darcy import solver
from data_prep.generation.failure import SolverFailure
from data_prep.generation.generator import BatchGenerator, Sample, Statistic, StoredField, coarser
from data_prep.random_fields import neumann_field
from data_prep.resampling import between_centres, cell_means
from lsm.registry import Count, Positive

#: Largest relative residual of the linear solve that is accepted.
TOLERANCE = 1e-10

#: Standard deviation over samples of the mean pressure, measured on 2048 samples.
SPREAD = 5e-4


@dataclass(frozen=True)
class DarcyGenerator(BatchGenerator):
    """Samples of ``-div(a grad u) = 1`` with ``a`` in {``low``, ``high``}.

    Rounding in double precision keeps the residual above ``TOLERANCE``, so that samples fail, if the contrast of the two
    permeabilities times ``resolution^2`` is larger than about 5e7, that is a contrast of 280 on 421 cells.

    Args:
        resolution: cells along each axis; 421 in the published set.
        low: permeability where the Gaussian field is negative.
        high: permeability where it is not.
        device: device of the solver, "cpu" or "cuda".
        batch_size: number of samples solved together; the data do not depend on it.
    """

    resolution: Annotated[int, Ge(2)] = 421
    low: Positive = 3.0
    high: Positive = 12.0
    device: str = "cpu"
    batch_size: Count = 1

    drawn = ("permeability",)

    @property
    def fields(self) -> Mapping[str, StoredField]:
        """Permeability and pressure at the cell centres."""
        grid = (self.resolution, self.resolution)
        return {
            "permeability": StoredField(grid, "1", "permeability a at the cell centres (i + 1/2) / n"),
            "pressure": StoredField(grid, "1", "pressure u at the cell centres, zero on the boundary"),
        }

    @property
    def provenance(self) -> Mapping[str, str | float | int]:
        """Equation, discretisation and options."""
        return {
            "equation": "-div(a grad u) = 1 on the unit square, u = 0 on the boundary",
            "scheme": "cell-centred five-point, order 2, arithmetic face means, preconditioned conjugate gradients, float64",
            "permeability": "high where g >= 0 else low; g ~ N(0, 9 (-Laplace + 9)^-2), zero Neumann, zero mean",
            "resolution": self.resolution,
            "low": self.low,
            "high": self.high,
        }

    def solve_batch(self, rngs: Sequence[np.random.Generator]) -> list[Sample | SolverFailure]:
        """Draw and solve samples together; a sample with a residual ``|A u - f| / |f|`` above 1e-10 is a failure."""
        gaussian = np.stack([neumann_field(rng, self.resolution, alpha=2.0, tau=3.0) for rng in rngs])
        permeability = np.where(gaussian >= 0, self.high, self.low)
        solution = solver.solve(torch.from_numpy(permeability).to(self.device))
        pressures = solution.pressure.float().cpu().numpy()
        return [
            _sample(*solved)
            for solved in zip(
                permeability.astype(np.float32),
                pressures,
                solution.residual.tolist(),
                solution.iterations.tolist(),
                strict=True,
            )
        ]

    @property
    def coarsenings(self) -> tuple[float, ...]:
        """As far as 8 cells along each axis; see :attr:`Generator.coarsenings`."""
        return coarser((1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0), self.resolution, 8)

    def solve_again(
        self, fields: Mapping[str, np.ndarray], coarsening: float = 1.0, known_frames: int = 0
    ) -> dict[str, np.ndarray]:
        """Pressure; a larger cell has the mean of the permeability in it. See :meth:`Generator.solve_again`."""
        given = fields["permeability"].astype(np.float64)
        permeability = cell_means(given, round(len(given) / coarsening))
        solution = solver.solve(torch.from_numpy(permeability)[None].to(self.device))
        if (residual := solution.residual.item()) > TOLERANCE:
            raise SolverFailure(f"relative residual {residual:.1e} exceeds {TOLERANCE:g}")
        return {"pressure": between_centres(solution.pressure[0].cpu().numpy(), len(given)).astype(np.float32)}

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Share of the permeable phase, level of the pressure, and the balance of sources and flux, which connects both.

        The published data have a mean pressure of 5e-5 on the outermost cells, on 421 cells.
        """
        pressure = np.asarray(fields["pressure"], dtype=np.float64)
        scale = 421 / self.resolution
        share = float(np.mean(fields["permeability"] == self.high))
        outermost = float(_on_the_sides(pressure).mean())
        # The boundary is half a cell away, so the flux through a face of length h is 2 a u; their sum is the source, 1.
        flux = 2 * _on_the_sides(fields["permeability"] * pressure).sum() / len(pressure)
        margin = 3 * SPREAD / len(pressure) ** 0.5
        return [
            Statistic("share of high permeability", share, 0.4, 0.6),
            Statistic("mean pressure on the outermost cells", outermost, 4e-5 * scale, 6e-5 * scale),
            Statistic("smallest pressure", float(pressure.min()), 0.0, 4e-5 * scale),
            Statistic("mean pressure", float(pressure.mean()), 0.0054 - margin, 0.0060 + margin),
            Statistic("flux through the boundary, mean", float(flux), 0.9, 1.1),
        ]


def _on_the_sides(values: np.ndarray) -> np.ndarray:
    """Values on the outermost cells of all samples, ``(samples * 4 n,)``; corner cells appear once for each side."""
    return np.concatenate([values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]], axis=None)


def _sample(permeability: np.ndarray, pressure: np.ndarray, residual: float, iterations: int) -> Sample | SolverFailure:
    if not residual <= TOLERANCE:
        return SolverFailure(
            f"relative residual {residual:.1e} exceeds {TOLERANCE:.0e} after {iterations} iterations; "
            "choose a smaller contrast of low and high, or a smaller resolution"
        )
    return Sample({"permeability": permeability, "pressure": pressure}, residual, iterations)
