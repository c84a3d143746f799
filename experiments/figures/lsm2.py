"""Draw the architecture of LSM-2, for the README.

Run from the repository root: ``python -m experiments.figures.lsm2 [FILE]``.
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

OUTPUT = Path("experiments/results/pictures/lsm2_architecture.png")

NUM_SCALES, NUM_TOKENS = 4, 4
TOP, STEP, LEFT, RIGHT = 4.3, 1.2, 1.5, 5.4

#: What happens to the tokens, by the height at which it is written.
SOLVING = {
    3.35: "sum of sines and cosines,\nlearned frequencies",
    2.35: "channels mix",
    1.35: "tokens mix",
}


def draw_pyramid(axes: Axes) -> None:
    """The pyramid on a lattice: down, up, and a block on the coarsest scale."""
    axes.set(xlim=(-0.3, 7.6), ylim=(-0.75, 5.3), aspect="equal")
    axes.set_title("Pyramid on a lattice", fontsize=11, loc="left", color="0.15")
    for scale in range(NUM_SCALES):
        height, sites, size = TOP - STEP * scale, 2 ** (NUM_SCALES - scale), 0.8 - 0.1 * scale
        if scale < NUM_SCALES - 1:
            lattice(axes, (LEFT, height), size, sites, waves(sites, 0.5))
            arrow(axes, (LEFT + 0.5, height), (RIGHT - 0.5, height))
            axes.text((LEFT + RIGHT) / 2, height + 0.06, "add", ha="center", va="bottom", fontsize=7, color=GREY)
            arrow(axes, (LEFT, height - size / 2 - 0.03), (LEFT, height - STEP + 0.38), BLUE, 1.6)
            arrow(axes, (RIGHT, height - STEP + 0.38), (RIGHT, height - size / 2 - 0.03), GREEN, 1.6)
        else:
            lattice(axes, (LEFT, height), size, sites, waves(sites, 0.5))
            box(axes, ((LEFT + RIGHT) / 2, height), (1.9, 0.56), "global spectral block", ORANGE)
            arrow(axes, (LEFT + 0.3, height), (2.44, height))
            arrow(axes, (4.46, height), (RIGHT - 0.3, height))
        lattice(axes, (RIGHT, height), size, sites, waves(sites, 1.2))
    arrow(axes, (0.62, TOP), (LEFT - 0.46, TOP))
    arrow(axes, (RIGHT + 0.48, TOP), (6.3, TOP))
    axes.text(6.36, TOP, "head:\noutput", ha="left", va="center", fontsize=7.5, color="0.2")
    axes.text(0.56, TOP, "lift:\ninput", ha="right", va="center", fontsize=7.5, color="0.2")
    middle = TOP - 1.5 * STEP
    axes.text(
        LEFT - 0.5, middle, "every 2nd site,\nresidual\nconvolutions", ha="right", va="center", fontsize=8, color=BLUE
    )
    axes.text(
        RIGHT + 0.5, middle, "interpolate,\nresidual convolutions", ha="left", va="center", fontsize=8, color=GREEN
    )
    axes.text(3.45, -0.6, "every norm is of one sample", ha="center", fontsize=8, color=GREY)
    axes.axis("off")


def draw_block(axes: Axes) -> None:
    """The global spectral block."""
    axes.set(xlim=(-0.2, 8.1), ylim=(-0.75, 5.3), aspect="equal")
    axes.set_title("Global spectral block", fontsize=11, loc="left", color="0.15")
    tokens_between_sites(axes, np.linspace(1.0, 3.7, NUM_TOKENS), sites=0.75, tokens=2.42, solver=2.9)
    for height, text in SOLVING.items():
        axes.text(4.0, height, text, ha="center", va="center", fontsize=7.5, color="0.15")
    for height in (2.85, 1.85):
        arrow(axes, (4.0, height + 0.16), (4.0, height - 0.16), ORANGE)
    axes.text(
        4.0, 4.3, r"$t + \sum_k A_k\,\sin\,\omega_k t + B_k\,\cos\,\omega_k t$", ha="center", fontsize=9, color="0.15"
    )
    axes.text(1.85, 4.05, "read:\nattention", ha="center", fontsize=8, color=BLUE)
    axes.text(6.15, 4.05, "write:\nattention", ha="center", fontsize=8, color=GREEN)
    for x, text in {
        0.75: "all sites",
        2.42: "tokens, made\nfrom the field",
        5.58: "solved\ntokens",
        7.25: "all sites",
    }.items():
        axes.text(x, 0.42, text, ha="center", va="top", fontsize=8, color="0.2")
    axes.text(4.0, -0.6, "cost linear in the number of sites", ha="center", fontsize=8, color=GREY)
    axes.axis("off")


def draw_cloud(axes: Axes) -> None:
    """The way of a cloud of points through the pyramid."""
    axes.set(xlim=(0.3, 15.3), ylim=(-0.1, 1.7), aspect="equal")
    axes.set_title("Clouds of points", fontsize=11, loc="left", color="0.15")
    random = np.random.default_rng(1).uniform(-0.5, 0.5, (2, 40))
    middle = 0.75
    for centre, phase in ((1.0, 0.4), (8.8, 1.0), (14.6, 1.1)):
        colours = np.sin(4 * random[0] + phase) * np.cos(5 * random[1] - phase)
        axes.scatter(centre + random[0], middle + random[1], c=colours, s=9, cmap="viridis")
    lattice(axes, (3.6, middle), 1.0, 8, waves(8, 0.5))
    box(axes, (6.0, middle), (1.5, 0.56), "pyramid", GREY)
    box(axes, (11.7, middle), (1.9, 0.56), "feedforward layer", GREY)
    steps = {
        (1.65, 3.0): "spread",
        (4.2, 5.15): "",
        (6.85, 8.15): "interpolate",
        (9.45, 10.65): "at each point",
        (12.75, 13.95): "head",
    }
    for (start, end), text in steps.items():
        arrow(axes, (start, middle), (end, middle))
        axes.text((start + end) / 2, middle + 0.1, text, ha="center", va="bottom", fontsize=8, color="0.2")
    axes.axis("off")


def main(path: Path = OUTPUT) -> None:
    """Draw the three panels."""
    figure = plt.figure(figsize=(12, 6.2))
    grid = figure.add_gridspec(2, 2, height_ratios=[4.6, 1.6], width_ratios=[7.9, 8.3])
    draw_pyramid(figure.add_subplot(grid[0, 0]))
    draw_block(figure.add_subplot(grid[0, 1]))
    draw_cloud(figure.add_subplot(grid[1, :]))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.01, wspace=0.03, hspace=0.12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
