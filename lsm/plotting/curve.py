"""Learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from lsm.plotting.layout import LABEL_SIZE, TICK_SIZE, TITLE_SIZE

#: So few epochs are marked one by one.
FEW_EPOCHS = 20


def draw_learning_curve(series: Mapping[str, tuple[Sequence[int], Sequence[float]]], title: str) -> Figure:
    """Error against epoch, on a logarithmic scale.

    Args:
        series: by name, epochs and their relative L2 errors; a dot marks the smallest one of the last series.
        title: headline.
    """
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, (epochs, errors) in series.items():
        axes.plot(epochs, errors, linewidth=1.0, marker="." if len(epochs) < FEW_EPOCHS else None, label=name)
    name, (epochs, errors) = list(series.items())[-1]
    best = min(range(len(errors)), key=lambda i: (math.isnan(errors[i]), errors[i]))
    label = f"smallest {name} error: {errors[best]:.4f}, epoch {epochs[best]}"
    axes.plot(epochs[best], errors[best], "o", markersize=4, color="black", label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("epoch", fontsize=LABEL_SIZE)
    axes.set_ylabel("relative L2 error", fontsize=LABEL_SIZE)
    axes.set_title(title, fontsize=TITLE_SIZE)
    axes.tick_params(which="both", labelsize=TICK_SIZE)
    axes.grid(which="both", linewidth=0.3)
    axes.legend(fontsize=TICK_SIZE)
    return figure
