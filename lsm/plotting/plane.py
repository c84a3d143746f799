"""What of a field can be drawn on paper: the plane to show, and the sites that hold a value worth showing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec


def middle_plane(spec: FieldSpec, sample: FieldBatch, prediction: Tensor) -> tuple[FieldSpec, FieldBatch, Tensor, str]:
    """Of three axes of space, the first two, at the middle of the third; anything else comes back as it is.

    Returns:
        The specification, the sample and the prediction without the third axis, and a remark for the headline.
    """
    space = [axis for axis, name in enumerate(spec.axes) if name != "time"]
    if len(space) < 3:
        return spec, sample, prediction, ""
    axis = space[-1]
    count, name = spec.sites[axis], spec.axes[axis]
    middle = count // 2

    def cut(values: Tensor) -> Tensor:
        return values.select(axis, middle)

    flat = FieldBatch(
        inputs=cut(sample.inputs),
        targets=cut(sample.targets),
        coords=None if sample.coords is None else cut(sample.coords)[..., :2],
        code=sample.code,
    )
    sites, axes = (tuple(np.delete(np.array(values, dtype=object), axis)) for values in (spec.sites, spec.axes))
    remark = f" (middle slice: {name} index {middle} of 0 to {count - 1})"
    return replace(spec, sites=sites, axes=axes), flat, cut(prediction), remark


def positions_of(sample: FieldBatch) -> np.ndarray | None:
    """Where the sites of a sample lie; None on a regular lattice."""
    return None if sample.coords is None else sample.coords.numpy()


def worth_showing(spec: FieldSpec, sample: FieldBatch) -> np.ndarray:
    """``(*sites)``, False where the mask says that no target exists."""
    if spec.mask is None:
        return np.ones(sample.inputs.shape[:-1], dtype=bool)
    return sample.inputs[..., spec.mask].numpy() > 0.5


def shown(values: np.ndarray, worth: np.ndarray) -> np.ma.MaskedArray:
    """Values that are finite and worth showing; the others are left blank."""
    return np.ma.masked_array(values, mask=~worth | ~np.isfinite(values))


def in_window(spec: FieldSpec, coords: np.ndarray | None) -> np.ndarray | slice:
    """Which sites lie in the window of the pictures; all of them without a window."""
    if spec.window is None or coords is None:
        return slice(None)
    low, high = np.array(spec.window).T
    return ((coords >= low) & (coords <= high)).all(axis=-1)
