"""What a picture is drawn from: one sample and its prediction, reduced to a plane, and which of its sites are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsm.conformal import Band
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.plotting.display import Display
from lsm.plotting.layout import label_of


@dataclass(frozen=True)
class Scene:
    """One sample and its predictions in at most two dimensions of space; see :func:`scene_of`.

    Args:
        spec, display: as in :func:`lsm.plotting.draw_sample`.
        sample: inputs ``(*sites, c_in)`` and targets ``(*sites, c_out)``, in physical units.
        predictions: ``(*sites, c_out)``, by the name of the model; a single one has an empty name.
        fields: index of each input that is a field; the others are coordinates of the sites.
        remark: which part of a volume this is, for the headline.
        half_width: ``(*sites, c_out)`` of a band around the prediction, and what the band is called.
    """

    spec: FieldSpec
    display: Display
    sample: FieldBatch
    predictions: Mapping[str, Tensor]
    fields: tuple[int, ...]
    remark: str = ""
    half_width: Tensor | None = None
    band: str = ""

    @property
    def coords(self) -> np.ndarray | None:
        """``(*sites, d)``, where the sites lie; None on a regular lattice."""
        return None if self.sample.coords is None else self.sample.coords.numpy()

    @property
    def has_target(self) -> np.ndarray:
        """``(*sites)``, False where the mask says that no target exists."""
        if self.spec.mask is None:
            return np.ones(self.sample.inputs.shape[:-1], dtype=bool)
        return self.sample.inputs[..., self.spec.mask].numpy() > 0.5

    @property
    def axis_labels(self) -> tuple[str, str]:
        """What the horizontal and the vertical axis of a panel mean, with units if these are known; the second may be empty."""
        spec = self.spec
        if self.display.positions is not None:
            targets = {channel.name: channel for channel in spec.targets}
            names = [label_of(targets[name]) for name in self.display.positions]
        elif spec.geometry == "grid":
            names = [name for name in spec.axes if name != "time"] if len(spec.axes) > 2 else list(spec.axes)
        else:
            places = [channel for index, channel in enumerate(spec.inputs) if index not in self.fields]
            names = [label_of(channel) for channel in places] or ["x", "y"]
            names = names[: spec.space_dim]
        return names[0], (names[1] if len(names) > 1 else "")

    def headline(self, title: str, time: str = "") -> str:
        """Title and time, and in a second line the scalar parameters of the sample, such as ``viscosity 1e-05 m2/s``."""
        values = [] if self.sample.parameters is None else self.sample.parameters.tolist()
        parameters = [_in_words(*pair) for pair in zip(self.spec.parameters, values, strict=True)]
        first = title + self.remark + (f", {time}" if time else "")
        return "\n".join([first, *([", ".join(parameters)] if parameters else []), *self._inside()])

    def _inside(self) -> list[str]:
        """How many values of the sample lie in the band, and how many have an infinite one, in words."""
        if self.half_width is None:
            return []
        (prediction,) = self.predictions.values()
        exist = torch.from_numpy(self.has_target)
        errors, widths = (prediction - self.sample.targets).abs()[exist], self.half_width[exist]
        inside, unbounded = (errors <= widths).float().mean(), widths.isinf().float().mean()
        more = f", {100 * unbounded:.3g} % have no limits" if unbounded else ""
        return [f"{self.band}: {100 * inside:.3g} % of the values are inside{more}"]

    def change(self, cut: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Predictions and half-width ``(*sites, c)`` with only some of their sites, as arguments of :class:`Scene`."""
        width = None if self.half_width is None else cut(self.half_width)
        return {"predictions": {name: cut(field) for name, field in self.predictions.items()}, "half_width": width}


def _in_words(channel: Channel, value: float) -> str:
    return f"{channel.name.replace('_', ' ')} {value:.4g}" + ("" if channel.unit == "1" else f" {channel.unit}")


def masked(values: np.ndarray, drawn: np.ndarray | bool = True) -> np.ma.MaskedArray:
    """Values ``(*sites)`` of the sites that are drawn, if finite; the others are left blank."""
    return np.ma.masked_array(values, mask=~np.isfinite(values) | np.logical_not(drawn))


def scene_of(
    spec: FieldSpec,
    display: Display,
    sample: FieldBatch,
    predictions: Tensor | Mapping[str, Tensor],
    band: Band | None = None,
) -> Scene:
    """What can be drawn of one sample ``(*sites, c)``, given as in :func:`lsm.plotting.draw_sample`.

    Of a volume, the sites in the middle of its third dimension are kept: one plane of a lattice or mesh, a thin slab of a
    cloud. The points of a cloud along a line are sorted.
    """
    named = {"": predictions} if isinstance(predictions, Tensor) else predictions
    width = None if band is None else torch.as_tensor(band.half_width).expand_as(sample.targets)
    fields, shown = _field_inputs(spec, sample), display.restricted_to(spec)
    scene = Scene(spec, shown, sample, named, fields, half_width=width, band=str(band or ""))
    if spec.geometry == "points":
        return _of_cloud(scene)
    space = [axis for axis, name in enumerate(spec.axes) if name != "time"]
    return _middle_plane(scene, space[-1]) if len(space) == 3 else scene


def _field_inputs(spec: FieldSpec, sample: FieldBatch) -> tuple[int, ...]:
    places = [] if sample.coords is None else sample.coords.unbind(-1)
    values = sample.inputs.unbind(-1)[: len(spec.inputs)]
    return tuple(i for i, field in enumerate(values) if not any(torch.equal(field, place) for place in places))


def _middle_plane(scene: Scene, axis: int) -> Scene:
    spec, sample = scene.spec, scene.sample
    count = spec.sites[axis]
    middle = count // 2

    def cut(values: Tensor) -> Tensor:
        return values.select(axis, middle)

    coords = None if sample.coords is None else cut(sample.coords)[..., :2]
    flat = replace(sample, inputs=cut(sample.inputs), targets=cut(sample.targets), coords=coords)
    sites, axes = ((*values[:axis], *values[axis + 1 :]) for values in (spec.sites, spec.axes))
    remark = f" (middle slice: {spec.axes[axis]} index {middle} of 0 to {count - 1})"
    return replace(
        scene,
        spec=replace(spec, sites=sites, axes=axes),
        sample=flat,
        remark=remark,
        **scene.change(cut),
    )


def _of_cloud(scene: Scene) -> Scene:
    coords, dimensions = scene.sample.coords, scene.spec.space
    if coords is None or dimensions == 2:
        return scene
    shown = shown_points(coords)
    if dimensions == 1:
        return _with_points(scene, coords, shown)
    height = coords[shown, 2]
    remark = f" (middle slab: z from {height.min():.3g} to {height.max():.3g})"
    return replace(_with_points(scene, coords[:, :2], shown), remark=remark)


def shown_points(coords: Tensor) -> Tensor:
    """Indices of the points of a cloud ``(n, d)`` that a picture shows: all, along a line in its order; in space a slab.

    The slab has the points nearest to the middle of the third axis, about twice as many as one plane of a lattice with as many
    sites has.
    """
    if coords.shape[1] < 3:
        return coords[:, 0].argsort() if coords.shape[1] == 1 else torch.arange(len(coords))
    count = min(len(coords), round(2 * len(coords) ** (2 / 3)))
    return (coords[:, 2] - coords[:, 2].median()).abs().argsort()[:count]


def _with_points(scene: Scene, coords: Tensor, which: Tensor) -> Scene:
    """Only the points ``which`` ``(n,)`` of a cloud, in this order, at ``coords``."""
    sample = scene.sample
    chosen = replace(sample, inputs=sample.inputs[which], targets=sample.targets[which], coords=coords[which])
    spec = replace(scene.spec, sites=(len(which),), space=coords.shape[1])
    return replace(scene, spec=spec, sample=chosen, **scene.change(lambda values: values[which]))
