"""What a Latent Spectral Model attends to: attention maps and tokens of every block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from einops import repeat
from matplotlib.figure import Figure
from torch import Tensor

from lsm.fields import FieldBatch, FieldSpec
from lsm.model.inspection import BlockLatents
from lsm.plotting.display import Display
from lsm.plotting.layout import (
    BAR_GAP,
    BARE_GAP,
    LABEL_SIZE,
    View,
    add_bar,
    label_rim,
    lay_out,
    set_title,
    view_of,
)
from lsm.plotting.painting import COLOURS, is_line, paint
from lsm.plotting.scene import scene_of, shown_points

#: Tokens whose maps are drawn.
_MOST_TOKENS = 2

_SCALE = 0.75

#: Maps by title, in groups of common colours by the label of their bar; each map has at most two axes.
_Groups = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class _Row:
    """The panels of one block.

    Args:
        label: which block it is.
        groups: what they show.
        places: ``(*sites, d)``, where the sites lie; None on a regular grid.
    """

    label: str
    groups: _Groups
    places: np.ndarray | None


def draw_latents(blocks: Sequence[BlockLatents], sample: FieldBatch, spec: FieldSpec, title: str) -> Figure:
    """A row for each block: where its tokens are gathered from and spread to, and how large they or their effect are.

    For the head whose attention varies most over the sites, the maps of its first tokens: the share of each site in the token of
    its patch, in units of the mean share (1 everywhere is uniform attention), and the share of the token in what the site
    receives. Then, for LSM, the size of the tokens of each patch, over all heads, as gathered and after the spectral sum; for
    LSM-2, whose tokens belong to the whole field, the size of what the block adds to each site.

    Of a cloud, the maps of LSM lie on its latent grid, drawn as the unit square; those of LSM-2 on its lattice and on the
    points, whose positions are shown as the model receives them, in the unit square. On a mesh, a site of a coarse scale is drawn
    as the sites of the mesh that it stands for. With a third axis, its middle is drawn.

    Args:
        blocks: of a single sample, see :func:`lsm.model.inspection.inspect_latents`.
        sample: this sample, ``(*sites, c)``.
        spec: the fields.
        title: headline.
    """
    on_points = any(block.positions is not None for block in blocks)
    by_patch = any(prod(block.patches) > 1 for block in blocks)
    rows = [_row(block, _groups(block, sample.mask, by_patch), sample, spec, on_points) for block in blocks]
    view = _view(rows[0], sample, spec, on_points)
    counts = [len(group) for group in rows[0].groups.values()]
    bars = np.concatenate([[False] * (count - 1) + [True] for count in counts])
    gaps = [BAR_GAP if bar else BARE_GAP for bar in bars]
    names = [name for group in rows[0].groups.values() for name in group]
    figure, axes = lay_out(view, [BARE_GAP] * (len(rows) - 1), gaps, title, names)
    label_rim(axes, _axis_names(spec, sample, on_points))
    for number, (panels, row) in enumerate(zip(axes, rows, strict=True)):
        _draw_row(panels, row, view, titled=number == 0)
    return figure


def _axis_names(spec: FieldSpec, sample: FieldBatch, on_points: bool) -> tuple[str, str]:
    if spec.geometry != "points":
        return scene_of(spec, Display(), sample, {}).axis_labels
    return ("x (scaled)", "y (scaled)") if on_points else ("latent x", "latent y")


def _view(row: _Row, sample: FieldBatch, spec: FieldSpec, on_points: bool) -> View:
    first = next(iter(next(iter(row.groups.values())).values()))
    if is_line(first, row.places):
        return View(None, line=True, scale=_SCALE)
    corners = [np.array([[0.0, 0.0], [1.0, 1.0]])] if on_points else []
    return view_of(Display(), [_mesh(sample)] if spec.geometry == "mesh" else corners, _SCALE)


def _mesh(sample: FieldBatch) -> np.ndarray:
    """Positions of a mesh in the plane, ``(m, n, 2)``; with a third axis, those in its middle."""
    assert sample.coords is not None
    coords = sample.coords.numpy()
    return coords[:, :, coords.shape[2] // 2, :2] if coords.ndim == 4 else coords


def _draw_row(panels: Any, row: _Row, view: View, titled: bool) -> None:
    remaining = iter(panels)
    for label, maps in row.groups.items():
        scale = {"vmin": 0.0, "vmax": max(values.max() for values in maps.values()), "cmap": COLOURS}
        for name, values in maps.items():
            axis = next(remaining)
            drawn = paint(axis, np.ma.masked_array(values), row.places, scale, view.finest)
            view.apply(axis)
            if titled:
                set_title(axis, name)
        if not view.line:
            add_bar(axis, view, drawn, label)
    panels[0].set_ylabel(f"{row.label}\n{panels[0].get_ylabel()}", fontsize=LABEL_SIZE)


def _row(block: BlockLatents, groups: _Groups, sample: FieldBatch, spec: FieldSpec, on_points: bool) -> _Row:
    label = f"scale {block.scale + 1}"
    if block.positions is not None:
        positions = block.positions[0]
        real = torch.arange(len(positions)) if sample.mask is None else sample.mask.nonzero().squeeze(1)
        which = real[shown_points(positions[real])]
        chosen = {bar: {name: values[which] for name, values in maps.items()} for bar, maps in groups.items()}
        return _Row("points", chosen, positions[which, :2].numpy())
    if on_points:
        sizes = block.gathering.shape[3:5]
        axes = [torch.linspace(0, 1, size) for size in sizes]
        return _Row(label, groups, torch.cartesian_prod(*axes).unflatten(0, sizes).numpy() if len(sizes) == 2 else None)
    if spec.geometry != "mesh":
        return _Row(label, groups, None)
    mesh = _mesh(sample)
    fine = {
        bar: {name: _refined(values, block.scale, mesh) for name, values in maps.items()}
        for bar, maps in groups.items()
    }
    return _Row(label, fine, mesh)


def _refined(values: np.ndarray, scale: int, mesh: np.ndarray) -> np.ndarray:
    """Values of a coarse scale at all sites of the mesh: on a stretched mesh the coarse sites alone would show a part of it."""
    for axis, size in enumerate(mesh.shape[: values.ndim]):
        values = np.take(values.repeat(2**scale, axis), np.arange(size), axis)
    return values


def _groups(block: BlockLatents, mask: Tensor | None, by_patch: bool) -> _Groups:
    gathering, spreading = block.gathering[0], block.spreading[0]
    head = int(gathering.flatten(2).std(dim=-1).mean(dim=1).argmax())
    count = min(_MOST_TOKENS, gathering.shape[1])
    sites = prod(block.patch) if block.positions is None or mask is None else int(mask.sum())
    relative = gathering[head] * sites
    return {
        "share / mean share": {f"gathered by token {i + 1}": _plane(relative[i]) for i in range(count)},
        "share of the token": {f"receives token {i + 1}": _plane(spreading[head, i]) for i in range(count)},
        "size": _sizes(block) if by_patch else {"change by the block": _plane(block.update[0].norm(dim=0))},
    }


def _sizes(block: BlockLatents) -> dict[str, np.ndarray]:
    named = {"tokens": block.tokens, "after the spectral sum": block.solved}
    sites = tuple(block.update.shape[2:])
    return {name: _plane(_norms(tokens, block, sites)) for name, tokens in named.items()}


def _plane(values: Tensor) -> np.ndarray:
    return (values[..., values.shape[-1] // 2] if values.dim() == 3 else values).numpy()


def _norms(tokens: Tensor, block: BlockLatents, sites: tuple[int, ...]) -> Tensor:
    """Euclidean norm of all tokens of a patch, at each site of the patch."""
    norms = tokens[0].flatten(1).norm(dim=1).reshape(block.patches)
    for axis, (size, patch) in enumerate(zip(sites, block.patch, strict=True)):
        norms = repeat(norms.movedim(axis, 0), "n ... -> (n p) ...", p=patch)[:size].movedim(0, axis)
    return norms
