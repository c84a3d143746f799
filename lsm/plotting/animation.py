"""A field in motion as a GIF: truth, prediction and absolute error side by side."""

from __future__ import annotations

from pathlib import Path

from matplotlib.animation import PillowWriter
from torch import Tensor

from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.plotting.frames import ROWS, Stage
from lsm.plotting.layout import BAR_ROOM, axis_labels, label_rim, new_figure, set_title
from lsm.plotting.moments import in_motion, moments, num_moments, quantity_of, start
from lsm.plotting.plane import middle_plane

FRAMES_PER_SECOND = 5


def check_in_motion(spec: FieldSpec) -> None:
    """Refuse to animate what does not move.

    Raises:
        InputError: the field is at rest.
    """
    if not in_motion(spec):
        names = ", ".join(channel.name for channel in spec.targets)
        raise InputError(f"{names} cannot be animated: a field at rest has no frames; leave animate=true out")


def save_animation(
    spec: FieldSpec, sample: FieldBatch, prediction: Tensor, title: str, path: Path, dpi: int = 80
) -> None:
    """Write every moment of one sample beside its prediction as a GIF, making its folder; colours and view stay.

    Args:
        spec, sample, prediction: as in :func:`lsm.plotting.draw_sample`.
        title: headline; the number of the frame is added to it.
        path: the GIF.
        dpi: dots an inch; the file grows with its square.
    Raises:
        InputError: the field is at rest.
    """
    spec, sample, prediction, which = middle_plane(spec, sample, prediction)
    check_in_motion(spec)
    shots = moments(spec, sample, prediction, range(num_moments(spec)))
    stage = Stage(spec, start(spec, sample), shots)
    width, height = stage.view.size
    figure = new_figure(3 * (width + BAR_ROOM) + 0.5, height + 1.1, title)
    axes = figure.subplots(1, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = PillowWriter(fps=FRAMES_PER_SECOND)
    with writer.saving(figure, path, dpi):
        for shot in shots:
            for axis, name in zip(axes, ROWS, strict=True):
                axis.clear()
                set_title(axis, name)
            label_rim(axes[None], axis_labels(spec))
            for axis, colours in zip(axes, stage.draw(axes, shot), strict=True):
                stage.add_bar(axis, colours, quantity_of(spec))
            figure.suptitle(f"{title}{which}, {shot.name}")
            writer.grab_frame()
