"""Learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lsm.plotting.layout import LABEL_SIZE, TICK_SIZE, TITLE_SIZE, set_plain_ticks

#: With fewer epochs, each is marked by a dot.
FEW_EPOCHS = 20

#: Spelling of words in the names of metrics.
SPELLING = {"l1": "L1", "l2": "L2", "h1": "H1", "rmse": "RMSE"}


def spell(metric: str) -> str:
    """The name of a metric in words, such as ``relative L2``."""
    return " ".join(SPELLING.get(word, word) for word in metric.split("_"))


def draw_learning_curve(
    series: Mapping[str, tuple[Sequence[int], Sequence[float]]], metric: str, title: str, mark: bool = True
) -> Figure:
    """A metric against the epoch, on a logarithmic scale.

    Args:
        series: for each split or run, at least one, epochs and values, ``(n,)``, see :func:`lsm.training.history.series_of`.
        metric: name of what is drawn, such as ``relative_l2``.
        title: headline.
        mark: whether a dot marks the smallest value of the last series.
    """
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, (epochs, values) in series.items():
        axes.plot(epochs, values, linewidth=1.0, marker="." if len(epochs) < FEW_EPOCHS else None, label=name)
    if mark:
        name, (epochs, values) = list(series.items())[-1]
        best = min(range(len(values)), key=lambda i: (math.isnan(values[i]), values[i]))
        label = f"smallest {name} value: {values[best]:.4g}, epoch {epochs[best]}"
        axes.plot(epochs[best], values[best], "o", markersize=4, color="black", label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_yscale("log")
    set_plain_ticks(axes.yaxis)
    axes.set_xlabel("epoch", fontsize=LABEL_SIZE)
    axes.set_ylabel(spell(metric), fontsize=LABEL_SIZE)
    axes.set_title(title, fontsize=TITLE_SIZE)
    axes.tick_params(which="both", labelsize=TICK_SIZE)
    axes.grid(which="both", linewidth=0.3)
    axes.legend(fontsize=TICK_SIZE)
    return figure
