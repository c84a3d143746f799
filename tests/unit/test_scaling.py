"""Exponents against costs that are known powers, and the picture of them."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lsm.plotting.scaling import draw_scaling
from lsm.scaling import fit_power_law

SITES = [10, 100, 1000, 10000]


def test_a_power_is_found_and_has_no_error():
    law = fit_power_law(SITES, [3e-4 * size**1.25 for size in SITES])
    assert (law.exponent, law.factor) == (pytest.approx(1.25), pytest.approx(3e-4))
    assert law.error == pytest.approx(0.0, abs=1e-9)
    assert law.num_sizes == 4


def test_the_error_is_that_of_linear_regression():
    costs = [1.0, 12.0, 90.0, 1100.0]
    law = fit_power_law(SITES, costs)
    (slope, _), covariance = np.polyfit(np.log(SITES), np.log(costs), 1, cov=True)
    assert law.exponent == pytest.approx(slope)
    assert law.error == pytest.approx(covariance[0, 0] ** 0.5)


def test_small_sizes_and_unknown_costs_do_not_count():
    law = fit_power_law(SITES, [50.0, 1.0, None, 100.0], fit_from=100)
    assert (law.exponent, law.error, law.num_sizes) == (pytest.approx(1.0), None, 2)
    assert fit_power_law(SITES, [1.0, None, None, 2.0], fit_from=1000) is None
    assert fit_power_law([64, 64], [1.0, 2.0]) is None, "two measurements of one size have no slope"


@pytest.mark.parametrize("sizes", [[256, 1024], [256, 300], SITES])
def test_each_axis_has_several_ticks(sizes):
    costs = [3e-5 * size for size in sizes]
    figure = draw_scaling({"time [s]": {"lsm": (sizes, costs, None)}}, "darcy")
    FigureCanvasAgg(figure).draw()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        low, high = axis.get_view_interval()
        ticks = [place for place in axis.get_majorticklocs() if low <= place <= high]
        assert 2 <= len(ticks) <= 8
        if high > 100 * low:
            np.testing.assert_allclose(np.log10(ticks) % 1, 0, atol=1e-9)


def test_the_picture_has_a_line_for_each_model_and_a_guide_below_them():
    linear, square = [2.0 * size for size in SITES], [size**2 / 100 for size in SITES]
    growths = {
        "linear": (SITES, linear, fit_power_law(SITES, linear)),
        "square": (SITES, [None, *square[1:]], fit_power_law(SITES, square)),
        "single": ([10], [7.0], None),
    }
    figure = draw_scaling({"time [s]": growths, "memory [MiB]": {"linear": growths["linear"]}}, "darcy")
    FigureCanvasAgg(figure).draw()
    first, second = figure.axes
    assert (first.get_xscale(), first.get_yscale()) == ("log", "log")
    assert [axes.get_ylabel() for axes in figure.axes] == ["time [s]", "memory [MiB]"]
    shown = {line.get_label(): line.get_xydata() for line in first.lines}
    assert list(shown) == ["linear, exponent 1.00", "square, exponent 2.00", "single", "slope 1"]
    np.testing.assert_allclose(shown["square, exponent 2.00"], np.stack([SITES[1:], square[1:]], axis=1))
    (left, low), (right, high) = shown["slope 1"]
    assert (left, right, high / low) == (10000 / 64, 10000, pytest.approx(64))
    assert 1.0 < low / left < 2.0, "closely below the lowest cost at these sizes, 2 for each site"
    assert [line.get_label() for line in second.lines] == ["linear, exponent 1.00", "slope 1"]
