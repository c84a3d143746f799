"""Power spectra: by hand, and their sum."""

import numpy as np
import pytest
import torch
from tiny import batch, moving, spec

from lsm.errors import InputError
from lsm.plotting.spectra import draw_spectrum
from lsm.spectra import measure_spectra, shell_power

CPU = torch.device("cpu")


def test_a_wave_lies_in_the_shell_of_its_number():
    x, y = torch.meshgrid(*(torch.arange(size).double() / size for size in (12, 16)), indexing="ij")
    field = 3 + 2 * torch.cos(2 * torch.pi * (3 * x + 4 * y))  # |k| = 5
    power = shell_power(field[None], [1, 2])[0]
    expected = torch.zeros(7, dtype=torch.float64)
    expected[0], expected[5] = 9.0, 2.0
    torch.testing.assert_close(power, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "fields", [spec(sites=(6, 9), targets=2), moving(2, 3, fields=2), spec(sites=(6, 5, 4), axes=("x", "y", "time"))]
)
def test_shells_sum_to_the_mean_square(fields):
    samples = [batch(fields, 3, seed) for seed in range(2)]
    found = measure_spectra(lambda given: 2 * given.targets, samples, fields, CPU)
    truth = torch.cat([part.targets for part in samples]).double()
    for number, channel in enumerate(fields.targets):
        square = truth[..., number :: len(fields.targets)].square().mean().item()
        spectrum = found[channel.name]
        np.testing.assert_allclose(spectrum.truth.sum(), square, rtol=1e-6)
        np.testing.assert_allclose(spectrum.prediction, 4 * spectrum.truth, rtol=1e-6)
        np.testing.assert_allclose(spectrum.error, spectrum.truth, rtol=1e-6)


def test_only_grids_have_spectra():
    with pytest.raises(InputError, match="regular grid"):
        measure_spectra(lambda given: given.targets, [], spec("points", (9,)), CPU)


def test_the_picture_leaves_out_the_mean_and_the_corners():
    fields = spec(sites=(8, 9))
    found = measure_spectra(lambda given: given.targets, [batch(fields, 2)], fields, CPU)["out0"]
    (axes,) = draw_spectrum(found, "title").axes
    assert [line.get_label() for line in axes.lines] == ["truth", "prediction", "error"]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), found.numbers[1:-1])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), found.truth[1:-1])
