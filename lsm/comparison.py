"""Several evaluations beside one another: models with several seeds each, and which of two is better on the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from lsm.evaluation import Evaluation
from lsm.statistics import Comparison, Summary, compare, summarise_each


@dataclass(frozen=True)
class Model:
    """Evaluations of one model, errors ``(samples,)`` of the same samples, one for each seed.

    Args:
        label: its name.
        members: evaluations by the name of their checkpoint.
    """

    label: str
    members: Mapping[str, Evaluation]

    @property
    def digest(self) -> str:
        """Digest of the samples on which all members were evaluated."""
        return next(iter(self.members.values())).digest

    def errors(self) -> dict[str, np.ndarray]:
        """Errors ``(seeds, samples)`` by name, those in parts included; without those that a sample does not have."""
        columns = [member.columns() for member in self.members.values()]
        tables = {name: np.stack([column[name] for column in columns]) for name in columns[0]}
        return {name: table for name, table in tables.items() if np.isfinite(table).all()}

    def means(self, name: str) -> np.ndarray:
        """A metric ``(samples,)``, or in parts ``(samples, k)``, averaged over the seeds."""
        return np.mean([member.errors[name] for member in self.members.values()], axis=0)

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Mean and deviation over the seeds of each error ``(seeds, samples)``, and the interval of the mean."""
        return summarise_each(self.errors())

    def alone(self) -> list[Model]:
        """Each member as a model of its own."""
        return [Model(label, {label: member}) for label, member in self.members.items()]


@dataclass(frozen=True)
class Pair:
    """Two models on the same samples: how their errors ``(seeds, samples)`` compare, by the name of the metric."""

    first: str
    second: str
    metrics: Mapping[str, Comparison]


def models_of(groups: Mapping[str, Mapping[str, Evaluation]]) -> list[Model]:
    """Models from groups of evaluations; a group that saw different samples becomes several models.

    Args:
        groups: evaluations by the name of the model, and by that of the checkpoint.
    """
    models = []
    for label, members in groups.items():
        digests = dict.fromkeys(member.digest for member in members.values())
        for digest in digests:
            same = {name: member for name, member in members.items() if member.digest == digest}
            models.append(Model(label if len(digests) == 1 else f"{label} ({', '.join(same)})", same))
    return models


def compare_pairs(models: Sequence[Model]) -> tuple[list[Pair], list[str]]:
    """Compare every two models, or the seeds of a single one, by the errors ``(seeds, samples)`` with one number per sample.

    Returns:
        The pairs, and a sentence for each two that cannot be compared, since they were evaluated on different samples.
    """
    pairs, refused = [], []
    for first, second in combinations(models if len(models) > 1 else models[0].alone(), 2):
        if first.digest != second.digest:
            refused.append(
                f"{first.label} and {second.label} are not compared: they were evaluated on different samples"
            )
            continue
        tables = [_scalars(model) for model in (first, second)]
        common = [name for name in tables[0] if name in tables[1]]
        if common:
            metrics = compare(*({name: table[name] for name in common} for table in tables))
            pairs.append(Pair(first.label, second.label, metrics))
    return pairs, refused


def _scalars(model: Model) -> dict[str, np.ndarray]:
    scalars = next(iter(model.members.values())).scalars
    return {name: table for name, table in model.errors().items() if name in scalars}
