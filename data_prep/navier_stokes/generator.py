"""The Navier-Stokes benchmark: vorticity on the torus from a random initial field under a steady forcing.

Owns the distribution of the initial field, the stored fields and the statistics of the published data. The equation is
solved in ``solver.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from data_prep.generation.failure import SolverFailure
from data_prep.generation.generator import BatchGenerator, Sample, Statistic, StoredField, coarser
from data_prep.navier_stokes.solver import FlowOptions, Trajectory, solve
from data_prep.random_fields import periodic_field
from data_prep.resampling import on_torus
from lsm.registry import Count

FORCING_AMPLITUDE = 0.1

#: Viscous decay rate of the forced mode, whose squared wavenumber is 2 (2 pi)^2, over the viscosity.
FORCED_DECAY = 8 * math.pi**2

#: Largest viscous decay of the forced mode in a time step. The steady forcing then has a relative error of 2e-5 (the fourth power
#: over 2880): the integrating factor makes viscosity exact, but not its balance with the forcing.
LARGEST_DECAY = 0.5

#: By time: name of the statistic, its range in the published data, and its standard deviation over samples (measured on
#: our data). The range at t = 0 is about the standard deviation of the stated covariance, 0.262.
_PUBLISHED = {
    0: ("standard deviation of the vorticity at t = 0", 0.255, 0.27, 0.055),
    1: ("mean |vorticity| at t = 1", 0.20, 0.24, 0.045),
    20: ("mean |vorticity| at t = 20", 1.49, 1.65, 0.11),
}


@dataclass(frozen=True)
class NavierStokesGenerator(BatchGenerator):
    """Vorticity at ``t = 1, 2, ...`` on the unit torus, in single precision.

    ``w_t + v . grad w = nu Laplace(w) + 0.1 (sin 2 pi (x + y) + cos 2 pi (x + y))`` from a Gaussian random field of
    covariance ``2 * 7^3 (-Laplace + 49)^(-2.5)``, drawn at the solver's resolution.

    ``Sample.residual`` is the relative defect of the energy balance over the whole run (see ``Trajectory``),
    ``Sample.iterations`` the number of time steps.

    Args:
        resolution: points per side of the solver's grid.
        stored_resolution: points per side of the stored fields; divides ``resolution``.
        num_frames: number of frames, one time unit apart.
        viscosity: kinematic viscosity.
        time_step: largest time step; a sample takes smaller steps in the frames where its Courant number requires them.
        device: device of the solver, "cpu" or "cuda".
        batch_size: number of samples solved together.
    Raises:
        OptionError: ``stored_resolution`` does not divide ``resolution``, or ``time_step`` is too large for the viscosity.
    """

    #: On fewer points the forced mode is not among those of the solver.
    resolution: Annotated[int, Ge(7)] = 256
    stored_resolution: Count = 64
    num_frames: Count = 20
    viscosity: Annotated[float, Ge(0)] = 1e-5
    time_step: Annotated[float, Interval(gt=0, le=1)] = 4e-2
    device: str = "cpu"
    batch_size: Count = 1

    def find_problem(self) -> tuple[str, str] | None:
        """Stored points that are no points of the solver, or steps in which the forced mode decays too far.

        See :meth:`lsm.registry.Options.find_problem`.
        """
        if self.resolution % self.stored_resolution:
            why = "stored points are every n-th point of the solver's grid"
            return "stored_resolution", f"{self.stored_resolution} does not divide resolution {self.resolution}: {why}"
        if FORCED_DECAY * self.viscosity * self.time_step > LARGEST_DECAY:
            longest = 0.99 * LARGEST_DECAY / (FORCED_DECAY * self.viscosity)  # less, since the message may round it up
            why = f"at most {longest:.3g} with viscosity {self.viscosity}, whose balance with the forcing is inaccurate otherwise"
            return "time_step", f"is {self.time_step}, expected {why}"
        return None

    drawn = ("initial_vorticity",)

    @property
    def fields(self) -> Mapping[str, StoredField]:
        grid = (self.stored_resolution, self.stored_resolution)
        return {
            "initial_vorticity": StoredField(grid, "1", "vorticity at t = 0, the drawn field; axes x, y"),
            "vorticity": StoredField(
                (*grid, self.num_frames), "1", f"vorticity at t = 1, ..., {self.num_frames}; axes x, y, t"
            ),
        }

    @property
    def provenance(self) -> Mapping[str, str | float | int]:
        return {
            "equation": "w_t + v . grad w = nu Laplace(w) + 0.1 (sin 2 pi (x + y) + cos 2 pi (x + y)), unit torus",
            "discretisation": "Fourier-Galerkin with the 2/3 rule, integrating-factor Runge-Kutta of order 4, float32",
            "initial_covariance": "2 * 7^3 (-Laplace + 49)^(-2.5), zero mean",
            "resolution": self.resolution,
            "stored_resolution": self.stored_resolution,
            "num_frames": self.num_frames,
            "viscosity": self.viscosity,
            "time_step": self.time_step,
            "device": torch.device(self.device).type,
        }

    def solve_batch(self, rngs: Sequence[np.random.Generator]) -> list[Sample | SolverFailure]:
        if not rngs:
            return []
        drawn = np.stack([periodic_field(rng, self.resolution) for rng in rngs]).astype(np.float32)
        initial = torch.from_numpy(drawn).to(self.device)
        results = solve(initial, _forcing(self.resolution).to(initial), self._flow_options())
        return [self._sample(field, result) for field, result in zip(drawn, results, strict=True)]

    @property
    def coarsenings(self) -> tuple[float, ...]:
        """As far as 16 points along each axis; see :attr:`Generator.coarsenings`."""
        return coarser((2.0, 4.0, 8.0, 16.0), self.resolution, 16)

    def solve_again(
        self, fields: Mapping[str, np.ndarray], coarsening: float = 1.0, known_frames: int = 0
    ) -> dict[str, np.ndarray]:
        """Vorticity, from the stored points of the last known frame, in longer time steps on coarser grids.

        The stored points do not contain all modes of the solver's grid, so that even a grid as fine gives another flow. See
        :meth:`Generator.solve_again`.
        """
        frames = fields["vorticity"].astype(np.float32)
        start = frames[..., known_frames - 1] if known_frames else fields["initial_vorticity"]
        count = round(self.resolution / coarsening)
        initial = on_torus(np.asarray(start, np.float64), count)
        initial = torch.from_numpy(initial - initial.mean())[None].to(self.device, torch.float32)
        time_step = min(coarsening * self.time_step, 1.0)
        options = FlowOptions(self.viscosity, time_step, self.num_frames - known_frames)
        (result,) = solve(initial, _forcing(count).to(initial), options)
        if isinstance(result, SolverFailure):
            raise result
        solved = on_torus(result.frames.movedim(0, -1).cpu().numpy(), len(frames))
        return {"vorticity": np.concatenate([frames[..., :known_frames], solved], axis=-1)}

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Standard deviation of the initial field and mean modulus at t = 1 and t = 20, over all samples and points.

        The ranges of ``_PUBLISHED`` are widened by three standard errors for the number of samples.
        """
        measured: dict[int, float] = {}
        if "initial_vorticity" in fields:
            measured[0] = math.sqrt(np.mean(fields["initial_vorticity"] ** 2))
        for time in (1, 20):
            if time <= self.num_frames:
                measured[time] = float(np.abs(fields["vorticity"][..., time - 1]).mean())
        statistics = []
        for time, value in measured.items():
            name, low, high, spread = _PUBLISHED[time]
            margin = 3 * spread / math.sqrt(len(fields["vorticity"]))
            statistics.append(Statistic(name, value, low - margin, high + margin))
        return statistics

    def _flow_options(self) -> FlowOptions:
        return FlowOptions(self.viscosity, self.time_step, self.num_frames)

    def _sample(self, drawn: np.ndarray, result: Trajectory | SolverFailure) -> Sample | SolverFailure:
        if isinstance(result, SolverFailure):
            return result
        stride = self.resolution // self.stored_resolution
        frames = result.frames[:, ::stride, ::stride].movedim(0, -1)
        fields = {
            "initial_vorticity": drawn[::stride, ::stride].copy(),
            "vorticity": frames.contiguous().cpu().numpy(),
        }
        return Sample(fields, residual=result.energy_defect, iterations=result.num_steps)


def _forcing(resolution: int) -> Tensor:
    """``0.1 (sin 2 pi (x + y) + cos 2 pi (x + y))`` on the grid, ``(resolution, resolution)`` in double precision."""
    points = 2 * math.pi * torch.arange(resolution, dtype=torch.float64) / resolution
    phase = points[:, None] + points[None, :]
    return FORCING_AMPLITUDE * (phase.sin() + phase.cos())
