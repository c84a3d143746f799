"""Draw the data card's picture, three samples near the body: ``python -m data_prep.generators.cards.airfoil``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from data_prep.generators.airfoil import AirfoilGenerator

SEEDS = (0, 1, 2)
WINDOW_X, WINDOW_Y = (-0.45, 1.75), (-0.85, 0.95)
#: Colours end here; the few nodes beyond are drawn as if they were at the end.
MACH_RANGE, PRESSURE_RANGE = (0.2, 1.4), (0.4, 1.5)


def draw(path: Path) -> None:
    """Solve the samples and draw Mach number, pressure and mesh around each section."""
    generator = AirfoilGenerator()
    samples = [generator.solve(np.random.default_rng(seed)).fields for seed in SEEDS]
    figure, axes = plt.subplots(3, len(SEEDS), figsize=(13.0, 10.4), layout="constrained", sharex=True, sharey=True)
    section = slice(generator.mesh_options.wake_cells, -generator.mesh_options.wake_cells)
    for column, (seed, sample) in enumerate(zip(SEEDS, samples, strict=True)):
        mach = _field(axes[0, column], sample, "mach", "turbo", MACH_RANGE)
        axes[0, column].contour(sample["x"], sample["y"], sample["mach"], levels=[1.0], colors="black", linewidths=1.0)
        pressure = _field(axes[1, column], sample, "pressure", "viridis", PRESSURE_RANGE)
        for lines in ((sample["x"], sample["y"]), (sample["x"].T, sample["y"].T)):
            axes[2, column].plot(*lines, color="0.55", linewidth=0.35)
        for axis in axes[:, column]:
            axis.fill(
                sample["x"][section, 0], sample["y"][section, 0], facecolor="white", edgecolor="black", linewidth=1.0
            )
            axis.set(xlim=WINDOW_X, ylim=WINDOW_Y, aspect="equal")
        axes[0, column].set_title(f"seed {seed}")
        axes[2, column].set_xlabel("x / chord")
    for row, name in enumerate(("Mach number", "pressure", "mesh")):
        axes[row, 0].set_ylabel(f"{name}\n\ny / chord")
    figure.colorbar(mach, ax=axes[0], extend="both", label="Mach number; black line: 1")
    figure.colorbar(pressure, ax=axes[1], extend="both", label="pressure over that of the free stream")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _field(
    axis: Axes, sample: Mapping[str, np.ndarray], name: str, colours: str, limits: tuple[float, float]
) -> QuadMesh:
    return axis.pcolormesh(
        sample["x"], sample["y"], sample[name], cmap=colours, vmin=limits[0], vmax=limits[1], shading="gouraud"
    )


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
