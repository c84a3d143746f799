"""Power of fields on a grid by wave number: of the truth, the prediction and the error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lsm.errors import InputError
from lsm.evaluation import Predictor
from lsm.fields import FieldBatch, FieldSpec
from lsm.metrics import spatial_axes, wave_numbers


@dataclass(frozen=True)
class Spectrum:
    """Mean power of one target field in shells of the wave number, in the unit of the field, squared.

    Args:
        numbers: ``(k,)``, whole wave numbers, in waves per length of an axis; shell ``k`` holds those that round to it.
        truth, prediction, error: ``(k,)``, averaged over samples (and frames); each sums to the mean square of its field.
    """

    numbers: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    error: np.ndarray


def shell_power(field: Tensor, axes: list[int]) -> Tensor:
    """Power ``(b, k)`` in shells of the wave number of a field ``(b, *sites)``, averaged over axes other than ``axes``.

    By Parseval's theorem the shells sum to the mean square. Shells end where the grid no longer resolves all directions; what
    lies beyond belongs to the last one.

    Example:
        >>> x = torch.arange(8) / 8
        >>> shell_power(torch.cos(4 * torch.pi * x)[None], [1]).round(decimals=6)
        tensor([[0.0000, 0.0000, 0.5000, 0.0000, 0.0000]])
    """
    count = 1
    for axis in axes:
        count *= field.shape[axis]
    power = (torch.fft.fftn(field, dim=axes).abs() / count).square()
    last = min(field.shape[axis] // 2 for axis in axes)
    shell = wave_numbers(field, axes).round().long().clamp(max=last).to(power.device).expand(power.shape)
    others = power.numel() // (len(power) * count)
    sums = power.new_zeros(len(power), last + 1)
    return sums.scatter_add(1, shell.flatten(1), power.flatten(1)) / others


@torch.inference_mode()
def measure_spectra(
    predict: Predictor, batches: Iterable[FieldBatch], spec: FieldSpec, device: torch.device
) -> dict[str, Spectrum]:
    """Spectra of each target field over many samples, by the name of the field.

    Args:
        predict: fields ``(b, *sites, c)`` in physical units for a batch, in evaluation mode.
        batches: samples with their truth.
        spec: the fields, on a grid.
        device: where to compute.
    Raises:
        InputError: the sites are no grid, or there are no samples.
    """
    if spec.geometry != "grid":
        raise InputError("only fields on a regular grid have spectra")
    sums, num_samples = torch.zeros(()), 0
    for batch in batches:
        batch = batch.to(device)
        prediction = predict(batch)
        fields = torch.stack([batch.targets, prediction, prediction - batch.targets])
        sums = sums + _power(fields.cpu(), spec)
        num_samples += len(batch)
    if not num_samples:
        raise InputError("there are no samples of which to take spectra")
    means = (sums / num_samples).numpy()
    numbers = np.arange(means.shape[-1])
    return {channel.name: Spectrum(numbers, *means[:, i]) for i, channel in enumerate(spec.targets)}


def _power(fields: Tensor, spec: FieldSpec) -> Tensor:
    """Sums over the samples ``(3, fields, k)`` of the power of ``(3, b, *sites, c)``."""
    axes = [1 + position for position in spatial_axes(spec)]
    split = fields.unflatten(-1, (-1, len(spec.targets)))
    frames = split.flatten(0, 1).movedim(-2, 1).flatten(0, 1).double()
    power = torch.stack([shell_power(frames[..., i], axes) for i in range(len(spec.targets))])
    return power.unflatten(1, (3, len(fields[0]), -1)).mean(dim=3).sum(dim=2).movedim(1, 0)
