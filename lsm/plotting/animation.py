"""A field in motion as a GIF: truth, prediction and absolute error side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import Tensor

from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.plotting.frames import ROWS, Stage
from lsm.plotting.layout import BAR_GAP, BARE_GAP, label_rim, lay_out, set_title
from lsm.plotting.moments import Moment, in_motion, moments, num_moments, quantity_of, start
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
    spec, sample, prediction, remark = middle_plane(spec, sample, prediction)
    check_in_motion(spec)
    shots = moments(spec, sample, prediction, range(num_moments(spec)))
    stage = Stage(spec, start(spec, sample), shots)
    figure, axes = lay_out(stage.view, 1, [BARE_GAP, BAR_GAP, BAR_GAP], title)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    frames = []
    for shot in shots:
        _redraw(axes, stage, shot)
        figure.suptitle(f"{title}{remark}, {shot.name}")
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_gif(frames, path, _palette(frames, stage))


def _palette(frames: Sequence[np.ndarray], stage: Stage) -> Image.Image:
    """256 colours for all frames ``(height, width, 3)``.

    Beside the frames, the scales of colours are given much room, or else colours that are rare in the frames would be
    given up, and the colour bars be wrong.
    """
    rows = np.concatenate(frames)
    step = np.linspace(0, 1, rows.shape[1])
    scales = [colormaps[scale["cmap"]](step, bytes=True)[:, :3] for scale in (stage.scale, stage.error_scale)]
    room = np.repeat(np.stack(scales), len(rows) // 4, axis=0)
    return Image.fromarray(np.concatenate([rows, room])).quantize(method=Image.Quantize.MEDIANCUT, kmeans=0)


def _write_gif(frames: Sequence[np.ndarray], path: Path, palette: Image.Image) -> None:
    first, *others = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, save_all=True, append_images=others, duration=1000 // FRAMES_PER_SECOND, loop=0)


def _redraw(axes: np.ndarray, stage: Stage, shot: Moment) -> None:
    for axis, name in zip(axes[0], ROWS, strict=True):
        axis.clear()
        set_title(axis, name)
    drawn = stage.draw(axes[0], shot)
    for axis, colours in zip(axes[0, 1:], drawn[1:], strict=True):
        stage.add_bar(axis, colours, quantity_of(stage.spec))
    label_rim(axes, stage.axis_names)
    axes[0, -1].tick_params(labelleft=stage.view.line)  # curves of the error have a scale of their own
