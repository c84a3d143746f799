"""Stored samples solved again: on the grid of the data they are the stored ones, on coarser grids they are near."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.airfoil.generator import AirfoilGenerator
from data_prep.darcy.generator import DarcyGenerator
from data_prep.elasticity.generator import ElasticityGenerator
from data_prep.generation.generator import Generator
from data_prep.navier_stokes.generator import NavierStokesGenerator
from data_prep.pipe.generator import PipeGenerator
from data_prep.plasticity.generator import PlasticityGenerator

#: A small generator, the field that it solves for, and bounds of the error on the first coarser grid.
CASES = {
    "darcy": (DarcyGenerator(resolution=60), "pressure", (1e-3, 0.03)),
    "navier_stokes": (
        NavierStokesGenerator(resolution=64, stored_resolution=64, num_frames=3, viscosity=1e-3),
        "vorticity",
        (1e-6, 1e-3),
    ),
    "pipe": (PipeGenerator(resolution=33), "velocity_x", (1e-4, 0.05)),
    "airfoil": (AirfoilGenerator(coarsening=2), "mach", (1e-3, 0.04)),
    "elasticity": (ElasticityGenerator(), "stress", None),
    "plasticity": (PlasticityGenerator(columns=40, frames=6), "deformation", (1e-4, 0.05)),
}


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", CASES)
def test_a_stored_sample_is_solved_again(name: str) -> None:
    generator, field, bounds = CASES[name]
    stored = generator.solve(np.random.default_rng(0)).fields
    assert set(generator.drawn) <= set(stored)
    assert generator.coarsenings[0] == 1
    again = generator.solve_again(stored)
    for solved, values in again.items():
        assert (values.shape, values.dtype) == (stored[solved].shape, stored[solved].dtype)
    assert difference(again[field], stored[field]) < 1e-5
    if bounds is None:
        assert len(generator.coarsenings) == 1
        return
    coarse = generator.solve_again(stored, generator.coarsenings[1])[field]
    low, high = bounds
    assert low < difference(coarse, stored[field]) < high


@pytest.mark.parametrize(
    ("generator", "field"),
    [
        (DarcyGenerator(resolution=5), "pressure"),
        (NavierStokesGenerator(resolution=8, stored_resolution=8, num_frames=1, viscosity=1e-3), "vorticity"),
        (PipeGenerator(resolution=5), "velocity_x"),
    ],
    ids=["darcy", "navier_stokes", "pipe"],
)
def test_data_on_few_sites_are_solved_again_on_their_own_grid(generator: Generator, field: str) -> None:
    assert generator.coarsenings == (1.0,)
    stored = generator.solve(np.random.default_rng(0)).fields
    assert difference(generator.solve_again(stored)[field], stored[field]) < 1e-5


def test_the_error_of_a_coarser_grid_is_larger() -> None:
    for name in ("darcy", "pipe"):
        generator, field, _ = CASES[name]
        stored = generator.solve(np.random.default_rng(1)).fields
        errors = [
            difference(generator.solve_again(stored, ratio)[field], stored[field]) for ratio in generator.coarsenings
        ]
        assert errors[-1] > 2 * errors[2] > 2 * errors[1]


def test_known_frames_are_kept_and_the_last_one_is_the_start() -> None:
    generator, field, _ = CASES["navier_stokes"]
    stored = generator.solve(np.random.default_rng(0)).fields
    again = generator.solve_again(stored, 1.0, known_frames=2)[field]
    np.testing.assert_array_equal(again[..., :2], stored[field][..., :2])
    assert difference(again[..., 2], stored[field][..., 2]) < 1e-4


def test_a_generator_that_cannot_says_so() -> None:
    class Plain(ElasticityGenerator):
        solve_again = Generator.solve_again

    with pytest.raises(NotImplementedError, match="Plain does not solve stored samples again"):
        Plain().solve_again({})
