"""A model from plain data: names and numbers, as configuration files and checkpoints hold them.

Every swappable part is one class here and one entry in the configuration. Names are looked up in these tables and nowhere
else, so that a checkpoint cannot name code to run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from torch import nn

from lsm.errors import InputError, require_kinds, require_whole
from lsm.fields import FieldSpec
from lsm.model.lsm import LatentSpectralModel
from lsm.model.point_cloud import FourierProjection
from lsm.model.projection import GridProjection
from lsm.model.spectral_block import IdentityBlock, NeuralSpectralBlock
from lsm.model.trunk import MultiscaleTrunk

PROJECTIONS: dict[str, type[nn.Module]] = {"grid": GridProjection, "fourier": FourierProjection}
BLOCKS: dict[str, type[nn.Module]] = {"neural_spectral": NeuralSpectralBlock, "identity": IdentityBlock}
TRUNKS: dict[str, type[nn.Module]] = {"multiscale": MultiscaleTrunk}

Part = TypeVar("Part")

#: Arguments of a part that the builder fills in from the fields and the model's own width and patch.
_FILLED_IN = {"rank", "in_channels", "channels", "width", "code", "patch", "make_block"}


def choose(what: str, table: Mapping[str, Part], name: str) -> Part:
    """Look a name up.

    Raises:
        InputError: the table has no such name; the message lists those it has.
    """
    if name not in table:
        raise InputError(f"{what} {name!r} is unknown; choose one of: {', '.join(sorted(table))}")
    return table[name]


def _prepare(what: str, table: Mapping[str, type[nn.Module]], config: Mapping[str, Any]) -> Callable[..., Any]:
    """Turn ``{name: ..., option: ...}`` into the named class with these options filled in; None leaves a default."""
    options = {name: value for name, value in config.items() if value is not None}
    part = choose(what, table, options.pop("name"))
    known = {name: option for name, option in inspect.signature(part).parameters.items() if name not in _FILLED_IN}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"{what} {part.__name__} has no option {', '.join(unknown)}; see its documentation")
    require_kinds(options, {name: option.default for name, option in known.items()}, f"model.{what}.")
    return partial(part, **options)


def build_model(config: Mapping[str, Any], spec: FieldSpec) -> LatentSpectralModel:
    """Build an untrained model.

    Args:
        config: ``width``, ``patch`` and the parts ``projection``, ``trunk`` and ``block``, each ``{name, **options}``.
        spec: the fields; channel counts and the grid's rank come from here.
    Raises:
        InputError: a name or option is unknown, or a number does not fit.
    """
    width, patch = config["width"], config["patch"]
    require_whole("model.width", width, 1)
    if isinstance(patch, str) or not isinstance(patch, Sequence):
        raise InputError(f"model.patch is {patch}, expected a number an axis such as [4,4]")
    for size in patch:
        require_whole("a size in model.patch", size, 1)
    if (config["projection"]["name"] == "fourier") != (spec.geometry == "points"):
        raise InputError(
            f"projection {config['projection']['name']!r} does not fit sites of geometry {spec.geometry!r}: "
            "choose 'fourier' for points, 'grid' for grids and meshes"
        )
    make_projection = _prepare("projection", PROJECTIONS, config["projection"])
    make_trunk = _prepare("trunk", TRUNKS, config["trunk"])
    make_block = _prepare("block", BLOCKS, config["block"])
    return LatentSpectralModel(
        projection=make_projection(rank=spec.space_dim, in_channels=spec.in_channels, width=width, code=spec.code),
        trunk=make_trunk(rank=spec.space_dim, width=width, patch=tuple(patch), make_block=make_block),
        width=width,
        out_channels=spec.out_channels,
    )
