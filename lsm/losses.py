"""Training losses: ``(prediction, batch, spec) -> scalar``, by name in :data:`LOSSES`.

A loss sees the whole batch and the specification, so it may use grid spacing, coordinates or weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from annotated_types import MinLen
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.metrics import scalar_metric
from lsm.registry import Positive, Registry

LOSSES: Registry = Registry("loss")


@LOSSES.register("weighted_sum")
class WeightedSum:
    """Weighted sum of errors ``(b,)``, ``sum_i w_i e_i``, reduced over the batch to a scalar.

    Args:
        terms: weight of each error by its name in :data:`lsm.metrics.METRICS`.
        reduction: "sum" or "mean" over the samples. The published protocol takes the sum; with L2-coupled weight decay the
            two differ.

    Example:
        >>> import torch
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (3,), ("x",), (Channel("a"),), (Channel("u"),))
        >>> truth = torch.tensor([[[0.0], [1.0], [2.0]]])
        >>> loss = WeightedSum(terms={"relative_l2": 1.0, "relative_h1": 0.1}, reduction="mean")
        >>> loss(1.5 * truth, FieldBatch(truth, truth), spec)
        tensor(0.5500)
    """

    def __init__(
        self,
        *,
        terms: Annotated[Mapping[str, Positive], MinLen(1)],
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        self._terms = [(weight, scalar_metric(name)) for name, weight in terms.items()]
        self._reduction = reduction

    def __call__(self, prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
        """Loss of a batch.

        Args:
            prediction: ``(b, *sites, c)``, in physical units.
            batch: the samples, with their truth.
            spec: the fields.
        Returns:
            A scalar.
        """
        errors = sum(weight * term(prediction, batch, spec) for weight, term in self._terms)
        return errors.sum() if self._reduction == "sum" else errors.mean()  # type: ignore[union-attr]
