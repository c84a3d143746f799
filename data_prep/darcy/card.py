"""Draw the picture of the Darcy data card: ``python -m data_prep.darcy.card``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from data_prep.darcy.generator import DarcyGenerator

NUM_SAMPLES = 3
PHASES = ListedColormap(["#dbe6f2", "#35608d"])


def draw(path: Path) -> None:
    """Draw the permeability above the pressure, one column per sample; the pressures share a colour scale."""
    generator = DarcyGenerator()
    samples = [generator.solve(np.random.default_rng(seed)).fields for seed in range(NUM_SAMPLES)]
    highest = 1000 * max(float(sample["pressure"].max()) for sample in samples)
    figure, axes = plt.subplots(2, NUM_SAMPLES, figsize=(9, 5.9), sharex=True, sharey=True, layout="constrained")
    rows = (
        ("permeability a", "permeability", 1, {"cmap": PHASES, "vmin": -1.5, "vmax": 16.5}),
        ("pressure u x 1000", "pressure", 1000, {"cmap": "viridis", "vmin": 0, "vmax": highest}),
    )
    for row, (title, name, scale, colours) in enumerate(rows):
        for column, sample in enumerate(samples):
            axis = axes[row, column]
            values = scale * sample[name].T
            image = axis.imshow(values, origin="lower", extent=(0, 1, 0, 1), interpolation="nearest", **colours)
            axis.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axes[row, 0].set_ylabel("y")
        bar = figure.colorbar(image, ax=axes[row], pad=0.01, label=title)
        if name == "permeability":
            bar.set_ticks([generator.low, generator.high])
    for column in range(NUM_SAMPLES):
        axes[0, column].set_title(f"seed {column}")
        axes[1, column].set_xlabel("x")
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
