"""The Fourier Neural Operator on lattices of rank 1 to 3.

Source: Li, Kovachki, Azizzadenesheli, Liu, Bhattacharya, Stuart, Anandkumar, "Fourier Neural Operator for Parametric Partial
Differential Equations", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from lsm.device import numbers_on
from lsm.fields import FieldSpec
from lsm.model import GRIDS, MODELS, require_geometry
from lsm.model.fourier import (
    Complex,
    Padding,
    analyse,
    mix_channels,
    nonnegative_wave_numbers,
    padding_of,
    signed_wave_numbers,
    synthesise,
)
from lsm.model.grid import FeedForward, append_coordinates, crop, pad_ends, per_axis
from lsm.model.precision import InputLinear, as_weights, at_least_single, full_precision
from lsm.registry import Count


class SpectralConvolution(nn.Module):
    """Multiply the lowest Fourier modes by complex channel matrices, ``u -> F^-1 (R(k) F u)``.

    Fields are ``(b, c, *n)``, of any sizes ``n``; the weights do not depend on them.

    Kept wave numbers are ``-m..m-1`` along every axis and ``0..m-1`` along the last one, whose other half follows from the
    field being real. Each combination of signs has its own weights.

    Args:
        channels: channels in and out.
        modes: ``m`` along each axis.

    Example:
        >>> layer = SpectralConvolution(channels=3, modes=[4, 4])
        >>> layer(torch.zeros(2, 3, 16, 20)).shape
        torch.Size([2, 3, 16, 20])
    """

    def __init__(self, channels: int, modes: Sequence[int]) -> None:
        super().__init__()
        self.modes = tuple(modes)
        corners = 2 ** (len(self.modes) - 1)
        weights = torch.randn(corners, channels, channels, *self.modes, 2) / (2**0.5 * channels)
        # Real and imaginary parts: optimisers and half precision know real numbers.
        self.weights = nn.Parameter(weights)

    def forward(self, field: Tensor) -> Tensor:
        """Map ``(b, c, *n)`` to ``(b, c, *n)``, in full precision; the result has the type of half-precision weights."""
        sizes = field.shape[2:]
        with full_precision(field):
            field = at_least_single(field)
            mixed = mix_channels(analyse(field, self.modes), self._weights(sizes, field))
            return as_weights(synthesise(mixed, sizes, self.modes), self.weights)

    def _weights(self, sizes: Sequence[int], like: Tensor) -> Complex:
        """Weights ``(c, c, *k)`` of the kept wave numbers; a coarse lattice has fewer of them."""
        in_order, weights = _IN_ORDER[len(self.modes)], self.weights.to(like.dtype)
        real, imag = rearrange(weights, in_order, s0=min(len(weights), 2))
        return Complex(self._select(real, sizes), self._select(imag, sizes))

    def _select(self, weights: Tensor, sizes: Sequence[int]) -> Tensor:
        """Weights belong to wave numbers, which count from both ends of an axis, from one end of the last axis."""
        *first, last = zip(self.modes, sizes, strict=True)
        for axis, (modes, size) in enumerate(first, start=2):
            if size < 2 * modes:
                kept = [number % (2 * modes) for number in signed_wave_numbers(modes, size)]
                weights = weights.index_select(axis, numbers_on(weights.device, kept))
        return weights[..., : len(nonnegative_wave_numbers(*last))]


# Per rank: from weights by combination of signs to one axis per wave number, nonnegative ones first.
_IN_ORDER = {
    1: "s0 i o k0 z -> z i o (s0 k0)",
    2: "s0 i o k0 k1 z -> z i o (s0 k0) k1",
    3: "(s0 s1) i o k0 k1 k2 z -> z i o (s0 k0) (s1 k1) k2",
}


@MODELS.register("fno")
class FourierNeuralOperator(nn.Module):
    """Fourier Neural Operator: lift, Fourier layers ``gelu(spectral(u) + W u)``, read out.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``, also on other sites than those of ``spec``. The lattice is
    zero-padded at the end of each axis, since the Fourier transform takes fields as periodic.

    Args:
        spec: the fields, on a grid or mesh of rank 1 to 3.
        width: channels of the Fourier layers.
        modes: kept wave numbers along each axis, one number for all axes or one per axis.
        num_layers: number of Fourier layers.
        padding: sites added along each axis, one number for all axes or one per axis; None for 8, or 0 for periodic fields.
        head_width: channels inside the head.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (32, 48), ("x", "y"), (Channel("a"),), (Channel("u"),))
        >>> FourierNeuralOperator(spec, width=8, modes=6)(torch.zeros(4, 32, 48, 1)).shape
        torch.Size([4, 32, 48, 1])
    """

    geometries = GRIDS

    def __init__(
        self,
        spec: FieldSpec,
        *,
        width: Count = 32,
        modes: Count | Sequence[Count] = 12,
        num_layers: Count = 4,
        padding: Padding | Sequence[Padding] | None = None,
        head_width: Count = 128,
    ) -> None:
        super().__init__()
        require_geometry(self.geometries, spec, "model fno")
        rank = len(spec.sites)
        kept = per_axis("modes", modes, rank)
        self.padding = padding_of(spec, padding)
        self.lift = InputLinear(spec.in_channels + rank, width)
        self.spectral = nn.ModuleList(SpectralConvolution(width, kept) for _ in range(num_layers))
        self.pointwise = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.head = FeedForward(width, head_width, spec.out_channels)

    def forward(self, inputs: Tensor, coords: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``; coordinates and code are not used."""
        features = self.lift(append_coordinates(inputs)).movedim(-1, 1)
        features = pad_ends(features, self.padding)
        for index, (spectral, pointwise) in enumerate(zip(self.spectral, self.pointwise, strict=True)):
            features = spectral(features) + pointwise(features.movedim(1, -1)).movedim(-1, 1)
            features = functional.gelu(features) if index < len(self.spectral) - 1 else features
        return self.head(crop(features, inputs.shape[1:-1]).movedim(1, -1))
