"""What a benchmark's generator promises to the generation engine.

Owns the contract only: it knows no partial differential equation, no file and no process pool.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.generation.failure import SolverFailure
from lsm.data.store import StoredField
from lsm.registry import Options

__all__ = ["BatchGenerator", "Generator", "Sample", "Statistic", "StoredField"]


@dataclass(frozen=True)
class Sample:
    """One solved sample.

    Args:
        fields: arrays named and shaped as the generator's ``fields`` declares them.
        residual: the solver's final residual, in the norm that the generator documents.
        iterations: iterations or time steps that the solver took.
    """

    fields: Mapping[str, np.ndarray]
    residual: float
    iterations: int


@dataclass(frozen=True)
class Statistic:
    """A figure of a whole data set beside the value known of the published one.

    Args:
        name: what is measured, with its unit.
        value: the measured figure.
        low, high: the range in which it is expected: that of the published figure where that is known, else one that the
            data card gives reasons for.
    """

    name: str
    value: float
    low: float
    high: float

    @property
    def expected(self) -> bool:
        """Whether the measured figure lies in that range."""
        return self.low <= self.value <= self.high


class Generator(Options, ABC):
    """Draws the parameters of a benchmark's samples and solves them.

    A generator is a small picklable object, a frozen dataclass of its options; the engine sends it to every worker
    process. An option that its annotation does not allow is refused with an ``OptionError``. All randomness comes from
    the random generator that ``solve`` receives, so that a sample depends only on its own seed.
    """

    #: Raised whenever a seed begins to give another sample, beyond rounding: data of two revisions are not mixed.
    revision: int = 1

    #: How many samples are solved together; 1 unless the solver is batched.
    batch_size: int = 1

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, StoredField]:
        """The arrays of one sample, parameters included."""

    @property
    @abstractmethod
    def provenance(self) -> Mapping[str, str | float | int]:
        """Equation, discretisation and options, written into the store."""

    @abstractmethod
    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw and solve one sample.

        Raises:
            SolverFailure: the solver did not converge.
        """

    def solve_batch(self, rngs: Sequence[np.random.Generator]) -> list[Sample | SolverFailure]:
        """Draw and solve several samples; a failure takes the place of its sample."""
        results: list[Sample | SolverFailure] = []
        for rng in rngs:
            try:
                results.append(self.solve(rng))
            except SolverFailure as failure:
                results.append(failure)
        return results

    def stored(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One sample's arrays, in the types that ``fields`` declares."""
        return {name: arrays[name].astype(field.dtype) for name, field in self.fields.items()}

    @abstractmethod
    def statistics(self, fields: Mapping[str, np.ndarray]) -> list[Statistic]:
        """Figures of a data set (arrays with a leading sample axis) beside those known of the published one.

        Needs no field but those without which the benchmark cannot be trained, so that it serves converted data too;
        figures of other fields are left out where these are missing.
        """


class BatchGenerator(Generator):
    """A generator whose solver takes several samples at once; one sample is a batch of one."""

    def solve(self, rng: np.random.Generator) -> Sample:
        """Draw and solve one sample; see :meth:`solve_batch`."""
        (result,) = self.solve_batch([rng])
        if isinstance(result, SolverFailure):
            raise result
        return result

    @abstractmethod
    def solve_batch(self, rngs: Sequence[np.random.Generator]) -> list[Sample | SolverFailure]:
        """Draw and solve several samples; a failure takes the place of its sample."""
