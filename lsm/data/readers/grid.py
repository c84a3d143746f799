"""Fields on a regular lattice of any rank, such as Darcy, Elasticity-G and Plasticity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsm.data.readers.base import (
    AXES,
    READERS,
    Reader,
    as_parameters,
    as_tensor,
    channels,
    select,
)
from lsm.data.store import Store
from lsm.errors import OptionError
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.registry import Names, Resolution


@READERS.register("grid")
class GridReader(Reader):
    """Stored arrays ``(*sites)``, one per channel, or ``(*sites, c)`` with several components.

    An input with fewer axes than the lattice is repeated along the remaining ones.

    Args:
        inputs: stored arrays given to the model.
        targets: stored arrays to predict.
        components: for arrays with a last axis of channels, the names of these.
        axes: names of the lattice's axes; x, y, z by default. An axis called "time" is drawn frame by frame.
        parameters: stored scalars of a sample, given to the model as well.
        resolution: sites to select from the stored ones, one number or one per axis; all of them by default.
        mask: the input that is 1 where the targets exist and 0 elsewhere; what is stored there has no influence.
        periodic: whether the fields are periodic along all axes.
    """

    geometry = "grid"

    def __init__(
        self,
        *,
        inputs: Names,
        targets: Names,
        components: Mapping[str, Names] | None = None,
        axes: Names | None = None,
        parameters: Names | None = None,
        resolution: Resolution = None,
        mask: str | None = None,
        periodic: bool = False,
    ) -> None:
        self.inputs, self.targets, self.parameters = tuple(inputs), tuple(targets), tuple(parameters or ())
        self.components = {name: tuple(names) for name, names in (components or {}).items()}
        self.axes, self.resolution, self.mask, self.periodic = tuple(axes or ()), resolution, mask, periodic
        if mask is not None and mask not in self.inputs:
            raise OptionError("mask", f"is {mask}, expected one of the inputs {', '.join(inputs)}")
        if mask in self.components:
            raise OptionError(
                "mask", f"is {mask}, which has several components; expected an input with one value per site"
            )
        self.fields = (*self.inputs, *self.targets, *self.parameters)

    def find_problem(self, store: Store) -> str | None:
        """Arrays ``(samples, *sites)`` that do not share the lattice of the first target; see :meth:`Reader.find_problem`."""
        first = self.targets[0]
        lattice = self._lattice_of(store, first).shape
        takes = f"targets of one shape, with 1 to {len(AXES)} axes, and inputs with all or the first ones of these axes"
        for name in (first, *self.inputs, *self.targets):
            shape, stored = self._lattice_of(store, name).shape, store.fields[name].shape
            fits = shape == lattice[: len(shape)] if name in self.inputs else shape == lattice
            if not fits or not 1 <= len(shape) <= len(AXES):
                other = "" if name == first else f" and {first} of shape {store.fields[first].shape}"
                return f"{name} of shape {stored}{other} per sample; the reader takes {takes}"
            components = self.components.get(name)
            if components is not None and len(components) != stored[-1]:
                return f"{stored[-1]} components of {name}; named are {', '.join(components)}"
        return super().find_problem(store)

    def describe(self, store: Store) -> FieldSpec:
        """A channel per stored array ``(*sites)``, or per component of one ``(*sites, components)``.

        Raises:
            OptionError: the lattice has another number of axes than are named.
        """
        rank = len(self._lattice_of(store, self.targets[0]).shape)
        if self.axes and len(self.axes) != rank:
            raise OptionError("axes", f"is {', '.join(self.axes)}, expected {rank} names")
        sites = self._selected(self._lattice_of(store, self.targets[0])).shape
        return FieldSpec(
            geometry=self.geometry,
            sites=sites,
            axes=self.axes or AXES[: len(sites)],
            inputs=self._channels(store, self.inputs),
            targets=self._channels(store, self.targets),
            parameters=channels(store, self.parameters),
            mask=self._mask_channel(),
            periodic=self.periodic,
        )

    def _lattice_of(self, store: Store, name: str) -> np.ndarray:
        """An array of the lattice's shape, without values."""
        shape = store.fields[name].shape
        return np.empty(shape[:-1] if name in self.components else shape, dtype=bool)

    def _mask_channel(self) -> int | None:
        """Index of the mask among the channels of the inputs."""
        if self.mask is None:
            return None
        return sum(len(self.components.get(name, (name,))) for name in self.inputs[: self.inputs.index(self.mask)])

    def _channels(self, store: Store, names: Sequence[str]) -> tuple[Channel, ...]:
        found: list[Channel] = []
        for name in names:
            unit = store.fields[name].unit
            found += [Channel(part, unit) for part in self.components.get(name, (name,))]
        return tuple(found)

    def decode(self, arrays: Mapping[str, np.ndarray]) -> FieldBatch:
        """Inputs and targets ``(*sites, c)``; the targets are zero where there are none according to the mask."""
        targets = as_tensor(self._columns(arrays, self.targets))
        inputs = as_tensor([_repeated(column, targets.shape[:-1]) for column in self._columns(arrays, self.inputs)])
        mask = self._mask_channel()
        if mask is not None:
            targets = targets.masked_fill(inputs[..., mask, None] == 0, 0.0)
        return FieldBatch(inputs, targets, parameters=as_parameters(arrays, self.parameters))

    def _columns(self, arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> list[np.ndarray]:
        columns: list[np.ndarray] = []
        for name in names:
            columns += list(np.moveaxis(arrays[name], -1, 0)) if name in self.components else [arrays[name]]
        return [self._selected(column) for column in columns]

    def _selected(self, column: np.ndarray) -> np.ndarray:
        """Selected sites of an array, which may have the first axes of the lattice only."""
        resolution = self.resolution[: column.ndim] if isinstance(self.resolution, Sequence) else self.resolution
        return select(column, resolution, periodic=self.periodic)


def _repeated(column: np.ndarray, sites: Sequence[int]) -> np.ndarray:
    """An input of the leading axes, the same along the remaining ones."""
    return np.broadcast_to(column.reshape(*column.shape, *[1] * (len(sites) - column.ndim)), sites)
