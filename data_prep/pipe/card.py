"""Draw the picture of the pipe data card, three samples in physical space: ``python -m data_prep.pipe.card``."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from data_prep.pipe.generator import PipeGenerator

NUM_SAMPLES = 3
QUANTITIES = {
    "velocity_x": ("horizontal velocity", "viridis"),
    "velocity_y": ("vertical velocity", "RdBu_r"),
    "pressure": ("pressure", "cividis"),
}


def draw(path: Path) -> None:
    """Solve samples 0, 1, 2 and draw all fields, with one colour scale per field and equal axes."""
    generator = PipeGenerator()
    samples = [generator.solve(np.random.default_rng(seed)).fields for seed in range(NUM_SAMPLES)]
    heights = [float(np.ptp(sample["y"])) + 0.5 for sample in samples]
    figure, axes = plt.subplots(
        NUM_SAMPLES,
        len(QUANTITIES),
        figsize=(15.0, 1.4 + 0.45 * sum(heights)),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for column, (name, (title, colours)) in enumerate(QUANTITIES.items()):
        values = np.stack([sample[name] for sample in samples])
        low, high = float(values.min()), float(values.max())
        if colours == "RdBu_r":
            low, high = -max(-low, high), max(-low, high)
        for row, sample in enumerate(samples):
            axis = axes[row, column]
            image = axis.pcolormesh(
                sample["x"], sample["y"], sample[name], cmap=colours, vmin=low, vmax=high, shading="gouraud"
            )
            axis.set_aspect("equal")
            axis.set_xlim(-0.1, 10.1)
            axis.set_ylim(sample["y"].min() - 0.15, sample["y"].max() + 0.15)
            axis.plot(sample["x"][:, [0, -1]], sample["y"][:, [0, -1]], color="black", linewidth=0.8)
            if row == NUM_SAMPLES - 1:
                axis.set_xlabel("x")
            else:
                axis.set_xticklabels([])
            if column == 0:
                axis.set_ylabel("y")
                axis.text(0.01, 0.97, f"seed {row}", transform=axis.transAxes, va="top")
        axes[0, column].set_title(title)
        figure.colorbar(image, ax=axes[:, column], location="bottom", shrink=0.8, aspect=40, pad=0.02)
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
