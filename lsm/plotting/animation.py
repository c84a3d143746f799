"""Fields that change over time as a GIF or MP4: truth, prediction and absolute error side by side, a row per quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import Tensor

from lsm.conformal import Band
from lsm.errors import InputError
from lsm.extras import require
from lsm.fields import FieldBatch, FieldSpec
from lsm.files import whole_file
from lsm.plotting.display import Display
from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_SIZE,
    add_bar,
    label_rim,
    lay_out,
    set_headline,
    set_title,
)
from lsm.plotting.scene import scene_of
from lsm.plotting.sequence import SeriesPainter, painters_of
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
    predictions: Tensor | Mapping[str, Tensor],
    title: str,
    path: Path,
    dpi: int = 80,
    band: Band | None = None,
) -> None:
    """Write all snapshots of one sample ``(*sites, c)`` beside its prediction as a GIF or MP4, in a folder made if missing.

    Colours and view are the same in all frames.

    Args:
        spec, display, sample, predictions, band: as in :func:`lsm.plotting.draw_sample`.
        title: headline; the number of the frame is added to it.
        path: the ``.gif`` or ``.mp4`` file.
        dpi: dots per inch; the size of the file grows with its square.
    Raises:
        InputError: the fields are at rest, or an MP4 is asked for without ``imageio-ffmpeg``, which brings ffmpeg.
    """
    check_in_motion(spec)
    if path.suffix == ".mp4":
        require("imageio_ffmpeg", "mp4", "writing .mp4 files")
    scene = scene_of(spec, display, sample, predictions, band)
    painters = painters_of(scene, range(num_snapshots(scene.spec)))
    snapshots = list(zip(*(painter.series.snapshots for painter in painters), strict=True))
    headlines = [scene.headline(title, shots[0].name) for shots in snapshots]
    row_gaps = [BARE_GAP] * (len(painters) - 1)
    column_gaps = [*_gaps(painters[0])[:-1], painters[0].last_gap]
    figure, axes = lay_out(painters[0].view, row_gaps, column_gaps, max(headlines, key=len), painters[0].rows)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    frames = []
    for headline, shots in zip(headlines, snapshots, strict=True):
        _redraw(axes, painters, shots, scene.axis_labels)
        set_headline(figure, headline)
        canvas.draw()
        frames.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    if path.suffix == ".mp4":
        _write_mp4(frames, path)
    else:
        _write_gif(frames, path, _palette(frames, painters))


def _gaps(painter: SeriesPainter) -> list[float]:
    """Room to the right of each panel: for a colour bar after the last one of each scale."""
    panels = painter.series.snapshots[0].panels
    return [*(BAR_GAP if one.is_error != other.is_error else BARE_GAP for one, other in pairwise(panels)), BAR_GAP]


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
            for axis, colours, gap in zip(row, drawn, _gaps(painter), strict=True):
                if gap == BAR_GAP:
                    add_bar(axis, painter.view, colours, painter.series.label)
    for axis, name in zip(axes[0], painters[0].rows, strict=True):
        set_title(axis, name)


def _palette(frames: Sequence[np.ndarray], painters: Sequence[SeriesPainter]) -> Image.Image:
    """256 colours for all frames ``(height, width, 3)``.

    Each colour map in use has a quarter of the weight of the frames; otherwise colours that are rare in the frames would be
    dropped, and the colour bars would be wrong. The averages that are almost white become the white of the background.
    """
    rows = np.concatenate(frames)
    steps = np.linspace(0, 1, rows.shape[1])
    scales = [scale for painter in painters for scale in (painter.scales.field, painter.scales.error)]
    names = {scale["cmap"] for scale in scales}
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


def _write_mp4(frames: Sequence[np.ndarray], path: Path) -> None:
    """H.264 as all browsers and slides play it: even numbers of dots, colours in YUV 4:2:0."""
    ffmpeg = require("imageio_ffmpeg", "mp4", "writing .mp4 files")
    height, width = (size + size % 2 for size in frames[0].shape[:2])
    with whole_file(path) as file:
        # The format is named since the file has a temporary name.
        options = ["-f", "mp4", "-movflags", "+faststart"]
        video = ffmpeg.write_frames(
            file.name, (width, height), fps=FRAMES_PER_SECOND, quality=8, macro_block_size=2, output_params=options
        )
        video.send(None)
        for frame in frames:
            padding = [(0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)]
            video.send(np.ascontiguousarray(np.pad(frame, padding, mode="edge")))
        video.close()
