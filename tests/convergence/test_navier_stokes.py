"""The vorticity solver against exact solutions, invariants and an independent discretisation; then its generator."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor

from data_prep.generation.failure import SolverFailure
from data_prep.generation.generator import Sample
from data_prep.navier_stokes import generator as generator_module
from data_prep.navier_stokes.generator import NavierStokesGenerator
from data_prep.navier_stokes.solver import (
    COURANT_LIMIT,
    EXPECTED_SPEED_UP,
    STEPS_PER_OCTAVE,
    FlowOptions,
    Torus,
    Trajectory,
    solve,
)
from data_prep.random_fields import periodic_field
from lsm.errors import InputError


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def angles(resolution: int) -> tuple[Tensor, Tensor]:
    """``2 pi x`` and ``2 pi y`` on the grid, x along the first axis."""
    points = 2 * math.pi * torch.arange(resolution, dtype=torch.float64) / resolution
    return points[:, None], points[None, :]


def random_vorticity(resolution: int, seeds: list[int], deviation: float = 1.0) -> Tensor:
    """Fields of zero mean with every mode excited, ``(len(seeds), n, n)``."""
    fields = [periodic_field(np.random.default_rng(seed), resolution, alpha=1.5, tau=10.0) for seed in seeds]
    vorticity = torch.from_numpy(np.stack(fields))
    return deviation * vorticity / vorticity.std((-2, -1), keepdim=True)


def swirling_forcing(resolution: int) -> Tensor:
    x, y = angles(resolution)
    return torch.sin(x + y) + 0.5 * torch.cos(2 * x - y)


def trajectory(initial: Tensor, forcing: Tensor | None, options: FlowOptions) -> Trajectory:
    forcing = torch.zeros_like(initial) if forcing is None else forcing
    (result,) = solve(initial[None], forcing, options)
    assert isinstance(result, Trajectory)
    return result


def stated_in(failure: object) -> tuple[float, float]:
    """Time and Courant number that a failure's message gives."""
    assert isinstance(failure, SolverFailure)
    found = re.search(r"after t = (\S+) \(Courant number (\S+)\)", str(failure))
    assert found
    return float(found[1]), float(found[2])


def assert_equal(found: Tensor, expected: Tensor, together: int | None) -> None:
    """Frames of a batch and of a single sample: equal bits one by one, equal up to rounding if transformed together.

    No Fourier transform promises the same bits in a batch. Single precision: 1e-5 of the largest value is about a hundred
    roundings.
    """
    if together is None:
        assert torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def relative(difference: Tensor, reference: Tensor) -> float:
    return (torch.linalg.vector_norm(difference) / torch.linalg.vector_norm(reference)).item()


class TestExactSolutions:
    @pytest.mark.parametrize("mixed", [False, True])
    def test_taylor_green_decays(self, mixed: bool):
        """Eigenfunctions of the Laplacian decay unadvected: one cell pattern, or four waves of |k| = 5 crossing."""
        x, y = angles(32)
        if mixed:
            vorticity = torch.cos(5 * x) + torch.sin(5 * y) + 2 * torch.cos(3 * x + 4 * y) - torch.sin(4 * x - 3 * y)
            squared = 25
        else:
            vorticity, squared = 2 * torch.cos(x) * torch.cos(y), 2
        viscosity = 1e-2
        result = trajectory(vorticity, None, FlowOptions(viscosity, num_frames=2, frame_interval=0.5))
        for frame, time in zip(result.frames, (0.5, 1.0), strict=True):
            exact = math.exp(-viscosity * 4 * math.pi**2 * squared * time) * vorticity
            assert (frame - exact).abs().max() < 1e-12

    def test_forced_shear_relaxes_exponentially(self):
        """A shear is not advected: ``w(t) = s + exp(-nu k^2 t) (w(0) - s)`` with ``s = f / (nu k^2)``."""
        _, y = angles(16)
        shear = torch.sin(2 * y).expand(16, 16).clone()
        viscosity, forcing = 0.02, 0.7
        rate = viscosity * (4 * math.pi) ** 2
        result = trajectory(shear, forcing * shear, FlowOptions(viscosity, time_step=1e-2, num_frames=1))
        exact = (forcing / rate + math.exp(-rate) * (1 - forcing / rate)) * shear
        # Runge-Kutta integrates the source exp(rate t) f: (rate dt)^4 / 2880 relative.
        assert relative(result.frames[0] - exact, exact) < 1e-8

    @pytest.mark.parametrize(
        ("viscosity", "time_step", "tolerance"), [(0.0, 1e-2, 1e-12), (0.05, 1e-2, 1e-6), (0.05, 2.5e-3, 4e-9)]
    )
    def test_manufactured_steady_flow_stays(self, viscosity: float, time_step: float, tolerance: float):
        """The forcing that balances advection and viscosity of three crossing waves, worked out by hand, holds them.

        Exactly without viscosity; with it, the integrating factor leaves the fourth-order error of the source term.
        """
        x, y = angles(32)
        waves = [(1.0, 1, 2), (0.6, 3, -1), (-0.8, 2, 0)]
        vorticity, gradient_x, gradient_y, velocity_x, velocity_y, viscous = torch.zeros(6, 32, 32, dtype=torch.float64)
        for amplitude, k, m in waves:
            wave, slope = amplitude * torch.cos(k * x + m * y), -amplitude * torch.sin(k * x + m * y)
            laplacian = 4 * math.pi**2 * (k**2 + m**2)
            vorticity += wave
            viscous -= viscosity * laplacian * wave
            gradient_x += 2 * math.pi * k * slope
            gradient_y += 2 * math.pi * m * slope
            velocity_x += 2 * math.pi * m / laplacian * slope
            velocity_y -= 2 * math.pi * k / laplacian * slope
        advection = velocity_x * gradient_x + velocity_y * gradient_y
        assert advection.abs().max() > 0.5
        result = trajectory(vorticity, advection - viscous, FlowOptions(viscosity, time_step, num_frames=1))
        assert (result.frames[0] - vorticity).abs().max() < tolerance


def oracle(
    vorticity: np.ndarray, forcing: np.ndarray, viscosity: float, time_step: float, num_steps: int
) -> np.ndarray:
    """The same Galerkin problem by other means: advective form, products on a doubled grid, plain Runge-Kutta."""
    n = len(vorticity)
    k = np.fft.fftfreq(n, 1 / n)
    kx, ky = 2j * np.pi * k[:, None], 2j * np.pi * k[None, :]
    laplacian = (kx**2 + ky**2).real
    kept = (laplacian < 0) & (k[:, None] ** 2 + k[None, :] ** 2 <= ((n - 1) // 3) ** 2)
    stream_of = np.where(kept, -1 / np.where(kept, laplacian, 1), 0)

    def on_doubled_grid(modes: np.ndarray) -> np.ndarray:
        centred = np.pad(np.fft.fftshift(modes), n // 2)
        return np.fft.ifft2(np.fft.ifftshift(centred), norm="forward").real

    def tendency(modes: np.ndarray) -> np.ndarray:
        stream = stream_of * modes
        product = on_doubled_grid(ky * stream) * on_doubled_grid(kx * modes)
        product -= on_doubled_grid(kx * stream) * on_doubled_grid(ky * modes)
        spectrum = np.fft.fftshift(np.fft.fft2(product, norm="forward"))[n // 2 : -n // 2, n // 2 : -n // 2]
        return kept * (source - np.fft.ifftshift(spectrum) + viscosity * laplacian * modes)

    source = np.fft.fft2(forcing, norm="forward")
    modes = kept * np.fft.fft2(vorticity, norm="forward")
    for _ in range(num_steps):
        k1 = tendency(modes)
        k2 = tendency(modes + time_step / 2 * k1)
        k3 = tendency(modes + time_step / 2 * k2)
        k4 = tendency(modes + time_step * k3)
        modes = modes + time_step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return np.fft.ifft2(modes, norm="forward").real


class TestDiscretisation:
    def test_agrees_with_an_independent_discretisation(self):
        vorticity, forcing = random_vorticity(32, [0], deviation=4.0)[0], swirling_forcing(32)
        result = trajectory(vorticity, forcing, FlowOptions(1e-3, 1e-3, 1, frame_interval=0.25))
        expected = oracle(vorticity.numpy(), forcing.numpy(), 1e-3, 1e-3, 250)
        assert relative(result.frames[0] - vorticity, vorticity) > 0.5
        assert np.abs(result.frames[0].numpy() - expected).max() < 1e-8

    @pytest.mark.parametrize("resolution", [30, 31, 32, 33])
    def test_energy_and_enstrophy_are_conserved(self, resolution: int):
        """Inviscid and unforced, modes filled up to the truncation: an aliased product or a wrong term drifts."""
        initial = random_vorticity(resolution, [1], deviation=4.0)
        options = FlowOptions(0.0, time_step=1.25e-3, num_frames=1, frame_interval=0.5)
        result = trajectory(initial[0], None, options)
        torus = Torus(resolution, initial)
        before, after = torus.transform(initial), torus.transform(result.frames)
        assert relative(after - before, before) > 0.5
        assert abs(torus.energy(after) / torus.energy(before) - 1) < 1e-10
        assert abs(torus.enstrophy(after) / torus.enstrophy(before) - 1) < 1e-10

    def test_energy_and_enstrophy_are_those_of_the_fields(self):
        x, y = angles(16)
        vorticity = (3 * torch.cos(x) + torch.sin(2 * x + y)).expand(16, 16)[None]
        torus = Torus(16, vorticity)
        modes = torus.transform(vorticity)
        assert torus.enstrophy(modes).item() == pytest.approx((9 + 1) / 4, rel=1e-13)
        assert torus.energy(modes).item() == pytest.approx((9 + 1 / 5) / (4 * 4 * math.pi**2), rel=1e-13)
        # Amplitude a at wavenumber k moves at a / (2 pi k) at most; the first wave alone at 3 / (2 pi).
        alone = torus.transform((3 * torch.cos(x)).expand(16, 16)[None])
        assert torus.speed(alone).item() == pytest.approx(3 / (2 * math.pi), rel=1e-13)

    def test_time_order_is_four(self):
        vorticity, forcing = random_vorticity(32, [2], deviation=4.0)[0], swirling_forcing(32)
        num_steps = np.array([16, 24, 36, 54])

        def final(steps: int) -> Tensor:
            options = FlowOptions(5e-3, time_step=0.5 / steps, num_frames=1, frame_interval=0.5)
            result = trajectory(vorticity, forcing, options)
            assert result.num_steps == steps
            return result.frames[0]

        reference = final(1024)
        errors = [relative(final(int(steps)) - reference, reference) for steps in num_steps]
        slope = -np.polyfit(np.log(num_steps), np.log(errors), 1)[0]
        assert slope == pytest.approx(4, abs=0.1)

    def test_space_converges_spectrally(self):
        """Each refinement by 16 points gains a factor of at least 10 on a smooth flow, down to 1e-8."""
        options = FlowOptions(2e-3, time_step=1e-2, num_frames=1)

        def final(resolution: int) -> Tensor:
            x, y = angles(resolution)
            smooth = 2 * torch.sin(x) * torch.cos(2 * y) + 1.5 * torch.cos(x + y)
            stride = resolution // 16
            return trajectory(smooth, None, options).frames[0, ::stride, ::stride]

        reference = final(96)
        errors = [relative(final(n) - reference, reference) for n in (32, 48, 64)]
        assert errors[1] < errors[0] / 10
        assert errors[2] < errors[1] / 10
        assert errors[2] < 1e-8

    def test_frames_hold_no_mean_no_nyquist_and_no_dealiased_mode(self):
        result = trajectory(random_vorticity(32, [3])[0], swirling_forcing(32), FlowOptions(1e-3, num_frames=1))
        spectrum = torch.fft.fft2(result.frames[0], norm="forward").abs()
        k = torch.fft.fftfreq(32, 1 / 32)
        outside = k[:, None] ** 2 + k[None, :] ** 2 > 10**2
        assert outside[16].all()
        assert outside[:, 16].all()
        assert spectrum[outside].max() < 1e-15
        assert spectrum[0, 0] < 1e-15
        assert spectrum[10, 0] > 1e-6

    def test_transposed_flow_is_the_transpose(self):
        """Swapping the axes mirrors the flow, so the vorticity changes sign; shifting the grid shifts the flow."""
        vorticity, forcing = random_vorticity(32, [4], deviation=4.0)[0], swirling_forcing(32)
        options = FlowOptions(1e-3, time_step=1e-2, num_frames=1)
        frame = trajectory(vorticity, forcing, options).frames[0]
        mirrored = trajectory(-vorticity.mT.contiguous(), -forcing.mT.contiguous(), options).frames[0]
        assert relative(mirrored + frame.mT, frame) < 1e-12
        shifted = trajectory(vorticity.roll((3, 5), (0, 1)), forcing.roll((3, 5), (0, 1)), options).frames[0]
        assert relative(shifted - frame.roll((3, 5), (0, 1)), frame) < 1e-12

    def test_energy_balance_closes_with_the_order_of_its_quadrature(self):
        vorticity, forcing = random_vorticity(32, [5], deviation=2.0)[0], swirling_forcing(32)
        defects = [
            trajectory(vorticity, forcing, FlowOptions(5e-3, time_step=step, num_frames=2)).energy_defect
            for step in (1e-2, 5e-3)
        ]
        assert defects[0] < 1e-4
        assert defects[0] / defects[1] == pytest.approx(4, abs=0.2)


@pytest.mark.numerics
class TestBatch:
    """A calm sample, one too fast for the time step, and another calm one."""

    options = FlowOptions(1e-4, time_step=2e-2, num_frames=2)

    def initial(self) -> Tensor:
        calm, fast, other = random_vorticity(48, [6, 7, 8]).float()
        return torch.stack([calm, 12 * fast, other])

    @pytest.mark.parametrize("together", [None, 2, 3])
    def test_samples_do_not_depend_on_the_other_samples(self, together: int | None):
        """Although the fast sample takes smaller time steps; to the last bit where samples advance one by one."""
        options = FlowOptions(1e-4, time_step=2e-2, num_frames=2, samples_together=together)
        initial, forcing = self.initial(), swirling_forcing(48).float()
        batched = solve(initial, forcing, options)
        for field, result in zip(initial, batched, strict=True):
            alone = trajectory(field, forcing, self.options)
            assert isinstance(result, Trajectory)
            assert_equal(result.frames, alone.frames, together)
            assert result.num_steps == alone.num_steps
            assert result.courant == pytest.approx(alone.courant, rel=1e-5)
            assert result.energy_defect == pytest.approx(alone.energy_defect, abs=1e-5)
        assert batched[0].num_steps == batched[2].num_steps == 100
        assert batched[1].num_steps > 100

    def test_shorter_steps_are_those_of_a_run_that_asks_for_them(self):
        fast, forcing = self.initial()[1], swirling_forcing(48).float()
        shortened = trajectory(fast, forcing, self.options)
        steps_a_frame = shortened.num_steps // 2
        assert steps_a_frame in self.options.step_counts()[1:]
        outright = trajectory(fast, forcing, FlowOptions(1e-4, time_step=1 / steps_a_frame, num_frames=2))
        assert torch.equal(shortened.frames, outright.frames)

    def test_steps_are_no_shorter_than_the_flow_asks(self):
        """The speed-up allowed for, one rung of the list and the slowing down within a frame are all that is lost."""
        fast, forcing = self.initial()[1], swirling_forcing(48).float()
        courant = trajectory(fast, forcing, self.options).courant
        assert COURANT_LIMIT / (EXPECTED_SPEED_UP * 2 ** (1 / STEPS_PER_OCTAVE) * 1.05) < courant <= COURANT_LIMIT

    def test_the_list_of_steps(self):
        assert FlowOptions(0.0, time_step=0.3, max_halvings=0).step_counts() == [4]
        counts = FlowOptions(0.0, time_step=1e-2, max_halvings=2).step_counts()
        assert counts == sorted(set(counts))
        assert (counts[0], counts[8], counts[-1]) == (100, 200, 400)

    @pytest.mark.parametrize("together", [None, 2])
    def test_a_sample_that_speeds_up_within_a_frame_repeats_it_alone(self, together: int | None):
        """The forcing speeds one shear up past the limit and slows its mirror image down."""
        _, y = angles(16)
        forcing = (2 * math.pi * torch.cos(y)).expand(16, 16).clone()
        # Courant numbers (2 pi 5 / 12) |speed|, the speeds going from 0.5 to about 1.5 and from -0.5 to about 0.5.
        initial = torch.stack([0.5 * forcing, -0.5 * forcing])
        options = FlowOptions(1e-3, time_step=1 / 12, num_frames=1, samples_together=together)
        up, down = solve(initial, forcing, options)
        assert isinstance(up, Trajectory)
        assert isinstance(down, Trajectory)
        # The fewest steps of the list that bring 2 pi 5 * 1.5 below the limit of 2.8.
        assert (up.num_steps, down.num_steps) == (17, 12)
        assert_equal(down.frames, trajectory(initial[1], forcing, options).frames, together)

    @pytest.mark.parametrize("together", [None, 3])
    def test_a_lost_sample_is_reported_and_its_mates_are_kept(self, together: int | None):
        initial, forcing = self.initial(), swirling_forcing(48).float()
        initial[1] *= 100
        options = FlowOptions(1e-4, time_step=2e-2, num_frames=2, samples_together=together, max_halvings=3)
        first, lost, last = solve(initial, forcing, options)
        time, courant = stated_in(lost)
        assert time == 0
        assert courant > COURANT_LIMIT
        for field, result in ((initial[0], first), (initial[2], last)):
            assert isinstance(result, Trajectory)
            assert_equal(result.frames, trajectory(field, forcing, self.options).frames, together)

    def test_a_value_that_is_not_finite_is_lost(self):
        initial = self.initial()
        initial[0, 3, 4] = torch.nan
        lost, *others = solve(initial, swirling_forcing(48).float(), self.options)
        assert math.isnan(stated_in(lost)[1])
        assert all(isinstance(other, Trajectory) for other in others)

    def test_a_flow_lost_midway_reports_its_last_frame(self):
        """Forcing a shear speeds it up by ``f / (2 pi)`` a time unit, until no step suffices."""
        _, y = angles(16)
        forcing = (2 * math.pi * torch.cos(y)).expand(16, 16).clone()
        options = FlowOptions(0.0, time_step=0.05, num_frames=20, max_halvings=0)
        (lost,) = solve(0.1 * forcing[None], forcing, options)
        time, courant = stated_in(lost)
        # Courant number at time t: 0.05 * 2 pi * 5 * (t + 0.1).
        assert time == math.floor(COURANT_LIMIT / (0.05 * 2 * math.pi * 5) - 0.1)
        assert courant == pytest.approx(0.05 * 2 * math.pi * 5 * (time + 1.1), rel=1e-5)


class TestRefusals:
    @pytest.mark.parametrize(
        ("initial", "forcing", "message"),
        [
            (torch.zeros(1, 8, 9), torch.zeros(8, 9), r"not \(b, n, n\)"),
            (torch.zeros(1, 8, 8), torch.zeros(16, 16), r"not \(b, n, n\)"),
            (torch.ones(1, 8, 8), torch.zeros(8, 8), "initial has mean 1"),
            (torch.zeros(1, 8, 8), torch.ones(8, 8), "forcing has mean 1"),
            (torch.zeros(1, 3, 3), torch.zeros(3, 3), "resolution 3"),
        ],
    )
    def test_fields(self, initial: Tensor, forcing: Tensor, message: str):
        with pytest.raises(ValueError, match=message):
            solve(initial, forcing, FlowOptions(1e-3))

    @pytest.mark.parametrize("bad", [{"viscosity": -1.0}, {"time_step": 0.0}, {"time_step": 2.0}, {"num_frames": 0}])
    def test_options(self, bad: dict[str, float]):
        with pytest.raises(ValueError, match=next(iter(bad))):
            FlowOptions(**{"viscosity": 1e-3, **bad})


def solve_small(seed: int, **options: float) -> Sample:
    small = NavierStokesGenerator(**{"resolution": 32, "stored_resolution": 16, "num_frames": 2, **options})
    return small.solve(np.random.default_rng(seed))


class TestGenerator:
    def test_samples_are_as_declared(self):
        small = NavierStokesGenerator(resolution=32, stored_resolution=16, num_frames=3)
        sample = small.solve(np.random.default_rng(0))
        assert sample.fields.keys() == small.fields.keys()
        for name, declared in small.fields.items():
            array = sample.fields[name]
            assert (array.shape, str(array.dtype)) == (declared.shape, declared.dtype)
            assert np.isfinite(array).all()
        assert sample.iterations == 75
        assert 0 <= sample.residual < 1e-3

    def test_defaults_are_the_published_layout(self):
        shapes = {name: field.shape for name, field in NavierStokesGenerator().fields.items()}
        assert shapes == {"initial_vorticity": (64, 64), "vorticity": (64, 64, 20)}

    @pytest.mark.numerics
    def test_same_seed_same_bits_in_any_batch_and_order(self):
        small = NavierStokesGenerator(resolution=32, stored_resolution=16, num_frames=2)
        seeds = (3, 1, 2)
        batch = small.solve_batch([np.random.default_rng(seed) for seed in seeds])
        for seed, sample in zip(seeds, batch, strict=True):
            alone = small.solve(np.random.default_rng(seed))
            assert isinstance(sample, Sample)
            for name, array in sample.fields.items():
                assert np.array_equal(array, alone.fields[name])
        assert not np.array_equal(batch[0].fields["vorticity"], batch[1].fields["vorticity"])
        assert small.solve_batch([]) == []

    def test_frames_are_the_evolution_of_the_stored_initial_field(self):
        """At the solver's own resolution the stored initial field reproduces the stored frames, forcing included."""
        sample = solve_small(4, resolution=32, stored_resolution=32, viscosity=1e-3)
        initial = torch.from_numpy(sample.fields["initial_vorticity"]).double()
        x, y = angles(32)
        forcing = 0.1 * (torch.sin(x + y) + torch.cos(x + y))
        expected = trajectory(initial, forcing, FlowOptions(1e-3, num_frames=2)).frames.movedim(0, -1)
        assert np.abs(sample.fields["vorticity"] - expected.numpy()).max() < 1e-5

    def test_the_coarsest_grid_allowed_holds_the_forcing(self):
        forcing = generator_module._forcing(7)
        torus = Torus(7, forcing)
        assert relative(torus.evaluate(torus.transform(forcing[None]))[0] - forcing, forcing) < 1e-14

    def test_the_largest_viscosity_of_a_time_step_is_balanced_with_the_forcing(self):
        """At t = 2 the flow is steady, ``w = f / (8 pi^2 nu)``: a shear, which is not advected. Single precision adds 2e-5."""
        viscosity = 0.999 * generator_module.LARGEST_DECAY / (8 * math.pi**2 * 4e-2)
        frame = solve_small(0, stored_resolution=32, viscosity=viscosity).fields["vorticity"][..., -1]
        steady = generator_module._forcing(32) / (8 * math.pi**2 * viscosity)
        assert relative(torch.from_numpy(frame) - steady, steady) < 5e-5

    def test_a_seed_is_one_flow_at_every_resolution(self):
        coarse, fine = (solve_small(5, resolution=n, viscosity=1e-3) for n in (32, 64))
        for name in ("initial_vorticity", "vorticity"):
            difference = coarse.fields[name] - fine.fields[name]
            assert np.linalg.norm(difference) < 0.05 * np.linalg.norm(fine.fields[name])

    def test_a_failure_takes_the_place_of_its_sample(self, monkeypatch: pytest.MonkeyPatch):
        def draw(rng: np.random.Generator, resolution: int) -> np.ndarray:
            return periodic_field(rng, resolution, amplitude=1e6 if rng.integers(2) else 1.0)

        monkeypatch.setattr(generator_module, "periodic_field", draw)
        small = NavierStokesGenerator(resolution=32, stored_resolution=16, num_frames=1)
        heads = [bool(np.random.default_rng(seed).integers(2)) for seed in range(4)]
        assert set(heads) == {True, False}
        results = small.solve_batch([np.random.default_rng(seed) for seed in range(4)])
        assert [isinstance(result, SolverFailure) for result in results] == heads
        with pytest.raises(SolverFailure, match="after t = 0"):
            small.solve(np.random.default_rng(heads.index(True)))

    def test_statistics_lie_in_the_published_range(self):
        """At 64 x 64 points the flow is coarse, yet its deviation and means are those of the benchmark."""
        generator = NavierStokesGenerator(resolution=64, stored_resolution=32, time_step=4e-2)
        samples = [generator.solve(np.random.default_rng(seed)) for seed in range(4)]
        stacked = {name: np.stack([sample.fields[name] for sample in samples]) for name in generator.fields}
        statistics = generator.statistics(stacked)
        assert len(statistics) == 3
        assert all(statistic.expected for statistic in statistics), statistics
        doubled = generator.statistics({name: 2 * array for name, array in stacked.items()})
        assert not any(statistic.expected for statistic in doubled)

    @pytest.mark.parametrize(("deviation", "expected"), [(0.262, True), (0.31, False), (0.23, False)])
    def test_the_initial_deviation_is_that_of_the_covariance(self, deviation: float, expected: bool):
        fields = {"initial_vorticity": np.full((1200, 1, 1), deviation), "vorticity": np.zeros((1200, 1, 1, 20))}
        assert NavierStokesGenerator().statistics(fields)[0].expected == expected

    def test_options_are_checked(self):
        with pytest.raises(InputError, match="does not divide"):
            NavierStokesGenerator(resolution=100)
        with pytest.raises(InputError, match="stored_resolution is 0"):
            NavierStokesGenerator(stored_resolution=0)
        with pytest.raises(InputError, match="batch_size is 0"):
            NavierStokesGenerator(batch_size=0)
        with pytest.raises(InputError, match=r"time_step is 0\.04, expected at most 0\.0125 with viscosity 0\.5"):
            NavierStokesGenerator(viscosity=0.5)
        NavierStokesGenerator(viscosity=0.5, time_step=0.0125)
        with pytest.raises(InputError, match="resolution is 6, expected a whole number of at least 7"):
            NavierStokesGenerator(resolution=6, stored_resolution=6)
        never = {"viscosity": (-1.0, float("nan")), "time_step": (0.0, 2.0), "num_frames": (0, 2.0)}
        for name, values in never.items():
            for value in values:
                with pytest.raises(InputError, match=f"^{name} is {value}, expected"):
                    NavierStokesGenerator(**{name: value})


@pytest.mark.slow
class TestFullSize:
    """The benchmark's own settings; the figures are those of the data card."""

    @staticmethod
    def distances(first: NavierStokesGenerator, second: NavierStokesGenerator, seed: int) -> np.ndarray:
        """Relative L2 distance of two runs of one seed, by frame."""
        one, two = (generator.solve(np.random.default_rng(seed)).fields["vorticity"] for generator in (first, second))
        return np.linalg.norm(one - two, axis=(0, 1)) / np.linalg.norm(two, axis=(0, 1))

    def test_time_discretisation(self):
        """Half the time step moves the field by single-precision rounding, which grows with the flow, and no more."""
        distances = self.distances(NavierStokesGenerator(time_step=1e-2), NavierStokesGenerator(time_step=5e-3), seed=0)
        print("half step, t = 1, 10, 20:", distances[[0, 9, 19]])
        assert distances[0] < 5e-5
        assert distances[9] < 2e-4
        assert distances[19] < 2e-3

    def test_the_courant_number_allows_longer_steps(self):
        distances = self.distances(NavierStokesGenerator(), NavierStokesGenerator(time_step=1e-2), seed=0)
        print("default step, t = 1, 10, 20:", distances[[0, 9, 19]])
        assert distances[0] < 5e-5
        assert distances[9] < 2e-4
        assert distances[19] < 2e-3

    def test_space_discretisation(self):
        distances = self.distances(NavierStokesGenerator(resolution=128), NavierStokesGenerator(), seed=0)
        print("128 points, t = 1, 10, 20:", distances[[0, 9, 19]])
        assert distances[9] < 0.02
        assert 1e-3 < distances[19] < 0.1
