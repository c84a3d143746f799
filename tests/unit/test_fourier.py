"""Truncated transforms against the FFT."""

import pytest
import torch
from tiny import spec

from lsm.model import MODELS
from lsm.model.fourier import Complex, analyse, mix_channels, signed_wave_numbers, synthesise

SIZES = [((3,), (8,)), ((3,), (7,)), ((3, 2), (8, 6)), ((2, 3), (5, 7)), ((9, 9), (8, 6)), ((2, 2, 3), (6, 5, 4))]


def kept(spectrum, modes, sizes):
    """The places of a whole half-spectrum that :func:`analyse` returns."""
    for axis, (mode, size) in enumerate(zip(modes[:-1], sizes[:-1], strict=True), start=1):
        spectrum = spectrum.index_select(axis, torch.tensor(signed_wave_numbers(mode, size)) % size)
    return spectrum[..., : modes[-1]]


@pytest.mark.parametrize(("modes", "sizes"), SIZES)
def test_coefficients_are_those_of_the_fft(modes, sizes):
    field = torch.randn(2, *sizes, dtype=torch.float64)
    expected = kept(torch.fft.rfftn(field, dim=tuple(range(1, len(sizes) + 1))), modes, sizes)
    found = analyse(field, modes)
    torch.testing.assert_close(torch.complex(*found), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("modes", "sizes"), SIZES)
def test_the_field_is_that_of_the_inverse_fft(modes, sizes):
    """Also for coefficients that no real field has, of which the FFT drops the same part."""
    axes = tuple(range(1, len(sizes) + 1))
    coefficients = Complex(*(torch.randn_like(part) for part in analyse(torch.zeros(2, *sizes).double(), modes)))
    spectrum = torch.zeros(2, *sizes[:-1], sizes[-1] // 2 + 1, dtype=torch.complex128)
    index = torch.arange(spectrum[0].numel()).reshape(1, *spectrum.shape[1:])
    places = kept(index, modes, sizes).flatten()
    spectrum.view(2, -1)[:, places] = torch.complex(*coefficients).reshape(2, -1)
    expected = torch.fft.irfftn(spectrum, s=sizes, dim=axes)
    torch.testing.assert_close(synthesise(coefficients, sizes, modes), expected, rtol=0, atol=1e-14)


def test_channels_are_mixed_as_complex_numbers():
    coefficients, weights = (
        torch.randn(2, 3, 4, 5, dtype=torch.complex128),
        torch.randn(3, 6, 4, 5, dtype=torch.complex128),
    )
    found = mix_channels(*(Complex(value.real, value.imag) for value in (coefficients, weights)))
    expected = torch.einsum("bikl,iokl->bokl", coefficients, weights)
    torch.testing.assert_close(torch.complex(*found), expected)


@pytest.mark.parametrize(
    ("name", "options"), [("fno", {"modes": 3}), ("ffno", {"modes": 3, "num_layers": 2}), ("lsm2", {"modes": 2})]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_weights_of_half_precision_give_fields_of_it(name, options, dtype, tolerance):
    """The transforms compute in full precision; the layers that follow take half precision alone."""
    torch.manual_seed(0)
    model, inputs = MODELS.make({"name": name, "width": 8, **options}, spec(sites=(12, 9))), torch.randn(2, 12, 9, 1)
    expected = model(inputs)
    found = model.to(dtype)(inputs.to(dtype))
    assert found.dtype == dtype
    assert (found - expected).norm() < tolerance * expected.norm()
