"""Registries of the Latent Spectral Model's exchangeable parts, each found by its name in this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from lsm.registry import Registry

#: Blocks on sets of points, ``(n, p, c) -> (n, p, c)``; a block takes the number of channels.
BLOCKS: Registry[Any] = Registry("block", home="lsm.model.latent_spectral")

#: Projections from the sites of a sample to the trunk's grid and back; a projection takes the specification and the width.
PROJECTIONS: Registry[Any] = Registry("projection", home="lsm.model.latent_spectral")


class Projection(Protocol):
    """Brings a field from its sites, ``(b, *sites, c)``, to the trunk's grid, ``(b, w, *grid)``, and back."""

    def project(
        self, inputs: Tensor, coords: Tensor | None, code: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Map ``(b, *sites, c_in)`` to ``(b, w, *grid)``, and what ``unproject`` needs to know of the sites."""

    def unproject(self, features: Tensor, sites: Any) -> Tensor:
        """Map ``(b, w, *grid)`` to ``(b, *sites, w)``."""


@dataclass(frozen=True)
class Latents:
    """The latent space of a spectral block, for ``n`` sets of ``p`` points.

    Args:
        tokens: ``(n, h, m, c / h)``, gathered from the points by attention.
        solved: ``(n, h, m, c / h)``, the tokens after the operator in latent space.
        gathering: ``(n, h, m, p)``, share of each point in each token (rows sum to one).
        spreading: ``(n, h, p, m)``, share of each token in what each point receives (rows sum to one).
    """

    tokens: Tensor
    solved: Tensor
    gathering: Tensor
    spreading: Tensor
