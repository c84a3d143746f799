"""Plasticity: the die's profile in, the forged block's positions and displacements over time out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from lsm.data.readers.base import Reader
from lsm.data.store import Store
from lsm.fields import Channel, FieldBatch, FieldSpec, Tool

#: Where the die's profile begins and ends, and how far the die comes down a frame, mm: constants of the published layout.
DIE_SPAN = (-49.65, 0.35)
TRAVEL_PER_FRAME = 0.3


class PlasticityReader(Reader):
    """The die ``(nx,)``, repeated over the block's depth and over time, and the deformation ``(nx, ny, nt, 4)``.

    The published protocol hands the profile to the model as it is stored, though its index runs from left to right and
    that of the block's columns from right to left.
    """

    fields = ("die", "deformation")

    def spec(self, store: Store) -> FieldSpec:
        """A lattice of two material axes and time."""
        die, deformation = (store.fields[name] for name in self.fields)
        return FieldSpec(
            geometry="grid",
            sites=deformation.shape[:3],
            axes=("x", "y", "time"),
            inputs=(Channel("die", die.unit),),
            targets=tuple(Channel(name, deformation.unit) for name in ("x", "y", "u_x", "u_y")),
            positions=(0, 1),
            tool=Tool(channel=0, span=DIE_SPAN, travel=TRAVEL_PER_FRAME),
        )

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs ``(nx, ny, nt, 1)`` and targets ``(nx, ny, nt, 4)``."""
        targets = torch.from_numpy(arrays["deformation"].astype(np.float32))
        die = torch.from_numpy(arrays["die"].astype(np.float32))
        return FieldBatch(inputs=die[:, None, None, None].expand(*targets.shape[:3], 1), targets=targets)
