"""What surrounds the panels of a picture: labels, limits, sizes and colour bars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lsm.fields import Channel
from lsm.plotting.display import Display

#: Font sizes, points.
TITLE_SIZE, LABEL_SIZE, TICK_SIZE = 10, 9, 8

# All following lengths are in inches.

#: Margins around all panels: for axis labels, and for the headline and the titles.
LEFT, BOTTOM, TOP = 0.7, 0.5, 0.6

#: Height of a line of a headline or title beyond the first, and letters that fit into an inch of it.
LINE, LETTERS_PER_INCH = 0.17, 12

#: Room between panels: bare, with titles, with axis labels of one line and of two, with a colour bar.
BARE_GAP, TITLE_GAP, LABEL_GAP, TWO_LABELS_GAP, BAR_GAP = 0.3, 0.5, 0.75, 0.95, 0.95

#: Width of a colour bar and its distance from the panel.
BAR_WIDTH, BAR_DISTANCE = 0.1, 0.06

#: The side of a square panel; others have the same area, with sides between the two limits.
SIDE, SHORTEST_SIDE, LONGEST_SIDE = 2.3, 0.7, 3.2

#: About the greatest width of a picture; more panels go to a further line.
WIDEST = 15.0

#: Size of the smallest mesh cells that are drawn one by one.
FINEST = 1 / 25

Limits = tuple[tuple[float, float], tuple[float, float]]


def label_of(channel: Channel) -> str:
    """Name and unit of a channel, such as ``horizontal velocity [m/s]``; without the unit if it is dimensionless."""
    name = channel.name.replace("_", " ")
    return name if channel.unit == "1" else f"{name} [{channel.unit}]"


@dataclass(frozen=True)
class View:
    """The part of the plane that all panels of a figure show.

    Args:
        limits: of both axes, ``((low, high), (low, high))``; None to show what is drawn, on a square.
        line: whether the panels show curves instead of planes.
        scale: size of the panels.
    """

    limits: Limits | None
    line: bool = False
    scale: float = 1.0

    @property
    def size(self) -> tuple[float, float]:
        """Inches ``(width, height)`` of one panel, in the proportions of what it shows."""
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
        """Length in the drawn plane of the smallest cell to draw; smooth shading blurs cells that are finer than pixels."""
        return FINEST * self.units_per_inch

    def apply(self, axis: Axes) -> None:
        """Limit a panel to the view."""
        axis.tick_params(labelsize=TICK_SIZE)
        if self.limits is not None:
            axis.set_xlim(*self.limits[0])
            axis.set_ylim(*self.limits[1])


def view_of(display: Display, places: Sequence[np.ndarray], scale: float = 1.0) -> View:
    """The window if there is one, else all places ``(..., 2)`` with a small margin."""
    if display.window is not None or not places:
        return View(display.window, scale=scale)
    flat = np.concatenate([place.reshape(-1, 2) for place in places]).astype(np.float64)
    low, high = flat.min(axis=0), flat.max(axis=0)
    margin = 0.02 * (high - low).max() or 0.5
    (left, bottom), (right, top) = low - margin, high + margin
    return View(((float(left), float(right)), (float(bottom), float(top))), scale=scale)


def lay_out(
    view: View, row_gaps: Sequence[float], column_gaps: Sequence[float], headline: str, titles: Sequence[str] = ()
) -> tuple[Figure, np.ndarray]:
    """A figure with a rectangle of panels ``(rows, columns)``, all of the view's size.

    The panels have fixed places: a layout that depends on the labels would move the panels of an animation.

    Args:
        view: what the panels show.
        row_gaps: room between neighbouring rows, from top to bottom.
        column_gaps: room to the right of each column, the last included.
        headline: one or several lines; the longest one, if it changes later.
        titles: of the panels in the first row, which get room for as many lines as these need.
    """
    width, height = view.size
    num_rows, num_columns = len(row_gaps) + 1, len(column_gaps)
    whole_width = LEFT + num_columns * width + sum(column_gaps)
    more_lines = _fold(headline, whole_width).count("\n") + more_lines_of(titles, width)
    whole_height = TOP + more_lines * LINE + num_rows * height + sum(row_gaps) + BOTTOM
    figure = Figure(figsize=(whole_width, whole_height))
    set_headline(figure, headline)
    axes = np.empty((num_rows, num_columns), dtype=object)
    for row, column in np.ndindex(axes.shape):
        left = LEFT + column * width + sum(column_gaps[:column])
        low = BOTTOM + (num_rows - 1 - row) * height + sum(row_gaps[row:])
        place = left / whole_width, low / whole_height, width / whole_width, height / whole_height
        axes[row, column] = figure.add_axes(place)
    return figure, axes


def set_headline(figure: Figure, headline: str) -> None:
    """Write the headline of a figure, in as many lines as its width needs."""
    width, height = figure.get_size_inches()
    text = _fold(headline, width)
    figure.suptitle(text, fontsize=TITLE_SIZE, y=1 - 0.1 / height, verticalalignment="top")


def _fold(text: str, width: float) -> str:
    folded = [fill(line, round(width * LETTERS_PER_INCH)) for line in text.split("\n")]
    return "\n".join(folded)


def fold_name(name: str, length: float) -> str:
    """The name of a panel in as many lines as a side of the panel of this length, inches, needs; broken also after commas."""
    letters = round((length + BARE_GAP) * LETTERS_PER_INCH)
    return name if len(name) <= letters else fill(re.sub(r",(?=\S)", ", ", name), letters)


def more_lines_of(names: Sequence[str], length: float) -> int:
    """Lines beyond the first that the longest of some names takes at a side of this length, inches."""
    return max((fold_name(name, length).count("\n") for name in names), default=0)


def set_plain_ticks(axis: Axis) -> None:
    """Label a short logarithmic axis at 1, 2 and 5 times the powers of ten, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def label_rim(axes: np.ndarray, names: tuple[str, str], only_left: bool = True) -> None:
    """Label both axes and their ticks at the left and lower rim of a rectangle of panels, some of them removed.

    Args:
        axes: ``(rows, columns)``.
        names: of the horizontal and the vertical axis.
        only_left: whether the panels of a row share their vertical axis; if not, each labels its own ticks.
    """
    present = np.array([[axis.figure is not None for axis in row] for row in axes])
    for (row, column), axis in np.ndenumerate(axes):
        if present[row, column]:
            lowest, leftmost = not present[row + 1 :, column].any(), not present[row, :column].any()
            axis.tick_params(labelbottom=lowest, labelleft=leftmost or not only_left)
            axis.set_xlabel(names[0] if lowest else "", fontsize=LABEL_SIZE)
            axis.set_ylabel(names[1] if leftmost else "", fontsize=LABEL_SIZE)


def set_title(axis: Axes, title: str) -> None:
    """The title of a panel, in as many lines as its width needs."""
    width = axis.bbox.width / axis.figure.dpi
    axis.set_title(fold_name(title, width), fontsize=TITLE_SIZE)


def add_bar(axis: Axes, view: View, drawn: Any, label: str) -> None:
    """A colour bar to the right of a panel, as high as the panel and of the same width in every figure."""
    width = view.size[0]
    inset = axis.inset_axes((1 + BAR_DISTANCE / width, 0.0, BAR_WIDTH / width, 1.0))
    bar = axis.figure.colorbar(drawn, cax=inset)
    bar.ax.ticklabel_format(axis="y", scilimits=(-2, 4))
    bar.set_label(label, fontsize=LABEL_SIZE)
    inset.tick_params(labelsize=TICK_SIZE)
    inset.yaxis.get_offset_text().set_fontsize(TICK_SIZE)
