"""A field in motion on paper: what the model was given, then a column a moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.plotting.layout import BAR_ROOM, LABEL_SIZE, View, add_bar, axis_labels, label_rim, new_figure, set_title, view_of
from lsm.plotting.moments import Moment, Start, moments, num_moments, quantity_of, start
from lsm.plotting.painting import colour_scale, draw_mesh, draw_tool, error_scale, is_line, paint

#: Moments that are drawn of a field in motion.
MAX_FRAMES = 4

ROWS = ("truth", "prediction", "absolute error")

#: Lines of a mesh that moves, and their style on colours and on white.
MESH_LINES = 25
ON_COLOURS = {"colors": "w", "linewidths": 0.35, "alpha": 0.45}
ON_WHITE = {"colors": "0.3", "linewidths": 0.35}


class Stage:
    """What all moments of a field in motion share: view, colours and labels.

    Args:
        spec: the fields.
        given: what the model was given.
        shots: the moments that are drawn.
    """

    def __init__(self, spec: FieldSpec, given: Start, shots: Sequence[Moment]) -> None:
        self.spec, self.given = spec, given
        shared = [given.values] if spec.autoregressive else []
        self.scale = colour_scale([*shared, *(field for shot in shots for field in (shot.truth, shot.prediction))])
        self.error_scale = error_scale([shot.error for shot in shots])
        self.view = _view(spec, given, shots)

    def draw(self, axes: Sequence[Axes], shot: Moment) -> list[Any]:
        """Truth, prediction and error of a moment in a panel each; returns what their colour bars need."""
        rows = (
            (shot.truth, shot.truth_at, self.scale),
            (shot.prediction, shot.prediction_at, self.scale),
            (shot.error, shot.truth_at, self.error_scale),
        )
        drawn = []
        for axis, (values, at, scale) in zip(axes, rows, strict=True):
            drawn.append(paint(axis, values, at, scale))
            self._furnish(axis, at, shot.tool, ON_COLOURS)
        return drawn

    def draw_given(self, axis: Axes) -> None:
        """What the model was given."""
        values = self.given.values
        if values is not None:
            scale = self.scale if self.spec.autoregressive else colour_scale([values])
            self.add_bar(axis, paint(axis, values, self.given.at, scale), self.given.label)
        self._furnish(axis, self.given.at, self.given.tool, ON_WHITE if values is None else ON_COLOURS)
        set_title(axis, self.given.name)

    def _furnish(self, axis: Axes, at: np.ndarray | None, tool: np.ndarray | None, style: dict[str, Any]) -> None:
        """Limits, the mesh if it moves, and the tool."""
        self.view.apply(axis)
        if self.spec.positions is not None and at is not None:
            axis.set_aspect("equal")
            draw_mesh(axis, at, MESH_LINES, **style)
        if tool is not None:
            draw_tool(axis, tool)

    def add_bar(self, axis: Axes, drawn: Any, label: str) -> None:
        """A colour bar, unless the panels hold curves."""
        if not self.view.line:
            add_bar(axis, self.view, drawn, label)


def _view(spec: FieldSpec, given: Start, shots: Sequence[Moment]) -> View:
    """All true places and the tool's underside at first; what strays far from there is not worth shrinking the rest for."""
    if is_line(shots[0].truth, shots[0].truth_at):
        return View(None, line=True)
    return view_of(spec, [at for at in (given.at, given.tool, *(shot.truth_at for shot in shots)) if at is not None])


def draw_frames(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, title: str) -> Figure:
    """Draw one sample of a field in motion; see :func:`lsm.plotting.draw_sample`."""
    shots = moments(spec, sample, prediction, _spread(spec))
    stage = Stage(spec, start(spec, sample), shots)
    (width, height), columns = stage.view.size, len(shots)
    figure = new_figure((columns + 1) * (width + 0.15) + BAR_ROOM + 0.9, 3 * (height + 0.15) + 0.9, title)
    grid = figure.add_gridspec(3, columns + 1)
    axes = np.array([[figure.add_subplot(grid[row, column + 1]) for column in range(columns)] for row in range(3)])
    label_rim(axes, axis_labels(spec))
    for column, shot in enumerate(shots):
        drawn = stage.draw(axes[:, column], shot)
        set_title(axes[0, column], shot.name)
    for axis, colours, name in zip(axes[:, -1], drawn, ROWS, strict=True):
        stage.add_bar(axis, colours, quantity_of(spec))
    for axis, name in zip(axes[:, 0], ROWS, strict=True):
        axis.set_ylabel(name, fontsize=LABEL_SIZE)
    given = figure.add_subplot(grid[:, 0])
    stage.draw_given(given)
    label_rim(np.array([[given]]), axis_labels(spec))
    return figure


def _spread(spec: FieldSpec) -> list[int]:
    """Some moments at even distances, the last one included; of a field from time 0 on, not the first, which is given."""
    first = 0 if spec.autoregressive else min(1, num_moments(spec) - 1)
    last = num_moments(spec) - 1
    count = last - first + 1
    step = max(1, min(round(count / MAX_FRAMES), (count - 1) // (MAX_FRAMES - 1)))
    return list(range(last, first - 1, -step))[MAX_FRAMES - 1 :: -1]
