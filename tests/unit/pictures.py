"""What tests of pictures share: a figure's panels, what they show, and the colour of a dot."""

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

WHITE = (255, 255, 255)


def panel_grid(figure):
    """Panels without colour bars in rows from top to bottom, each from left to right: ``[[axis, ...], ...]``."""
    rows = {}
    for axis in figure.axes:
        rows.setdefault(round(axis.get_position().y0, 4), []).append(axis)
    return [sorted(rows[low], key=lambda axis: axis.get_position().x0) for low in sorted(rows, reverse=True)]


def drawn(axis):
    """What carries the colours of a panel."""
    return next(artist for artist in (*axis.images, *axis.collections) if artist.get_array() is not None)


def lines_of(axis):
    """Mesh lines ``[(n, 2), ...]`` of a panel."""
    return [path.vertices for artist in axis.collections if artist.get_array() is None for path in artist.get_paths()]


def bars(axis):
    """Colour bars of a panel."""
    return axis.child_axes


def colours_at(figure, axis, points):
    """RGB ``(n, 3)`` of the dots at some places ``(n, 2)`` of a panel."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    dots = np.asarray(canvas.buffer_rgba())[..., :3]
    column, row = axis.transData.transform(np.asarray(points, dtype=float)).T
    return dots[dots.shape[0] - 1 - row.astype(int), column.astype(int)]


def is_blank(figure, axis, points):
    """``(n,)``, whether nothing is drawn at some places of a panel."""
    return (colours_at(figure, axis, points) == WHITE).all(axis=-1)


def wavy(*shape):
    """A smooth field of values 0.5 to 1.5."""
    axes = np.meshgrid(*(np.linspace(0, 3, size) for size in shape), indexing="ij", sparse=True)
    return torch.tensor(1 + 0.5 * np.sin(sum(axes)), dtype=torch.float32)
