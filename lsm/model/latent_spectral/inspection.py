"""Inspect a trained Latent Spectral Model: tokens, attention maps on the field and basis weights of every scale.

::

    from lsm.checkpoint import load
    from lsm.model.latent_spectral.inspection import inspect_latents

    finest, *coarser = inspect_latents(load("runs/demo/checkpoints/best.ckpt").solver, batch)
    finest.gathering[0, 3, 1]   # attention map of token 1 of head 3 in sample 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import Module

from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.model.latent_spectral.model import LatentSpectralModel
from lsm.model.latent_spectral.patches import from_patches, to_patches
from lsm.model.latent_spectral.spectral_block import NeuralSpectralBlock
from lsm.model.latent_spectral.spectral_sum import SpectralSum

if TYPE_CHECKING:
    from lsm.solver import NeuralSolver


@dataclass(frozen=True)
class ScaleLatents:
    """The neural spectral block of one scale; ``h`` heads, ``m`` tokens, ``c`` channels, ``N`` basis functions.

    Args:
        tokens: ``(b, patches, h, m, c / h)``, gathered from each patch by attention; patches in row-major order.
        solved: the tokens after the spectral sum.
        gathering: ``(b, h, m, *sites)``, the share of each site in the tokens of its patch (a patch's shares sum to one).
        spreading: ``(b, h, m, *sites)``, the share of each token in what its patch's sites receive (tokens sum to one).
        sines, cosines: ``(c, N)``, weights of ``sin(i pi t / N)`` and ``cos(i pi t / N)``, ``i`` from 0; None if the block
            was built without its spectral sum.
        patch: sites of a patch along each axis.
        patches: patches along each axis, of the padded grid.
    """

    tokens: Tensor
    solved: Tensor
    gathering: Tensor
    spreading: Tensor
    sines: Tensor | None
    cosines: Tensor | None
    patch: tuple[int, ...]
    patches: tuple[int, ...]


@torch.no_grad()
def inspect_latents(solver: NeuralSolver, batch: FieldBatch) -> list[ScaleLatents]:
    """Latent tokens and attention maps of every scale for the samples of a batch, finest scale first.

    The maps lie on the trunk's grid, which for a grid or mesh has the field's sites (coarser by 2 from scale to scale) and
    for a cloud the sites of its latent grid. A roll-out is inspected in its first step. Call ``solver.eval()`` before, as
    for a prediction.

    Args:
        solver: with a Latent Spectral Model.
        batch: samples ``(b, *sites, c)`` in physical units, on the solver's device.
    Raises:
        InputError: the solver has no neural spectral blocks, or none with a latent space.
    """
    model = solver.model
    if not isinstance(model, LatentSpectralModel) or not all(map(_has_latents, model.trunk.blocks)):
        raise InputError("only a Latent Spectral Model with latent tokens at every scale can be inspected")
    grid, _ = model.projection.project(*solver.encode(batch.inputs, batch.coords, batch.code, batch.parameters))
    scales = []
    for scale, (features, block) in enumerate(zip(model.trunk.encode(grid), model.trunk.blocks, strict=True)):
        sites = tuple(-(-size // 2**scale) for size in grid.shape[2:])
        scales.append(_inspect_block(block, features, model.trunk.patch, sites))
    return scales


def _has_latents(block: Module) -> bool:
    return isinstance(block, NeuralSpectralBlock) and block.latent


def _inspect_block(block: Any, features: Tensor, patch: tuple[int, ...], sites: tuple[int, ...]) -> ScaleLatents:
    """One block on features ``(b, c, *padded)``; maps are cropped to ``sites``."""
    seen = block.inspect(to_patches(features, patch))
    batch, padded = len(features), tuple(features.shape[2:])

    def on_grid(shares: Tensor) -> Tensor:
        maps = from_patches(rearrange(shares, "n h m p -> n p (h m)"), patch, padded)
        for axis, size in enumerate(sites, start=2):
            maps = maps.narrow(axis, 0, size)
        return rearrange(maps, "b (h m) ... -> b h m ...", h=block.heads)

    spectral = block.spectral
    sines, cosines = spectral.weights.chunk(2, dim=-1) if isinstance(spectral, SpectralSum) else (None, None)
    return ScaleLatents(
        tokens=rearrange(seen.tokens, "(b n) h m c -> b n h m c", b=batch),
        solved=rearrange(seen.solved, "(b n) h m c -> b n h m c", b=batch),
        gathering=on_grid(seen.gathering),
        spreading=on_grid(rearrange(seen.spreading, "n h p m -> n h m p")),
        sines=sines,
        cosines=cosines,
        patch=tuple(patch),
        patches=tuple(size // side for size, side in zip(padded, patch, strict=True)),
    )
