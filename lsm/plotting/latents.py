"""What a Latent Spectral Model attends to: attention maps and tokens of every scale."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from einops import repeat
from matplotlib.figure import Figure
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.model.latent_spectral.inspection import ScaleLatents
from lsm.plotting.display import Display
from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_SIZE,
    View,
    add_bar,
    axis_labels,
    label_rim,
    lay_out,
    set_title,
    view_of,
)
from lsm.plotting.painting import COLOURS, is_line, paint

#: Tokens whose maps are drawn.
_MOST_TOKENS = 2

_SCALE = 0.75


def draw_latents(scales: Sequence[ScaleLatents], sample: FieldBatch, spec: FieldSpec, title: str) -> Figure:
    """A row for each scale, finest first: where tokens are gathered from and spread to, and how large they are.

    For the head whose attention varies most over the sites, the maps of its first tokens: the share of each site in the token of
    its patch, in units of the mean share (1 everywhere is uniform attention), and the share of the token in what the site
    receives. Then the size of the tokens of each patch, over all heads,
    as gathered and after the spectral sum. Of a cloud, the maps lie on its latent grid, drawn as the unit square; with a third
    axis, its middle is drawn.

    Args:
        scales: of a single sample, see :func:`lsm.model.latent_spectral.inspection.inspect_latents`.
        sample: this sample, ``(*sites, c)``.
        spec: the fields.
        title: headline.
    """
    coords = sample.coords.numpy() if sample.coords is not None and spec.geometry == "mesh" else None
    if coords is not None and coords.ndim == 4:
        coords = coords[:, :, coords.shape[2] // 2, :2]
    rows = [_maps(scale) for scale in scales]
    view = _view(rows[0], coords)
    counts = [len(group) for group in rows[0].values()]
    bars = np.concatenate([[False] * (count - 1) + [True] for count in counts])
    gaps = [BAR_GAP if bar else BARE_GAP for bar in bars]
    figure, axes = lay_out(view, [BARE_GAP] * (len(rows) - 1), gaps, title)
    names = axis_labels(spec, Display()) if spec.geometry != "points" else ("latent x", "latent y")
    label_rim(axes, names)
    for number, (row, groups) in enumerate(zip(axes, rows, strict=True)):
        places = None if coords is None else coords[:: 2**number, :: 2**number]
        _draw_row(row, groups, places, view, number)
    return figure


def _view(groups: dict[str, dict[str, np.ndarray]], coords: np.ndarray | None) -> View:
    first = next(iter(next(iter(groups.values())).values()))
    if is_line(first, coords):
        return View(None, line=True, scale=_SCALE)
    return view_of(Display(), [] if coords is None else [coords], _SCALE)


def _draw_row(row: Any, groups: dict[str, dict[str, np.ndarray]], places: Any, view: View, number: int) -> None:
    panels = iter(row)
    for label, maps in groups.items():
        scale = {"vmin": 0.0, "vmax": max(values.max() for values in maps.values()), "cmap": COLOURS}
        for name, values in maps.items():
            axis = next(panels)
            drawn = paint(axis, np.ma.masked_array(values), places, scale, view.finest)
            view.apply(axis)
            if number == 0:
                set_title(axis, name)
        if not view.line:
            add_bar(axis, view, drawn, label)
    row[0].set_ylabel(f"scale {number + 1}\n{row[0].get_ylabel()}", fontsize=LABEL_SIZE)


def _maps(scale: ScaleLatents) -> dict[str, dict[str, np.ndarray]]:
    """Panels by title, in groups of common colours by the label of their bar; each in at most two dimensions."""
    gathering, spreading = scale.gathering[0], scale.spreading[0]
    head = int(gathering.flatten(2).std(dim=-1).mean(dim=1).argmax())
    count = min(_MOST_TOKENS, gathering.shape[1])
    sites = tuple(gathering.shape[2:])
    relative = gathering[head] * prod(scale.patch)
    return {
        "share / mean share": {f"gathered by token {i + 1}": _plane(relative[i]) for i in range(count)},
        "share of the token": {f"receives token {i + 1}": _plane(spreading[head, i]) for i in range(count)},
        "size": {
            "tokens": _plane(_sizes(scale.tokens, scale, sites)),
            "after the spectral sum": _plane(_sizes(scale.solved, scale, sites)),
        },
    }


def _plane(values: Tensor) -> np.ndarray:
    return (values[..., values.shape[-1] // 2] if values.dim() == 3 else values).numpy()


def _sizes(tokens: Tensor, scale: ScaleLatents, sites: tuple[int, ...]) -> Tensor:
    """Euclidean norm of all tokens of a patch, at each site of the patch."""
    norms = tokens[0].flatten(1).norm(dim=1).reshape(scale.patches)
    for axis, (size, patch) in enumerate(zip(sites, scale.patch, strict=True)):
        norms = repeat(norms.movedim(axis, 0), "n ... -> (n p) ...", p=patch)[:size].movedim(0, axis)
    return norms
