"""Fields that change over time on paper: the input, then a column per snapshot; a block of three rows per quantity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsm.fields import FieldSpec
from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_GAP,
    LABEL_SIZE,
    LINE,
    TITLE_GAP,
    TWO_LABELS_GAP,
    View,
    add_bar,
    fold_name,
    label_rim,
    lay_out,
    more_lines_of,
    set_title,
    view_of,
)
from lsm.plotting.painting import (
    MeshLines,
    colour_scale,
    draw_mesh,
    draw_tool,
    is_line,
    paint,
    spread_lines,
)
from lsm.plotting.panels import scales_of
from lsm.plotting.scene import Scene
from lsm.plotting.snapshots import InputSnapshot, Series, Snapshot, all_series, num_snapshots

#: Most snapshots that a figure shows.
MAX_SNAPSHOTS = 4

#: Size of the panels of a figure, which has many of them side by side.
FIGURE_SCALE = 0.8

#: Distance in inches of the lines of a mesh that moves, and their style on colours and on white.
MESH_SPACING = 0.07
ON_COLOURS = {"colors": "w", "linewidths": 0.35, "alpha": 0.45}
ON_WHITE = {"colors": "0.3", "linewidths": 0.35}


class SeriesPainter:
    """Draws the panels of one series, scalar fields, in common colours.

    Args:
        series: one quantity over time.
        view: what all panels of the figure show.
        lines: the lines of a mesh that moves, the same at all times; None for sites at rest.
    """

    def __init__(self, series: Series, view: View, lines: MeshLines | None) -> None:
        self.series, self.view, self.lines = series, view, lines
        more = [given.values for given in series.inputs if given.values is not None and series.continues_input]
        self.scales = scales_of([panel for shot in series.snapshots for panel in shot.panels], more)

    @property
    def rows(self) -> list[str]:
        """What the panels of a snapshot are called."""
        return [panel.name for panel in self.series.snapshots[0].panels]

    def draw(self, axes: Sequence[Axes], snapshot: Snapshot) -> list[Any]:
        """The fields ``(*sites)`` of a snapshot in a panel each; returns what their colour bars need."""
        drawn = []
        for axis, panel in zip(axes, snapshot.panels, strict=True):
            drawn.append(paint(axis, panel.values, panel.at, self.scales.of(panel), self.view.finest))
            self._finish(axis, panel.at, snapshot.tool, ON_COLOURS)
        return drawn

    @property
    def input_gap(self) -> float:
        """Room to the right of the inputs, which have colour bars unless they share the colours of the snapshots."""
        if self.view.line:
            return TWO_LABELS_GAP
        own_colours = not self.series.continues_input and any(given.values is not None for given in self.series.inputs)
        return BAR_GAP + LABEL_GAP if own_colours else LABEL_GAP

    @property
    def last_gap(self) -> float:
        """Room to the right of the last snapshot, which has a colour bar unless the panels show curves."""
        return BARE_GAP if self.view.line else BAR_GAP

    def draw_input(self, axis: Axes, given: InputSnapshot) -> None:
        """One field ``(*sites)`` that the model was given."""
        set_title(axis, given.name)
        if given.values is None:
            self._finish(axis, given.at, given.tool, ON_WHITE)
            return
        scale = self.scales.field if self.series.continues_input else colour_scale([given.values])
        drawn = paint(axis, given.values, given.at, scale, self.view.finest)
        if self.view.line:
            axis.set_ylabel(given.label, fontsize=LABEL_SIZE)
        elif not self.series.continues_input:
            add_bar(axis, self.view, drawn, given.label)
        self._finish(axis, given.at, given.tool, ON_COLOURS)

    def _finish(self, axis: Axes, at: np.ndarray | None, tool: np.ndarray | None, style: dict[str, Any]) -> None:
        """Limits, the mesh if it moves, and the tool."""
        self.view.apply(axis)
        if self.lines is not None and at is not None:
            axis.set_aspect("equal")
            draw_mesh(axis, at, self.lines, **style)
        if tool is not None:
            draw_tool(axis, tool)


def painters_of(scene: Scene, which: Sequence[int], scale: float = 1.0) -> list[SeriesPainter]:
    """A painter for each predicted quantity, with the snapshots ``which``, in panels of size ``scale``."""
    blocks = all_series(scene, which)
    view = _view(scene, blocks[0], scale)
    places = [*(given.at for given in blocks[0].inputs), blocks[0].snapshots[0].truth.at]
    lines = None
    if scene.display.positions and places[0] is not None:
        lines = spread_lines(places[0], MESH_SPACING * view.units_per_inch)
    return [SeriesPainter(series, view, lines) for series in blocks]


def _view(scene: Scene, series: Series, scale: float) -> View:
    """All true positions and the first underside of the tool; predicted positions far from there may lie outside."""
    first = series.snapshots[0].truth
    if is_line(first.values, first.at):
        return View(None, line=True, scale=scale)
    places = [*(given.at for given in series.inputs), *(given.tool for given in series.inputs)]
    places += [shot.truth.at for shot in series.snapshots]
    return view_of(scene.display, [at for at in places if at is not None], scale)


def draw_sequence(scene: Scene, title: str) -> Figure:
    """Draw one sample ``(*sites, c)`` of fields in motion; see :func:`lsm.plotting.draw_sample`."""
    painters = painters_of(scene, _spread(scene.spec), FIGURE_SCALE)
    row_gaps = ([*[BARE_GAP] * (len(painters[0].rows) - 1), TITLE_GAP] * len(painters))[:-1]
    num_bare = len(painters[0].series.snapshots) - 1
    input_gap = max(painter.input_gap for painter in painters)
    input_gap += LINE * more_lines_of(painters[0].rows, painters[0].view.size[1])
    column_gaps = [input_gap, *[BARE_GAP] * num_bare, painters[0].last_gap]
    figure, axes = lay_out(painters[0].view, row_gaps, column_gaps, scene.headline(title))
    blocks = np.split(axes, len(painters))
    input_panels = [_input_panels(painter, block[:, 0]) for painter, block in zip(painters, blocks, strict=True)]
    for part in (axes[:, :1], axes[:, 1:]):
        label_rim(part, scene.axis_labels)
    for painter, block, panels in zip(painters, blocks, input_panels, strict=True):
        for axis, given in zip(panels, painter.series.inputs, strict=True):
            painter.draw_input(axis, given)
        _draw_snapshots(painter, block[:, 1:])
    return figure


def _input_panels(painter: SeriesPainter, column: np.ndarray) -> np.ndarray:
    """As many panels in the middle of a column as there are inputs; the others are removed."""
    first = (len(column) - len(painter.series.inputs)) // 2
    last = first + len(painter.series.inputs)
    for axis in (*column[:first], *column[last:]):
        axis.remove()
    return column[first:last]


def _draw_snapshots(painter: SeriesPainter, axes: np.ndarray) -> None:
    """A column of panels per snapshot; the rows are named at the left and have their colour bars at the right."""
    label = painter.series.label
    for column, snapshot in zip(axes.T, painter.series.snapshots, strict=True):
        drawn = painter.draw(column, snapshot)
        set_title(column[0], snapshot.name)
    for row, colours, name in zip(axes, drawn, painter.rows, strict=True):
        name = fold_name(name, painter.view.size[1])
        if not painter.view.line:
            add_bar(row[-1], painter.view, colours, label)
        row[0].set_ylabel(f"{name}\n{label}" if painter.view.line else name, fontsize=LABEL_SIZE)


def _spread(spec: FieldSpec) -> list[int]:
    """Some snapshots at even distances, the last one included; of a time axis not the first one, which is often given."""
    first = 0 if spec.frames else min(1, num_snapshots(spec) - 1)
    last = num_snapshots(spec) - 1
    count = last - first + 1
    step = max(1, min(round(count / MAX_SNAPSHOTS), (count - 1) // (MAX_SNAPSHOTS - 1)))
    return list(range(last, first - 1, -step))[MAX_SNAPSHOTS - 1 :: -1]
