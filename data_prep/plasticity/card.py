"""Draw the plasticity card: three forgings at four frames, coloured by the strain of the deformed mesh.

Run from the repository root: ``python -m data_prep.plasticity.card``.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from data_prep.plasticity.generator import TRAVEL_PER_FRAME, PlasticityGenerator, die_between_points

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.collections import PolyCollection

SEEDS = (0, 5, 6)
FRAMES = (0, 6, 12, 19)
#: Time between frames, ms.
INTERVAL = 0.1
STRAIN_LIMIT = 1.0


def corners(nodal: np.ndarray) -> np.ndarray:
    """Values ``(cells, 4, 2)`` at the corners of all cells of a nodal field ``(columns + 1, rows + 1, 2)``."""
    around = (nodal[:-1, :-1], nodal[1:, :-1], nodal[1:, 1:], nodal[:-1, 1:])
    return np.stack(around, axis=-2).reshape(-1, 4, 2)


def equivalent_strain(reference: np.ndarray, deformed: np.ndarray) -> np.ndarray:
    """Equivalent logarithmic strain of cells with the corners ``(cells, 4, 2)``, assuming constant volume.

    The squared principal stretches are the eigenvalues of ``F F^T`` with ``F`` at the centre of the cell; the result is
    ``(2/3 (e1^2 + e2^2 + e3^2))^(1/2)`` with the logarithmic strains ``e1, e2`` and ``e3 = -e1 - e2``.
    """
    diagonals = [np.stack([c[:, 2] - c[:, 0], c[:, 3] - c[:, 1]], axis=-1) for c in (reference, deformed)]
    gradient = diagonals[1] @ np.linalg.inv(diagonals[0])
    strains = 0.5 * np.log(np.linalg.eigvalsh(gradient @ gradient.transpose(0, 2, 1)))
    return np.sqrt(2 / 3 * ((strains**2).sum(axis=1) + strains.sum(axis=1) ** 2))


def draw_frame(axes: plt.Axes, die: np.ndarray, deformation: np.ndarray, frame: int) -> PolyCollection:
    """Draw one frame of a sample: the cells of the block and the die."""
    positions = deformation[:, :, frame, :2].astype(np.float64)
    cells = corners(positions)
    strain = equivalent_strain(corners(positions - deformation[:, :, frame, 2:]), cells)
    block = PolyCollection(list(cells), array=strain, cmap="YlOrRd", linewidths=0, antialiaseds=False)
    block.set_clim(0.0, STRAIN_LIMIT)
    axes.add_collection(block)
    for lines in (positions[::5], positions[:, ::5].transpose(1, 0, 2)):
        axes.plot(*lines.transpose(2, 1, 0), color="0.2", linewidth=0.3)
    x = np.linspace(*PlasticityGenerator().display["tool"]["span"], 401)
    y = die_between_points(die)(x) - TRAVEL_PER_FRAME * frame
    axes.fill_between(x, y, 26.5, color="0.82", linewidth=0)
    axes.text(-28.0, 24.4, "rigid die", ha="center", va="center", fontsize=8, color="0.25")
    axes.plot(x, y, color="0.25", linewidth=0.8)
    axes.set(xlim=(-54, 4.5), ylim=(-0.6, 26.5), aspect="equal")
    return block


def main() -> None:
    """Generate the samples and save the picture in the folder of this file."""
    figure, grid = plt.subplots(
        len(SEEDS), len(FRAMES), figsize=(13, 5.2), sharex=True, sharey=True, layout="constrained"
    )
    generator = PlasticityGenerator()
    for axes, frame in zip(grid[0], FRAMES, strict=True):
        axes.set_title(
            f"frame {frame}: {frame * INTERVAL:.1f} ms, die down {frame * TRAVEL_PER_FRAME:.1f} mm", fontsize=9
        )
    for row, seed in zip(grid, SEEDS, strict=True):
        fields = generator.solve(np.random.default_rng(seed)).fields
        for axes, frame in zip(row, FRAMES, strict=True):
            block = draw_frame(axes, fields["die"], fields["deformation"], frame)
        row[0].set_ylabel("y, mm")
    for axes in grid[-1]:
        axes.set_xlabel("x, mm")
    figure.colorbar(block, ax=grid, extend="max", label="equivalent logarithmic strain", shrink=0.8, pad=0.01)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
