"""Fields that change over time as a GIF: truth, prediction and absolute error side by side, a row per quantity."""

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
from lsm.files import whole_file
from lsm.plotting.display import Display
from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_SIZE,
    add_bar,
    axis_labels,
    label_rim,
    lay_out,
    set_headline,
    set_title,
)
from lsm.plotting.scene import scene_of
from lsm.plotting.sequence import ROWS, SeriesPainter, painters_of
from lsm.plotting.snapshots import Snapshot, in_motion, num_snapshots

FRAMES_PER_SECOND = 5

#: Least value of the channels of a colour that is drawn as white.
ALMOST_WHITE = 248


def check_in_motion(spec: FieldSpec) -> None:
    """Refuse to animate fields that do not change over time.

    Raises:
        InputError: the fields are at rest.
    """
    if not in_motion(spec):
        names = ", ".join(channel.name for channel in spec.targets)
        raise InputError(
            f"{names} cannot be animated: a field at rest has no frames; draw it without an animation",
            options=("animate",),
        )


def save_animation(
    spec: FieldSpec,
    display: Display,
    sample: FieldBatch,
    prediction: Tensor,
    title: str,
    path: Path,
    dpi: int = 80,
) -> None:
    """Write all snapshots of one sample beside its prediction as a GIF, in a folder made if missing.

    Colours and view are the same in all frames.

    Args:
        spec, display, sample: as in :func:`lsm.plotting.draw_sample`.
        prediction: ``(*sites, c_out)``, in physical units.
        title: headline; the number of the frame is added to it.
        path: the GIF.
        dpi: dots per inch; the size of the file grows with its square.
    Raises:
        InputError: the fields are at rest.
    """
    check_in_motion(spec)
    scene = scene_of(spec, display, sample, prediction)
    painters = painters_of(scene, range(num_snapshots(scene.spec)))
    snapshots = list(zip(*(painter.series.snapshots for painter in painters), strict=True))
    headlines = [scene.headline(title, shots[0].name) for shots in snapshots]
    row_gaps, column_gaps = [BARE_GAP] * (len(painters) - 1), [BARE_GAP, BAR_GAP, painters[0].last_gap]
    figure, axes = lay_out(painters[0].view, row_gaps, column_gaps, max(headlines, key=len))
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    frames = []
    for headline, shots in zip(headlines, snapshots, strict=True):
        _redraw(axes, painters, shots, axis_labels(scene.spec, scene.display))
        set_headline(figure, headline)
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    _write_gif(frames, path, _palette(frames, painters))


def _redraw(
    axes: np.ndarray, painters: Sequence[SeriesPainter], snapshots: Sequence[Snapshot], names: tuple[str, str]
) -> None:
    for axis in axes.flat:
        axis.clear()
    label_rim(axes, names)
    for row, painter, snapshot in zip(axes, painters, snapshots, strict=True):
        drawn = painter.draw(row, snapshot)
        if painter.view.line:
            row[0].set_ylabel(painter.series.label, fontsize=LABEL_SIZE)
            row[-1].tick_params(labelleft=True)  # curves of the error have a scale of their own
        else:
            for axis, colours in zip(row[1:], drawn[1:], strict=True):
                add_bar(axis, painter.view, colours, painter.series.label)
    for axis, name in zip(axes[0], ROWS, strict=True):
        set_title(axis, name)


def _palette(frames: Sequence[np.ndarray], painters: Sequence[SeriesPainter]) -> Image.Image:
    """256 colours for all frames ``(height, width, 3)``.

    Each colour map in use has a quarter of the weight of the frames; otherwise colours that are rare in the frames would be
    dropped, and the colour bars would be wrong. The averages that are almost white become the white of the background.
    """
    rows = np.concatenate(frames)
    steps = np.linspace(0, 1, rows.shape[1])
    names = {scale["cmap"] for painter in painters for scale in (painter.scale, painter.error_scale)}
    maps = [colormaps[name](steps, bytes=True)[:, :3] for name in sorted(names)]
    weighted = np.repeat(np.stack(maps), len(rows) // 4, axis=0)
    image = Image.fromarray(np.concatenate([rows, weighted])).quantize(method=Image.Quantize.MEDIANCUT, kmeans=0)
    colours = np.array(image.getpalette()).reshape(-1, 3)
    colours[colours.min(axis=1) >= ALMOST_WHITE] = 255
    image.putpalette(colours.ravel().tolist())
    return image


def _write_gif(frames: Sequence[np.ndarray], path: Path, palette: Image.Image) -> None:
    first, *others = (Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    with whole_file(path) as file:
        first.save(file, "GIF", save_all=True, append_images=others, duration=1000 // FRAMES_PER_SECOND, loop=0)
