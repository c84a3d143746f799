"""What surrounds the panels: labels, limits, sizes and colour bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsm.fields import Channel, FieldSpec

#: Font sizes, points.
TITLE_SIZE, LABEL_SIZE, TICK_SIZE = 10, 9, 8

# All that follow are inches.

#: Margins about all panels: for axis labels, and for the headline and the titles.
LEFT, BOTTOM, TOP = 0.7, 0.5, 0.6

#: Room between panels: bare, with axis labels, with a colour bar.
BARE_GAP, LABEL_GAP, BAR_GAP = 0.3, 0.75, 0.95

#: Width of a colour bar and its distance from the panel.
BAR_WIDTH, BAR_DISTANCE = 0.1, 0.06

#: The side of a square panel, and the limits within which the sides of others lie that have the same area.
SIDE, SHORTEST_SIDE, LONGEST_SIDE = 2.3, 0.7, 3.2

#: Size of the smallest cells that are painted.
FINEST = 1 / 25

Limits = tuple[tuple[float, float], tuple[float, float]]


def label_of(channel: Channel) -> str:
    """Name and unit, for people."""
    return with_unit(channel.name.replace("_", " "), channel.unit)


def with_unit(name: str, unit: str) -> str:
    """``name [unit]``, without the unit of a dimensionless quantity."""
    return name if unit == "1" else f"{name} [{unit}]"


def axis_labels(spec: FieldSpec) -> tuple[str, str]:
    """What the horizontal and the vertical axis of a panel mean."""
    if spec.positions is not None:
        horizontal, vertical = (label_of(spec.targets[i]) for i in spec.positions)
        return horizontal, vertical
    if spec.geometry == "grid":
        space = [name for name in spec.axes if name != "time"] if len(spec.axes) > 2 else list(spec.axes)
        return space[0], (space[1] if len(space) > 1 else "")
    return "x", "y"


@dataclass(frozen=True)
class View:
    """The part of the plane that all panels of a figure show.

    Args:
        limits: of both axes; None to show what is drawn, on a square.
        line: whether the panels hold curves, not planes.
        scale: size of the panels.
    """

    limits: Limits | None
    line: bool = False
    scale: float = 1.0

    @property
    def size(self) -> tuple[float, float]:
        """Inches of one panel, in the proportions of what it shows."""
        width, height = (1.0, 0.75 if self.line else 1.0)
        if self.limits is not None:
            width, height = (high - low for low, high in self.limits)
        factor = min(SIDE / (width * height) ** 0.5, LONGEST_SIDE / max(width, height))
        width, height = (self.scale * max(factor * side, SHORTEST_SIDE) for side in (width, height))
        return width, height

    @property
    def units_per_inch(self) -> float:
        """Length in the drawn plane that an inch of paper shows."""
        return 1.0 if self.limits is None else (self.limits[0][1] - self.limits[0][0]) / self.size[0]

    @property
    def finest(self) -> float:
        """Length in the drawn plane that is worth a cell of its own: smooth shading smears cells finer than dots."""
        return FINEST * self.units_per_inch

    def apply(self, axis: Axes) -> None:
        """Limit a panel to the view."""
        axis.tick_params(labelsize=TICK_SIZE)
        if self.limits is not None:
            axis.set_xlim(*self.limits[0])
            axis.set_ylim(*self.limits[1])


def view_of(spec: FieldSpec, places: Sequence[np.ndarray], scale: float = 1.0) -> View:
    """The window if there is one, else all places ``(..., 2)`` with a little margin."""
    if spec.window is not None or not places:
        return View(spec.window, scale=scale)
    flat = np.concatenate([place.reshape(-1, 2) for place in places]).astype(np.float64)
    low, high = flat.min(axis=0), flat.max(axis=0)
    margin = 0.02 * (high - low).max() or 0.5
    (left, bottom), (right, top) = low - margin, high + margin
    return View(((float(left), float(right)), (float(bottom), float(top))), scale=scale)


def lay_out(view: View, rows: int, gaps: Sequence[float], title: str) -> tuple[Figure, np.ndarray]:
    """A figure with a rectangle of panels ``(rows, columns)``, all of the view's size.

    The places are fixed, for a layout that follows the labels would make the panels of an animation tremble.

    Args:
        view: what the panels show.
        rows: rows of panels.
        gaps: room to the right of each column.
        title: headline.
    """
    width, height = view.size
    whole = LEFT + len(gaps) * width + sum(gaps), TOP + rows * height + (rows - 1) * BARE_GAP + BOTTOM
    figure = Figure(figsize=whole)
    figure.suptitle(title, fontsize=TITLE_SIZE, y=1 - 0.1 / whole[1], verticalalignment="top")
    axes = np.empty((rows, len(gaps)), dtype=object)
    for row, column in np.ndindex(axes.shape):
        left = LEFT + column * width + sum(gaps[:column])
        low = BOTTOM + (rows - 1 - row) * (height + BARE_GAP)
        axes[row, column] = figure.add_axes((left / whole[0], low / whole[1], width / whole[0], height / whole[1]))
    return figure, axes


def label_rim(axes: np.ndarray, names: tuple[str, str], only_left: bool = True) -> None:
    """Name both axes, and show their figures, at the left and lower rim of a rectangle of panels, some of them removed.

    Args:
        axes: ``(rows, columns)``.
        names: of the horizontal and the vertical axis.
        only_left: whether the panels of a row share their vertical axis; if not, each shows its own figures.
    """
    present = np.array([[axis.figure is not None for axis in row] for row in axes])
    for (row, column), axis in np.ndenumerate(axes):
        if present[row, column]:
            lowest, leftmost = not present[row + 1 :, column].any(), not present[row, :column].any()
            axis.tick_params(labelbottom=lowest, labelleft=leftmost or not only_left)
            axis.set_xlabel(names[0] if lowest else "", fontsize=LABEL_SIZE)
            axis.set_ylabel(names[1] if leftmost else "", fontsize=LABEL_SIZE)


def set_title(axis: Axes, title: str) -> None:
    """Say what a panel shows."""
    axis.set_title(title, fontsize=TITLE_SIZE)


def add_bar(axis: Axes, view: View, drawn: Any, label: str) -> None:
    """A colour bar to the right of a panel, as high as the panel and of the same width in every figure."""
    width = view.size[0]
    inset = axis.inset_axes((1 + BAR_DISTANCE / width, 0.0, BAR_WIDTH / width, 1.0))
    bar = axis.figure.colorbar(drawn, cax=inset)
    bar.ax.ticklabel_format(axis="y", scilimits=(-2, 4))
    bar.set_label(label, fontsize=LABEL_SIZE)
    inset.tick_params(labelsize=TICK_SIZE)
    inset.yaxis.get_offset_text().set_fontsize(TICK_SIZE)
