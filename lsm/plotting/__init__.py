"""Pictures of fields: input, truth, prediction and error, from a specification and arrays; and learning curves.

Knows no trainer and no model.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.plotting.animation import check_in_motion, save_animation
from lsm.plotting.curve import draw_learning_curve
from lsm.plotting.frames import draw_frames
from lsm.plotting.moments import in_motion
from lsm.plotting.plane import middle_plane
from lsm.plotting.still import draw_still

__all__ = ["check_in_motion", "draw_learning_curve", "draw_sample", "save_animation", "save_figure"]


def draw_sample(spec: FieldSpec, sample: FieldBatch, prediction: Tensor, title: str) -> Figure:
    """Draw one sample beside its prediction.

    A field at rest gives a row a target channel: input, truth, prediction, absolute error. A field in motion gives a
    column a frame, with truth, prediction and absolute error below one another, beside what the model was given. Truth and
    prediction share their colours. Of a field in space, the middle plane is drawn.

    Args:
        spec: the fields.
        sample: inputs, truth and coordinates, without a batch axis.
        prediction: ``(*sites, c_out)``, in physical units.
        title: headline.
    """
    spec, sample, prediction, which = middle_plane(spec, sample, prediction)
    draw = draw_frames if in_motion(spec) else draw_still
    return draw(spec, sample, prediction, title + which)


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
