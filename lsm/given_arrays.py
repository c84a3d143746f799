"""Arrays that a user gives to a solver: checked, completed and brought to the form in which the solver takes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lsm.errors import InputError
from lsm.fields import FieldSpec, shapes


def as_samples(given: Mapping[str, Tensor | None], spec: FieldSpec) -> tuple[list[Tensor | None], bool]:
    """Inputs, coordinates, code, parameters and mask of several samples, unused ones None; and whether one was given.

    Args:
        given: ``inputs`` ``([b,] *sites, c_in)``, with or without the coordinates, and ``coords``, ``code``, ``parameters`` and
            ``mask`` as of :class:`lsm.fields.FieldBatch`, with or without the axis of samples; None for what is missing.
        spec: the fields of the solver.
    Raises:
        InputError: an array is missing, empty, not used or not finite, or has other axes, sites or channels than the solver was
            made for or than the others.
    """
    expected = _expected(given, spec)
    first, scalar, mask = given[next(iter(expected))], given["parameters"], given["mask"]
    single = first is not None and first.dim() == len(spec.sites) + 1
    if single and scalar is not None and scalar.dim() == 0 and expected.get("parameters") == (1,):
        given = {**given, "parameters": scalar[None]}
    if problem := _find_problem(given, expected, single, _channel_names(spec, expected.get("inputs"))):
        raise InputError(problem)
    wanted = shapes(spec)
    _require_use({name: given[name] for name, shape in wanted.items() if shape is None}, mask, spec)
    used = {name: given[name] if shape is not None else None for name, shape in wanted.items()}
    if expected.get("inputs") != wanted["inputs"]:
        used["inputs"] = _join(used["coords"], used["inputs"])
    tensors = {name: tensor[None] if single and tensor is not None else tensor for name, tensor in used.items()}
    if mask is not None:
        mask = _as_mask(mask[None] if single else mask, tensors)
    for name, tensor in tensors.items():
        at_points = spec.geometry == "points" and name in ("inputs", "coords")
        tensors[name] = _clean(name, tensor, mask, at_points)
    return [*tensors.values(), mask], single


def _require_use(unused: Mapping[str, Tensor | None], mask: Tensor | None, spec: FieldSpec) -> None:
    """Refuse arrays that would have no influence on the prediction."""
    for name, tensor in unused.items():
        if tensor is not None:
            raise InputError(f"{name}: this solver does not use this array; leave it out")
    if mask is not None and spec.geometry != "points":
        raise InputError(f"mask: only clouds have points that may be missing, not a {spec.geometry}; leave it out")


def _as_mask(mask: Tensor, tensors: Mapping[str, Tensor | None]) -> Tensor:
    """The mask ``(b, n)`` as truth values; ``tensors`` are several samples."""
    inputs = tensors["inputs"]
    assert inputs is not None  # every solver takes inputs
    if mask.shape != inputs.shape[:-1]:
        points, found = tuple(inputs.shape[:-1]), tuple(mask.shape)
        raise InputError(f"mask: expected {points}, (samples, points) as of the inputs, it is of shape {found}")
    mask = mask.to(torch.bool)
    if (empty := ~mask.any(dim=1)).any():
        raise InputError(f"mask: sample {int(empty.int().argmax())} has no point; leave the sample out")
    return mask


def _clean(name: str, tensor: Tensor | None, mask: Tensor | None, at_points: bool) -> Tensor | None:
    """Finite values of several samples; at the missing points of a cloud, where NaN may stand, those of its first point."""
    if tensor is None:
        return None
    if at_points and mask is not None:
        mask = mask.to(tensor.device)
        first = tensor[torch.arange(len(tensor)), mask.int().argmax(dim=1)]
        tensor = torch.where(mask.unsqueeze(-1), tensor, first.unsqueeze(1))
    finite = torch.isfinite(tensor).flatten(1).all(dim=1)
    if not finite.all():
        missing = "; give a mask that says which points exist" if at_points and mask is None else ""
        raise InputError(f"{name}: sample {int((~finite).int().argmax())} has NaN or infinite values{missing}")
    return tensor


def _expected(given: Mapping[str, Tensor | None], spec: FieldSpec) -> dict[str, tuple[int, ...]]:
    """The shape of one sample of each array that is used; that of inputs without coordinates if these are beside them."""
    expected = {name: shape for name, shape in shapes(spec).items() if shape is not None}
    inputs, others = given["inputs"], spec.input_channels - spec.space_dim
    if given["coords"] is None or "coords" not in expected or spec.frames:
        return expected
    if inputs is None and others == 0:
        del expected["inputs"]
    elif others > 0 and (inputs is None or inputs.shape[-1:] != (spec.input_channels,)):
        expected["inputs"] = (*spec.sites, others)
    return expected


def _join(coords: Tensor | None, others: Tensor | None) -> Tensor | None:
    """Inputs ``([b,] *sites, c_in)`` from coordinates ``([b,] *sites, d)`` and the other channels, if there are any."""
    return coords if coords is None or others is None else torch.cat([coords.to(others.device), others], dim=-1)


def _channel_names(spec: FieldSpec, inputs: tuple[int, ...] | None) -> str:
    """The channels of inputs of this shape, such as ``3 channels: x, y, load``; without coordinates these are the last ones."""
    count = spec.input_channels if inputs is None else inputs[-1]
    names = ", ".join(channel.name for channel in spec.inputs[-count:])
    if spec.frames:
        return f"{spec.frames.inputs} frames of {names}"
    whole = "" if count == spec.input_channels else f", or {_channel_names(spec, None)}"
    return f"{count} {'channel' if count == 1 else 'channels'}: {names}{whole}"


def _find_problem(
    tensors: Mapping[str, Tensor | None], shapes: Mapping[str, tuple[int, ...]], single: bool, channels: str
) -> str | None:
    """Why tensors are not one sample, or several, of these shapes, in words; axes of sites may have other sizes."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor is None or tensor.dim() != len(shape) + (not single) or tensor.shape[-1] != shape[-1]:
            return _misfit(name, shape, tensors, channels)
        found[name] = tuple(tensor.shape)
        if 0 in found[name]:
            return f"{name}: expected at least one sample and one site, they are of shape {found[name]}"
    lying = {
        name: found[name][:-1] if single else found[name][1:-1] for name, shape in shapes.items() if len(shape) > 1
    }
    if len(set(lying.values())) > 1:
        return f"expected the inputs and their coords at the same sites, found {lying}"
    counts = {} if single else {name: shape[0] for name, shape in found.items()}
    return f"expected as many samples in each array, found {counts}" if len(set(counts.values())) > 1 else None


def _misfit(name: str, shape: tuple[int, ...], tensors: Mapping[str, Tensor | None], channels: str) -> str:
    """How a tensor differs from a sample of this shape, or from several, in words."""
    tensor, inputs = tensors[name], tensors["inputs"]
    one = ", ".join(["sites"] * (len(shape) - 1) + [str(shape[-1])])
    expected = f"{name}: expected ({one}) for one sample or (samples, {one}) for several"
    expected += f", {channels}" if name == "inputs" else ""
    if tensor is None:
        return f"{expected}; they are missing"
    found = f"they are of shape {tuple(tensor.shape)}"
    if inputs is not None and name != "inputs":
        found += f" and the inputs of shape {tuple(inputs.shape)}"
    if shape[-1] == 1 and tensor.dim() in (len(shape) - 1, len(shape)) and tensor.shape[-1:] not in ((), (1,)):
        found += f"; add an axis of channels: {name}[..., None]"
    return f"{expected}; {found}"
