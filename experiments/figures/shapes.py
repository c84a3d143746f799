"""Shapes that the drawings of the architectures share."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

BLUE, ORANGE, GREEN, GREY = "#2f6db5", "#d9822b", "#3d9a6a", "#5a6270"


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = GREY, width: float = 1.2
) -> None:
    """A straight arrow."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=colour, linewidth=width))


def box(axes: Axes, centre: tuple[float, float], size: tuple[float, float], text: str, colour: str) -> None:
    """A rounded box with a label."""
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=colour, edgecolor="none", alpha=0.92))
    axes.text(*centre, text, ha="center", va="center", color="white", fontsize=8)


def lattice(axes: Axes, centre: tuple[float, float], size: float, cells: int, values: np.ndarray) -> None:
    """A small field on a lattice."""
    left, bottom = centre[0] - size / 2, centre[1] - size / 2
    axes.imshow(values, extent=(left, left + size, bottom, bottom + size), cmap="viridis", zorder=2)
    for line in np.linspace(0, size, cells + 1):
        axes.plot([left + line] * 2, [bottom, bottom + size], color="w", linewidth=0.4, zorder=3)
        axes.plot([left, left + size], [bottom + line] * 2, color="w", linewidth=0.4, zorder=3)
    axes.add_patch(Rectangle((left, bottom), size, size, fill=False, edgecolor=GREY, linewidth=0.8, zorder=4))


def waves(count: int, phase: float) -> np.ndarray:
    """A smooth field ``(count, count)``."""
    x, y = np.meshgrid(np.linspace(0, 1, count), np.linspace(0, 1, count))
    return np.sin(5 * x + phase) * np.cos(4 * y - phase) + 0.6 * np.sin(3 * (x + y) + 2 * phase)


def tokens_between_sites(axes: Axes, heights: np.ndarray, sites: float, tokens: float, solver: float) -> None:
    """Sites gathered in tokens, a box in which they are solved, and sites again, mirrored at ``x = 4``.

    Args:
        axes: where to draw.
        heights: of the tokens, around 2.35.
        sites: centre of the left sites.
        tokens: place of the tokens.
        solver: left side of the box.
    """
    middle = 2.35
    lattice(axes, (sites, middle), 1.5, 6, waves(6, 0.4))
    lattice(axes, (8 - sites, middle), 1.5, 6, waves(6, 1.1))
    for height in heights:
        for y in np.linspace(middle - 0.7, middle + 0.7, 6):
            axes.plot([sites + 0.77, tokens - 0.12], [y, height], color=BLUE, linewidth=0.35, alpha=0.7)
            axes.plot([8.12 - tokens, 7.23 - sites], [height, y], color=GREEN, linewidth=0.35, alpha=0.7)
        axes.plot(tokens, height, "o", color=BLUE, markersize=9)
        axes.plot(8 - tokens, height, "o", color=GREEN, markersize=9)
        arrow(axes, (tokens + 0.16, height), (solver - 0.05, height))
        arrow(axes, (8.05 - solver, height), (7.84 - tokens, height))
    style = "round,pad=0,rounding_size=0.1"
    size = 8 - 2 * solver, 3.2
    axes.add_patch(FancyBboxPatch((solver, 0.75), *size, boxstyle=style, facecolor="#fdf1e3", edgecolor=ORANGE))
