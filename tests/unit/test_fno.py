"""The Fourier Neural Operator: its spectral convolution against Fourier sums written out, and what follows from them."""

import cmath
from itertools import product
from math import pi, prod

import pytest
import torch
from tiny import batch, lively, moving, scalars, spec

from lsm.errors import InputError, OptionError
from lsm.model import MODELS
from lsm.model.fno import SpectralConvolution

pytestmark = pytest.mark.numerics


def make(fields, **options):
    torch.manual_seed(0)
    return MODELS.make({"name": "fno", "width": 6, "modes": 3, "num_layers": 2, "head_width": 10, **options}, fields)


def convolution(*modes, channels=2):
    torch.manual_seed(0)
    return lively(SpectralConvolution(channels, modes)).double()


def wave_numbers(modes, sizes):
    """Kept ``k``: both signs along every axis, but not beyond what the lattice resolves; from 0 along the last axis."""
    axes = [range(-min(m, size // 2), min(m, size // 2)) for m, size in zip(modes[:-1], sizes[:-1], strict=True)]
    return product(*axes, range(min(modes[-1], sizes[-1] // 2 + 1)))


def written_out(layer, field):
    """Direct sums: coefficients of the field, mixed by the weights of their wave number, and the series of the result."""
    weights = torch.view_as_complex(layer.weights.detach())
    sizes = field.shape[2:]
    sites = list(product(*map(range, sizes)))
    result = torch.zeros_like(field)
    for k in wave_numbers(layer.modes, sizes):
        phase = {site: 2 * pi * sum(a * x / n for a, x, n in zip(k, site, sizes, strict=True)) for site in sites}
        coefficient = sum(field[(..., *site)] * cmath.exp(-1j * phase[site]) for site in sites)
        corner = sum(2**axis for axis, a in enumerate(reversed(k[:-1])) if a < 0)
        index = [a + m if a < 0 else a for a, m in zip(k, layer.modes, strict=True)]
        mixed = coefficient @ weights[(corner, ..., *index)]
        # A real field's wave at -k is the conjugate of that at k; along the last axis only 0 and n/2 are their own mirror.
        share = 1 if k[-1] in (0, sizes[-1] / 2) else 2
        for site in sites:
            result[(..., *site)] += share * (mixed * cmath.exp(1j * phase[site])).real / prod(sizes)
    return result


@pytest.mark.parametrize(
    ("modes", "sizes"),
    [
        ((3,), (8,)),
        ((2,), (7,)),
        ((3, 2), (8, 6)),
        ((2, 3), (5, 7)),
        ((1, 2, 2), (4, 4, 5)),
        pytest.param((4, 3), (6, 8), id="fewer waves along the first axis than weights"),
        pytest.param((2, 6), (6, 8), id="fewer waves along the last axis than weights"),
        pytest.param((4, 2, 3), (4, 5, 4), id="fewer waves along two axes than weights"),
    ],
)
def test_spectral_convolution_is_the_sum_written_out(modes, sizes):
    layer = convolution(*modes)
    field = torch.randn(2, 2, *sizes, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = written_out(layer, field)
    torch.testing.assert_close(layer(field), expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def few_waves(*sizes):
    """Two fields of wave numbers up to 2 on a lattice of the periodic unit square, ``(1, 2, *sizes)``."""
    axes = [2 * pi * torch.arange(size, dtype=torch.float64) / size for size in sizes]
    x, y = torch.meshgrid(*axes, indexing="ij")
    first = 0.7 + x.cos() - 0.5 * (2 * x + y).sin() + 0.3 * (2 * x - y).cos() + (2 * y).sin()
    return torch.stack([first, (x + 2 * y).sin() - (x - 2 * y).cos()])[None]


@pytest.mark.parametrize("modes", [(4, 4), (12, 12)])
def test_another_lattice_samples_the_same_field(modes):
    """Weights belong to wave numbers, not to places in a spectrum: also where the coarse lattice has fewer waves than modes."""
    layer = convolution(*modes)
    fine, coarse = layer(few_waves(32, 24)), layer(few_waves(8, 12))
    torch.testing.assert_close(fine[..., ::4, ::2], coarse, rtol=0, atol=1e-12 * coarse.abs().max().item())


def test_waves_beyond_the_modes_are_dropped():
    layer = convolution(2, 2)
    x = 2 * pi * torch.arange(16, dtype=torch.float64) / 16
    high = (5 * x).cos()[:, None] * (3 * x).cos()
    low = few_waves(16, 16)
    torch.testing.assert_close(layer(low + high), layer(low), rtol=0, atol=1e-10)


def test_every_weight_is_used():
    """But for the imaginary part that multiplies a mean, of which only the real part remains."""
    layer = convolution(3, 2)
    layer(torch.randn(1, 2, 8, 8, dtype=torch.float64)).square().sum().backward()
    real, imaginary = layer.weights.grad.unbind(-1)
    assert (real != 0).all()
    used = imaginary != 0
    used[0, :, :, 0, 0] = True
    assert used.all()


def test_transforms_keep_full_precision_in_mixed_precision():
    layer, field = convolution(3, 2).float(), torch.randn(2, 2, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, rounded = layer(field), layer(field.bfloat16())
    assert torch.equal(found, layer(field))
    assert torch.equal(rounded, layer(field.bfloat16().float()))
    assert rounded.dtype == torch.float32


@pytest.mark.parametrize("sites", [(16,), (12, 9), (6, 5, 7)])
def test_fields_of_any_rank(sites):
    fields = spec(sites=sites, inputs=2, targets=3)
    assert make(fields)(batch(fields).inputs).shape == (3, *sites, 3)


def test_a_trained_lattice_is_not_a_limit():
    model = make(spec("mesh", sites=(12, 9), inputs=2), modes=[4, 2]).eval()
    for sites in ((12, 9), (24, 18), (5, 4), (3, 2)):
        assert model(torch.randn(2, *sites, 2)).shape == (2, *sites, 1)


def without_coordinates(model):
    with torch.no_grad():
        model.lift.weight[:, -2:] = 0
    return model.double()


def test_a_shifted_periodic_field_gives_the_shifted_output():
    """Without padding, and without the coordinates that tell sites apart."""
    fields = spec(sites=(8, 12), inputs=2)
    inputs = batch(fields).inputs.double()
    shift = {"shifts": (3, -5), "dims": (1, 2)}
    model = without_coordinates(make(fields, padding=0))
    found, expected = model(inputs.roll(**shift)), model(inputs).roll(**shift)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (model(inputs) - expected).abs().max() > 1e-3
    padded = without_coordinates(make(fields, padding=2))
    assert (padded(inputs.roll(**shift)) - padded(inputs).roll(**shift)).abs().max() > 1e-3


def test_the_layers_by_hand():
    """``gelu(spectral(u) + W u)``, the last one without its activation, on a lattice with zeros at its end."""
    fields = spec(sites=(5, 4))
    model = make(fields, padding=3)
    inputs = batch(fields).inputs
    unit = torch.stack(torch.meshgrid(torch.linspace(0, 1, 5), torch.linspace(0, 1, 4), indexing="ij"), dim=-1)
    lifted = model.lift(torch.cat([inputs, unit.expand(3, 5, 4, 2)], dim=-1))
    features = torch.zeros(3, 8, 7, 6)
    features[:, :5, :4] = lifted
    for index in range(2):
        spectral = model.spectral[index](features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        features = spectral + model.pointwise[index](features)
        features = torch.nn.functional.gelu(features) if index == 0 else features
    torch.testing.assert_close(model(inputs), model.head(features[:, :5, :4]))


@pytest.mark.parametrize(
    ("fields", "in_channels", "out_channels"),
    [
        (spec(sites=(8,), inputs=2, targets=3), 2, 3),
        (spec(parameters=scalars("mach", "angle")), 1 + 2, 1),
        (moving(num_inputs=5, fields=2), 5 * 2, 2),
        (spec(sites=(4, 4, 4)), 1, 1),
    ],
)
def test_number_of_parameters(fields, in_channels, out_channels):
    rank, width, layers, head = len(fields.sites), 6, 2, 10
    modes = [3, 2, 4][:rank]
    expected = (in_channels + rank + 1) * width
    expected += layers * (2 * 2 ** (rank - 1) * width**2 * prod(modes) + width**2 + width)
    expected += (width + 1) * head + (head + 1) * out_channels
    assert sum(parameter.numel() for parameter in make(fields, modes=modes).parameters()) == expected


def test_a_cloud_is_refused_with_the_families_that_serve_it():
    with pytest.raises(InputError, match="model fno does not support 'points' sites; models that do: flare, lsm, "):
        make(spec("points", (9,)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": [3]}, "modes is [3], expected one number per axis of a grid of rank 2"),
        (
            {"modes": 0},
            "modes is 0, expected a whole number of at least 1 or a list, each item a whole number of at least 1",
        ),
        ({"padding": -1}, "padding is -1, expected a whole number from 0 to 64"),
        ({"num_scales": 2}, "num_scales is no option of FourierNeuralOperator; its options: width, modes, num_layers"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(OptionError) as caught:
        make(spec(), **options)
    assert str(caught.value).startswith(message)
