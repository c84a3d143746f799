"""Draw the picture of the elasticity card: ``python -m data_prep.elasticity.card``.

Each column is one sample: above the point cloud, triangulated outside the void, below the grid version.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.patches import Rectangle
from matplotlib.tri import Triangulation

from data_prep.elasticity.generator import ElasticityGenerator
from data_prep.elasticity.mesh import void_radius

SEEDS = (0, 2, 7)
COLOURS = "viridis"
Fields = Mapping[str, np.ndarray]


def open_triangulation(points: np.ndarray, modes: np.ndarray) -> Triangulation:
    """Delaunay triangles of the sites, without those that reach into the void."""
    triangles = Triangulation(*points.T)
    corners = points[triangles.triangles]
    # A triangle across the hole has all corners in the solid; points on its edges and its centre are tested.
    ends = corners[:, [1, 2, 0]]
    along = [corners + share * (ends - corners) for share in np.linspace(0, 1, 9)]
    probes = np.concatenate([*along, corners.mean(1, keepdims=True)], axis=1)
    x, y = np.moveaxis(probes - 0.5, -1, 0)
    triangles.set_mask((np.hypot(x, y) < void_radius(modes, np.arctan2(y, x))).any(1))
    return triangles


def draw_cell(axes: Axes, modes: np.ndarray) -> None:
    """Draw the edges of the sheet and the void, the clamp at the bottom and the traction at the top."""
    angle = np.linspace(0, 2 * np.pi, 400)
    radius = void_radius(modes, angle)
    axes.plot(0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle), color="black", linewidth=0.9)
    axes.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], color="black", linewidth=0.9)
    axes.add_patch(Rectangle((0, -0.045), 1, 0.045, hatch="/////", facecolor="white", edgecolor="grey", linewidth=0))
    for x in np.linspace(0.05, 0.95, 7):
        axes.annotate("", (x, 1.11), (x, 1.0), arrowprops={"arrowstyle": "->", "color": "grey"})
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.05, 1.12), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.set(xticklabels=("0", "0.5", "1"), yticklabels=("0", "0.5", "1"))
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def draw_points(axes: Axes, fields: Fields, scale: Normalize) -> None:
    triangles = open_triangulation(fields["points"].astype(float), fields["modes"])
    axes.tripcolor(triangles, fields["stress"], shading="gouraud", norm=scale, cmap=COLOURS)
    axes.scatter(*fields["points"].T, s=1.2, color="black", alpha=0.45, linewidths=0)
    draw_cell(axes, fields["modes"])


def draw_grid(axes: Axes, fields: Fields, scale: Normalize) -> None:
    solid = np.ma.masked_where(fields["grid_mask"] == 0, fields["grid_stress"])
    line = np.linspace(0, 1, 41)
    cells = axes.pcolormesh(line, line, solid.T, shading="nearest", norm=scale, cmap=COLOURS)
    # The outermost cells are centred on the edge of the sheet; only their inner halves belong to it.
    cells.set_clip_path(Rectangle((0, 0), 1, 1, transform=axes.transData))
    draw_cell(axes, fields["modes"])


def main() -> None:
    samples = [ElasticityGenerator().solve(np.random.default_rng(seed)).fields for seed in SEEDS]
    # A square-root scale, since the stress at the void is several times that of the bulk.
    scale = PowerNorm(0.5, 0, max(float(fields["stress"].max()) for fields in samples), clip=True)
    figure, grid = plt.subplots(2, 3, figsize=(9.4, 6.6), sharex=True, sharey=True, layout="constrained")
    for column, (seed, fields) in enumerate(zip(SEEDS, samples, strict=True)):
        draw_points(grid[0, column], fields, scale)
        draw_grid(grid[1, column], fields, scale)
        stress = fields["stress"]
        title = f"seed {seed}\nmean {stress.mean():.0f} Pa, largest {stress.max():.0f} Pa"
        grid[0, column].set_title(title, fontsize=9)
        grid[1, column].set_xlabel("x")
    grid[0, 0].set_ylabel("972 points (Elasticity-P)\ny")
    grid[1, 0].set_ylabel("41 x 41 grid (Elasticity-G)\ny")
    bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=grid, shrink=0.8, ticks=[0, 25, 100, 200, 400, 600, 800])
    bar.set_label("von Mises stress, Pa (root scale)")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=105)


if __name__ == "__main__":
    main()
