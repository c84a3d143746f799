"""Pictures of fields: input, truth, prediction and error, from a specification and arrays; learning curves; files for ParaView.

Knows no trainer; only ``latents``, which shows the inside of a model, knows a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from lsm.conformal import Band
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


def draw_sample(
    spec: FieldSpec,
    display: Display,
    sample: FieldBatch,
    predictions: Tensor | Mapping[str, Tensor],
    title: str,
    band: Band | None = None,
) -> Figure:
    """Draw one sample beside its prediction, or beside the errors of several models.

    Fields at rest have a row per target channel: input, truth, prediction, absolute error. Fields that change over time
    have a column per frame and three rows per field: truth, prediction, absolute error; the input is at the left. Truth and
    prediction share their colours, which diverge about zero for a field of both signs. Of a volume the middle is drawn.
    The headline also states the scalar parameters of the sample.

    Args:
        spec: the fields.
        display: window, positions and tool of the data set; ``Display()`` for none.
        sample: inputs, truth and coordinates, without a batch axis.
        predictions: ``(*sites, c)`` with all target channels, in physical units; of several models by their names, whose
            errors are drawn in common colours instead of prediction and error.
        title: headline.
        band: whose half-width is drawn in the colours of the error; for a single model.

    Example:
        >>> import torch
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (8, 8), ("x", "y"), (Channel("permeability"),), (Channel("pressure", "Pa"),))
        >>> sample = FieldBatch(inputs=torch.rand(8, 8, 1), targets=torch.rand(8, 8, 1))
        >>> figure = draw_sample(spec, Display(), sample, sample.targets, "perfect")
        >>> [axis.get_title() for axis in figure.axes]
        ['input', 'truth', 'prediction', 'absolute error']
    """
    scene = scene_of(spec, display, sample, predictions, band)
    return (draw_sequence if in_motion(scene.spec) else draw_still)(scene, title)


#: Letters stay letters in vector graphics, as journals ask for, and equal figures have equal bytes.
_STYLE: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "lsm"}

#: Entries that would hold the time of writing.
_DATES = {".pdf": "CreationDate", ".svg": "Date"}


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure, making its folder; an existing file stays until the new one is complete.

    Args:
        figure: the figure.
        path: a ``.png`` file, or ``.pdf`` or ``.svg``, in which only fields on meshes and clouds are pixels.
        dpi: dots per inch of pixels.
    """
    dates = {_DATES[path.suffix]: None} if path.suffix in _DATES else None
    with whole_file(path) as file, rc_context(_STYLE):
        figure.savefig(file, dpi=dpi, format=path.suffix[1:], metadata=dates)
