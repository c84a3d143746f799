"""Training losses: ``(prediction, batch, spec) -> scalar``, by name in :data:`LOSSES`.

A loss sees the whole batch and the specification, so it may use grid spacing, coordinates or weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from annotated_types import MinLen
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.metrics import has_interior, scalar_metric
from lsm.registry import Positive, Registry

LOSSES: Registry = Registry("loss")

#: Loss of a prediction ``(b, *sites, c)`` in physical units, a scalar.
Loss = Callable[[Tensor, FieldBatch, FieldSpec], Tensor]


def loss_at_scales(
    loss: Loss, predictions: Sequence[Tensor], batch: FieldBatch, spec: FieldSpec, weight: float
) -> Tensor:
    """Loss of predictions at several scales: that of the finest one, and ``weight`` times that of each coarser one.

    Args:
        loss: of one prediction.
        predictions: ``(b, *sites_s, c)``, finest first; scale ``s`` has every ``2^s``-th site along each axis.
        batch: the samples at all sites.
        spec: the fields.
        weight: of each coarser scale.
    """
    total = loss(predictions[0], batch, spec)
    for scale, coarse in enumerate(predictions[1:], start=1):
        part = replace(spec, sites=tuple(coarse.shape[1:-1]))
        total = total + weight * loss(coarse, batch.every_site(2**scale), part)
    return total


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


@LOSSES.register("sobolev")
class Sobolev:
    """Relative L2 error of fields ``(b, *sites, c)`` plus a share of the relative error of the gradient, on lattices.

    The gradient needs three sites along each axis.

    On clouds and smaller lattices, which have no such gradient, it is the relative L2 error alone. In a roll-out the L2 errors
    of the frames are summed.

    Args:
        slope: weight of the gradient's error.
        reduction: "sum" or "mean" over the samples.
    """

    def __init__(self, *, slope: Positive = 0.1, reduction: Literal["sum", "mean"] = "mean") -> None:
        field = {"relative_l2_by_frame": 1.0}
        self._field = WeightedSum(terms=field, reduction=reduction)
        self._both = WeightedSum(terms={**field, "relative_h1": slope}, reduction=reduction)

    def __call__(self, prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
        """Loss of a batch, a scalar; see :meth:`WeightedSum.__call__`."""
        return (self._both if has_interior(spec) else self._field)(prediction, batch, spec)
