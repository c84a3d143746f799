"""Draw the picture of the airfoil data card, three samples near the section: ``python -m data_prep.airfoil.card``."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from data_prep.airfoil.generator import AirfoilGenerator

SEEDS = (0, 1, 2)
WINDOW_X, WINDOW_Y = (-0.45, 1.65), (-0.75, 0.95)
#: Part of the window in which the mesh is drawn; elsewhere its lines are too dense.
MESH_X, MESH_Y = (-0.12, 0.5), (-0.2, 0.3)
#: Symmetric about 1, so that white means sonic flow.
MACH_RANGE = (0.4, 1.6)


def draw(path: Path) -> None:
    """Solve the samples and draw the Mach number around and on each section, and the mesh at the nose."""
    generator = AirfoilGenerator()
    samples = [generator.solve(np.random.default_rng(seed)).fields for seed in SEEDS]
    figure, axes = plt.subplots(3, len(SEEDS), figsize=(12.0, 9.0), height_ratios=(1.0, 0.6, 1.0), layout="compressed")
    wake, nose = generator.mesh_options.wake_cells, generator.mesh_options.shape[0] // 2
    for (field, surface, mesh), seed, sample in zip(axes.T, SEEDS, samples, strict=True):
        x, y, mach = sample["x"], sample["y"], sample["mach"]
        image = field.pcolormesh(
            x, y, mach, cmap="RdBu_r", vmin=MACH_RANGE[0], vmax=MACH_RANGE[1], shading="gouraud", rasterized=True
        )
        field.contour(x, y, mach, levels=[1.0], colors="black", linewidths=0.8)
        for side, colour, label in (
            (slice(wake, nose + 1), "tab:red", "upper"),
            (slice(nose, -wake), "tab:blue", "lower"),
        ):
            surface.plot(x[side, 0], mach[side, 0], ".-", color=colour, markersize=3.0, linewidth=1.0, label=label)
        surface.axhline(1.0, color="black", linewidth=0.8)
        mesh.plot(x, y, color="0.6", linewidth=0.4)
        mesh.plot(x.T, y.T, color="0.6", linewidth=0.4)
        for axis in (field, mesh):
            axis.fill(x[wake:-wake, 0], y[wake:-wake, 0], facecolor="white", edgecolor="black", linewidth=1.0)
        field.set(xlim=WINDOW_X, ylim=WINDOW_Y, aspect="equal", title=f"seed {seed}", xlabel="x / chord")
        surface.set(xlim=(-0.03, 1.03), ylim=(0.0, 1.7), xlabel="x / chord")
        mesh.set(xlim=MESH_X, ylim=MESH_Y, aspect="equal", xlabel="x / chord")
    for row, label in enumerate(("y / chord", "surface Mach number", "y / chord")):
        axes[row, 0].set_ylabel(label)
    axes[1, 1].legend(loc="upper right")
    figure.colorbar(image, ax=axes[0], extend="both", label="Mach number; black line: 1", shrink=0.9)
    figure.align_ylabels(axes[:, 0])
    figure.savefig(path, dpi=80, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
