"""Darcy: the discretisation against a manufactured solution, the solve against another solver, and the data's contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from darcy_direct import assemble, solve_directly
from scipy import sparse

from data_prep.darcy import solver as darcy
from data_prep.darcy.generator import TOLERANCE, DarcyGenerator
from data_prep.generation.failure import SolverFailure
from data_prep.random_fields import neumann_field
from lsm.errors import InputError


def two_phase(resolution: int, seed: int = 0) -> np.ndarray:
    """A permeability as the benchmark draws it."""
    return np.where(neumann_field(np.random.default_rng(seed), resolution, alpha=2.0, tau=3.0) >= 0, 12.0, 3.0)


def solve(permeability: np.ndarray, source: np.ndarray | float = 1.0) -> np.ndarray:
    """Pressure of one sample."""
    return darcy.solve(torch.from_numpy(permeability.copy())[None], torch.as_tensor(source)).pressure[0].numpy()


def operator_matrix(permeability: np.ndarray) -> np.ndarray:
    """The operator's matrix, column by column."""
    size = permeability.size
    units = torch.eye(size, dtype=torch.float64).reshape(size, *permeability.shape)
    apply = darcy.make_operator(torch.from_numpy(permeability).expand(size, -1, -1))
    return apply(units).reshape(size, size).T.numpy()


def centres(resolution: int) -> tuple[np.ndarray, np.ndarray]:
    sites = (np.arange(resolution) + 0.5) / resolution
    return np.meshgrid(sites, sites, indexing="ij")


def manufactured(resolution: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Permeability, source and pressure of ``u = x (1 - x) sin(pi y) e^x``, ``a = 2 + sin(2 x + 3 y) + x``.

    Neither is symmetric under an exchange of x and y, and the gradient of ``a`` enters the source, so that a scheme with
    exchanged axes, with faces of the wrong cell, or in non-conservative form does not converge to it.
    """
    x, y = centres(resolution)
    permeability = 2 + np.sin(2 * x + 3 * y) + x
    gradient = 2 * np.cos(2 * x + 3 * y) + 1, 3 * np.cos(2 * x + 3 * y)
    along_x = x * (1 - x) * np.exp(x)
    first = (1 - x - x**2) * np.exp(x)
    second = (-3 * x - x**2) * np.exp(x)
    sine, cosine = np.sin(np.pi * y), np.pi * np.cos(np.pi * y)
    laplacian = second * sine - np.pi**2 * along_x * sine
    source = -(permeability * laplacian + gradient[0] * first * sine + gradient[1] * along_x * cosine)
    return permeability, source, along_x * sine


@pytest.mark.parametrize("norm", ["l2", "largest"])
def test_manufactured_solution_converges_with_order_two(norm: str) -> None:
    resolutions = [16, 32, 64, 128]
    errors = []
    for resolution in resolutions:
        permeability, source, exact = manufactured(resolution)
        difference = solve(permeability, source) - exact
        errors.append(np.sqrt(np.mean(difference**2)) if norm == "l2" else np.abs(difference).max())
    slope = -np.polyfit(np.log(resolutions), np.log(errors), 1)[0]
    assert abs(slope - 2) < 0.1
    assert errors[-1] < 1e-4


def test_layers_across_the_flow_have_the_face_means_that_are_stated() -> None:
    """Two cells a side by hand: the one inner face along x has permeability (3 + 12) / 2."""
    matrix = operator_matrix(np.array([[3.0, 3.0], [12.0, 12.0]]))
    inner = 4 * 7.5
    expected = np.array(
        [
            [inner + 4 * (3 + 2 * 3 + 2 * 3), -4 * 3, -inner, 0],
            [-4 * 3, inner + 4 * (3 + 2 * 3 + 2 * 3), 0, -inner],
            [-inner, 0, inner + 4 * (12 + 2 * 12 + 2 * 12), -4 * 12],
            [0, -inner, -4 * 12, inner + 4 * (12 + 2 * 12 + 2 * 12)],
        ]
    )
    np.testing.assert_allclose(matrix, expected, rtol=1e-15)


@pytest.mark.numerics
def test_operator_is_symmetric_and_positive_definite() -> None:
    matrix = operator_matrix(two_phase(12))
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > 0
    np.testing.assert_allclose(matrix, assemble(two_phase(12)).toarray(), rtol=1e-14)


def test_three_linear_solvers_agree() -> None:
    """Conjugate gradients, a direct solve, and algebraic multigrid."""
    pyamg = pytest.importorskip("pyamg")
    permeability = two_phase(101)
    matrix = sparse.csr_matrix(assemble(permeability))
    pressure, direct = solve(permeability), solve_directly(permeability)
    assert np.linalg.norm(pressure - direct) / np.linalg.norm(direct) < 1e-10
    hierarchy = pyamg.ruge_stuben_solver(matrix)
    iterative = hierarchy.solve(np.ones(101**2), tol=1e-13, accel="cg", maxiter=200).reshape(101, 101)
    assert np.linalg.norm(direct - iterative) / np.linalg.norm(iterative) < 1e-10


@pytest.mark.numerics
@pytest.mark.parametrize("batch", [None, 3])
def test_a_sample_does_not_depend_on_the_other_samples(batch: int | None) -> None:
    """A uniform medium converges in one step and would divide by its zero residual afterwards.

    Solved one by one, as is the default on a CPU, samples agree to the last bit. In a batch the bits are those of the
    batched matrix products: the single-precision preconditioner may differ in its last bits.
    """
    media = [two_phase(40), np.full((40, 40), 3.0), two_phase(40, seed=1)]
    together = darcy.solve(torch.from_numpy(np.stack(media)), samples_together=batch)
    alone = [darcy.solve(torch.from_numpy(medium)[None]) for medium in media]
    expected = torch.cat([solution.pressure for solution in alone])
    steps = torch.cat([solution.iterations for solution in alone])
    if batch is None:
        assert torch.equal(together.pressure, expected)
        assert torch.equal(together.iterations, steps)
    torch.testing.assert_close(together.pressure, expected, rtol=0, atol=1e-9 * expected.max().item())
    assert (together.iterations - steps).abs().max() <= 1
    assert together.iterations[1] < together.iterations[0] < 40
    assert together.residual.max() < 1e-10


def test_steps_do_not_grow_with_the_resolution() -> None:
    steps = [int(darcy.solve(torch.from_numpy(two_phase(n))[None]).iterations) for n in (25, 50, 100, 200)]
    assert max(steps) <= min(steps) + 3


def test_transposed_permeability_gives_transposed_pressure() -> None:
    permeability = two_phase(40)
    assert not np.array_equal(permeability, permeability.T)
    pressure = solve(permeability)
    transposed = solve(permeability.T)
    np.testing.assert_allclose(transposed, pressure.T, rtol=1e-11)
    mirrored = solve(permeability[::-1])
    np.testing.assert_allclose(mirrored, pressure[::-1], rtol=1e-11)


def test_pressure_obeys_the_maximum_principle() -> None:
    """A positive source gives a positive pressure; more of it, or less permeability, nowhere a smaller one."""
    permeability = two_phase(61)
    pressure = solve(permeability)
    assert pressure.min() > 0
    peak = np.unravel_index(pressure.argmax(), pressure.shape)
    assert all(3 < index < 57 for index in peak), "the greatest pressure lies inside"
    one_cell = np.zeros_like(permeability)
    one_cell[20, 33] = 1.0
    response = solve(permeability, one_cell)
    assert response.min() > 0
    assert np.unravel_index(response.argmax(), response.shape) == (20, 33)
    # The pressure of a medium lies between those of its two phases alone, and scales with 1 / a.
    low, high = (solve(np.full_like(permeability, value)) for value in (3.0, 12.0))
    np.testing.assert_allclose(low, 4 * high, rtol=1e-10)
    assert high.mean() < pressure.mean() < low.mean()


def test_pressure_of_a_uniform_medium_is_the_known_one() -> None:
    """The torsion function of the unit square: 0.0736713 in the middle (Timoshenko), 0.0351443 on average."""
    pressure = solve(np.ones((101, 101)))
    assert pressure[50, 50] == pytest.approx(0.0736713, abs=2e-5)
    assert pressure.mean() == pytest.approx(0.0351443, abs=2e-5)


@pytest.mark.parametrize(
    ("permeability", "named"),
    [
        (np.ones((1, 4, 5)), r"\(1, 4, 5\)"),
        (np.ones((4, 4)), r"\(4, 4\)"),
        (np.zeros((1, 4, 4)), "minimum is 0"),
        (np.full((1, 4, 4), np.nan), "positive"),
    ],
)
def test_a_permeability_that_makes_no_sense_is_refused(permeability: np.ndarray, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        darcy.solve(torch.from_numpy(permeability))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"resolution": 1}, "resolution is 1"),
        ({"low": 0.0}, r"low is 0\.0, expected a positive number"),
        ({"high": float("inf")}, "high is inf"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(InputError, match=named):
        DarcyGenerator(**wrong)


class TestGenerator:
    generator = DarcyGenerator(resolution=41)

    def test_sample_is_as_declared(self) -> None:
        sample = self.generator.solve(np.random.default_rng(0))
        assert {n: (v.shape, str(v.dtype)) for n, v in sample.fields.items()} == {
            n: (field.shape, field.dtype) for n, field in self.generator.fields.items()
        }
        assert set(np.unique(sample.fields["permeability"])) == {3.0, 12.0}
        assert 0 <= sample.residual <= TOLERANCE
        assert 10 < sample.iterations < 40
        assert sample.fields["pressure"].mean() > 0

    @pytest.mark.numerics
    def test_pressure_is_that_of_the_permeability(self) -> None:
        """Stored together: the pressure solves the problem of the very permeability beside it."""
        fields = self.generator.solve(np.random.default_rng(3)).fields
        np.testing.assert_allclose(fields["pressure"], solve_directly(fields["permeability"].astype("f8")), rtol=1e-6)

    def test_a_sample_depends_on_its_seed_alone(self) -> None:
        samples = [self.generator.solve(np.random.default_rng((5, index, 0))).fields for index in (0, 1, 0)]
        for name in self.generator.fields:
            np.testing.assert_array_equal(samples[0][name], samples[2][name])
            assert not np.array_equal(samples[0][name], samples[1][name])

    def test_options_reach_the_data(self) -> None:
        generator = DarcyGenerator(resolution=12, low=1.0, high=2.0)
        fields = generator.solve(np.random.default_rng(0)).fields
        assert fields["pressure"].shape == (12, 12)
        assert set(np.unique(fields["permeability"])) == {1.0, 2.0}
        assert {key: generator.provenance[key] for key in ("resolution", "low", "high")} == {
            "resolution": 12,
            "low": 1.0,
            "high": 2.0,
        }

    @pytest.mark.numerics
    def test_a_batch_gives_the_samples_that_one_by_one_gives(self) -> None:
        rngs = [[np.random.default_rng((5, index, 0)) for index in range(3)] for _ in range(2)]
        batch = DarcyGenerator(resolution=41, batch_size=3).solve_batch(rngs[0])
        for together, alone in zip(batch, map(self.generator.solve, rngs[1]), strict=True):
            assert together.residual == alone.residual
            for name in self.generator.fields:
                np.testing.assert_array_equal(together.fields[name], alone.fields[name])

    def test_an_unsolved_system_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(darcy, "MAX_ITERATIONS", 5)
        with pytest.raises(SolverFailure, match="after 5 iterations"):
            self.generator.solve(np.random.default_rng(0))

    def test_a_contrast_too_large_for_double_precision_is_told_and_half_of_the_stated_one_is_solved(self) -> None:
        contrast = 5e7 / 41**2
        assert (
            DarcyGenerator(resolution=41, low=1.0, high=contrast / 2).solve(np.random.default_rng(0)).residual
            < TOLERANCE
        )
        with pytest.raises(SolverFailure, match="choose a smaller contrast of low and high, or a smaller resolution"):
            DarcyGenerator(resolution=41, low=1.0, high=100 * contrast).solve(np.random.default_rng(0))

    def test_statistics_are_the_known_ones(self) -> None:
        samples = [self.generator.solve(np.random.default_rng((0, i))).fields for i in range(24)]
        fields = {name: np.stack([sample[name] for sample in samples]) for name in self.generator.fields}
        statistics = self.generator.statistics(fields)
        assert [s.name for s in statistics if not s.expected] == []
        spoilt = {"permeability": np.full((2, 41, 41), 12.0), "pressure": -np.ones((2, 41, 41))}
        assert not any(s.expected for s in self.generator.statistics(spoilt))

    @pytest.mark.parametrize(
        ("spoil", "flagged"),
        [
            (lambda a, u: (a, u[::-1]), "flux"),
            (lambda a, u: (a, u.swapaxes(1, 2)), "flux"),
            (lambda a, u: (15.0 - a, u), "flux"),
            (lambda a, u: (a, 1.2 * u), "flux"),
            (lambda a, u: (a, u + 2 * (u - u[:, :1, :1]) * (u > u.mean())), "mean pressure"),
        ],
        ids=["shuffled", "transposed", "phases swapped", "louder", "inside"],
    )
    def test_statistics_notice_a_pressure_of_another_medium(self, spoil, flagged) -> None:
        samples = [self.generator.solve(np.random.default_rng((0, i))).fields for i in range(24)]
        permeability, pressure = (np.stack([sample[name] for sample in samples]) for name in self.generator.fields)
        fields = dict(zip(self.generator.fields, spoil(permeability, pressure), strict=True))
        assert any(s.name.startswith(flagged) and not s.expected for s in self.generator.statistics(fields))

    def test_published_size_is_solved_to_1e_10(self) -> None:
        generator = DarcyGenerator()
        assert generator.fields["pressure"].shape == (421, 421)
        sample = generator.solve(np.random.default_rng(0))
        assert sample.residual <= 1e-10
