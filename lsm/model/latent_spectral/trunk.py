"""The multiscale hierarchy: convolutions down and up, a spectral block on the patches of every scale.

Written once for grids of rank 1, 2 and 3: the rank only chooses the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lsm.errors import InputError
from lsm.model.batch_norm import batch_norms
from lsm.model.cheap import cheap
from lsm.model.grid import CONVOLUTIONS, INTERPOLATIONS, crop, missing_sites, pad_ends
from lsm.model.latent_spectral.patches import from_patches, to_patches

_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}

#: A padded grid may have so many sites, or so many times those of the grid.
_MOST_PADDED_SITES, _MOST_PADDING = 1 << 20, 64


class DoubleConvolution(nn.Sequential):
    """[3^d convolution without bias, batch norm, ReLU], twice: ``(b, channels, *n)`` to ``mid`` to ``out`` channels."""

    def __init__(self, rank: int, channels: int, out: int, mid: int) -> None:
        conv, norm = CONVOLUTIONS[rank], _NORMS[rank]
        super().__init__(
            conv(channels, mid, kernel_size=3, padding=1, bias=False),
            norm(mid),
            nn.ReLU(inplace=True),
            conv(mid, out, kernel_size=3, padding=1, bias=False),
            norm(out),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(b, channels, *n)`` to ``(b, out, *n)``."""
        conv, norm, relu, conv2, norm2, relu2 = self
        return _activated(norm2, relu2, conv2(_activated(norm, relu, conv(features))))


def _activated(norm: Any, relu: nn.Module, features: Tensor) -> Tensor:
    if isinstance(norm, nn.SyncBatchNorm):  # other devices cannot be asked again
        return relu(norm(features))
    return cheap(lambda x: relu(norm(x)), features, again=lambda x: relu(_normed_again(norm, x)))


def _normed_again(norm: Any, features: Tensor) -> Tensor:
    """A batch norm's result; its running statistics stay as they are."""
    if not norm.training:
        return norm(features)
    return functional.batch_norm(features, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)


def _takes_statistics(layer: nn.Module) -> bool:
    return any(norm.training for norm in batch_norms(layer))


def _require_little_padding(sites: Sequence[int], missing: Sequence[int]) -> None:
    """Refuse patches and scales that would fill the memory with zeros."""
    padded = [size + more for size, more in zip(sites, missing, strict=True)]
    if prod(padded) > max(_MOST_PADDED_SITES, _MOST_PADDING * prod(sites)):
        raise InputError(
            f"a grid of {tuple(sites)} sites would be padded to {tuple(padded)}; choose smaller patches or fewer scales",
            options=("patch", "num_scales"),
        )


class MultiscaleTrunk(nn.Module):
    """Solve on a grid at several scales.

    Channels at the scales are ``w, 2w, 4w, ...``, the deepest as many as the one above it. Going down: max-pool by 2 and
    a double convolution. A block acts on the patches of every scale. Going up: linear up-sampling by 2, concatenated to
    the block's output of the finer scale, and a double convolution. A 1x1 convolution ends it.

    A grid of any size is zero-padded at the end of each axis, so that patches tile every scale, and cropped at the end.

    Args:
        rank: dimension of the grid, 1 to 3.
        width: channels ``w`` at the finest scale.
        patch: sites of a patch along each axis, the same at every scale.
        make_block: maps a number of channels to a block on ``(n, points, channels)``.
        num_scales: number of scales.
    """

    def __init__(
        self, rank: int, width: int, patch: tuple[int, ...], make_block: Callable[[int], nn.Module], num_scales: int = 5
    ) -> None:
        super().__init__()
        if rank not in CONVOLUTIONS:
            raise InputError(f"a grid of rank {rank} is not supported, only rank 1, 2 or 3")
        self.patch = patch
        self.interpolation = INTERPOLATIONS[rank]
        channels = [width * 2**scale for scale in range(num_scales)]
        channels[-1] = channels[max(num_scales - 2, 0)]
        finer = [channels[max(scale - 1, 0)] for scale in range(num_scales)]
        self.down = nn.ModuleList(
            DoubleConvolution(rank, finer[s], channels[s], channels[s]) for s in range(num_scales)
        )
        self.blocks = nn.ModuleList(make_block(count) for count in channels)
        self.up = nn.ModuleList(
            DoubleConvolution(rank, 2 * channels[s], finer[s], channels[s]) for s in range(num_scales - 1)
        )
        self.pool = _POOLS[rank](2)
        self.mix = CONVOLUTIONS[rank](width, width, kernel_size=1)

    def _halved(self, features: Tensor) -> Tensor:
        """Maxima of two neighbours along each axis, ``(b, c, *n)`` to ``(b, c, *(n // 2))``."""
        if torch.is_grad_enabled() or features.device.type != "cpu":
            return self.pool(features)
        for axis in range(2, features.dim()):  # twelve times as fast on a CPU: max-pool also finds where the maxima lie
            first, second = features.unflatten(axis, (-1, 2)).unbind(axis + 1)
            features = torch.maximum(first, second)
        return features

    def encode(self, grid: Tensor) -> list[Tensor]:
        """Features of every scale before its block, finest first, of a padded copy of ``grid`` ``(b, w, *n)``.

        Raises:
            InputError: batch norm would compute the statistics of a single value.
        """
        unit = 2 ** (len(self.down) - 1)
        missing = missing_sites(grid.shape[2:], [unit * patch for patch in self.patch])
        _require_little_padding(grid.shape[2:], missing)
        # Contiguous: on a CPU the statistics of a batch norm lose three digits on channels-last strides.
        features = cheap(lambda grid: pad_ends(grid.contiguous(), missing), grid)
        scales: list[Tensor] = []
        for layer in self.down:
            features = self._halved(scales[-1]) if scales else features
            if features[:, 0].numel() == 1 and _takes_statistics(layer):
                raise InputError(
                    f"a batch of one sample has a single site at the deepest of {len(self.down)} scales, too few for batch "
                    "norm; choose a batch size for which every batch, the last one included, has two samples or more, or "
                    "fewer scales",
                    options=("batch_size", "num_scales"),
                )
            scales.append(layer(features))
        return scales

    def apply_block(self, scale: int, features: Tensor) -> Tensor:
        """The block of one scale, on each patch of ``(b, c, *n)``."""
        points = self.blocks[scale](cheap(lambda grid: to_patches(grid, self.patch).contiguous(), features))
        return from_patches(points, self.patch, tuple(features.shape[2:]))

    def _joined(self, features: Tensor, coarser: Tensor) -> Tensor:
        """The channels of a scale, and those of the coarser scale on its sites."""
        finer = functional.interpolate(coarser, scale_factor=2, mode=self.interpolation, align_corners=True)
        return torch.cat([features, finer], dim=1)

    def forward(self, grid: Tensor) -> Tensor:
        """Map ``(b, w, *n)`` to ``(b, w, *n)``."""
        scales = self.encode(grid)
        features = self.apply_block(len(scales) - 1, scales[-1])
        for scale in reversed(range(len(self.up))):
            features = self.up[scale](cheap(self._joined, self.apply_block(scale, scales[scale]), features))
        return crop(self.mix(features), grid.shape[2:])
