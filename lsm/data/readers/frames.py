"""One field in motion on a regular lattice: past frames in, future frames out, one at a time. Navier-Stokes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from lsm.data.readers.base import AXES, Reader, select
from lsm.data.store import Store
from lsm.errors import InputError, require_whole
from lsm.fields import Channel, FieldBatch, FieldSpec


class FramesReader(Reader):
    """A stored array ``(*sites, frames)``; its first frames are the input, those that follow the targets.

    Args:
        field: the stored array.
        num_inputs: frames that the model sees.
        num_targets: frames to predict.
        resolution: sites to select from the stored ones along each axis, periodic: every n-th; all of them if None.
    """

    def __init__(self, field: str, num_inputs: int, num_targets: int, resolution: int | None = None) -> None:
        require_whole("num_inputs", num_inputs, 1)
        require_whole("num_targets", num_targets, 1)
        self.field, self.num_inputs, self.num_targets, self.resolution = field, num_inputs, num_targets, resolution
        self.fields = (field,)

    def spec(self, store: Store) -> FieldSpec:
        """A channel a frame.

        Raises:
            InputError: fewer frames are stored than asked for.
        """
        stored = store.field(self.field)[0]
        needed = self.num_inputs + self.num_targets
        if stored.shape[-1] < needed:
            raise InputError(
                f"{store.path} holds {stored.shape[-1]} frames of {self.field}, needed are {self.num_inputs} inputs and "
                f"{self.num_targets} targets; lower num_targets, or generate more frames"
            )
        sites = self._select(stored).shape[:-1]
        unit = store.fields[self.field].unit
        frames = tuple(Channel(f"{self.field} at frame {frame + 1}", unit) for frame in range(needed))
        return FieldSpec(
            geometry="grid",
            sites=sites,
            axes=AXES[: len(sites)],
            inputs=frames[: self.num_inputs],
            targets=frames[self.num_inputs :],
            autoregressive=True,
        )

    def _select(self, frames: np.ndarray) -> np.ndarray:
        return select(frames, self.resolution, num_axes=frames.ndim - 1, periodic=True)

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs ``(*sites, num_inputs)`` and targets ``(*sites, num_targets)``."""
        frames = torch.from_numpy(self._select(arrays[self.field]).astype(np.float32))
        end = self.num_inputs + self.num_targets
        return FieldBatch(inputs=frames[..., : self.num_inputs], targets=frames[..., self.num_inputs : end])
