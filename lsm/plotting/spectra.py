"""Power spectra of truth, prediction and error."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lsm.plotting.layout import LABEL_SIZE, TICK_SIZE, TITLE_SIZE, set_plain_ticks
from lsm.spectra import Spectrum

#: Power below this share of the largest one is rounding.
_LEAST = 1e-14


def draw_spectrum(spectrum: Spectrum, title: str, unit: str = "1") -> Figure:
    """Power ``(k,)`` against the wave number, both logarithmic.

    The mean of the field, wave number 0, is left out, and the last shell, which also holds all that the grid does not resolve in
    every direction.

    Args:
        spectrum: of one field.
        title: headline.
        unit: of the field.
    """
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    axes = figure.add_subplot()
    shown = slice(1, max(len(spectrum.numbers) - 1, 2))
    numbers = spectrum.numbers[shown]
    largest = max(spectrum.truth[shown].max(), spectrum.error[shown].max(), np.finfo(float).tiny)
    styles = {"truth": ("k", "-"), "prediction": ("C1", "--"), "error": ("C3", "-")}
    for name, (colour, line) in styles.items():
        power = np.maximum(getattr(spectrum, name)[shown], _LEAST * largest)
        axes.loglog(numbers, power, color=colour, linestyle=line, linewidth=1.2, label=name)
    set_plain_ticks(axes.xaxis)
    axes.set_xlabel("wave number [waves per length of an axis]", fontsize=LABEL_SIZE)
    axes.set_ylabel("power" if unit == "1" else f"power [({unit})²]", fontsize=LABEL_SIZE)
    axes.set_title(title, fontsize=TITLE_SIZE)
    axes.tick_params(which="both", labelsize=TICK_SIZE)
    axes.grid(which="major", linewidth=0.3)
    axes.legend(fontsize=TICK_SIZE)
    return figure
