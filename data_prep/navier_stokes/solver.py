"""Two-dimensional incompressible flow on the unit torus in vorticity form: pseudo-spectral, batched, on CPU or CUDA.

Owns the equation and its discretisation; it knows no random number, no file and no data set.

Equation: ``w_t + v . grad w = nu Laplace(w) + f`` with ``v = (u, v) = (psi_y, -psi_x)`` and ``-Laplace(psi) = w``; all
means are zero. Space: Fourier-Galerkin on the disc ``|k| <= K = (n - 1) // 3``, with products computed on ``n x n``
points (2/3 rule), so that no product of two kept modes aliases onto a kept mode. (A square of modes would resolve the
diagonal directions better than the axes and would need a time step shorter by ``sqrt(2)``.) Time: the classical
fourth-order Runge-Kutta scheme on ``exp(-nu t Laplace) w``, so that viscosity is exact (integrating factor). Precision:
that of the input.

Two transforms per stage are enough. With ``U = u + i v`` and ``D = d/dx - i d/dy``, incompressibility gives

    v . grad w = (d_xx - d_yy)(u v) - d_xy(u^2 - v^2) = Im(D^2 U^2) / 2,

so that one complex transform evaluates both velocities on the grid, and one transforms both products back.

Spectra are stored centred: ``modes[..., K + k_1, K + k_2]`` is the coefficient of ``exp(2 pi i (k_1 x + k_2 y))``, so
``-k`` is the flipped array and zero-padding appends zeros at the end. A transform that treats index 0 as the mode ``-K``
multiplies ``U`` on the grid by a factor of modulus one. Squaring this factor shifts the mode ``k`` of ``U^2`` to the index
``2 K + k``, and the backward transform reads it there without wrap-around.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor
from torch.fft import fft, fft2, ifft, ifft2

from data_prep.generation.failure import SolverFailure
from lsm.registry import Count, Index, Options, Positive

#: Largest allowed Courant number ``dt 2 pi K max|v|``, the largest phase change by advection in one step. The scheme is
#: stable below 2 sqrt(2).
COURANT_LIMIT = 2.8

#: Growth of the largest velocity within a frame that the choice of the time step allows for.
EXPECTED_SPEED_UP = 1.12

#: Number of time steps to choose from between a step and half of it; neighbours differ by a factor of ``2^(1/8)``. With a
#: short list, samples of a batch with similar velocities use the same step and advance together.
STEPS_PER_OCTAVE = 8


@dataclass(frozen=True)
class FlowOptions(Options):
    """Viscosity, time steps and frames.

    Args:
        viscosity: kinematic viscosity nu.
        time_step: largest time step; reduced so that a frame is a whole number of steps. A sample takes smaller steps in
            the frames where its Courant number requires them.
        num_frames: frames to return, at the times ``frame_interval * (1, ..., num_frames)``.
        frame_interval: time between frames.
        max_halvings: a sample that needs smaller steps than ``time_step / 2^max_halvings`` fails.
        samples_together: number of samples advanced as one batch; None means all on an accelerator and one on a CPU. On a
            CPU a batch is not faster, and the result of a single sample cannot depend on how the Fourier transforms
            process the other samples.
    Raises:
        OptionError: ``time_step`` is larger than ``frame_interval``.
    """

    viscosity: Annotated[float, Ge(0)]
    time_step: Positive = 4e-2
    num_frames: Count = 20
    frame_interval: Positive = 1.0
    max_halvings: Index = 5
    samples_together: Count | None = None

    def find_problem(self) -> tuple[str, str] | None:
        """A step longer than a frame; see :meth:`lsm.registry.Options.find_problem`."""
        long = self.time_step > self.frame_interval
        return ("time_step", f"is {self.time_step}, larger than frame_interval {self.frame_interval}") if long else None

    def step_counts(self) -> list[int]:
        """Numbers of time steps per frame to choose from, smallest first."""
        # A quotient that rounding lifts slightly above a whole number must not add a step.
        fewest = math.ceil(self.frame_interval / self.time_step * (1 - 1e-12))
        octaves = np.arange(self.max_halvings * STEPS_PER_OCTAVE + 1) / STEPS_PER_OCTAVE
        return np.unique(np.round(fewest * 2**octaves).astype(int)).tolist()


@dataclass(frozen=True)
class Trajectory:
    """A solved sample.

    Args:
        frames: vorticity ``(num_frames, n, n)``, first grid axis x.
        num_steps: time steps; of a repeated frame only the last attempt is counted.
        courant: largest ``dt 2 pi K max|v|`` over the frames, at most ``COURANT_LIMIT``.
        energy_defect: ``|E(T) - E(0) - W| / E(T)`` with the kinetic energy ``E`` and the time integral ``W`` of the
            power of the forcing minus the dissipation, by the trapezoidal rule over the steps.
    """

    frames: Tensor
    num_steps: int
    courant: float
    energy_defect: float


class Torus:
    """Fourier-Galerkin discretisation of the unit torus.

    Args:
        resolution: points per side, ``n``.
        like: a real tensor whose precision and device are used.
    Raises:
        ValueError: ``resolution`` is below 4.
    """

    def __init__(self, resolution: int, like: Tensor) -> None:
        if resolution < 4:
            raise ValueError(f"resolution {resolution} leaves no mode after dealiasing; it must be at least 4")
        self.resolution = resolution
        self.largest = (resolution - 1) // 3
        k = torch.arange(-self.largest, self.largest + 1)
        self._index = (k % resolution).to(like.device)
        # Constants are computed in double precision and rounded once.
        kappa = 2 * math.pi * k.double()
        kappa_x, kappa_y = torch.meshgrid(kappa, kappa, indexing="ij")
        minus_laplacian = kappa_x**2 + kappa_y**2
        kept = k[:, None] ** 2 + k[None, :] ** 2 <= self.largest**2
        inverse = torch.where(minus_laplacian > 0, 1 / minus_laplacian, 0.0)
        precision = torch.complex(like.new_zeros(1), like.new_zeros(1))
        self.minus_laplacian = minus_laplacian.to(like.device)
        self.inverse_laplacian = inverse.to(like)
        self._to_velocity = (torch.complex(kappa_x, kappa_y) * inverse).to(precision)
        self._kept = kept.to(precision)
        # The transform of U^2 to modes is not normalised; this factor contains the normalisation.
        self._half_advection = (-0.25j / resolution**2 * torch.complex(kappa_x, -kappa_y) ** 2 * kept).to(precision)

    def transform(self, field: Tensor) -> Tensor:
        """Kept Fourier coefficients ``(b, 2 K + 1, 2 K + 1)`` of real fields ``(b, n, n)``; the mean is dropped."""
        modes = fft2(field, norm="forward")[:, self._index[:, None], self._index] * self._kept
        modes[:, self.largest, self.largest] = 0
        return modes

    def evaluate(self, modes: Tensor) -> Tensor:
        """Real fields ``(b, n, n)``, first axis x, of Fourier coefficients ``(b, 2 K + 1, 2 K + 1)``."""
        padded = modes.new_zeros(len(modes), self.resolution, self.resolution)
        padded[:, self._index[:, None], self._index] = modes
        return ifft2(padded, norm="forward").real.contiguous()

    def tendency(self, modes: Tensor, half_source: Tensor) -> Tensor:
        """``-v . grad w + f`` as Fourier coefficients ``(b, 2 K + 1, 2 K + 1)``, given those of ``w`` and of ``f / 2``."""
        kept = slice(self.largest, 3 * self.largest + 1)
        square = self._velocity(modes).square_()
        # All transforms run along the last axis, which is contiguous; hence the transpositions.
        over_x = fft(square, dim=-1)[..., kept]
        over_both = fft(over_x.mT, dim=-1)[..., kept]
        # Twice the real part of the field with coefficients `half`: c(k) + conj(c(-k)).
        half = torch.addcmul(half_source, over_both, self._half_advection)
        return torch.flip(half, (-2, -1)).conj_physical_().add_(half)

    def speed(self, modes: Tensor) -> Tensor:
        """Largest ``|v|`` on the grid, ``(b,)``; NaN if a mode is not finite."""
        return self._velocity(modes).abs().amax((-2, -1))

    def energy(self, modes: Tensor) -> Tensor:
        """Kinetic energy, the mean of ``|v|^2 / 2``, ``(b,)``."""
        return _inner(modes, modes * self.inverse_laplacian) / 2

    def enstrophy(self, modes: Tensor) -> Tensor:
        """Enstrophy, the mean of ``w^2 / 2``, ``(b,)``."""
        return _inner(modes, modes) / 2

    def _velocity(self, modes: Tensor) -> Tensor:
        """``u + i v`` on the grid, axes (b, y, x), times a factor of modulus one (see the docstring of the module)."""
        over_y = ifft(modes * self._to_velocity, n=self.resolution, dim=-1, norm="forward")
        return ifft(over_y.mT, n=self.resolution, dim=-1, norm="forward")


class Flow:
    """A forced viscous flow: its right-hand side and its time integration.

    Args:
        torus: the discretisation.
        viscosity: kinematic viscosity nu.
        forcing: steady forcing of the vorticity, ``(n, n)``.
    """

    def __init__(self, torus: Torus, viscosity: float, forcing: Tensor) -> None:
        self.torus = torus
        self.viscosity = viscosity
        forcing_modes = torus.transform(forcing[None])[0]
        self._half_forcing = forcing_modes / 2
        self._forcing_stream = forcing_modes * torus.inverse_laplacian

    def advance(self, modes: Tensor, time_step: float, num_steps: int) -> tuple[Tensor, Tensor]:
        """Take ``num_steps`` steps of the integrating-factor Runge-Kutta scheme.

        With ``E = exp(-nu |k|^2 dt / 2)`` and N for advection and forcing, a step is

            k_1 = N(w),  k_2 = N(E (w + dt/2 k_1)),  k_3 = N(E w + dt/2 k_2),  k_4 = N(E (E w + dt k_3)),
            w <- E (E (w + dt/6 k_1) + dt/3 (k_2 + k_3)) + dt/6 k_4.

        Args:
            modes: ``(b, 2 K + 1, 2 K + 1)``; not modified.
            time_step: dt.
            num_steps: number of steps.

        Returns:
            The final modes, and the energy gain ``(b,)`` by the trapezoidal rule on the power at the ends of the steps.
        """
        decay = torch.exp(-self.viscosity * time_step / 2 * self.torus.minus_laplacian).to(modes)
        power = self._power(modes)
        work = power / 2
        for _ in range(num_steps):
            k = self._tendency(modes).mul_(decay)
            decayed = modes * decay
            total = torch.add(decayed, k, alpha=time_step / 6)
            k = self._tendency(torch.add(decayed, k, alpha=time_step / 2))
            total.add_(k, alpha=time_step / 3)
            k = self._tendency(torch.add(decayed, k, alpha=time_step / 2))
            total.add_(k, alpha=time_step / 3)
            k = self._tendency(torch.add(decayed, k, alpha=time_step).mul_(decay))
            modes = total.mul_(decay).add_(k, alpha=time_step / 6)
            power = self._power(modes)
            work = work + power
        return modes, (work - power / 2) * time_step

    def _tendency(self, modes: Tensor) -> Tensor:
        return self.torus.tendency(modes, self._half_forcing)

    def _power(self, modes: Tensor) -> Tensor:
        """Rate of change of the kinetic energy: power of the forcing minus dissipation, ``(b,)``."""
        return _inner(modes, torch.sub(self._forcing_stream, modes, alpha=self.viscosity))


@dataclass(frozen=True)
class _Frame:
    """The samples of a batch one frame later; modes and work of a sample that could not be advanced are NaN."""

    modes: Tensor
    work: Tensor
    courant: Tensor
    num_steps: Tensor


def solve(initial: Tensor, forcing: Tensor, options: FlowOptions) -> list[Trajectory | SolverFailure]:
    """Advance flows from their initial vorticities over all frames.

    In every frame a sample takes the largest time step of ``options.step_counts()`` for which its Courant number times
    ``EXPECTED_SPEED_UP`` is at most ``COURANT_LIMIT``. If the Courant number exceeds the limit during the frame, or a value
    is not finite, only this sample repeats the frame with a smaller step.

    Args:
        initial: vorticity ``(b, n, n)`` at the points ``(i, j) / n``, first grid axis x; zero mean.
        forcing: steady forcing of the vorticity, ``(n, n)``; zero mean; precision and device of ``initial``.
        options: viscosity, steps and frames.

    Returns:
        For each sample its trajectory, or a failure if no allowed time step was stable, in the order of ``initial``.

    Raises:
        ValueError: a shape is wrong, or a mean is not zero (the vorticity of a periodic velocity has zero mean).
    """
    resolution = initial.shape[-1]
    if initial.ndim != 3 or initial.shape[1] != resolution or forcing.shape != initial.shape[1:]:
        raise ValueError(f"shapes are {tuple(initial.shape)} and {tuple(forcing.shape)}, not (b, n, n) and (n, n)")
    _check_mean("initial", initial)
    _check_mean("forcing", forcing)
    flow = Flow(Torus(resolution, initial), options.viscosity, forcing)
    together = options.samples_together or (1 if initial.device.type == "cpu" else len(initial))
    return [result for batch in initial.split(together) for result in _solve_together(flow, batch, options)]


def _solve_together(flow: Flow, initial: Tensor, options: FlowOptions) -> list[Trajectory | SolverFailure]:
    modes = flow.torus.transform(initial)
    energy = flow.torus.energy(modes)
    fields, works, courants, steps = [], [], [], []
    for _ in range(options.num_frames):
        frame = _next_frame(flow, modes, options)
        modes = frame.modes
        fields.append(flow.torus.evaluate(modes))
        works.append(frame.work)
        courants.append(frame.courant)
        steps.append(frame.num_steps)
    final_energy = flow.torus.energy(modes)
    imbalance = (final_energy - energy - torch.stack(works).sum(0)).abs()
    defects = imbalance / final_energy.clamp_min(torch.finfo(final_energy.dtype).tiny)
    num_reached = torch.stack(works).isfinite().sum(0)
    results: list[Trajectory | SolverFailure] = []
    for i, reached in enumerate(num_reached.tolist()):
        if reached < options.num_frames:
            results.append(_failure(reached * options.frame_interval, courants[reached][i].item(), options))
            continue
        num_steps = sum(int(count[i]) for count in steps)
        courant = max(courant[i].item() for courant in courants)
        results.append(Trajectory(torch.stack([field[i] for field in fields]), num_steps, courant, defects[i].item()))
    return results


def _failure(time: float, courant: float, options: FlowOptions) -> SolverFailure:
    """Failure of a sample for which even the smallest allowed step was unstable or gave a value that is not finite.

    Args:
        time: time of the last frame that was reached.
        courant: Courant number of the next frame at the smallest step; NaN if it was not finite.
        options: options of the computation.
    """
    return SolverFailure(
        f"no stable time step after t = {time:g} (Courant number {courant:g}); lower time_step {options.time_step:g}"
    )


def _next_frame(flow: Flow, modes: Tensor, options: FlowOptions) -> _Frame:
    """Advance every sample by ``frame_interval``, each with the largest time step that is stable for it."""
    torus = flow.torus
    frame = _Frame(
        modes=torch.full_like(modes, torch.nan),
        work=modes.real.new_full((len(modes),), torch.nan),
        courant=modes.real.new_full((len(modes),), torch.nan),
        num_steps=torch.zeros(len(modes), dtype=torch.int64, device=modes.device),
    )
    wavenumber = 2 * math.pi * torus.largest
    initial_speed = torus.speed(modes)
    speed = EXPECTED_SPEED_UP * initial_speed
    pending = torch.arange(len(modes), device=modes.device)
    step_counts = options.step_counts()
    for num_steps in step_counts:
        time_step = options.frame_interval / num_steps
        if num_steps == step_counts[-1]:
            speed = initial_speed  # the smallest step is tried without a margin
        frame.courant[pending] = time_step * wavenumber * initial_speed[pending]
        tried = pending[time_step * wavenumber * speed[pending] <= COURANT_LIMIT]
        if len(tried):
            advanced, work = flow.advance(modes[tried], time_step, num_steps)
            reached = torus.speed(advanced)
            frame.courant[tried] = torch.maximum(frame.courant[tried], time_step * wavenumber * reached)
            done = frame.courant[tried] <= COURANT_LIMIT
            frame.modes[tried[done]] = advanced[done]
            frame.work[tried[done]] = work[done]
            frame.num_steps[tried[done]] = num_steps
            # The speed of a flow that blew up is unknown; the step was much too large.
            speed[tried] = torch.where(reached.isfinite(), torch.maximum(speed[tried], reached), 2 * speed[tried])
            pending = pending[frame.work[pending].isnan()]
        if not len(pending):
            break
    return frame


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Mean over the torus, ``(b,)``, of the product of two real fields with the modes ``(b, m, m)``."""
    return torch.linalg.vecdot(torch.view_as_real(left).flatten(1), torch.view_as_real(right).flatten(1))


def _check_mean(name: str, field: Tensor) -> None:
    mean, scale = field.mean((-2, -1)).abs().max().item(), field.abs().max().item()
    if mean > 1e-5 * scale:
        raise ValueError(
            f"{name} has mean {mean:g} and values up to {scale:g}; subtract the mean: vorticity has zero mean"
        )
