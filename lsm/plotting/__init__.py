"""Pictures of fields: input, truth, prediction and error, from a specification and arrays; and learning curves.

Knows no trainer and no model.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.files import whole_file
from lsm.plotting.animation import check_in_motion, save_animation
from lsm.plotting.curve import draw_learning_curve
from lsm.plotting.display import Display
from lsm.plotting.scene import scene_of
from lsm.plotting.sequence import draw_sequence
from lsm.plotting.snapshots import in_motion
from lsm.plotting.still import draw_still

__all__ = ["Display", "check_in_motion", "draw_learning_curve", "draw_sample", "save_animation", "save_figure"]


def draw_sample(spec: FieldSpec, display: Display, sample: FieldBatch, prediction: Tensor, title: str) -> Figure:
    """Draw one sample beside its prediction.

    Fields at rest have a row per target channel: input, truth, prediction, absolute error. Fields that change over time
    have a column per frame and three rows per field: truth, prediction, absolute error; the input is at the left. Truth and
    prediction share their colours, which diverge about zero for a field of both signs. Of a volume the middle is drawn.
    The headline also states the scalar parameters of the sample.

    Args:
        spec: the fields.
        display: window, positions and tool of the data set; ``Display()`` for none.
        sample: inputs, truth and coordinates, without a batch axis.
        prediction: ``(*sites, c)`` with all target channels, in physical units.
        title: headline.

    Example:
        >>> import torch
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (8, 8), ("x", "y"), (Channel("permeability"),), (Channel("pressure", "Pa"),))
        >>> sample = FieldBatch(inputs=torch.rand(8, 8, 1), targets=torch.rand(8, 8, 1))
        >>> figure = draw_sample(spec, Display(), sample, sample.targets, "perfect")
        >>> [axis.get_title() for axis in figure.axes]
        ['input', 'truth', 'prediction', 'absolute error']
    """
    scene = scene_of(spec, display, sample, prediction)
    return (draw_sequence if in_motion(scene.spec) else draw_still)(scene, title)


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure, making its folder; an existing file stays until the new one is complete."""
    with whole_file(path) as file:
        figure.savefig(file, dpi=dpi, format=path.suffix[1:])
