"""Truncated Fourier transforms in real arithmetic: a few waves on a lattice, or at any points.

Where only a few wave numbers of each axis are kept, a transform is one small matrix product per axis: it costs less than a whole
FFT, and it exports to formats that know no complex numbers. Complex arrays are pairs of real and imaginary part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from annotated_types import Interval
from torch import Tensor

from lsm.device import numbers_on
from lsm.fields import FieldSpec
from lsm.model.grid import per_axis

#: Sites that are added at the end of each axis.
Padding = Annotated[int, Interval(ge=0, le=64)]


def padding_of(spec: FieldSpec, padding: Padding | Sequence[Padding] | None) -> list[int]:
    """Sites that are added along each axis: as given, else 8, or none for periodic fields, as a Fourier transform takes them.

    Raises:
        OptionError: there are more or fewer numbers than axes.
    """
    fitting = 0 if spec.periodic else 8
    return per_axis("padding", fitting if padding is None else padding, len(spec.sites))


class Complex(NamedTuple):
    """A complex array as two real ones of equal shape; ``@`` multiplies ``(..., i, j)`` by ``(..., j, k)``.

    Example:
        >>> unit = Complex(torch.zeros(1, 1), torch.ones(1, 1))
        >>> (unit @ unit).real
        tensor([[-1.]])
    """

    real: Tensor
    imag: Tensor

    def __matmul__(self, other: Complex) -> Complex:
        return Complex(
            self.real @ other.real - self.imag @ other.imag,
            self.real @ other.imag + self.imag @ other.real,
        )

    def conj(self) -> Complex:
        """The complex conjugate, of the same shape."""
        return Complex(self.real, -self.imag)


def signed_wave_numbers(modes: int, size: int) -> list[int]:
    """Kept wave numbers ``0..m-1, -m..-1`` of ``(size,)`` sites, in the order of an FFT; at most as many as these resolve."""
    kept = min(modes, size // 2)
    return [*range(max(kept, 1)), *range(-kept, 0)]


def nonnegative_wave_numbers(modes: int, size: int) -> list[int]:
    """Kept wave numbers ``0..m-1`` of a real field ``(size,)``; at most as many as its sites resolve."""
    return list(range(min(modes, size // 2 + 1)))


def waves_at(positions: Tensor, wave_numbers: Tensor) -> Complex:
    """``exp(2 pi i k x)``: positions ``(..., n)`` and wave numbers ``(k,)`` to ``(..., n, k)``."""
    phases = 2 * torch.pi * positions.unsqueeze(-1) * wave_numbers
    return Complex(phases.cos(), phases.sin())


def _lattice_waves(wave_numbers: Sequence[int], size: int, like: Tensor) -> Complex:
    """``exp(2 pi i k j / n)`` at the sites ``j = 0..n-1`` of a periodic lattice, ``(n, k)``.

    ``k j`` is reduced modulo ``n`` in integers, so that no phase loses digits.
    """
    sites = torch.arange(size, device=like.device)
    turns = sites.unsqueeze(-1) * numbers_on(like.device, wave_numbers) % size
    phases = turns.to(like.dtype) * (2 * torch.pi / size)
    return Complex(phases.cos(), phases.sin())


def analysis_matrix(modes: int, size: int, like: Tensor) -> Tensor:
    """From a real line of ``n`` sites to its kept coefficients, ``(n, 2 k)``: first the real parts, then the imaginary parts."""
    return torch.cat(_lattice_waves(nonnegative_wave_numbers(modes, size), size, like).conj(), dim=-1)


def synthesis_matrix(modes: int, size: int, like: Tensor) -> Tensor:
    """From kept coefficients to the real line of ``n`` sites, ``(2 k, n)``: the inverse of :func:`analysis_matrix`."""
    kept = nonnegative_wave_numbers(modes, size)
    waves = _lattice_waves(kept, size, like)
    # A real field's wave at -k is the conjugate of that at k; only 0 and n / 2 are their own mirror image.
    shares = numbers_on(like.device, [(1 if k in (0, size / 2) else 2) / size for k in kept], like.dtype)
    return torch.cat([waves.real * shares, -waves.imag * shares], dim=-1).T


def analyse(field: Tensor, modes: Sequence[int]) -> Complex:
    """Kept coefficients ``sum_j f_j exp(-2 pi i <k, j / n>)`` of a real field.

    Args:
        field: ``(..., *n)``.
        modes: ``m`` for each axis of the lattice.
    Returns:
        ``(..., *k)``: wave numbers of both signs along all axes but the last one, see :func:`signed_wave_numbers`.
    """
    *sizes, last = field.shape[-len(modes) :]
    # A contiguous copy makes this one matrix product; PyTorch is several times slower on a field with permuted axes.
    spectrum = Complex(*(field.contiguous() @ analysis_matrix(modes[-1], last, field)).chunk(2, dim=-1))
    for axis, (size, mode) in enumerate(zip(sizes, modes, strict=False), start=-len(modes)):
        waves = _lattice_waves(signed_wave_numbers(mode, size), size, field).conj()
        spectrum = _along(axis, spectrum, waves)
    return spectrum


def synthesise(spectrum: Complex, sizes: Sequence[int], modes: Sequence[int]) -> Tensor:
    """The real field of some coefficients on a lattice: the inverse of :func:`analyse`, with the factor ``1 / prod(n)``.

    Args:
        spectrum: ``(..., *k)``.
        sizes: ``n`` for each axis.
        modes: ``m`` for each axis.
    Returns:
        ``(..., *n)``.
    """
    like = spectrum.real
    for axis, (size, mode) in enumerate(zip(sizes[:-1], modes, strict=False), start=-len(sizes)):
        waves = _lattice_waves(signed_wave_numbers(mode, size), size, like)
        spectrum = _along(axis, spectrum, Complex(waves.real.T / size, waves.imag.T / size))
    return torch.cat(spectrum, dim=-1) @ synthesis_matrix(modes[-1], sizes[-1], like)


def _along(axis: int, values: Complex, matrix: Complex) -> Complex:
    """Multiply the axis of ``values`` by ``matrix`` ``(old, new)``, in one real product as :func:`mix_channels`."""
    block = torch.cat([torch.cat(matrix, dim=1), torch.cat([-matrix.imag, matrix.real], dim=1)])
    moved = (torch.cat(values, dim=axis).flatten(axis + 1).mT @ block).mT
    return Complex(*moved.unflatten(-1, values.real.shape[axis + 1 :]).chunk(2, dim=axis))


def mix_channels(coefficients: Complex, weights: Complex) -> Complex:
    """Multiply by a channel matrix for each wave vector: ``(b, i, *k)`` and ``(i, o, *k)`` to ``(b, o, *k)``.

    Axes of length 1 of the weights serve every index.
    """
    return Complex(*torch.einsum("pbi...,pqio...->qbo...", torch.stack(coefficients), real_product(weights)))


def real_product(factor: Complex) -> Tensor:
    """What multiplies real and imaginary part (first axis) to give those of the product (second axis): ``(2, 2, *n)``."""
    real, imag = factor
    return torch.stack([torch.stack([real, imag]), torch.stack([-imag, real])])
