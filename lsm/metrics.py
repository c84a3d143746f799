"""Errors of predicted fields: ``(prediction, batch, spec) -> (b,)``, by name in :data:`METRICS`.

A loss is a weighted sum of them (:mod:`lsm.losses`), evaluation reports them. To add one, write a function and register it.
Knows no model and no data set.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor
from torch.linalg import vector_norm

from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.registry import Registry

#: Error of each sample, ``(b,)``, of a prediction ``(b, *sites, c)`` in physical units.
Metric = Callable[[Tensor, FieldBatch, FieldSpec], Tensor]

METRICS: Registry[Metric] = Registry("metric")


def _check_shapes(prediction: Tensor, truth: Tensor) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction has shape {tuple(prediction.shape)}, truth {tuple(truth.shape)}")


def relative_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """Relative L2 error of each sample, ``|p - t| / |t|``, over all sites and channels.

    Args:
        prediction: ``(b, *sites, c)``, in physical units.
        truth: same shape and units; a sample that is zero everywhere gives inf or NaN.
    Returns:
        ``(b,)``, dimensionless.
    Raises:
        ValueError: shapes differ.

    Example:
        >>> relative_l2(torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[1.0], [0.0]]]))
        tensor([1.])
    """
    _check_shapes(prediction, truth)
    difference = (prediction - truth).flatten(1)
    return vector_norm(difference, dim=1) / vector_norm(truth.flatten(1), dim=1)


def relative_l2_per_channel(prediction: Tensor, truth: Tensor) -> Tensor:
    """Relative L2 error of each sample and channel, over all sites.

    Args:
        prediction: ``(b, *sites, c)``, in physical units.
        truth: same shape and units.
    Returns:
        ``(b, c)``, dimensionless.
    Raises:
        ValueError: shapes differ.

    Example:
        >>> relative_l2_per_channel(torch.tensor([[[2.0, 3.0]]]), torch.tensor([[[1.0, 3.0]]]))
        tensor([[1., 0.]])
    """
    _check_shapes(prediction, truth)
    difference = (prediction - truth).flatten(1, -2)
    return vector_norm(difference, dim=1) / vector_norm(truth.flatten(1, -2), dim=1)


@METRICS.register("relative_l2")
def relative_l2_of_batch(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """:func:`relative_l2` of a batch, ``(b,)`` and dimensionless, in a roll-out over all frames together."""
    return relative_l2(prediction, batch.targets)


@METRICS.register("relative_l2_by_frame")
def relative_l2_by_frame(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Sum over the frames of a roll-out of each frame's relative L2 error, ``(b,)``; :func:`relative_l2` without frames."""
    _check_shapes(prediction, batch.targets)
    count = spec.frames.targets if spec.frames else 1
    frames = [
        rearrange(field, "b ... (t c) -> (b t) ... c", t=count, c=spec.out_channels)
        for field in (prediction, batch.targets)
    ]
    return relative_l2(*frames).unflatten(0, (-1, count)).sum(dim=1)


@METRICS.register("rmse")
def root_mean_square_error(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Root mean square error over all sites and channels, ``(b,)``, in the unit of the field.

    Example:
        >>> batch = FieldBatch(inputs=torch.zeros(1, 2, 1), targets=torch.zeros(1, 2, 1))
        >>> METRICS["rmse"](torch.tensor([[[3.0], [4.0]]]), batch, spec=None)
        tensor([3.5355])
    """
    _check_shapes(prediction, batch.targets)
    return (prediction - batch.targets).flatten(1).square().mean(dim=1).sqrt()


@METRICS.register("max_error")
def largest_error(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Largest absolute error over all sites and channels, ``(b,)``, in the unit of the field."""
    _check_shapes(prediction, batch.targets)
    return (prediction - batch.targets).flatten(1).abs().amax(dim=1)


@METRICS.register("relative_h1")
def relative_h1(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Relative error of the gradient, ``|grad p - grad t| / |grad t|`` over all sites, axes and channels, ``(b,)``.

    The seminorm of H1, by second-order differences; see :func:`gradient`. A true field that is constant gives inf or NaN.

    Raises:
        InputError: the sites are a point cloud.
    """
    _check_shapes(prediction, batch.targets)
    slopes = [gradient(field, batch.coords, spec) for field in (prediction, batch.targets)]
    return relative_l2(*slopes)


def gradient(field: Tensor, coords: Tensor | None, spec: FieldSpec) -> Tensor:
    """Gradient on a grid or a mesh, by central differences inside and one-sided ones at the rim, all of second order.

    On a grid each axis has length 1. On a mesh the differences along the index axes become physical ones through the
    Jacobian of ``coords``.

    Args:
        field: ``(b, *sites, c)``; at least three sites along each axis.
        coords: ``(b, *sites, d)`` for a mesh of ``d`` axes.
        spec: the geometry.
    Returns:
        ``(b, *sites, c, d)``, in units of the field per unit of length.
    Raises:
        InputError: the sites are a point cloud, which has no axes.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (3,), ("x",), (Channel("a"),), (Channel("u"),))
        >>> gradient(torch.tensor([[[0.0], [1.0], [2.0]]]), None, spec).flatten()
        tensor([2., 2., 2.])
    """
    if spec.geometry == "points":
        raise InputError(
            "a point cloud has no axes along which to take a gradient; choose another error than relative_h1"
        )
    axes = tuple(range(1, field.dim() - 1))
    spacing = [1.0 / (field.shape[axis] - 1) for axis in axes]
    slopes = torch.stack(torch.gradient(field, spacing=spacing, dim=axes, edge_order=2), dim=-1)
    if coords is None:
        return slopes
    jacobian = torch.stack(torch.gradient(coords, spacing=spacing, dim=axes, edge_order=2), dim=-1)
    # Chain rule: df/ds = (df/dx) J with J = dx/ds, so df/dx solves  x J = s.
    return torch.linalg.solve(jacobian, slopes, left=False)


def describe_fault(inputs: Tensor, truth: Tensor) -> str:
    """Why the error of a batch is not finite: its data, or the prediction.

    Args:
        inputs: ``(b, *sites, c_in)``.
        truth: ``(b, *sites, c_out)``.

    Example:
        >>> describe_fault(torch.ones(1, 3, 1), torch.zeros(1, 3, 1))
        'a true field is zero everywhere, for which no relative error is defined; leave that sample out'
    """
    if not all(torch.isfinite(field).all() for field in (inputs, truth)):
        return "a field is not finite, so the data are damaged; write them again without that sample"
    if not truth.flatten(1).any(dim=1).all():
        return "a true field is zero everywhere, for which no relative error is defined; leave that sample out"
    return "the model diverged; lower the learning rate"
