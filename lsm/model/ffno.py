"""The Factorised Fourier Neural Operator on lattices of rank 1 to 3.

Source: Tran, Mathews, Xie, Ong, "Factorized Fourier Neural Operators", ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lsm.fields import FieldSpec
from lsm.model import GRIDS, MODELS, require_geometry
from lsm.model.fourier import Complex, Padding, analysis_matrix, padding_of, real_product, synthesis_matrix
from lsm.model.grid import append_coordinates, crop, pad_ends, per_axis
from lsm.model.precision import InputLinear, as_weights, at_least_single, full_precision
from lsm.registry import Count


class AxisConvolutions(nn.Module):
    """The sum over the axes of a convolution along this axis, ``sum_a F_a^-1 (R_a(k) F_a u)`` with the lowest modes kept.

    Fields are ``(b, c, *n)``, of any sizes ``n``; the weights do not depend on them.

    Args:
        channels: channels in and out.
        modes: kept wave numbers ``0..m-1`` along each axis.
    """

    def __init__(self, channels: int, modes: Sequence[int]) -> None:
        super().__init__()
        self.modes = tuple(modes)
        self.weights = nn.ParameterList(torch.empty(channels, channels, mode, 2) for mode in modes)
        for weights in self.weights:
            nn.init.xavier_normal_(weights)

    def forward(self, field: Tensor) -> Tensor:
        """Map ``(b, c, *n)`` to ``(b, c, *n)``, in full precision; the result has the type of half-precision weights."""
        with full_precision(field):
            field = at_least_single(field).movedim(1, -1).contiguous()
            whole = reduce(torch.add, (self._along(axis, field) for axis in range(len(self.modes))))
            return as_weights(whole, self.weights[0]).movedim(-1, 1)

    def _along(self, axis: int, field: Tensor) -> Tensor:
        """Convolution along one axis of ``(b, *n, c)``, by products with matrices from the left, which move no axis."""
        modes, size = self.modes[axis], field.shape[axis + 1]
        lines = field.flatten(axis + 2).flatten(0, axis)  # (sites before, n, sites after * c)
        spectrum = analysis_matrix(modes, size, field).T @ lines
        spectrum = spectrum.reshape(lines.shape[0], 2, spectrum.shape[1] // 2, -1, field.shape[-1])
        weights = self.weights[axis][:, :, : spectrum.shape[2]].to(field.dtype)
        mixing = real_product(Complex(weights[..., 0], weights[..., 1]))
        mixed = torch.einsum("xpkyi,pqiok->xqkyo", spectrum, mixing).flatten(1, 2).flatten(2)
        return (synthesis_matrix(modes, size, field).T @ mixed).reshape(field.shape)


@MODELS.register("ffno")
class FactorisedFourierOperator(nn.Module):
    """F-FNO: lift, residual layers ``u + W2 relu(W1 sum of convolutions along the axes)``, read out the last layer's update.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``. All linear layers have normalised weights. The lattice is zero-padded
    at the end of each axis, since the Fourier transform takes fields as periodic.

    Args:
        spec: the fields, on a grid or mesh of rank 1 to 3.
        width: channels.
        modes: kept wave numbers along each axis, one number for all axes or one per axis.
        num_layers: number of layers.
        mlp_ratio: channels inside a layer's feedforward part, as a multiple of the width.
        padding: sites added along each axis, one number for all axes or one per axis; None for 8, or 0 for periodic fields.
        head_width: channels inside the head, which is linear.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (32, 48), ("x", "y"), (Channel("a"),), (Channel("u"),))
        >>> FactorisedFourierOperator(spec, width=8, modes=6, num_layers=2)(torch.zeros(4, 32, 48, 1)).shape
        torch.Size([4, 32, 48, 1])
    """

    geometries = GRIDS

    def __init__(
        self,
        spec: FieldSpec,
        *,
        width: Count = 64,
        modes: Count | Sequence[Count] = 16,
        num_layers: Count = 24,
        mlp_ratio: Count = 4,
        padding: Padding | Sequence[Padding] | None = None,
        head_width: Count = 128,
    ) -> None:
        super().__init__()
        require_geometry(self.geometries, spec, "model ffno")
        kept = per_axis("modes", modes, len(spec.sites))
        self.padding = padding_of(spec, padding)
        self.lift = weight_norm(InputLinear(spec.in_channels + len(kept), width))
        self.spectral = nn.ModuleList(AxisConvolutions(width, kept) for _ in range(num_layers))
        self.feedforward = nn.ModuleList(
            nn.Sequential(
                weight_norm(nn.Linear(width, mlp_ratio * width)),
                nn.ReLU(),
                weight_norm(nn.Linear(mlp_ratio * width, width)),
            )
            for _ in range(num_layers)
        )
        head = (nn.Linear(width, head_width), nn.Linear(head_width, spec.out_channels))
        self.head = nn.Sequential(*map(weight_norm, head))

    def forward(self, inputs: Tensor, coords: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``; coordinates and code are not used."""
        field = self.lift(append_coordinates(inputs)).movedim(-1, 1)
        field = pad_ends(field, self.padding)
        update = field
        for spectral, feedforward in zip(self.spectral, self.feedforward, strict=True):
            update = feedforward(spectral(field).movedim(1, -1)).movedim(-1, 1)
            field = field + update
        return self.head(crop(update, inputs.shape[1:-1]).movedim(1, -1))
