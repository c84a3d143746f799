"""Fields on structured, curvilinear meshes whose coordinates are the input, such as Airfoil and Pipe."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsm.data.readers.base import (
    AXES,
    READERS,
    Reader,
    as_parameters,
    as_tensor,
    channels,
    find_unequal_shapes,
    select,
)
from lsm.data.store import Store
from lsm.fields import FieldBatch, FieldSpec
from lsm.registry import Names, Resolution


@READERS.register("mesh")
class MeshReader(Reader):
    """Stored arrays ``(*sites)``, each a coordinate, an input or a target.

    Args:
        coordinates: stored arrays that say where the sites lie; the model receives them as inputs.
        targets: stored arrays to predict.
        inputs: further stored arrays given to the model.
        parameters: stored scalars of a sample, given to the model as well.
        resolution: sites to select from the stored ones, one number or one per axis; all of them by default.
    """

    geometry = "mesh"

    def __init__(
        self,
        *,
        coordinates: Names,
        targets: Names,
        inputs: Names | None = None,
        parameters: Names | None = None,
        resolution: Resolution = None,
    ) -> None:
        self.coordinates, self.targets = tuple(coordinates), tuple(targets)
        self.inputs, self.parameters = (*self.coordinates, *(inputs or ())), tuple(parameters or ())
        self.resolution = resolution
        self.fields = (*self.inputs, *self.targets, *self.parameters)

    def find_problem(self, store: Store) -> str | None:
        """Arrays of different shapes; see :meth:`Reader.find_problem`."""
        return find_unequal_shapes(store, [*self.inputs, *self.targets]) or super().find_problem(store)

    def describe(self, store: Store) -> FieldSpec:
        """Fields ``(*sites, c)``; the coordinates are the first input channels."""
        shape = store.fields[self.coordinates[0]].shape
        sites = select(np.empty(shape, dtype=bool), self.resolution).shape
        return FieldSpec(
            geometry=self.geometry,
            sites=sites,
            axes=AXES[: len(sites)],
            inputs=channels(store, self.inputs),
            targets=channels(store, self.targets),
            parameters=channels(store, self.parameters),
        )

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs ``(*sites, c)``, coordinates ``(*sites, d)`` and targets ``(*sites, c)``."""
        inputs, targets = (
            as_tensor([select(arrays[name], self.resolution) for name in names])
            for names in (self.inputs, self.targets)
        )
        coords = inputs[..., : len(self.coordinates)]
        return FieldBatch(inputs, targets, coords, parameters=as_parameters(arrays, self.parameters))
