"""A field in motion on paper: what the model was given, then a column a moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_GAP,
    LABEL_SIZE,
    View,
    add_bar,
    axis_labels,
    label_rim,
    lay_out,
    set_title,
    view_of,
)
from lsm.plotting.moments import Moment, Start, moments, num_moments, quantity_of, start
from lsm.plotting.painting import colour_scale, draw_mesh, draw_tool, error_scale, is_line, paint, spread_lines

#: Moments that are drawn of a field in motion.
MAX_FRAMES = 4

ROWS = ("truth", "prediction", "absolute error")

#: Size of the panels of stills, of which there are many beside one another.
STILL_SCALE = 0.8

#: Distance in inches of the lines of a mesh that moves, and their style on colours and on white.
MESH_SPACING = 0.07
ON_COLOURS = {"colors": "w", "linewidths": 0.35, "alpha": 0.45}
ON_WHITE = {"colors": "0.3", "linewidths": 0.35}


class Stage:
    """What all moments of a field in motion share: view, colours, labels, and which lines of a mesh are drawn.

    Args:
        spec: the fields.
        given: what the model was given.
        shots: the moments that are drawn.
        scale: size of the panels.
    """

    def __init__(self, spec: FieldSpec, given: Start, shots: Sequence[Moment], scale: float = 1.0) -> None:
        self.spec, self.given = spec, given
        fields = [field for shot in shots for field in (shot.truth, shot.prediction)]
        if spec.autoregressive and given.values is not None:
            fields.append(given.values)
        self.scale = colour_scale(fields)
        self.error_scale = error_scale([shot.error for shot in shots])
        self.view = _view(spec, given, shots, scale)
        self.lines = None
        if spec.positions is not None and given.at is not None:
            self.lines = spread_lines(given.at, MESH_SPACING * self.view.units_per_inch)

    def draw(self, axes: Sequence[Axes], shot: Moment) -> list[Any]:
        """Truth, prediction and error of a moment in a panel each; returns what their colour bars need."""
        rows = (
            (shot.truth, shot.truth_at, self.scale),
            (shot.prediction, shot.prediction_at, self.scale),
            (shot.error, shot.truth_at, self.error_scale),
        )
        drawn = []
        for axis, (values, at, scale) in zip(axes, rows, strict=True):
            drawn.append(paint(axis, values, at, scale, self.view.finest))
            self._furnish(axis, at, shot.tool, ON_COLOURS)
        return drawn

    @property
    def gap_beside_given(self) -> float:
        """Room to the right of what the model was given; frames before the first prediction share the others' colours."""
        return LABEL_GAP if self.given.values is None or self.spec.autoregressive else BAR_GAP + LABEL_GAP

    def draw_given(self, axis: Axes) -> None:
        """What the model was given."""
        given = self.given
        if given.values is not None:
            scale = self.scale if self.spec.autoregressive else colour_scale([given.values])
            drawn = paint(axis, given.values, given.at, scale, self.view.finest)
            if not self.spec.autoregressive:
                self.add_bar(axis, drawn, given.label)
        self._furnish(axis, given.at, given.tool, ON_WHITE if given.values is None else ON_COLOURS)
        set_title(axis, given.name)

    def _furnish(self, axis: Axes, at: np.ndarray | None, tool: np.ndarray | None, style: dict[str, Any]) -> None:
        """Limits, the mesh if it moves, and the tool."""
        self.view.apply(axis)
        if self.lines is not None and at is not None:
            axis.set_aspect("equal")
            draw_mesh(axis, at, self.lines, **style)
        if tool is not None:
            draw_tool(axis, tool)

    @property
    def axis_names(self) -> tuple[str, str]:
        """Of the panels' horizontal and vertical axes; curves have the quantity on the vertical one."""
        along, across = axis_labels(self.spec)
        return along, quantity_of(self.spec) if self.view.line else across

    def add_bar(self, axis: Axes, drawn: Any, label: str) -> None:
        """A colour bar, unless the panels hold curves."""
        if not self.view.line:
            add_bar(axis, self.view, drawn, label)


def _view(spec: FieldSpec, given: Start, shots: Sequence[Moment], scale: float) -> View:
    """All true places and the tool's underside at first; what strays far from there is not worth shrinking the rest for."""
    if is_line(shots[0].truth, shots[0].truth_at):
        return View(None, line=True, scale=scale)
    places = [given.at, given.tool, *(shot.truth_at for shot in shots)]
    return view_of(spec, [at for at in places if at is not None], scale)


def draw_frames(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, title: str) -> Figure:
    """Draw one sample of a field in motion; see :func:`lsm.plotting.draw_sample`."""
    shots = moments(spec, sample, prediction, _spread(spec))
    stage = Stage(spec, start(spec, sample), shots, STILL_SCALE)
    gaps = [stage.gap_beside_given, *[BARE_GAP] * (len(shots) - 1), BAR_GAP]
    figure, axes = lay_out(stage.view, len(ROWS), gaps, title)
    for axis in axes[::2, 0]:
        axis.remove()
    stage.draw_given(axes[1, 0])
    label_rim(axes[:, :1], stage.axis_names)
    for column, shot in zip(axes[:, 1:].T, shots, strict=True):
        drawn = stage.draw(column, shot)
        set_title(column[0], shot.name)
    label_rim(axes[:, 1:], stage.axis_names)
    for row, colours, name in zip(axes, drawn, ROWS, strict=True):
        stage.add_bar(row[-1], colours, quantity_of(spec))
        row[1].set_ylabel(f"{name}\n{quantity_of(spec)}" if stage.view.line else name, fontsize=LABEL_SIZE)
    return figure


def _spread(spec: FieldSpec) -> list[int]:
    """Some moments at even distances, the last one included; of a field from time 0 on, not the first, which is given."""
    first = 0 if spec.autoregressive else min(1, num_moments(spec) - 1)
    last = num_moments(spec) - 1
    count = last - first + 1
    step = max(1, min(round(count / MAX_FRAMES), (count - 1) // (MAX_FRAMES - 1)))
    return list(range(last, first - 1, -step))[MAX_FRAMES - 1 :: -1]
