"""Scalar fields on a regular lattice of any rank, among them Darcy and Elasticity-G."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lsm.data.readers.base import AXES, Reader, as_names, channels, require_one_shape, select
from lsm.data.store import Store
from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec


class GridReader(Reader):
    """Stored arrays ``(*sites)``, one a channel.

    Args:
        inputs: stored arrays handed to the model.
        targets: stored arrays to predict.
        resolution: sites to select from the stored ones, one number or one an axis; all of them if None.
        mask: the input that is 1 where the targets exist and 0 where they do not.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        targets: Sequence[str],
        resolution: int | Sequence[int] | None = None,
        mask: str | None = None,
    ) -> None:
        self.inputs, self.targets = as_names("inputs", inputs), as_names("targets", targets)
        self.resolution, self.mask = resolution, mask
        if mask is not None and mask not in self.inputs:
            raise InputError(f"mask {mask!r} is none of the inputs {', '.join(inputs)}")
        self.fields = (*self.inputs, *self.targets)

    def spec(self, store: Store) -> FieldSpec:
        """A channel a stored array.

        Raises:
            InputError: their shapes differ.
        """
        require_one_shape(store, self.fields)
        sites = select(store.field(self.inputs[0])[0], self.resolution).shape
        return FieldSpec(
            geometry="grid",
            sites=sites,
            axes=AXES[: len(sites)],
            inputs=channels(store, self.inputs),
            targets=channels(store, self.targets),
            mask=None if self.mask is None else self.inputs.index(self.mask),
        )

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs and targets ``(*sites, c)``."""
        return FieldBatch(inputs=self._stack(arrays, self.inputs), targets=self._stack(arrays, self.targets))

    def _stack(self, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> torch.Tensor:
        columns = [select(arrays[name], self.resolution) for name in names]
        return torch.from_numpy(np.stack(columns, axis=-1).astype(np.float32))
