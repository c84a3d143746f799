"""Point clouds: a learned deformation to the unit square, and a non-uniform Fourier transform to a grid and back.

Sources: the LSM paper, and for the deformation and the transforms Li, Huang, Liu, Anandkumar, "Fourier Neural Operator with
Learned Deformations for PDEs on General Geometries", 2022.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from lsm.device import numbers_on
from lsm.errors import InputError, OptionError
from lsm.fields import FieldSpec
from lsm.model.fourier import Complex, analyse, mix_channels, synthesise, waves_at
from lsm.model.grid import unit_coordinates
from lsm.model.latent_spectral.parts import PROJECTIONS
from lsm.model.precision import full_precision
from lsm.registry import Count

Rows = Literal["symmetric", "reference"]


class Deformation(nn.Module):
    """Learned map from the physical plane to the unit square, ``xi = x + x * f(x, code)``, for points ``(b, n, 2)``.

    ``f`` sees position, angle and radius about a point near the origin, their sines and cosines at ``bands`` octaves,
    and the shape code; three tanh layers follow.

    Args:
        code: length of the shape code; 0 for none.
        width: width of the linear features; everything else is a multiple of it.
        bands: octaves of the sines and cosines, ``pi 2^0 .. pi 2^(bands-1)``.

    Example:
        >>> deformation = Deformation(code=42, width=8)
        >>> deformation(torch.rand(2, 100, 2), torch.rand(2, 42)).shape
        torch.Size([2, 100, 2])
    """

    octaves: Tensor

    #: Angle and radius are taken about this point, off the origin where the angle has no gradient.
    centre = 1e-4

    def __init__(self, code: int = 0, width: int = 32, bands: int = 8) -> None:
        super().__init__()
        features = width + 8 * bands
        self.position = nn.Linear(4, width)
        if code:
            self.code = nn.Linear(code, width)
        else:
            self.no_code = nn.Linear(features, features + width)
        hidden = features + width
        self.hidden = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(3))
        self.out = nn.Linear(hidden, 2)
        self.register_buffer("octaves", torch.pi * 2.0 ** torch.arange(bands), persistent=False)

    def features(self, coords: Tensor) -> Tensor:
        """Position features ``(b, n, width + 8 bands)`` of points ``(b, n, 2)``."""
        shifted = coords - self.centre
        angle = torch.atan2(shifted[..., 1], shifted[..., 0])
        polar = torch.cat([coords, angle.unsqueeze(-1), shifted.norm(dim=-1, keepdim=True)], dim=-1)
        waves = (polar.unsqueeze(-1) * self.octaves).flatten(-2)
        return torch.cat([self.position(polar), waves.sin(), waves.cos()], dim=-1)

    def forward(self, coords: Tensor, code: Tensor | None = None) -> Tensor:
        """Map points ``(b, n, 2)``, with a shape code ``(b, k)``, to deformed points ``(b, n, 2)``."""
        features = self.features(coords)
        if code is not None:
            shape = self.code(code).unsqueeze(1).expand(-1, coords.shape[1], -1)
            features = torch.cat([shape, features], dim=-1)
        else:
            features = self.no_code(features)
        for layer in self.hidden:
            features = layer(features).tanh()
        return coords + coords * self.out(features)


class _FourierWeights(nn.Module):
    """A complex channel mixing for each kept wave vector, ``k1`` in ``-m..m-1`` and ``k2`` in ``0..m-1``.

    The weights are two arrays ``(w, w, m, m)``. Rows are stored as the FFT orders them: ``k1 = 0..m-1, -m..-1``.

    Args:
        width: channels in and out.
        modes: ``m``.
    """

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.nonnegative = nn.Parameter(torch.rand(width, width, modes, modes, dtype=_complex_dtype()) / width**2)
        self.negative = nn.Parameter(torch.rand(width, width, modes, modes, dtype=_complex_dtype()) / width**2)

    def forward(self, coefficients: Complex) -> Complex:
        """Map ``(b, w, 2m, m)`` to ``(b, w, 2m, m)``."""
        both = [torch.view_as_real(part) for part in (self.nonnegative, self.negative)]
        weights = torch.cat(both, dim=-3).to(coefficients.real.dtype)
        return mix_channels(coefficients, Complex(*weights.unbind(-1)))


def _complex_dtype() -> torch.dtype:
    return torch.complex128 if torch.get_default_dtype() == torch.float64 else torch.complex64


@PROJECTIONS.register("fourier")
class FourierProjection(nn.Module):
    """A point cloud to a regular grid on the unit square and back, by truncated Fourier series at deformed points.

    To the grid, with wave vectors ``k`` and deformed points ``xi_n``::

        u_hat(k) = sum_n u_n exp(-2 pi i <k, xi_n>),    grid = gelu(irfft(W_in u_hat) + linear(grid coordinates))

    and back, ``u_n = Re sum_k (W_out rfft(grid))(k) exp(2 pi i <k, xi_n>) + linear(x_n)``. Inputs are ``(b, n, c_in)`` at points
    ``(b, n, 2)``, the grid is ``(b, w, r, r)``. The cost is linear in the points. Points outside the mask ``(b, n)`` do not count
    in the sum.

    Args:
        spec: the fields, on points in the plane.
        width: channels of the trunk.
        modes: wave numbers kept along each axis.
        resolution: sites of the grid along each axis.
        rows: how the half ``k2 < 0`` is restored on the way back. "symmetric" takes the conjugate partner at ``-k``, which
            makes the series real. "reference" repeats the published code, which takes it at row ``-k1 - 1``.
    """

    geometries: ClassVar = frozenset({"points"})
    wave_numbers: Tensor

    def __init__(
        self,
        spec: FieldSpec,
        width: int,
        *,
        modes: Count = 12,
        resolution: Annotated[int, Interval(ge=2, le=4096)] = 96,
        rows: Rows = "symmetric",
    ) -> None:
        super().__init__()
        if spec.space != 2:
            raise InputError(
                f"the Fourier projection supports clouds in the plane, not in {spec.space} dimensions; "
                "flare, lsm2, transolver and vit take clouds in 1 to 3 dimensions",
                options=("model",),
            )
        if modes > resolution // 2:
            raise OptionError("modes", f"is {modes}, expected 1 to half the resolution, {resolution // 2}")
        self.modes, self.resolution, self.rows = modes, resolution, rows
        self.lift = nn.Linear(spec.in_channels, width)
        self.deformation = Deformation(spec.code)
        self.weights_in = _FourierWeights(width, modes)
        self.weights_out = _FourierWeights(width, modes)
        self.grid_bias = nn.Linear(2, width)
        self.point_bias = nn.Linear(2, width)
        wave_numbers = torch.cat([torch.arange(modes), torch.arange(-modes, 0)]).to(torch.get_default_dtype())
        self.register_buffer("wave_numbers", wave_numbers, persistent=False)

    def waves(self, points: Tensor, shift: int = 0) -> tuple[Tensor, Tensor]:
        """``exp(2 pi i (k1 + shift) xi_1)`` as ``(b, n, 2, 2m)`` and ``exp(2 pi i k2 xi_2)`` as ``(b, n, 2, m)``.

        Real and imaginary parts lie on the third axis. A wave at ``k = (k1, k2)`` is the product of the two, so that no array
        over all points and wave vectors is needed.
        """
        first = waves_at(points[..., 0], self.wave_numbers + shift)
        second = waves_at(points[..., 1], self.wave_numbers[: self.modes])
        return torch.stack(first, dim=-2), torch.stack(second, dim=-2)

    def project(
        self, inputs: Tensor, coords: Tensor | None, code: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Map inputs ``(b, n, c_in)`` at coords ``(b, n, 2)`` to features ``(b, w, r, r)``."""
        kind = self.grid_bias.weight.dtype
        if kind not in (torch.float32, torch.float64):
            raise InputError(
                f"a point cloud's transforms have no {kind}; choose float32 or mixed precision", options=("precision",)
            )
        with full_precision(inputs):
            points = self.deformation(coords, code)
            values = self.lift(inputs).to(points.dtype)
            values = values if mask is None else values * mask.unsqueeze(-1)
            coefficients = self._coefficients(values, points)
            sites = (self.resolution, self.resolution)
            grid = synthesise(self.weights_in(coefficients), sites, (self.modes, self.modes))
            bias = self.grid_bias(unit_coordinates(sites, inputs)).movedim(-1, 0)
            return functional.gelu(grid + bias), (points, coords)

    def _coefficients(self, values: Tensor, points: Tensor) -> Complex:
        """``sum_n u_n exp(-2 pi i <k, xi_n>)``: values ``(b, n, w)`` at points ``(b, n, 2)`` to ``(b, w, 2m, m)``."""
        first, second = self.waves(points)
        # From left to right: the array over points, channels and waves is smaller with the waves of the second axis.
        products = torch.einsum("bnc,bnzl,bnyk->yzbckl", values, second, first)
        return Complex(products[0, 0] - products[1, 1], -products[0, 1] - products[1, 0])

    def unproject(self, features: Tensor, sites: tuple[Tensor, Tensor]) -> Tensor:
        """Map features ``(b, w, r, r)`` to the points, ``(b, n, w)``."""
        with full_precision(features):
            return self._series(features, *sites)

    def _series(self, features: Tensor, points: Tensor, coords: Tensor) -> Tensor:
        coefficients = self.weights_out(analyse(features.to(points.dtype), (self.modes, self.modes)))
        first, second = self.waves(points)
        if self.rows == "symmetric":
            # A real field's wave at -k is the conjugate of that at k: count every k2 > 0 twice and take the real part.
            shares = numbers_on(second.device, [1.0] + [2.0] * (self.modes - 1), coefficients.real.dtype)
            values = _real_series(coefficients, first, second * shares)
        else:
            # The partner of (k1, k2 > 0) lies at -k1 - 1: conjugated, its wave is that of k1 + 1.
            partners, _ = self.waves(points, shift=1)
            values = _real_series(coefficients, first, second)
            rest = Complex(coefficients.real[..., 1:], coefficients.imag[..., 1:])
            values = values + _real_series(rest, partners, second[..., 1:])
        return values + self.point_bias(coords)


def _real_series(coefficients: Complex, first: Tensor, second: Tensor) -> Tensor:
    """``Re sum_kl c_kl first_nk second_nl``.

    Args:
        coefficients: ``(b, w, k, l)``.
        first: ``(b, n, 2, k)``, real and imaginary parts on the third axis.
        second: ``(b, n, 2, l)``.
    Returns:
        ``(b, n, w)``.
    """
    real, imag = coefficients
    pairs = torch.stack([torch.stack([real, -imag]), torch.stack([-imag, -real])])
    return torch.einsum("yzbckl,bnyk,bnzl->bnc", pairs, first, second)
