"""Fields on clouds of points, such as Elasticity-P."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from lsm.data.readers.base import AXES, READERS, Reader, as_parameters, as_tensor, channels
from lsm.data.store import Store
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.registry import Names


@READERS.register("points")
class PointsReader(Reader):
    """Stored arrays ``(n,)`` at stored points ``(n, d)``, ``d`` 1 to 3.

    Args:
        points: the stored array of the points; the model receives them as inputs.
        targets: stored arrays to predict.
        inputs: further stored arrays given to the model.
        code: the stored vector that describes a whole sample, if there is one.
        parameters: stored scalars of a sample, given to the model as well.
    """

    geometry = "points"

    def __init__(
        self,
        *,
        points: str,
        targets: Names,
        inputs: Names | None = None,
        code: str | None = None,
        parameters: Names | None = None,
    ) -> None:
        self.points, self.targets, self.code = points, tuple(targets), code
        self.inputs, self.parameters = tuple(inputs or ()), tuple(parameters or ())
        codes = () if code is None else (code,)
        self.fields = (points, *self.inputs, *self.targets, *codes, *self.parameters)

    def find_problem(self, store: Store) -> str | None:
        """Points other than ``(n, 1 to 3)``, or an array not known at them; see :meth:`Reader.find_problem`."""
        points = store.fields[self.points].shape
        takes = f"the reader takes points (n, d) of 1 to {len(AXES)} coordinates, and arrays (n,)"
        for name in (*self.inputs, *self.targets):
            shape = store.fields[name].shape
            if len(points) != 2 or not 1 <= points[1] <= len(AXES) or shape != points[:1]:
                return f"{self.points} of shape {points} and {name} of shape {shape} per sample; {takes}"
        return super().find_problem(store)

    def describe(self, store: Store) -> FieldSpec:
        """Fields ``(n, c)``; the coordinates of the points are the first input channels."""
        points = store.fields[self.points]
        positions = tuple(Channel(axis, points.unit) for axis in AXES[: points.shape[1]])
        return FieldSpec(
            geometry=self.geometry,
            sites=points.shape[:1],
            axes=("point",),
            inputs=positions + channels(store, self.inputs),
            targets=channels(store, self.targets),
            code=0 if self.code is None else store.fields[self.code].shape[0],
            parameters=channels(store, self.parameters),
            space=points.shape[1],
        )

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs ``(n, c)``, coordinates ``(n, d)``, targets ``(n, c)`` and code ``(k,)``."""
        coords = torch.from_numpy(arrays[self.points].astype(np.float32))
        more = [as_tensor([arrays[name] for name in self.inputs])] if self.inputs else []
        return FieldBatch(
            inputs=torch.cat([coords, *more], dim=-1),
            targets=as_tensor([arrays[name] for name in self.targets]),
            coords=coords,
            code=None if self.code is None else torch.from_numpy(arrays[self.code].astype(np.float32)),
            parameters=as_parameters(arrays, self.parameters),
        )
