"""Inspect a trained Latent Spectral Model, LSM or LSM-2: tokens, attention maps on the field and basis weights of every block.

::

    from lsm.checkpoint import load
    from lsm.model.inspection import inspect_latents

    finest, *coarser = inspect_latents(load("runs/demo/checkpoints/best.ckpt").solver, batch)
    finest.gathering[0, 3, 1]   # attention map of token 1 of head 3 in sample 0
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import Module

from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.model import require_ragged
from lsm.model.batch_norm import evaluation_mode
from lsm.model.latent_spectral.model import LatentSpectralModel
from lsm.model.latent_spectral.parts import Latents
from lsm.model.latent_spectral.patches import from_patches, to_patches
from lsm.model.latent_spectral.spectral_sum import BasisWeights, LearnedSpectralSum, SpectralSum
from lsm.model.lsm2.cloud import CloudBody
from lsm.model.lsm2.model import LatentSpectralModel2
from lsm.model.lsm2.pyramid import OnLattice, Pyramid

if TYPE_CHECKING:
    from lsm.solver import NeuralSolver


@dataclass(frozen=True)
class BlockLatents:
    """One spectral block; ``h`` heads, ``m`` tokens, ``c`` channels.

    A block of LSM gathers tokens from each patch of its grid; one of LSM-2 from all its sites, which are a single patch.

    Args:
        scale: the sites are every ``2^scale``-th of the finest grid.
        tokens: ``(b, patches, h, m, c / h)``, gathered from each patch by attention; patches in row-major order.
        solved: the tokens after the spectral sum, in LSM-2 also after channels and tokens have mixed.
        gathering: ``(b, h, m, *sites)``, the share of each site in the tokens of its patch (a patch's shares sum to one).
        spreading: ``(b, h, m, *sites)``, the share of each token in what its patch's sites receive (tokens sum to one).
        update: ``(b, c, *sites)``, what the block adds to the features of each site.
        basis: weights of the spectral sum; None if the block was built without it.
        patch: sites of a patch along each axis.
        patches: patches along each axis, of the padded grid.
        positions: ``(b, n, d)``, where the sites lie in the unit cube, if they are the points of a cloud; None on a grid.
    """

    scale: int
    tokens: Tensor
    solved: Tensor
    gathering: Tensor
    spreading: Tensor
    update: Tensor
    basis: BasisWeights | None
    patch: tuple[int, ...]
    patches: tuple[int, ...]
    positions: Tensor | None = None


@torch.no_grad()
def inspect_latents(solver: NeuralSolver, batch: FieldBatch) -> list[BlockLatents]:
    """Latent tokens and attention maps of every spectral block for the samples of a batch.

    The blocks of LSM come from the finest scale to the coarsest; their maps lie on the trunk's grid, which for a grid or mesh
    has the field's sites (coarser by 2 from scale to scale) and for a cloud the sites of its latent grid. Those of LSM-2 come in
    the order of the prediction: for a cloud the blocks on its lattice, then those on the points. A roll-out is inspected in its
    first step. The solver is in evaluation mode meanwhile, as for a prediction.

    Args:
        solver: with a Latent Spectral Model of either generation.
        batch: samples ``(b, *sites, c)`` in physical units, on the solver's device.
    Raises:
        InputError: the solver has no spectral blocks, or those of LSM have no latent space.
    """
    given: tuple[Any, ...] = solver.encode(batch.inputs, batch.coords, batch.code, batch.parameters)
    if batch.mask is not None:
        require_ragged(solver.model)
        given = (*given, batch.mask)
    with evaluation_mode(solver):
        seen = _inspect(solver.model, given)
    if not seen:
        raise InputError("only LSM and LSM-2 whose spectral blocks have latent tokens can be inspected")
    return seen


def _inspect(model: Module, given: Sequence[Any]) -> list[BlockLatents]:
    """All blocks with latent tokens; ``given`` is what the model takes, its inputs ``(b, *sites, c)`` first."""
    if isinstance(model, LatentSpectralModel) and all(map(_has_latents, model.trunk.blocks)):
        return _inspect_patches(model, given)
    return _inspect_whole_fields(model, given) if isinstance(model, LatentSpectralModel2) else []


def _has_latents(block: Module) -> bool:
    return hasattr(block, "inspect") and getattr(block, "latent", True)


def _inspect_patches(model: LatentSpectralModel, given: Sequence[Any]) -> list[BlockLatents]:
    """The blocks of LSM, each on the features of its scale."""
    patch = model.trunk.patch
    grid, _ = model.projection.project(*given)
    scales = []
    for scale, (features, block) in enumerate(zip(model.trunk.encode(grid), model.trunk.blocks, strict=True)):
        points, padded = to_patches(features, patch), tuple(features.shape[2:])
        sites = tuple(-(-size // 2**scale) for size in grid.shape[2:])
        scales.append(_latents(scale, block, (points,), block(points), _Sites(patch, padded, sites)))
    return scales


def _inspect_whole_fields(model: LatentSpectralModel2, given: Sequence[Any]) -> list[BlockLatents]:
    """The blocks of LSM-2, on a lattice or on the points of a cloud, as a prediction calls them."""
    inputs, coords = given[:2]
    positions = inputs[..., : model.spec.space_dim] if coords is None else coords
    scale_of: dict[Module, int] = {}
    on_points: list[Module] = []
    for part in model.modules():
        if isinstance(part, Pyramid):
            scale_of |= {layer: scale for layer, scale in part.latents() if _has_latents(layer.block)}
        elif isinstance(part, CloudBody):
            on_points += filter(_has_latents, part.blocks)
    seen = []
    for layer, arguments, updated in _calls(model, given, [*scale_of, *on_points]):
        if isinstance(layer, OnLattice):
            sites = tuple(updated.shape[2:])
            points, out = (rearrange(field, "b c ... -> b (...) c") for field in (arguments[0], updated))
            seen.append(_latents(scale_of[layer], layer.block, (points,), out, _Sites(sites, sites, sites)))
        else:
            sites = tuple(updated.shape[1:2])
            seen.append(_latents(0, layer, arguments, updated, _Sites(sites, sites, sites), positions))
    return seen


def _calls(
    model: Module, given: Sequence[Any], layers: Iterable[Module]
) -> list[tuple[Module, tuple[Any, ...], Tensor]]:
    """Some layers with what goes into and comes out of each, in the order in which a prediction calls them."""
    calls: list[tuple[Module, tuple[Any, ...], Tensor]] = []
    with ExitStack() as hooks:
        for layer in layers:
            hook = layer.register_forward_hook(lambda layer, arguments, out: calls.append((layer, arguments, out)))
            hooks.callback(hook.remove)
        model(*given)
    return calls


class _Sites(NamedTuple):
    """Numbers of sites along each axis: of a patch, of the padded grid that patches fill, and of the field itself."""

    patch: tuple[int, ...]
    padded: tuple[int, ...]
    field: tuple[int, ...]


def _latents(
    scale: int, block: Any, arguments: tuple[Any, ...], updated: Tensor, sites: _Sites, positions: Tensor | None = None
) -> BlockLatents:
    """One block that maps points ``(b patches, p, c)``, the first of its arguments, to ``updated``."""
    points, (patch, padded, cropped) = arguments[0], sites
    seen: Latents = block.inspect(*arguments)
    patches = tuple(size // side for size, side in zip(padded, patch, strict=True))

    def on_grid(values: Tensor) -> Tensor:
        maps = from_patches(values, patch, padded)
        for axis, size in enumerate(cropped, start=2):
            maps = maps.narrow(axis, 0, size)
        return maps

    def by_head(shares: Tensor) -> Tensor:
        return rearrange(on_grid(shares), "b (h m) ... -> b h m ...", h=block.heads)

    return BlockLatents(
        scale=scale,
        tokens=rearrange(seen.tokens, "(b n) h m c -> b n h m c", n=prod(patches)),
        solved=rearrange(seen.solved, "(b n) h m c -> b n h m c", n=prod(patches)),
        gathering=by_head(rearrange(seen.gathering, "n h m p -> n p (h m)")),
        spreading=by_head(rearrange(seen.spreading, "n h p m -> n p (h m)")),
        update=on_grid(updated - points),
        basis=_basis(block),
        patch=patch,
        patches=patches,
        positions=positions,
    )


def _basis(block: Module) -> BasisWeights | None:
    sums = (part for part in block.modules() if isinstance(part, (SpectralSum, LearnedSpectralSum)))
    return next((part.basis() for part in sums), None)
