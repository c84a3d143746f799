"""Draw the picture of the Navier-Stokes data card: ``python -m data_prep.navier_stokes.card``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import TwoSlopeNorm

from data_prep.generation.generator import Sample
from data_prep.navier_stokes.generator import NavierStokesGenerator

SEEDS = (0, 1, 2)
TIMES = (0, 1, 5, 10, 15, 20)


def draw(samples: list[Sample], path: Path) -> None:
    """Draw one row per sample and one column per time; each column has its own colour scale, since the flow grows tenfold."""
    figure, axes = plt.subplots(
        len(samples), len(TIMES), figsize=(10.5, 6.1), sharex=True, sharey=True, layout="constrained"
    )
    for column, time in enumerate(TIMES):
        frames = [
            sample.fields["vorticity"][..., time - 1] if time else sample.fields["initial_vorticity"]
            for sample in samples
        ]
        limit = max(np.abs(frame).max() for frame in frames)
        for axis, frame in zip(axes[:, column], frames, strict=True):
            image = axis.imshow(
                frame.T,
                origin="lower",
                extent=(0, 1, 0, 1),
                cmap="RdBu_r",
                norm=TwoSlopeNorm(0, -limit, limit),
                interpolation="nearest",
            )
            axis.set(xticks=(0, 1), yticks=(0, 1))
        axes[0, column].set_title(f"t = {time}")
        axes[-1, column].set_xlabel("x", labelpad=-8)
        figure.colorbar(image, ax=axes[:, column], location="bottom", shrink=0.85, aspect=14)
    for row, axis in enumerate(axes[:, 0]):
        axis.set_ylabel(f"sample {row + 1}\ny", labelpad=-4)
    figure.suptitle("Vorticity (dimensionless) of three samples; colour scale by column")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    generator = NavierStokesGenerator()
    samples = [generator.solve(np.random.default_rng(seed)) for seed in SEEDS]
    draw(samples, Path(__file__).with_suffix(".png"))


if __name__ == "__main__":
    main()
