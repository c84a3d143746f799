"""The Factorised Fourier Neural Operator: its convolutions against FFTs, and what follows from them."""

import pytest
import torch
from tiny import batch, lively, moving, spec
from torch.nn.functional import pad

from lsm.errors import InputError, OptionError
from lsm.model import MODELS
from lsm.model.ffno import AxisConvolutions

pytestmark = pytest.mark.numerics


def make(fields, **options):
    torch.manual_seed(0)
    return MODELS.make({"name": "ffno", "width": 6, "modes": 3, "num_layers": 2, "head_width": 10, **options}, fields)


def convolutions(*modes):
    torch.manual_seed(0)
    return lively(AxisConvolutions(3, modes)).double()


@pytest.mark.parametrize(
    ("modes", "sizes"),
    [((3,), (8,)), ((2, 4), (9, 8)), ((1, 2, 3), (4, 5, 6)), pytest.param((6, 2), (5, 4), id="more modes than waves")],
)
def test_the_sum_of_filtered_spectra(modes, sizes):
    layer = convolutions(*modes)
    field = torch.randn(2, 3, *sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.zeros_like(field)
    for axis, (mode, size) in enumerate(zip(modes, sizes, strict=True)):
        spectrum = torch.fft.rfft(field.movedim(axis + 2, -1))
        kept = min(mode, spectrum.shape[-1])
        weights = torch.view_as_complex(layer.weights[axis].detach())[..., :kept]
        mixed = torch.einsum("bi...k,iok->bo...k", spectrum[..., :kept], weights)
        series = torch.fft.irfft(pad(mixed, (0, spectrum.shape[-1] - kept)), n=size)
        expected += series.movedim(-1, axis + 2)
    torch.testing.assert_close(layer(field), expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_a_shift_of_the_field_shifts_the_result():
    layer, field = convolutions(2, 3), torch.randn(1, 3, 8, 7, dtype=torch.float64)
    moved = layer(field.roll((3, 2), dims=(2, 3)))
    torch.testing.assert_close(moved, layer(field).roll((3, 2), dims=(2, 3)))


@pytest.mark.parametrize("fields", [spec(sites=(9,)), spec("mesh", (7, 6), 2, 3), spec(sites=(4, 5, 6)), moving()])
def test_fields_of_every_rank(fields):
    inputs = batch(fields).inputs
    assert make(fields)(inputs).shape == (3, *fields.sites, fields.out_channels)


def test_the_last_update_is_read_out():
    """Without the fields that its layer adds it to, as in the public code."""
    model = make(spec(sites=(8, 7)), num_layers=1, padding=0)
    inputs = torch.randn(2, 8, 7, 1)
    model.feedforward[0][2].bias.data.zero_()
    model.feedforward[0][2].parametrizations.weight.original0.data.zero_()
    torch.testing.assert_close(model(inputs), model.head(torch.zeros(6)).expand(2, 8, 7, 1))


def test_what_it_does_not_serve():
    with pytest.raises(InputError, match="model ffno does not support 'points' sites"):
        make(spec("points", sites=(9,)))
    with pytest.raises(OptionError, match=r"modes is \[3, 3, 3\], expected one number per axis of a grid of rank 2"):
        make(spec(), modes=[3, 3, 3])


def test_published_size():
    """Of the airfoil; the public code counts alike."""
    model = MODELS.make({"name": "ffno", "modes": [32, 16]}, spec("mesh", sites=(221, 51), inputs=2))
    assert sum(parameter.numel() for parameter in model.parameters()) == 10_247_938
