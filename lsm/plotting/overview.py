"""One sample of a data set: the fields that a model is given and those that it is to predict, side by side."""

from __future__ import annotations

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
    axis_labels,
    label_of,
    label_rim,
    lay_out,
    set_title,
    view_of,
)
from lsm.plotting.painting import colour_scale, is_line, paint
from lsm.plotting.scene import Scene, masked, scene_of

#: Panels in a row, and most panels.
_COLUMNS, _MOST = 4, 16


def draw_overview(spec: FieldSpec, display: Display, sample: FieldBatch, title: str) -> Figure:
    """Draw one sample, a panel per field; of a roll-out the first and the last frame, of a volume the middle.

    Args:
        spec: the fields.
        display: window of the data set; ``Display()`` for none.
        sample: ``(*sites, c)``, without a batch axis; values that are not finite are left blank.
        title: headline.
    """
    scene = scene_of(spec, display, sample, sample.targets)
    panels, coords = _fields(scene)[:_MOST], scene.coords
    line = is_line(panels[0][1], coords)
    view = View(None, line=True) if line else view_of(scene.display, [] if coords is None else [coords])
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = lay_out(view, [TITLE_GAP] * (rows - 1), [BAR_GAP] * columns, scene.headline(title))
    for axis, (name, values, label) in zip(axes.flat, panels, strict=False):
        _draw(axis, view, values, coords, label)
        set_title(axis, name)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    label_rim(axes, axis_labels(scene.spec, scene.display), only_left=not line)
    return figure


def _draw(axis: Axes, view: View, values: np.ma.MaskedArray, coords: np.ndarray | None, label: str) -> None:
    drawn = paint(axis, values, coords, colour_scale([values]), view.finest)
    view.apply(axis)
    if not view.line:
        add_bar(axis, view, drawn, label)


def _fields(scene: Scene) -> list[tuple[str, np.ma.MaskedArray, str]]:
    """Title, values ``(*sites)`` and label of each panel."""
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
