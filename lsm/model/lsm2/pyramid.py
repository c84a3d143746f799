"""A pyramid of pre-norm residual convolutions on lattices of rank 1 to 3, with global spectral blocks on its coarse scales.

Going down, a convolution of stride 2 keeps every second site along each axis; going up, values are interpolated linearly
between them. So the sites of each scale are every ``2^s``-th site of the finest one, for any number of sites.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from einops import pack, unpack
from torch import Tensor, nn
from torch.nn import functional

from lsm.model.ffno import AxisConvolutions
from lsm.model.grid import CONVOLUTIONS, INTERPOLATIONS

#: A scale has at most so many times the channels of the finest one.
_WIDEST = 4


def convolution(channels: int, out: int, rank: int, periodic: bool, stride: int = 1) -> nn.Module:
    """A convolution ``(b, channels, *n)`` to ``(b, out, *n / stride)``, rounded up, with three weights along each axis."""
    made = CONVOLUTIONS[rank](channels, out, kernel_size=3, padding=0 if periodic else 1, stride=stride)
    # As fields have channels last, weights in another order would be rearranged, with their gradients, in each step.
    made.weight.data = made.weight.data.movedim(1, -1).contiguous().movedim(-1, 1)
    if periodic:
        made.register_forward_pre_hook(_wrap)
    return made


def _wrap(convolution: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
    """Add a site at both ends of each axis of ``(b, c, *n)``, with the value of the other end.

    The gradient of the padding inside PyTorch's convolutions takes as long as the convolution itself. Here the field is split,
    since the gradient of each slice would be as large as the whole field; channels come last, as in :func:`refine`.
    """
    field = arguments[0].movedim(1, -1)
    for axis, size in enumerate(field.shape[1:-1], start=1):
        parts = field.tensor_split([1, size - 1], dim=axis) if size > 1 else [field]
        field = torch.cat([parts[-1], *parts, parts[0]], dim=axis)
    return (field.movedim(-1, 1),)


class ResidualConvolution(nn.Module):
    """``u + W2 gelu(W1 norm(u))`` with convolutions ``W``, and beside it a factorised Fourier layer with a zero gain.

    The norm is over all channels and sites of a sample; ``u`` is ``(b, c, *n)``.

    Args:
        channels: number of channels ``c``.
        rank: dimension of the lattice.
        periodic: whether the axes are periodic.
        modes: wave numbers of the Fourier layer along each axis; 0 for no such layer.
    """

    def __init__(self, channels: int, rank: int, periodic: bool, modes: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.update = nn.Sequential(
            convolution(channels, channels, rank, periodic), nn.GELU(), convolution(channels, channels, rank, periodic)
        )
        self.waves = AxisConvolutions(channels, [modes] * rank) if modes else None
        self.gain = nn.Parameter(torch.zeros(channels, *[1] * rank)) if modes else None

    def forward(self, field: Tensor) -> Tensor:
        """Map ``(b, c, *n)`` to ``(b, c, *n)``."""
        normed = self.norm(field)
        field = field + self.update(normed)
        return field if self.waves is None or self.gain is None else field + self.gain * self.waves(normed)


class OnLattice(nn.Module):
    """A block on points ``(b, n, c)`` that takes all sites of a lattice ``(b, c, *n)`` as its points."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, field: Tensor) -> Tensor:
        """Map ``(b, c, *n)`` to ``(b, c, *n)``."""
        points, sites = pack([field.movedim(1, -1)], "b * c")
        (updated,) = unpack(self.block(points), sites, "b * c")
        return updated.movedim(-1, 1)


def refine(field: Tensor, sizes: torch.Size, periodic: bool) -> Tensor:
    """Interpolate linearly from every second site to all sites: ``(b, c, *ceil(n / 2))`` to ``(b, c, *n)``.

    Along an axis with an even number of sites the last one lies beyond the coarse sites: it takes the value of its neighbour, on
    a periodic axis the mean of its neighbours.

    Channels come last in memory, as in the convolutions before and after, and so they do in the gradients: PyTorch lays out the
    gradient of a part of an axis in the order of the axes that it is given.

    Example:
        >>> refine(torch.tensor([[[0.0, 2.0]]]), torch.Size([3]), periodic=False)
        tensor([[[0., 1., 2.]]])
    """
    coarse = field.movedim(1, -1)
    for axis, size in enumerate(sizes, start=1):
        if size % 2 == 0:
            neighbour = coarse.narrow(axis, 0 if periodic else coarse.shape[axis] - 1, 1)
            coarse = torch.cat([coarse, neighbour], dim=axis)
    doubled, mode = [2 * size - 1 for size in coarse.shape[1:-1]], INTERPOLATIONS[len(sizes)]
    fine = functional.interpolate(coarse.movedim(-1, 1), size=doubled, mode=mode, align_corners=True).movedim(1, -1)
    for axis, size in enumerate(sizes, start=1):
        fine = fine.narrow(axis, 0, size) if size < fine.shape[axis] else fine
    return fine.movedim(-1, 1)


class Pyramid(nn.Module):
    """Residual convolutions at several scales, and global blocks on the coarsest of them.

    Channels at the scales are ``w, 2w, 4w, 4w, ...``.

    Args:
        rank: dimension of the lattice, 1 to 3.
        width: channels ``w`` at the finest scale.
        num_scales: number of scales.
        depth: residual convolutions at each scale, on the way down and on the way up; the finest of several scales, which costs
            most, has them on the way up alone.
        make_block: maps a number of channels to a block on points ``(b, n, c)``.
        latent_scales: number of scales, counted from the coarsest one, with a block after each convolution.
        periodic: whether the axes are periodic.
        modes: wave numbers of a Fourier layer beside each convolution; 0 for none.
    """

    def __init__(
        self,
        rank: int,
        width: int,
        num_scales: int,
        depth: int,
        make_block: Callable[[int], nn.Module],
        latent_scales: int,
        periodic: bool,
        modes: int,
    ) -> None:
        super().__init__()
        self.periodic = periodic
        self.channels = [width * min(2**scale, _WIDEST) for scale in range(num_scales)]

        def stage(scale: int) -> nn.Sequential:
            channels, latent = self.channels[scale], scale >= num_scales - latent_scales
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers.append(ResidualConvolution(channels, rank, periodic, modes))
                layers += [OnLattice(make_block(channels))] if latent else []
            return nn.Sequential(*layers)

        self.down = nn.ModuleList(
            stage(scale) if scale or num_scales == 1 else nn.Identity() for scale in range(num_scales)
        )
        self.up = nn.ModuleList(stage(scale) for scale in range(num_scales - 1))
        pairs = list(pairwise(self.channels))
        self.coarsen = nn.ModuleList(convolution(fine, coarse, rank, periodic, stride=2) for fine, coarse in pairs)
        self.narrow = nn.ModuleList(CONVOLUTIONS[rank](coarse, fine, kernel_size=1) for fine, coarse in pairs)

    def latents(self) -> Iterator[tuple[OnLattice, int]]:
        """The layers that apply a block, each with its scale."""
        for stages in (self.down, self.up):
            for scale, stage in enumerate(stages):
                yield from ((layer, scale) for layer in stage.modules() if isinstance(layer, OnLattice))

    def forward(self, field: Tensor) -> list[Tensor]:
        """Map ``(b, w, *n)`` to the features of each scale ``(b, c, *ceil(n / 2^s))``, finest first."""
        scales = [self.down[0](field)]
        for coarsen, stage in zip(self.coarsen, list(self.down)[1:], strict=True):
            scales.append(stage(coarsen(scales[-1])))
        for scale in reversed(range(len(self.up))):
            coarse = refine(self.narrow[scale](scales[scale + 1]), scales[scale].shape[2:], self.periodic)
            scales[scale] = self.up[scale](scales[scale] + coarse)
        return scales
