"""Darcy: permeability in, pressure out, on a square grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from lsm.data.readers.base import Reader, stride_to
from lsm.data.store import Store
from lsm.fields import Channel, FieldBatch, FieldSpec


class DarcyReader(Reader):
    """Two-phase porous medium, 421 x 421 sites stored, every fifth used in the published protocol.

    Args:
        resolution: sites along each axis to select from the stored grid; all of them if None.
    """

    fields = ("permeability", "pressure")

    def __init__(self, resolution: int | None = 85) -> None:
        self.resolution = resolution

    def spec(self, store: Store) -> FieldSpec:
        """One input and one target channel on ``resolution`` x ``resolution`` sites."""
        sites = tuple(self._select(store.field("permeability")[0]).shape)
        return FieldSpec(
            geometry="grid",
            sites=sites,
            axes=("x", "y"),
            inputs=(Channel("permeability"),),
            targets=(Channel("pressure"),),
        )

    def _select(self, field: np.ndarray) -> np.ndarray:
        stride = stride_to(len(field), self.resolution, "x")
        return field[::stride, ::stride]

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs and targets ``(n, n, 1)``."""
        selected = {name: self._select(arrays[name])[..., None].astype(np.float32) for name in self.fields}
        return FieldBatch(
            inputs=torch.from_numpy(selected["permeability"]), targets=torch.from_numpy(selected["pressure"])
        )
