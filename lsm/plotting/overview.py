"""One sample of a data set: the fields that a model is given and those that it is to predict, side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lsm.fields import FieldBatch, FieldSpec
from lsm.plotting.display import Display
from lsm.plotting.layout import (
    BAR_GAP,
    TITLE_GAP,
    View,
    add_bar,
    label_of,
    label_rim,
    lay_out,
    set_title,
    view_of,
)
from lsm.plotting.painting import colour_scale, is_line, paint
from lsm.plotting.scene import Scene, masked, scene_of
from lsm.plotting.sequence import SeriesPainter, painters_of
from lsm.plotting.snapshots import Snapshot, in_motion, num_snapshots

#: Panels in a row, and most panels.
_COLUMNS, _MOST = 4, 16

#: What all panels show, and of each panel its title and what draws it.
_Panels = tuple[View, list[tuple[str, Callable[[Axes], None]]]]


def draw_overview(spec: FieldSpec, display: Display, sample: FieldBatch, title: str) -> Figure:
    """Draw one sample, a panel per field; of fields in motion the first and the last frame, of a volume the middle.

    Args:
        spec: the fields.
        display: window of the data set; ``Display()`` for none.
        sample: ``(*sites, c)``, without a batch axis; values that are not finite are left blank.
        title: headline.
    """
    scene = scene_of(spec, display, sample, {})
    has_time = in_motion(scene.spec) and scene.spec.frames is None
    view, panels = (_snapshots if has_time else _fields)(scene)
    panels = panels[:_MOST]
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    titles = [name for name, _ in panels[:columns]]
    figure, axes = lay_out(view, [TITLE_GAP] * (rows - 1), [BAR_GAP] * columns, scene.headline(title), titles)
    for axis, (_, draw) in zip(axes.flat, panels, strict=False):
        draw(axis)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    label_rim(axes, scene.axis_labels, only_left=not view.line)
    return figure


def _draw(view: View, coords: np.ndarray | None, name: str, values: np.ma.MaskedArray, label: str, axis: Axes) -> None:
    drawn = paint(axis, values, coords, colour_scale([values]), view.finest)
    view.apply(axis)
    if not view.line:
        add_bar(axis, view, drawn, label)
    set_title(axis, name)


def _draw_snapshot(painter: SeriesPainter, snapshot: Snapshot, axis: Axes) -> None:
    (drawn,) = painter.draw([axis], snapshot)
    add_bar(axis, painter.view, drawn, painter.series.label)
    set_title(axis, snapshot.name)


def _snapshots(scene: Scene) -> _Panels:
    """Fields with an axis of time: the inputs, then each quantity at the first and at the last time."""
    painters = painters_of(scene, (0, num_snapshots(scene.spec) - 1))
    panels: list[tuple[str, Callable[[Axes], None]]] = []
    for painter in painters:
        panels += [(given.name, partial(painter.draw_input, given=given)) for given in painter.series.inputs]
        panels += [(shot.name, partial(_draw_snapshot, painter, shot)) for shot in painter.series.snapshots]
    return painters[0].view, panels


def _fields(scene: Scene) -> _Panels:
    """The input fields, then the targets, in a panel each."""
    coords = scene.coords
    fields = _given_and_wanted(scene)
    line = is_line(fields[0][1], coords)
    view = View(None, line=True) if line else view_of(scene.display, [] if coords is None else [coords])
    return view, [(field[0], partial(_draw, view, coords, *field)) for field in fields]


def _given_and_wanted(scene: Scene) -> list[tuple[str, np.ma.MaskedArray, str]]:
    """Title, values ``(*sites)`` and label of each field."""
    spec, sample = scene.spec, scene.sample
    first, last = ("input", "target") if spec.frames is None else ("first frame", "last frame")
    targets = sample.targets[..., -len(spec.targets) :].unbind(-1)
    given = [(first, spec.inputs[index], sample.inputs[..., index]) for index in scene.fields]
    wanted = [(last, channel, values) for channel, values in zip(spec.targets, targets, strict=True)]
    return [
        (_title(kind, channel.name), masked(values.numpy()), label_of(channel))
        for kind, channel, values in (*given, *wanted)
    ]


def _title(kind: str, name: str) -> str:
    """Such as ``input: conductivity``; a channel may be called as its kind."""
    return name if name == kind else f"{kind}: {name.replace('_', ' ')}"
