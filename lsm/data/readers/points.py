"""Scalar fields on clouds of points: Elasticity-P."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lsm.data.readers.base import Reader, as_names, channels
from lsm.data.store import Store
from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec


class PointsReader(Reader):
    """Stored arrays ``(n,)`` of the targets, at stored points ``(n, 2)``.

    Args:
        points: the stored array of the points, which are the input.
        targets: stored arrays to predict.
        code: the stored vector that describes a whole sample, if there is one.
    """

    def __init__(self, points: str, targets: Sequence[str], code: str | None = None) -> None:
        self.points, self.targets, self.code = points, as_names("targets", targets), code
        self.fields = (points, *self.targets) if code is None else (points, *self.targets, code)

    def spec(self, store: Store) -> FieldSpec:
        """The coordinates of the points are the input channels.

        Raises:
            InputError: these are no points in the plane, or a target is not known at them.
        """
        points = store.fields[self.points]
        for name in self.targets:
            if len(points.shape) != 2 or points.shape[1] != 2 or store.fields[name].shape != points.shape[:1]:
                raise InputError(
                    f"{store.path} holds {self.points} of shape {points.shape} and {name} of shape "
                    f"{store.fields[name].shape} a sample; the reader takes points (n, 2) and targets (n,)"
                )
        return FieldSpec(
            geometry="points",
            sites=points.shape[:1],
            axes=("point",),
            inputs=tuple(Channel(axis, points.unit) for axis in ("x", "y")),
            targets=channels(store, self.targets),
            code=0 if self.code is None else store.fields[self.code].shape[0],
        )

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs, which are the coordinates, ``(n, 2)``, targets ``(n, c)`` and code ``(k,)``."""
        coords = torch.from_numpy(arrays[self.points].astype(np.float32))
        targets = np.stack([arrays[name] for name in self.targets], axis=-1).astype(np.float32)
        code = None if self.code is None else torch.from_numpy(arrays[self.code].astype(np.float32))
        return FieldBatch(inputs=coords, targets=torch.from_numpy(targets), coords=coords, code=code)
