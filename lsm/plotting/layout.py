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

#: Of a colour bar, its distance from the panel, and the room for its figures and label; inches.
BAR_WIDTH, BAR_GAP, BAR_ROOM = 0.1, 0.06, 0.85

#: The longer side of a panel, and the least of the shorter one; inches.
LONG_SIDE, SHORT_SIDE = 2.4, 0.7

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
    """

    limits: Limits | None
    line: bool = False

    @property
    def size(self) -> tuple[float, float]:
        """Inches of one panel, in the proportions of what it shows."""
        if self.line:
            return LONG_SIDE, 0.75 * LONG_SIDE
        width, height = (1.0, 1.0) if self.limits is None else (high - low for low, high in self.limits)
        longer = max(width, height)
        return max(LONG_SIDE * width / longer, SHORT_SIDE), max(LONG_SIDE * height / longer, SHORT_SIDE)

    def apply(self, axis: Axes) -> None:
        """Limit a panel to the view."""
        axis.tick_params(labelsize=TICK_SIZE)
        if self.limits is not None:
            axis.set_xlim(*self.limits[0])
            axis.set_ylim(*self.limits[1])


def view_of(spec: FieldSpec, places: Sequence[np.ndarray]) -> View:
    """The window if there is one, else all places ``(..., 2)`` with a little margin."""
    if spec.window is not None:
        return View(spec.window)
    if not places:
        return View(None)
    flat = np.concatenate([place.reshape(-1, 2) for place in places]).astype(np.float64)
    low, high = flat.min(axis=0), flat.max(axis=0)
    margin = 0.02 * (high - low).max()
    (left, bottom), (right, top) = low - margin, high + margin
    return View(((float(left), float(right)), (float(bottom), float(top))))


def add_bar(axis: Axes, view: View, drawn: Any, label: str) -> None:
    """A colour bar to the right of a panel, as high as the panel and of the same width in every figure."""
    width = view.size[0]
    bar = axis.inset_axes((1 + BAR_GAP / width, 0.0, BAR_WIDTH / width, 1.0))
    axis.figure.colorbar(drawn, cax=bar)
    bar.set_ylabel(label, fontsize=LABEL_SIZE)
    bar.tick_params(labelsize=TICK_SIZE)
    bar.yaxis.get_offset_text().set_fontsize(TICK_SIZE)


def label_rim(axes: np.ndarray, names: tuple[str, str], only_left: bool = True) -> None:
    """Name both axes, and show their figures, at the left and lower rim of a rectangle of panels, some of them removed.

    Args:
        axes: ``(rows, columns)``.
        names: of the horizontal and the vertical axis.
        only_left: whether the panels of a row share their vertical axis; if not, each shows its own figures.
    """
    present = np.array([[axis.figure is not None for axis in row] for row in axes])
    for (row, column), axis in np.ndenumerate(axes):
        if not present[row, column]:
            continue
        lowest, leftmost = not present[row + 1 :, column].any(), not present[row, :column].any()
        axis.tick_params(labelbottom=lowest, labelleft=leftmost or not only_left)
        axis.set_xlabel(names[0] if lowest else "", fontsize=LABEL_SIZE)
        axis.set_ylabel(names[1] if leftmost else "", fontsize=LABEL_SIZE)


def set_title(axis: Axes, title: str) -> None:
    """Say what a panel shows."""
    axis.set_title(title, fontsize=TITLE_SIZE)


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure with a headline; inches."""
    figure = Figure(figsize=(width, height), layout="compressed")
    figure.suptitle(title, fontsize=TITLE_SIZE)
    return figure
