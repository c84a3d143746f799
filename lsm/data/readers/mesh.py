"""Scalar fields on structured, curvilinear meshes, whose coordinates are the input: Airfoil and Pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lsm.data.readers.base import AXES, Reader, as_names, channels, require_one_shape, select
from lsm.data.store import Store
from lsm.fields import FieldBatch, FieldSpec


class MeshReader(Reader):
    """Stored arrays ``(*sites)``: a coordinate or a target each.

    Args:
        coordinates: stored arrays that say where the sites lie.
        targets: stored arrays to predict.
        resolution: sites to select from the stored ones, one number or one an axis; all of them if None.
        window: for pictures, the part of the plane worth looking at, ``((x_low, x_high), (y_low, y_high))``.
    """

    def __init__(
        self,
        coordinates: Sequence[str],
        targets: Sequence[str],
        resolution: int | Sequence[int] | None = None,
        window: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.coordinates, self.targets = as_names("coordinates", coordinates), as_names("targets", targets)
        self.resolution, self.window = resolution, window
        self.fields = (*self.coordinates, *self.targets)

    def spec(self, store: Store) -> FieldSpec:
        """The coordinates are the input channels.

        Raises:
            InputError: the arrays' shapes differ.
        """
        require_one_shape(store, self.fields)
        sites = select(store.field(self.coordinates[0])[0], self.resolution).shape
        return FieldSpec(
            geometry="mesh",
            sites=sites,
            axes=AXES[: len(sites)],
            inputs=channels(store, self.coordinates),
            targets=channels(store, self.targets),
            window=None if self.window is None else tuple((low, high) for low, high in self.window),  # type: ignore[arg-type]
        )

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs, which are the coordinates, ``(*sites, d)``, and targets ``(*sites, c)``."""
        coords, targets = (
            torch.from_numpy(
                np.stack([select(arrays[name], self.resolution) for name in names], axis=-1).astype(np.float32)
            )
            for names in (self.coordinates, self.targets)
        )
        return FieldBatch(inputs=coords, targets=targets, coords=coords)
