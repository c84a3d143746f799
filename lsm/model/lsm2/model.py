"""LSM-2: lift, solve at several scales with a global spectral block, read out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from lsm.device import numbers_on
from lsm.errors import InputError, OptionError, option_group
from lsm.fields import FieldSpec, every_site
from lsm.model import ANY_GEOMETRY, MODELS
from lsm.model.grid import FeedForward, unit_coordinates
from lsm.model.latent_spectral.parts import BLOCKS
from lsm.model.lsm2.cloud import CloudBody, fitting_lattice
from lsm.model.lsm2.pyramid import Pyramid
from lsm.model.positions import waves_of
from lsm.model.precision import InputLinear, full_precision
from lsm.registry import Config, Count, Index, Scales, Share

#: Channels that are chosen for a lattice of each rank, and for a cloud.
_WIDTHS, _CLOUD_WIDTH = {1: 32, 2: 32, 3: 16}, 64

#: Frequencies of the positions of a cloud that are chosen. On meshes the coordinates of the lattice serve: those of space are in
#: a unit of length to which no frequency is fitted.
_CLOUD_WAVES = 4

#: The coarsest scale that is chosen has at least so many sites along the longest axis.
_FEWEST_SITES = 2.5


@MODELS.register("lsm2")
class LatentSpectralModel2(nn.Module):
    """Predict a field from a field by a pyramid of lattices with a global spectral block on its coarsest scales.

    The times of a field on an axis of time are channels of its sites: the lattice has the axes of space, which takes a fraction
    of the time of one with all axes. The points of a cloud are spread to a lattice, from which the pyramid's features are
    interpolated back. Points outside the unit cube count as on its rim.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``, both normalised, at any number of sites. With ``supervision``
    every scale of the pyramid predicts the field at its sites in training (:meth:`at_scales`); a prediction alone
    (:meth:`forward`) does not compute the coarse ones.

    Args:
        spec: the fields; of meshes and clouds the first inputs are the positions.
        width: channels at the finest scale; None for a number that fits the geometry.
        num_scales: number of scales of a lattice; None for as many as its sites allow, at most 5.
        depth: residual convolutions at each scale of a lattice, or feedforward layers on the points of a cloud.
        latent_scales: number of coarsest scales that have spectral blocks.
        lattice: sites along each axis of the lattice of a cloud, 0 for none; None for a number that fits the points.
        point_blocks: whether a spectral block on all points of a cloud precedes each of its feedforward layers; None for only
            without a lattice.
        block: spectral block: a name of :data:`BLOCKS` and its options; by default ``global_spectral``.
        periodic: whether the axes of the lattice are periodic; None for as the fields are.
        modes: wave numbers of a factorised Fourier layer beside each convolution; 0 for none.
        position_waves: frequencies of sines and cosines of the positions that are added to the inputs of meshes and clouds, on a
            mesh in its unit of length; None for 4 on clouds and 0 on meshes.
        supervision: weight in training of the loss of each coarser scale, which then predicts, too; 0 for the finest alone.
        head_width: channels inside the head.
        time_as_channels: whether the times of a field on an axis of time are channels of a site, not sites of the lattice; their
            number is then that of ``spec``.
        predict_change: whether the next frame of a roll-out is predicted as a change from the last one. One step then errs less,
            but the errors of all steps add up.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (21, 30), ("x", "y"), (Channel("a"),), (Channel("u"),))
        >>> model = LatentSpectralModel2(spec, width=8, supervision=0.5)
        >>> model(torch.zeros(4, 21, 30, 1)).shape
        torch.Size([4, 21, 30, 1])
        >>> [tuple(prediction.shape[1:3]) for prediction in model.at_scales(torch.zeros(4, 21, 30, 1))]
        [(21, 30), (11, 15), (6, 8), (3, 4)]
    """

    geometries = ANY_GEOMETRY
    ragged = True

    def __init__(
        self,
        spec: FieldSpec,
        *,
        width: Count | None = None,
        num_scales: Scales | None = None,
        depth: Count = 1,
        latent_scales: Index = 1,
        lattice: Index | None = None,
        point_blocks: bool | None = None,
        block: Config | None = None,
        periodic: bool | None = None,
        modes: Index = 0,
        position_waves: Index | None = None,
        supervision: Share = 0.0,
        head_width: Count = 32,
        time_as_channels: bool = True,
        predict_change: bool = False,
    ) -> None:
        super().__init__()
        self.spec, self.supervision = spec, supervision
        self.periodic = spec.periodic if periodic is None else periodic
        self.on_cloud = spec.geometry == "points"
        self.from_last_frame = predict_change and spec.frames is not None
        self.times = spec.sites[-1] if time_as_channels and spec.axes[-1:] == ("time",) else None
        sites = spec.sites if self.times is None else spec.sites[:-1]
        at_site = self.times or 1
        chosen_waves = position_waves if position_waves is not None else _CLOUD_WAVES if self.on_cloud else 0
        self.position_waves = 0 if spec.geometry == "grid" else chosen_waves
        make_block = _block_maker({"name": "global_spectral", **(block or {})}, spec.ragged)

        def make_pyramid(rank: int, width: int, sites: tuple[int, ...], depth: int) -> Pyramid:
            scales = num_scales or fitting_scales(sites)
            return Pyramid(rank, width, scales, depth, make_block, latent_scales, self.periodic, modes)

        self.body: CloudBody | Pyramid
        if self.on_cloud:
            if lattice == 1:
                raise OptionError("lattice", "is 1, expected at least 2 sites along each axis, or 0 for no lattice")
            width = width or _CLOUD_WIDTH
            sizes = (fitting_lattice(spec.sites[0], spec.space) if lattice is None else lattice,) * spec.space
            pyramid = make_pyramid(spec.space, -(-width // 2), sizes, 1) if sizes[0] else None
            if pyramid is None and point_blocks is False:
                raise OptionError(
                    "point_blocks", "is false, but without a lattice points exchange nothing; give model.lattice=null"
                )
            has_blocks = pyramid is None if point_blocks is None else point_blocks
            self.body = CloudBody(width, depth, make_block if has_blocks else None, sizes, pyramid)
        else:
            width = width or _WIDTHS[len(sites)]
            self.body = make_pyramid(len(sites), width, sites, depth)
        lifted = at_site * (spec.in_channels + self._num_waves(spec)) + self._num_positions(sites)
        self.lift = InputLinear(lifted, width, rounded=False)
        channels = self.body.channels[: None if supervision else 1]
        self.heads = nn.ModuleList(
            FeedForward(count, head_width, at_site * spec.out_channels)
            if scale == 0
            else nn.Linear(count, at_site * spec.out_channels)
            for scale, count in enumerate(channels)
        )

    def compile(self, *arguments: Any, **options: Any) -> None:
        """Compile the body, which predictions and training both call."""
        self.body.compile(*arguments, **options)

    def _num_waves(self, spec: FieldSpec) -> int:
        return 2 * self.position_waves * spec.space_dim

    def _num_positions(self, sites: tuple[int, ...]) -> int:
        return 0 if self.on_cloud else (1 + self.periodic) * len(sites)

    def _scales(self, inputs: Tensor, coords: Tensor | None, mask: Tensor | None) -> list[Tensor]:
        """Features of each scale ``(b, c, *n)`` from inputs and positions."""
        positions = inputs[..., : self.spec.space_dim] if coords is None else coords
        parts = [self._at_sites(inputs)]
        if not self.on_cloud:
            parts.append(self._lattice_positions(parts[0]).expand(*parts[0].shape[:-1], -1))
        if self.position_waves:
            parts.append(self._at_sites(waves_of(positions, self.position_waves)))
        features = self.lift(torch.cat(parts, dim=-1)).movedim(-1, 1)
        return self.body(features, positions, mask) if self.on_cloud else self.body(features)

    def _at_sites(self, fields: Tensor) -> Tensor:
        """The times of a site as channels, if they are none of its axes: ``(b, *n, times, c)`` to ``(b, *n, times * c)``."""
        if self.times is None:
            return fields
        if fields.shape[-2] != self.times:
            raise InputError(
                f"the model takes fields at {self.times} times, not {fields.shape[-2]}; without time_as_channels it takes any "
                "number"
            )
        return fields.flatten(-2)

    def _lattice_positions(self, inputs: Tensor) -> Tensor:
        """Coordinates of the sites in the lattice, ``(*sites, d)``; on a periodic one ``(*sites, 2 d)``, sines and cosines."""
        sizes = tuple(inputs.shape[1:-1])
        if not self.periodic:
            return unit_coordinates(sizes, inputs)
        last = numbers_on(inputs.device, [(size - 1) / size for size in sizes], inputs.dtype)
        return waves_of(2 * last * unit_coordinates(sizes, inputs), 1)

    def _read_out(self, scale: int, features: Tensor, inputs: Tensor) -> Tensor:
        """Prediction of one scale: ``(b, c, *n)`` to ``(b, *n, c_out)``, with an axis of time if there is one.

        The head does not compute in bfloat16, which would round normalised fields to about 0.001 of their values.
        """
        with full_precision(features):
            outputs = self.heads[scale](features.movedim(1, -1).to(self.lift.weight.dtype))
        if self.times is not None:
            outputs = outputs.unflatten(-1, (self.times, -1))[..., :: 2**scale, :]
        return outputs + every_site(self._last_frame(inputs), 2**scale) if self.from_last_frame else outputs

    def _last_frame(self, inputs: Tensor) -> Tensor:
        end = self.spec.input_channels
        return inputs[..., end - self.spec.out_channels : end]

    def at_scales(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> list[Tensor]:
        """Predictions of every scale: ``(b, *sites, c_in)`` to ``(b, *ceil(sites / 2^s), c_out)``, finest first.

        The sites of scale ``s`` are every ``2^s``-th site along each axis.
        """
        scales = self._scales(inputs, coords, mask)[: len(self.heads)]
        return [self._read_out(scale, features, inputs) for scale, features in enumerate(scales)]

    def forward(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Map ``(b, *sites, c_in)`` at positions ``coords`` ``(b, *sites, d)`` to ``(b, *sites, c_out)``; the code is not used.

        The positions of a cloud lie in the unit cube; without ``coords`` they are the first inputs.
        """
        return self._read_out(0, self._scales(inputs, coords, mask)[0], inputs)


def _block_maker(options: Mapping[str, Any], ragged: bool) -> Callable[[int], nn.Module]:
    """Makes a spectral block on points ``(b, n, c)`` from the number of channels."""

    def make(channels: int) -> nn.Module:
        with option_group("block"):
            if ragged and not getattr(BLOCKS[options["name"]], "ragged", False):
                raise OptionError(
                    "name",
                    f"is {options['name']}, which needs the same number of points in every cloud; choose global_spectral",
                )
            return BLOCKS.make(options, channels)

    return make


def fitting_scales(sites: tuple[int, ...]) -> int:
    """Number of scales for a lattice, at most 5, of which the coarsest has about three sites or more along the longest axis.

    Example:
        >>> [fitting_scales(sites) for sites in ((43, 43), (41, 13, 10), (4,))]
        [5, 5, 1]
    """
    return min(max(int(log2(max(sites) / _FEWEST_SITES)), 0) + 1, 5)
