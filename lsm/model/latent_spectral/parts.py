"""Registries of the Latent Spectral Model's exchangeable parts, each found by its name in this package."""

from __future__ import annotations

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
