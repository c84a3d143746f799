"""The interface between the generators of the benchmarks and the generation engine.

Owns the interface only: it knows no partial differential equation, no file and no process pool.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.generation.failure import SolverFailure
from lsm.data.store import StoredField
from lsm.registry import Options

__all__ = ["BatchGenerator", "Generator", "Sample", "Statistic", "StoredField"]


@dataclass(frozen=True)
class Sample:
    """One solved sample.

    Args:
        fields: arrays by name, with the shapes and types that the generator's ``fields`` declares.
        residual: final residual of the solver, in the norm that the generator documents.
        iterations: number of iterations or time steps of the solver.
    """

    fields: Mapping[str, np.ndarray]
    residual: float
    iterations: int


@dataclass(frozen=True)
class Statistic:
    """A statistic of a whole data set, compared with the published data set.

    Args:
        name: the measured quantity and its unit.
        value: the measured value.
        low, high: expected range: that of the published data where it is known, otherwise a range that the data card
            justifies.
    """

    name: str
    value: float
    low: float
    high: float

    @property
    def expected(self) -> bool:
        """Whether the measured value lies in the expected range."""
        return self.low <= self.value <= self.high


class Generator(Options, ABC):
    """Draws the parameters of a benchmark's samples and solves them.

    A generator is a small picklable object, a frozen dataclass of its options; the engine sends it to every worker
    process. An option that its annotation does not allow is refused with an ``OptionError``. All randomness comes from
    the random generator that ``solve`` receives, so that a sample depends only on its own seed.
    """

    #: Incremented whenever a change of the code gives other samples for the same seed, beyond rounding. Data of two
    #: revisions are never mixed in one store.
    revision: int = 1

    #: Number of samples that are solved together; 1 unless the solver is batched.
    batch_size: int = 1

    #: Stored arrays with which :meth:`solve_again` starts.
    drawn: tuple[str, ...] = ()

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, StoredField]:
        """Description of the arrays of one sample, including its drawn parameters."""

    @property
    @abstractmethod
    def provenance(self) -> Mapping[str, str | float | int]:
        """Equation, discretisation and options; they are written into the store."""

    @property
    def display(self) -> Mapping[str, Any]:
        """What pictures of these fields need to know, see :class:`lsm.plotting.display.Display`; stored with the data."""
        return {}

    @abstractmethod
    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw and solve one sample.

        Raises:
            SolverFailure: the solver did not converge.
        """

    def solve_batch(self, rngs: Sequence[np.random.Generator]) -> list[Sample | SolverFailure]:
        """Draw and solve several samples.

        Returns:
            For each random generator its sample, or the failure of the solver.
        """
        results: list[Sample | SolverFailure] = []
        for rng in rngs:
            try:
                results.append(self.solve(rng))
            except SolverFailure as failure:
                results.append(failure)
        return results

    @property
    def coarsenings(self) -> tuple[float, ...]:
        """Grids for :meth:`solve_again`, by their spacing over that of this generator's, which is 1; the finest first."""
        return (1.0,)

    def solve_again(
        self, fields: Mapping[str, np.ndarray], coarsening: float = 1.0, known_frames: int = 0
    ) -> dict[str, np.ndarray]:
        """Solve a stored sample, on a coarser grid for less time and with less accuracy.

        Args:
            fields: stored arrays of one sample, those of ``drawn`` among them.
            coarsening: one of ``coarsenings``.
            known_frames: frames of a field in motion that are given; the last of them is the start.
        Returns:
            What is solved for, in the stored shapes.
        Raises:
            SolverFailure: the solver did not converge.
            NotImplementedError: this generator cannot; then ``drawn`` is empty.
        """
        raise NotImplementedError(f"{type(self).__name__} does not solve stored samples again")

    def stored(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of one sample, converted to the types that ``fields`` declares."""
        return {name: arrays[name].astype(field.dtype) for name, field in self.fields.items()}

    @abstractmethod
    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Statistics of a data set with the ranges expected from the published one.

        Only the fields that training needs are required, so that the method also works for converted published files;
        statistics of missing fields are omitted.

        Args:
            fields: arrays by name, ``(samples, ...)``.
        """


class BatchGenerator(Generator):
    """A generator whose solver processes several samples at once; a single sample is a batch of one."""

    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw and solve one sample; see :meth:`solve_batch`."""
        (result,) = self.solve_batch([rng])
        if isinstance(result, SolverFailure):
            raise result
        return result

    @abstractmethod
    def solve_batch(self, rngs: Sequence[np.random.Generator]) -> list[Sample | SolverFailure]:
        """Draw and solve several samples.

        Returns:
            For each random generator its sample, or the failure of the solver.
        """


def coarser(ratios: Sequence[float], count: int, least: int) -> tuple[float, ...]:
    """Ratios of spacing: 1, the grid itself, and those that leave at least ``least`` of its ``count`` cells along an axis."""
    return (1.0, *(ratio for ratio in ratios if count / ratio >= least))
