"""Draw the architecture of the Latent Spectral Model, the first figure of the README.

Run from the repository root: ``python -m experiments.figures.architecture [FILE]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from experiments.figures.shapes import BLUE, GREEN, GREY, ORANGE, arrow, box, lattice, tokens_between_sites, waves

OUTPUT = Path("experiments/results/pictures/architecture.png")

NUM_SCALES, NUM_TOKENS = 4, 4

#: Labels of the block's parts, by their position.
LABELS = {
    0.85: "sites of a patch",
    2.72: "latent\ntokens",
    4.0: "solve: learned\nbasis functions",
    5.28: "solved\ntokens",
    7.15: "sites of the patch",
}


def draw_scale(axes: Axes, scale: int, height: float) -> None:
    """Features before and after the block of one scale; the deepest one goes up directly."""
    left, right, size, sites = 1.72 + 0.2 * scale, 5.68 - 0.2 * scale, 0.72 - 0.1 * scale, 2 ** (NUM_SCALES - scale)
    box(axes, (3.7, height), (1.3, 0.52), "spectral block", ORANGE)
    lattice(axes, (left, height), size, sites, waves(sites, 0.5))
    arrow(axes, (left + size / 2 + 0.03, height), (3.03, height))
    if scale < NUM_SCALES - 1:
        lattice(axes, (right, height), size, sites, waves(sites, 1.2))
        arrow(axes, (4.37, height), (right - size / 2 - 0.03, height))


def draw_trunk(axes: Axes) -> None:
    """The hierarchy: down, a block at every scale, up."""
    axes.set(xlim=(-0.2, 7.6), ylim=(-0.75, 5.15), aspect="equal")
    axes.set_title("Several scales", fontsize=11, loc="left", color="0.15")
    lattice(axes, (0.55, 4.2), 0.9, 16, waves(16, 0.3))
    axes.text(0.55, 4.83, "input field", ha="center", fontsize=8, color="0.2")
    lattice(axes, (6.85, 4.2), 0.9, 16, waves(16, 1.4))
    axes.text(6.85, 4.83, "output field", ha="center", fontsize=8, color="0.2")
    heights = [4.2 - 1.35 * scale for scale in range(NUM_SCALES)]
    for scale, height in enumerate(heights):
        draw_scale(axes, scale, height)
        if scale:
            above, inset = heights[scale - 1], 0.2 * scale
            arrow(axes, (1.6 + inset, above - 0.42), (1.72 + inset, height + 0.38), BLUE, 1.6)
            start = (5.68 - inset, height + 0.38) if scale < NUM_SCALES - 1 else (4.36, height + 0.2)
            arrow(axes, start, (5.8 - inset, above - 0.42), GREEN, 1.6)
    arrow(axes, (1.05, 4.2), (1.36, 4.2))
    arrow(axes, (6.03, 4.2), (6.36, 4.2))
    axes.text(1.3, 2.2, "pool,\nconvolve", ha="right", va="center", fontsize=8, color=BLUE)
    axes.text(6.1, 2.2, "up-sample,\nconvolve", ha="left", va="center", fontsize=8, color=GREEN)
    axes.text(3.7, -0.6, "each scale has half the sites per axis", ha="center", fontsize=8, color=GREY)
    axes.axis("off")


def draw_block(axes: Axes) -> None:
    """One neural spectral block on one patch."""
    axes.set(xlim=(-0.2, 8.1), ylim=(-0.75, 5.15), aspect="equal")
    axes.set_title("Neural spectral block, on each patch", fontsize=11, loc="left", color="0.15")
    heights = np.linspace(1.0, 3.7, NUM_TOKENS)
    tokens_between_sites(axes, heights, sites=0.85, tokens=2.72, solver=3.35)
    t = np.linspace(0, 1, 80)
    for index, height in enumerate(heights):
        axes.plot(3.5 + t, height + 0.24 * np.sin(2 * np.pi * (index + 1) / 2 * t), color=ORANGE, linewidth=1.1)
    equation = r"$t + \sum_k a_k\,\sin\frac{k\pi t}{N} + b_k\,\cos\frac{k\pi t}{N}$"
    axes.text(4.0, 4.3, equation, ha="center", fontsize=9, color="0.15")
    for x, text in LABELS.items():
        axes.text(x, 0.42, text, ha="center", va="top", fontsize=8, color="0.2")
    axes.text(2.1, 4.05, "attention\ngathers", ha="center", fontsize=8, color=BLUE)
    axes.text(5.95, 4.05, "attention\nspreads", ha="center", fontsize=8, color=GREEN)
    axes.text(4.0, -0.6, "cost linear in the number of sites", ha="center", fontsize=8, color=GREY)
    axes.axis("off")


def main(path: Path = OUTPUT) -> None:
    """Draw both panels."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), gridspec_kw={"width_ratios": [7.8, 8.3]})
    draw_trunk(left)
    draw_block(right)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.01, wspace=0.03)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
