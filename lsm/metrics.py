"""Errors of predicted fields: ``(prediction, batch, spec) -> (b,)``, by name in :data:`METRICS`.

A loss is a weighted sum of them (:mod:`lsm.losses`), evaluation reports them. To add one, write a function and register it.
A metric may also split an error into parts, ``(b, k)``, whose names the decorator :func:`in_parts` gives. Such a metric is
reported, but cannot be trained on. Knows no model and no data set.

Predictions and truths of ragged clouds are zero at points that are padding, see :attr:`lsm.fields.FieldBatch.mask`: sums and
maxima need no care, means are divided by :meth:`lsm.fields.FieldBatch.real_share`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.linalg import vector_norm

from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.registry import Registry

#: Error of each sample, ``(b,)`` or in parts ``(b, k)``, of a prediction ``(b, *sites, c)`` in physical units.
Metric = Callable[[Tensor, FieldBatch, FieldSpec], Tensor]

#: Names of the parts of an error; none where the fields have no such parts.
PartNames = Callable[[FieldSpec], tuple[str, ...]]

METRICS: Registry[Metric] = Registry("metric")

#: Spectral bands: name, and the largest wave number in it, in waves per length of an axis.
BANDS = {"low": 4.0, "middle": 12.0, "high": float("inf")}

#: Parts of a lattice: its rim, and the rest.
REGIONS = ("boundary", "interior")


def in_parts(names: PartNames) -> Callable[[Metric], Metric]:
    """Decorator of a metric that returns ``(b, k)``.

    Args:
        names: the names of the k parts, from the specification.
    """

    def mark(metric: Metric) -> Metric:
        setattr(metric, "part_names", names)  # noqa: B010
        return metric

    return mark


def parts_of(metric: Metric, spec: FieldSpec) -> tuple[str, ...] | None:
    """Names of the parts of a metric ``(b, parts)``; None for a metric ``(b,)`` with one number per sample."""
    names: PartNames | None = getattr(metric, "part_names", None)
    return None if names is None else names(spec)


def scalar_metric(name: str) -> Metric:
    """The metric of this name, which has to give one number per sample, ``(b,)``.

    Raises:
        InputError: it is unknown, or splits an error into parts.
    """
    if hasattr(METRICS[name], "part_names"):
        known = ", ".join(other for other in METRICS.names() if not hasattr(METRICS[other], "part_names"))
        raise InputError(f"metric {name} has several numbers per sample, expected one of: {known}")
    return partial(measure_one, name)


def measure_one(name: str, prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """The errors of the metric of this name, ``(b,)`` or in parts ``(b, parts)``.

    Raises:
        InputError: they have another shape, which sums and means would hide.
    """
    errors = METRICS[name](prediction, batch, spec)
    parts = parts_of(METRICS[name], spec)
    expected = (len(prediction),) if parts is None else (len(prediction), len(parts))
    if tuple(errors.shape) != expected:
        raise InputError(
            f"metric {name} gave numbers of shape {tuple(errors.shape)} for {len(prediction)} samples, expected {expected}"
        )
    return errors


def has_interior(spec: FieldSpec) -> bool:
    """Whether the sites form a lattice ``(*sites)`` with at least three sites along each axis."""
    return spec.geometry != "points" and min(spec.sites) > 2


def _has_rim(spec: FieldSpec) -> bool:
    """Whether the lattice has both a boundary and an interior."""
    return has_interior(spec) and not spec.periodic


def _check_shapes(prediction: Tensor, truth: Tensor) -> None:
    if prediction.shape != truth.shape:
        raise InputError(
            f"the prediction has shape {tuple(prediction.shape)}, expected {tuple(truth.shape)}, that of the truth"
        )


def relative_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """Relative L2 error of each sample, ``|p - t| / |t|``, over all sites and channels.

    Args:
        prediction: ``(b, *sites, c)``, in physical units.
        truth: same shape and units; a sample that is zero everywhere gives inf or NaN.
    Returns:
        ``(b,)``, dimensionless.
    Raises:
        InputError: shapes differ.

    Example:
        >>> relative_l2(torch.tensor([[[1.0], [1.0]]]), torch.tensor([[[1.0], [0.0]]]))
        tensor([1.])
    """
    _check_shapes(prediction, truth)
    difference = (prediction - truth).flatten(1)
    return vector_norm(difference, dim=1) / vector_norm(truth.flatten(1), dim=1)


@METRICS.register("relative_l2")
def relative_l2_of_batch(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """:func:`relative_l2` of a batch, ``(b,)`` and dimensionless, in a roll-out over all frames together."""
    return relative_l2(prediction, batch.targets)


@METRICS.register("relative_l2_by_frame")
def relative_l2_by_frame(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Sum over the frames of a roll-out of each frame's relative L2 error, ``(b,)``; :func:`relative_l2` without frames."""
    count = spec.frames.targets if spec.frames else 1
    return _relative_l2_of(
        prediction, batch.targets, lambda field: rearrange(field, "b ... (t c) -> b t (... c)", t=count)
    ).sum(dim=1)


def _relative_l2_of(prediction: Tensor, truth: Tensor, arrange: Callable[[Tensor], Tensor]) -> Tensor:
    """Relative L2 error ``(b, k)`` of each part of a field; ``arrange`` maps ``(b, *sites, c)`` to ``(b, k, n)``."""
    _check_shapes(prediction, truth)
    return vector_norm(arrange(prediction - truth), dim=-1) / vector_norm(arrange(truth), dim=-1)


@METRICS.register("relative_l2_per_channel")
@in_parts(lambda spec: tuple(channel.name for channel in spec.targets) if len(spec.targets) > 1 else ())
def relative_l2_per_channel(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Relative L2 error of each target field alone, ``(b, fields)``, over all sites and, in a roll-out, all frames."""
    return _relative_l2_of(prediction, batch.targets, lambda field: _each_field(field, spec))


def _each_field(field: Tensor, spec: FieldSpec) -> Tensor:
    """Values ``(b, fields, n)`` of each target field, over all sites and frames, from ``(b, *sites, c)``."""
    return rearrange(field, "b ... (t c) -> b c (... t)", c=len(spec.targets))


@METRICS.register("relative_l2_by_field")
def relative_l2_by_field(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Mean over the target fields of the relative L2 error of each, ``(b,)``; fields that are zero everywhere are left out."""
    _check_shapes(prediction, batch.targets)
    difference, truth = (
        vector_norm(_each_field(field, spec), dim=-1) for field in (prediction - batch.targets, batch.targets)
    )
    exists = truth > 0
    # A division by zero would make the gradient NaN even where its result is not used.
    errors = difference / torch.where(exists, truth, 1.0)
    return torch.where(exists, errors, 0.0).sum(dim=1) / exists.sum(dim=1)


@METRICS.register("relative_l2_per_frame")
@in_parts(lambda spec: spec.frame_names)
def relative_l2_per_frame(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Relative L2 error of each frame alone, ``(b, frames)``, over all sites and fields.

    The frames are those of a roll-out, or the sites along the axis ``time``.
    """

    def arrange(field: Tensor) -> Tensor:
        if spec.frames:
            return rearrange(field, "b ... (t c) -> b t (... c)", t=spec.frames.targets)
        return field.movedim(1 + spec.axes.index("time"), 1).flatten(2)

    return _relative_l2_of(prediction, batch.targets, arrange)


def _band_names(spec: FieldSpec) -> tuple[str, ...]:
    """The bands that hold wave numbers of the grid; a coarse one has no high ones."""
    if spec.geometry != "grid":
        return ()
    largest = sum((spec.sites[axis] // 2) ** 2 for axis in spatial_axes(spec)) ** 0.5
    lowest = dict(zip(BANDS, [0.0, *BANDS.values()], strict=False))
    return tuple(name for name in BANDS if lowest[name] < largest)


def spatial_axes(spec: FieldSpec) -> list[int]:
    """Positions of the axes of the sites but that of time."""
    return [position for position, name in enumerate(spec.axes) if name != "time"]


@METRICS.register("relative_l2_per_band")
@in_parts(_band_names)
def relative_l2_per_band(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Error in bands of the wave number, relative to the truth of all bands, ``(b, bands)``, on a grid.

    With Fourier transforms ``P`` and ``T`` over the axes of space, ``sqrt(sum_{k in band} |P - T|^2 / sum_k |T|^2)``. Wave
    numbers are in waves per length of an axis, ``|k|`` is their Euclidean norm, and :data:`BANDS` says where the bands end.
    The squares of the bands sum to the square of the relative L2 error. An error that is not periodic has a jump across the
    rim, which adds to the high bands.

    Raises:
        InputError: the sites are no grid.
    """
    if spec.geometry != "grid":
        raise InputError("only a regular grid has spectral bands; choose another error than relative_l2_per_band")
    _check_shapes(prediction, batch.targets)
    axes = [1 + position for position in spatial_axes(spec)]
    power = torch.fft.fftn(prediction - batch.targets, dim=axes).abs().square()
    total = torch.fft.fftn(batch.targets, dim=axes).abs().square().flatten(1).sum(dim=1)
    numbers = wave_numbers(batch.targets, axes)
    ends = torch.tensor(list(BANDS.values()), dtype=numbers.dtype)
    band = torch.bucketize(numbers, ends).to(power.device).expand(power.shape)
    parts = [torch.where(band == index, power, 0.0).flatten(1).sum(dim=1) for index in range(len(_band_names(spec)))]
    return (torch.stack(parts, dim=1) / total[:, None]).sqrt()


def wave_numbers(field: Tensor, axes: list[int]) -> Tensor:
    """``|k|`` of each Fourier mode of fields ``(b, *sites, c)`` along some axes; the other axes have length 1.

    In double precision on the CPU, since not every GPU has it.
    """
    squares = torch.zeros((), dtype=torch.float64)
    for axis in axes:
        size = field.shape[axis]
        along = torch.fft.fftfreq(size, 1.0 / size, dtype=torch.float64)
        squares = squares + along.square().reshape([-1 if other == axis else 1 for other in range(field.dim())])
    return squares.sqrt()


@METRICS.register("relative_l2_per_region")
@in_parts(lambda spec: REGIONS if _has_rim(spec) else ())
def relative_l2_per_region(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Error at the rim of a lattice and inside, ``(b, 2)``: root mean squares over a region, relative to that of the whole truth.

    The rim are the sites at the first or last index along an axis of space. Relative to the whole truth, the two numbers compare
    with one another, also where a boundary condition makes the truth zero.

    Raises:
        InputError: the sites are a point cloud, all of them belong to the rim, or none does since the fields are periodic.
    """
    if not _has_rim(spec):
        raise InputError("these sites have no boundary and interior; choose another error than relative_l2_per_region")
    _check_shapes(prediction, batch.targets)
    rim = torch.zeros(batch.targets.shape[1:-1], dtype=torch.bool, device=prediction.device)
    for position in spatial_axes(spec):
        rim.movedim(position, 0)[[0, -1]] = True
    squares = (prediction - batch.targets).square()
    means = torch.stack([squares[:, region].flatten(1).mean(dim=1) for region in (rim, ~rim)], dim=1)
    return (means / reduce(batch.targets.square(), "b ... -> b 1", "mean")).sqrt()


@METRICS.register("rmse")
def root_mean_square_error(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Root mean square error over all sites and channels, ``(b,)``, in the unit of the field.

    Example:
        >>> batch = FieldBatch(inputs=torch.zeros(1, 2, 1), targets=torch.zeros(1, 2, 1))
        >>> METRICS["rmse"](torch.tensor([[[3.0], [4.0]]]), batch, spec=None)
        tensor([3.5355])
    """
    _check_shapes(prediction, batch.targets)
    return ((prediction - batch.targets).flatten(1).square().mean(dim=1) / batch.real_share()).sqrt()


@METRICS.register("max_error")
def largest_error(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Largest absolute error over all sites and channels, ``(b,)``, in the unit of the field."""
    _check_shapes(prediction, batch.targets)
    return (prediction - batch.targets).flatten(1).abs().amax(dim=1)


def _fields_with_units(spec: FieldSpec) -> tuple[str, ...]:
    """A name for each of several target fields, such as ``temperature [K]``."""
    if len(spec.targets) == 1:
        return ()
    return tuple(
        channel.name if channel.unit == "1" else f"{channel.name} [{channel.unit}]" for channel in spec.targets
    )


@METRICS.register("rmse_per_channel")
@in_parts(_fields_with_units)
def root_mean_square_error_per_channel(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Root mean square error of each target field alone, ``(b, fields)``, each in its own unit, over all sites and frames."""
    _check_shapes(prediction, batch.targets)
    squares = _each_field(prediction - batch.targets, spec).square().mean(dim=-1)
    share = torch.as_tensor(batch.real_share(), dtype=squares.dtype, device=squares.device)
    return (squares / share.unsqueeze(-1)).sqrt()


@METRICS.register("max_error_per_channel")
@in_parts(_fields_with_units)
def largest_error_per_channel(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Largest absolute error of each target field alone, ``(b, fields)``, each in its own unit, over all sites and frames."""
    _check_shapes(prediction, batch.targets)
    return _each_field(prediction - batch.targets, spec).abs().amax(dim=-1)


@METRICS.register("relative_h1")
def relative_h1(prediction: Tensor, batch: FieldBatch, spec: FieldSpec) -> Tensor:
    """Relative error of the gradient, ``|grad p - grad t| / |grad t|`` over all sites, axes and channels, ``(b,)``.

    The seminorm of H1, by differences of second order; see :func:`gradient`. A true field that is constant gives inf or NaN.

    Raises:
        InputError: the sites are a point cloud.
    """
    _check_shapes(prediction, batch.targets)
    both = torch.cat([prediction, batch.targets], dim=-1)  # a mesh has one Jacobian for both
    return relative_l2(*gradient(both, batch.coords, spec).chunk(2, dim=-2))


def gradient(field: Tensor, coords: Tensor | None, spec: FieldSpec) -> Tensor:
    """Gradient on a grid or a mesh by differences of second order: central ones, and one-sided ones at the rim.

    On a grid each axis has length 1; a periodic one has no rim. On a mesh the differences along the index axes become physical
    ones through the Jacobian of ``coords``. The gradient is set to zero at sites where the cells have no area, such as the
    centre of a polar mesh.

    Args:
        field: ``(b, *sites, c)``; at least three sites along each axis.
        coords: ``(b, *sites, d)`` for a mesh of ``d`` axes.
        spec: the geometry.
    Returns:
        ``(b, *sites, c, d)``, in units of the field per unit of length.
    Raises:
        InputError: the sites are a point cloud, which has no axes, or fewer than three along an axis.

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
    if min(field.shape[1:-1]) < 3:
        raise InputError(
            f"a gradient needs three sites along each axis, this lattice has {tuple(field.shape[1:-1])}; choose another error "
            "than relative_h1, or for the coarse scales of LSM-2 loss=sobolev or model.supervision=0"
        )
    slopes = _differences(field, spec.periodic)
    if coords is None:
        return slopes
    # Chain rule: df/ds = (df/dx) J with J = dx/ds, so df/dx solves  x J = s. Systems of half precision cannot be solved.
    precision = torch.promote_types(field.dtype, torch.float32)
    jacobian, regular = _invertible(_differences(coords, spec.periodic).to(precision))
    solution = torch.linalg.solve_ex(jacobian, slopes.to(precision), left=False).result
    return torch.where(regular[..., None, None], solution, 0.0).to(field.dtype)


def _differences(field: Tensor, periodic: bool) -> Tensor:
    """Derivatives ``(b, *sites, c, d)`` of a field ``(b, *sites, c)`` along its axes, each of length 1."""
    axes = tuple(range(1, field.dim() - 1))
    if periodic:
        steps = [(field.roll(-1, axis) - field.roll(1, axis)) * (field.shape[axis] / 2) for axis in axes]
        return torch.stack(steps, dim=-1)
    spacing = [1.0 / (field.shape[axis] - 1) for axis in axes]
    return torch.stack(torch.gradient(field, spacing=spacing, dim=axes, edge_order=2), dim=-1)


def _invertible(jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices ``(..., d, d)`` with the identity in place of singular ones, and which are not singular, ``(...)``.

    A matrix is singular if the volume that its columns span is at most 1e-6 of that of a box with the same edges.
    """
    # A last axis of two or three numbers is slow to reduce.
    edges = torch.stack(jacobian.unbind(-2)).square().sum(dim=0).sqrt()
    regular = torch.linalg.det(jacobian).abs() > 1e-6 * prod(edges.unbind(-1))
    identity = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
    return torch.where(regular[..., None, None], jacobian, identity), regular


#: What is wrong where the data are not.
DIVERGED = "the model diverged; lower the learning rate"


def find_fault(batch: FieldBatch, error: Callable[[FieldBatch], Tensor]) -> tuple[int, str] | None:
    """The first sample of a batch for which an error is undefined, and why; None if its data are not the reason.

    Args:
        batch: the samples, ``(b, *sites, c)``.
        error: of perfect predictions of some samples, of any shape.

    Example:
        >>> batch = FieldBatch(inputs=torch.ones(2, 3, 1), targets=torch.tensor([1.0, 0.0]).reshape(2, 1, 1))
        >>> find_fault(batch, lambda samples: relative_l2(samples.targets, samples.targets))
        (1, 'a true field is zero everywhere, for which no relative error is defined; leave that sample out')
    """
    for index in range(len(batch)):
        sample = batch.select(torch.tensor([index], device=batch.inputs.device))
        if not all(torch.isfinite(field).all() for field in (sample.inputs, sample.targets)):
            return index, "a field is not finite, so the data are damaged; write them again without that sample"
        if not torch.isfinite(error(sample)).all():
            return index, _why_undefined(sample)
    return None


def _why_undefined(sample: FieldBatch) -> str:
    """What leaves a relative error of one sample ``(1, *sites, c)`` undefined, and the remedy."""
    values = sample.real(sample.targets).flatten(0, -2)
    if not values.any():
        return "a true field is zero everywhere, for which no relative error is defined; leave that sample out"
    if not values.any(dim=0).all():
        return (
            "one true field or frame is zero everywhere, for which no relative error is defined; leave that sample out"
        )
    if (values == values[0]).all():
        return "a true field is constant, so its gradient has no relative error; leave that sample out, or choose another loss"
    return (
        "the norm of a true field or of its gradient is zero or infinite; choose other units, or leave that sample out"
    )
