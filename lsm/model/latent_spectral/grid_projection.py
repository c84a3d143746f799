"""Projection of sites that form a grid already."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lsm.fields import FieldSpec
from lsm.model import GRIDS
from lsm.model.cheap import cheap
from lsm.model.grid import append_coordinates
from lsm.model.latent_spectral.parts import PROJECTIONS
from lsm.model.precision import InputLinear


@PROJECTIONS.register("grid")
class GridProjection(nn.Module):
    """Append the grid's own coordinates and lift to the model's width: ``(b, *sites, c_in)`` to ``(b, w, *sites)``.

    A structured mesh is a grid too; its physical coordinates are among its input channels.

    Args:
        spec: the fields, on a grid or mesh.
        width: channels of the trunk.
    """

    geometries = GRIDS

    def __init__(self, spec: FieldSpec, width: int) -> None:
        super().__init__()
        self.lift = InputLinear(spec.in_channels + len(spec.sites), width)

    def project(self, inputs: Tensor, coords: Tensor | None, code: Tensor | None) -> tuple[Tensor, Any]:
        """Map inputs ``(b, *sites, c_in)`` to features ``(b, w, *sites)``."""
        return cheap(lambda given: self.lift(append_coordinates(given)).movedim(-1, 1), inputs), None

    def unproject(self, features: Tensor, sites: Any) -> Tensor:
        """Map features ``(b, w, *sites)`` to ``(b, *sites, w)``."""
        return features.movedim(1, -1)
