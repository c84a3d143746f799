"""Data sets of toy generators: made, read and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_prep.generation.engine import Report, generate
from data_prep.generation.job import Job
from lsm.data.store import Store


def make(job: Job, workers: int = 1) -> Report:
    return generate(job, workers, on_start=lambda found, wanted: None, on_done=lambda count: None)


def content(path: Path) -> dict[str, np.ndarray]:
    """All arrays and records of a store."""
    with Store(path) as store:
        return {name: store.field(name)[:] for name in store.fields} | store.bookkeeping()


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], num_samples: int | None = None) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name][:num_samples], values[:num_samples], err_msg=name)


def expected_content(job: Job) -> dict[str, np.ndarray]:
    """Solved here, one after another, from the stated seeds (seed, index, attempt)."""
    indices = range(job.num_samples)
    samples = [job.generator.solve(np.random.default_rng((job.seed, index, 0))) for index in indices]
    return {
        **{name: np.stack([sample.fields[name] for sample in samples]) for name in job.generator.fields},
        "attempt": np.zeros(job.num_samples, "u2"),
        "residual": np.array([sample.residual for sample in samples]),
        "iterations": np.array([sample.iterations for sample in samples], "u4"),
    }
