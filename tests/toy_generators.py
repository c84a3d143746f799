"""Generators of microseconds that misbehave on demand; worker processes import this module."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from data_prep.generation.failure import SolverFailure
from data_prep.generation.generator import Generator, Sample, Statistic, StoredField


@dataclass(frozen=True)
class ToyGenerator(Generator):
    """Normal deviates and their cumulative sum: wrong randomness, order or axes change them.

    Args:
        resolution: sites.
        scale: factor on the deviates.
    """

    resolution: int = 4
    scale: float = 1.0

    @property
    def fields(self) -> Mapping[str, StoredField]:
        return {
            "permeability": StoredField((self.resolution, 3), "1", "deviates"),
            "pressure": StoredField((self.resolution, 3), "m", "their cumulative sum", "float64"),
        }

    @property
    def provenance(self) -> Mapping[str, str | float | int]:
        return {"equation": "none", "resolution": self.resolution, "scale": self.scale}

    def solve(self, rng: np.random.Generator) -> Sample:
        deviates = self.scale * rng.standard_normal((self.resolution, 3))
        fields = {"permeability": deviates.astype(np.float32), "pressure": deviates.cumsum(axis=0)}
        return Sample(fields, residual=abs(float(deviates[0, 0])) * 1e-12, iterations=int(rng.integers(1, 100)))

    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        return []


@dataclass(frozen=True)
class BatchedGenerator(ToyGenerator):
    """Solves several samples together."""

    batch_size: int = 3


@dataclass(frozen=True)
class RevisedGenerator(ToyGenerator):
    """The same options, other samples."""

    revision = 2


@dataclass(frozen=True)
class CountingGenerator(ToyGenerator):
    """Tells the threads of the linear algebra in its process."""

    @property
    def fields(self) -> Mapping[str, StoredField]:
        return {"threads": StoredField((1,), "1", "most threads of a library", "uint8")}

    def solve(self, rng: np.random.Generator) -> Sample:
        threads = max(library["num_threads"] for library in threadpool_info())
        return Sample({"threads": np.array([threads], "u1")}, 0.0, 1)


@dataclass(frozen=True)
class SlowGenerator(ToyGenerator):
    """Takes its time.

    Args:
        pause: seconds a sample.
    """

    pause: float = 0.1

    def solve(self, rng: np.random.Generator) -> Sample:
        time.sleep(self.pause)
        return super().solve(rng)


@dataclass(frozen=True)
class FussyGenerator(ToyGenerator):
    """Fails where its first random number exceeds ``limit``: each draw of each sample has a fate of its own.

    Args:
        limit: share of the draws that converge.
    """

    limit: float = 0.5

    def solve(self, rng: np.random.Generator) -> Sample:
        fate = rng.random()
        if fate > self.limit:
            raise SolverFailure(f"diverged at {fate:.6f}")
        return super().solve(rng)


@dataclass(frozen=True)
class FullDiskGenerator(ToyGenerator):
    """From its ``room``-th sample on, the disk is full until the file ``mended`` is there (with one worker)."""

    room: int = 2
    mended: Path = Path("mended")

    def solve(self, rng: np.random.Generator) -> Sample:
        _solved.append(1)
        if len(_solved) > self.room and not self.mended.exists():
            os.fsync = _no_space
        return super().solve(rng)


_solved: list[int] = []


def _no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class LyingGenerator(ToyGenerator):
    """Makes another type than it declares."""

    def solve(self, rng: np.random.Generator) -> Sample:
        sample = super().solve(rng)
        return Sample({name: values.astype("f8") for name, values in sample.fields.items()}, 0.0, 1)


@dataclass(frozen=True)
class DyingGenerator(ToyGenerator):
    """Its process is killed, as by a system that runs out of memory."""

    def solve(self, rng: np.random.Generator) -> Sample:
        os._exit(9)


@dataclass(frozen=True)
class FullGpuGenerator(ToyGenerator):
    """Asks a GPU for more memory than it has."""

    def solve(self, rng: np.random.Generator) -> Sample:
        import torch  # only here: the other workers start sooner without it

        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free.")
