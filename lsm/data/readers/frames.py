"""Fields in motion on a regular lattice: past frames in, future frames out, one at a time, such as Navier-Stokes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from einops import rearrange

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
from lsm.fields import FieldBatch, FieldSpec, Frames
from lsm.registry import Count, Names


@READERS.register("frames")
class FramesReader(Reader):
    """Stored arrays ``(*sites, frames)``; the first frames are the input, those that follow the targets.

    Args:
        targets: the stored arrays, each one field over time.
        num_inputs: frames that the model sees at once.
        num_targets: frames to predict.
        parameters: stored scalars of a sample, given to the model as well.
        resolution: sites to select from the stored ones along each axis; all by default.
        periodic: whether the fields are periodic along all axes of space.
    """

    geometry = "grid"

    def __init__(
        self,
        *,
        targets: Names,
        num_inputs: Count,
        num_targets: Count,
        parameters: Names | None = None,
        resolution: Count | None = None,
        periodic: bool = False,
    ) -> None:
        self.targets, self.parameters = tuple(targets), tuple(parameters or ())
        self.frames, self.resolution, self.periodic = Frames(num_inputs, num_targets), resolution, periodic
        self.fields = (*self.targets, *self.parameters)

    def find_problem(self, store: Store) -> str | None:
        """Arrays of different shapes, or fewer frames than needed; see :meth:`Reader.find_problem`."""
        if problem := find_unequal_shapes(store, self.targets, trailing=1):
            return problem
        first, frames = self.targets[0], self.frames
        stored = store.fields[first].shape[-1]
        if stored < frames.inputs + frames.targets:
            needed = f"needed are {frames.inputs} inputs and {frames.targets} targets"
            return f"{stored} frames of {first}, {needed}; lower num_targets, or generate more frames"
        return super().find_problem(store)

    def describe(self, store: Store) -> FieldSpec:
        """The fields ``(*sites, c)`` of one frame, and the number of frames."""
        sites = self._select(np.empty(store.fields[self.targets[0]].shape, dtype=bool)).shape[:-1]
        fields = channels(store, self.targets)
        return FieldSpec(
            geometry=self.geometry,
            sites=sites,
            axes=AXES[: len(sites)],
            inputs=fields,
            targets=fields,
            parameters=channels(store, self.parameters),
            frames=self.frames,
            periodic=self.periodic,
        )

    def _select(self, frames: np.ndarray) -> np.ndarray:
        return select(frames, self.resolution, num_axes=frames.ndim - 1, periodic=self.periodic)

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs ``(*sites, num_inputs * c)`` and targets ``(*sites, num_targets * c)``, ordered by frame, then by field."""
        stacked = as_tensor([self._select(arrays[name]) for name in self.targets])
        first, end = self.frames.inputs, self.frames.inputs + self.frames.targets
        inputs, targets = (
            rearrange(part, "... t c -> ... (t c)") for part in (stacked[..., :first, :], stacked[..., first:end, :])
        )
        return FieldBatch(inputs, targets, parameters=as_parameters(arrays, self.parameters))
