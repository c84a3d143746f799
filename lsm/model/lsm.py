"""The Latent Spectral Model: project, solve on a grid, project back, read out. No branch on the geometry.

Source: Wu, Hu, Luo, Wang, Long, "Solving High-Dimensional PDEs with Latent Spectral Models", ICML 2023.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from lsm.model.trunk import MultiscaleTrunk


class Projection(Protocol):
    """Brings a field from its sites to the trunk's grid and back."""

    def project(self, inputs: Tensor, coords: Tensor | None, code: Tensor | None) -> tuple[Tensor, Any]:
        """Map ``(b, *sites, c_in)`` to ``(b, w, *grid)``, and what ``unproject`` has to know of the sites."""

    def unproject(self, features: Tensor, sites: Any) -> Tensor:
        """Map ``(b, w, *grid)`` to ``(b, *sites, w)``."""


class LatentSpectralModel(nn.Module):
    """Predict a field from a field.

    Args:
        projection: a module that keeps the :class:`Projection` protocol.
        trunk: the multiscale solver on the grid.
        width: channels between projection, trunk and head.
        out_channels: channels of the predicted field.
        head_width: channels inside the head.
    """

    projection: Projection

    def __init__(
        self, projection: nn.Module, trunk: MultiscaleTrunk, width: int, out_channels: int, head_width: int = 128
    ) -> None:
        super().__init__()
        self.add_module("projection", projection)
        self.trunk = trunk
        self.head = nn.Sequential(nn.Linear(width, head_width), nn.GELU(), nn.Linear(head_width, out_channels))

    def forward(self, inputs: Tensor, coords: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Map a normalised field to a normalised field.

        Args:
            inputs: ``(b, *sites, c_in)``.
            coords: ``(b, *sites, d)``, for projections that need to know where the sites lie.
            code: ``(b, k)``, for projections that take a shape code.
        Returns:
            ``(b, *sites, c_out)``.
        """
        features, sites = self.projection.project(inputs, coords, code)
        return self.head(self.projection.unproject(self.trunk(features), sites))
