"""Fields on clouds of points, such as Elasticity-P."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from lsm.data.readers.base import AXES, READERS, Reader, as_parameters, as_tensor, channels
from lsm.data.store import Store
from lsm.errors import InputError
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
        num_points: the stored number of points of each sample, if these differ; what follows them in the arrays is padding.
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
        num_points: str | None = None,
    ) -> None:
        self.points, self.targets, self.code = points, tuple(targets), code
        self.inputs, self.parameters = tuple(inputs or ()), tuple(parameters or ())
        self.num_points = num_points
        single = (name for name in (code, num_points) if name is not None)
        self.fields = (points, *self.inputs, *self.targets, *single, *self.parameters)

    def find_problem(self, store: Store) -> str | None:
        """Points other than ``(n, 1 to 3)``, or an array not known at them; see :meth:`Reader.find_problem`."""
        points = store.fields[self.points].shape
        takes = f"the reader takes points (n, d) of 1 to {len(AXES)} coordinates, and arrays (n,)"
        for name in (*self.inputs, *self.targets):
            shape = store.fields[name].shape
            if len(points) != 2 or not 1 <= points[1] <= len(AXES) or shape != points[:1]:
                return f"{self.points} of shape {points} and {name} of shape {shape} per sample; {takes}"
        if self.num_points is not None and (shape := store.fields[self.num_points].shape) != ():
            return f"{self.num_points} of shape {shape} per sample; a number of points is one number"
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
            ragged=self.num_points is not None,
        )

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs ``(n, c)``, coordinates ``(n, d)``, targets ``(n, c)`` and code ``(k,)``; of ragged clouds without padding.

        Raises:
            InputError: the stored number of points is not one of this sample.
        """
        count = self._count(arrays)
        coords = torch.from_numpy(arrays[self.points][:count].astype(np.float32))
        more = [as_tensor([arrays[name][:count] for name in self.inputs])] if self.inputs else []
        return FieldBatch(
            inputs=torch.cat([coords, *more], dim=-1),
            targets=as_tensor([arrays[name][:count] for name in self.targets]),
            coords=coords,
            code=None if self.code is None else torch.from_numpy(arrays[self.code].astype(np.float32)),
            parameters=as_parameters(arrays, self.parameters),
            mask=None if self.num_points is None else torch.ones(count, dtype=torch.bool),
        )

    def _count(self, arrays: Mapping[str, np.ndarray]) -> int:
        """Points of a sample."""
        stored = len(arrays[self.points])
        if self.num_points is None:
            return stored
        count = float(arrays[self.num_points])
        if count != int(count) or not 1 <= count <= stored:
            raise InputError(
                f"{self.num_points} is {count:g}, expected a whole number from 1 to the {stored} stored points"
            )
        return int(count)
