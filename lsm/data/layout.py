"""How the arrays of a file are read: the roles that a user gives them, and the layout that follows.

:func:`lsm.data.layout_search.find_layout` finds the layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lsm.data.ragged import NUM_POINTS
from lsm.registry import Count, Names, Options

Kind = Literal["grid", "mesh", "points", "frames"]

Shape = tuple[int, ...]

#: How a single channel of an array is called, which has no name of its own.
SINGULAR = {"inputs": "input", "targets": "target", "parameters": "parameter"}


@dataclass(frozen=True)
class Roles(Options):
    """What a user says about the arrays of a file; None leaves it to their names and shapes.

    Args:
        inputs: arrays of the fields given to the model.
        targets: arrays of the fields to predict, or of a time series ``(samples, *sites, frames)``.
        coords: one array of positions ``(.., d)``, or one array per coordinate, also of the only one of a cloud on a line; an
            empty list for none, whatever the names.
        parameters: arrays of scalars of a sample, ``(samples,)`` or ``(samples, p)``.
        code: the array of a vector that describes each sample, ``(samples, k)``.
        kind: of the sites.
        frames: numbers of frames from which a time series is predicted, and that are predicted.
        channels_last: whether the last axis of inputs and targets is one of channels.
        names: names of the channels of an array, by the name of the array.
        units: of a field, or of an array, by its name.
        periodic: whether fields on a grid, or a time series on one, are periodic along all axes of space.
    """

    inputs: Names | None = None
    targets: Names | None = None
    coords: Sequence[str] | None = None
    parameters: Names | None = None
    code: str | None = None
    kind: Kind | None = None
    frames: tuple[Count, Count] | None = None
    channels_last: bool | None = None
    names: Mapping[str, Names] | None = None
    units: Mapping[str, str] | None = None
    periodic: bool | None = None

    def named(self) -> set[str]:
        """Names of the arrays that have a role; without a word of the user, an array is called as its role."""
        given = {role: getattr(self, role) for role in ("inputs", "targets", "coords", "parameters", "code")}
        lists = [
            [role] if names is None else [names] if isinstance(names, str) else names for role, names in given.items()
        ]
        return {name for names in lists for name in names}


@dataclass(frozen=True)
class Part:
    """An array of the file, or one of its channels.

    Args:
        array: its name.
        channel: index on the last axis; None for the whole array.
        shared: whether the array lacks the axis of samples.
    """

    array: str
    channel: int | None = None
    shared: bool = False

    def of(self, blocks: Mapping[str, np.ndarray], count: int) -> np.ndarray:
        """The values of ``count`` samples, from blocks of the arrays by name."""
        values = blocks[self.array] if self.channel is None else blocks[self.array][..., self.channel]
        return np.broadcast_to(values, (count, *values.shape)) if self.shared else values


@dataclass(frozen=True)
class Column:
    """One array to be stored.

    Args:
        name: its name.
        shape: of one sample.
        parts: where its values come from; several are stacked along a last axis.
        unit: of its values.
    """

    name: str
    shape: Shape
    parts: tuple[Part, ...]
    unit: str = "1"

    def values(self, blocks: Mapping[str, np.ndarray], count: int) -> np.ndarray:
        """``(count, *shape)``, as precise as in the file, from blocks of the file's arrays by name."""
        parts = [part.of(blocks, count) for part in self.parts]
        whole = parts[0] if len(parts) == 1 else np.stack(parts, axis=-1)
        return whole.reshape(count, *self.shape)


@dataclass(frozen=True)
class Layout:
    """How the arrays of a file are read.

    Args:
        kind: of the sites.
        sites: number of sites along each axis.
        num_samples: how many samples there are.
        columns: what is to be stored.
        reader: configuration of the reader of these columns.
        points: least and largest number of points of a cloud, if these differ.
        hint: which change gives another reading of a volume, of channels, of time or of coordinates; empty if none is likely.
    """

    kind: Kind
    sites: Shape
    num_samples: int
    columns: tuple[Column, ...]
    reader: dict[str, Any]
    points: tuple[int, int] | None = None
    hint: str = ""

    def with_counts(self, points: tuple[int, int]) -> Layout:
        """The layout of clouds with different numbers of points, which are stored as :data:`NUM_POINTS`."""
        count = Column(NUM_POINTS, (), (Part(NUM_POINTS),))
        reader = {**self.reader, "num_points": NUM_POINTS}
        return replace(self, columns=(*self.columns, count), reader=reader, points=points)

    @property
    def dimensions(self) -> int:
        """Of the lattice, or of the space in which a cloud lies."""
        points = [column.shape[1] for column in self.columns if column.name == self.reader.get("points")]
        return points[0] if points else len(self.sites)

    def describe(self) -> str:
        """As what the arrays are taken, such as ``a grid of 64 x 64 sites: conductivity -> temperature (K)``."""
        sites = " to ".join(map(str, sorted({*self.points}))) if self.points else " x ".join(map(str, self.sites))
        grid = "a periodic grid" if self.reader.get("periodic") else "a grid"
        what = {
            "grid": f"{grid} of {sites} sites",
            "mesh": f"a structured mesh of {sites} sites",
            "points": f"clouds of {sites} points in {self.dimensions} dimension{'s' if self.dimensions > 1 else ''}",
            "frames": f"a time series on {grid} of {sites} sites",
        }[self.kind]
        targets = ", ".join(map(self._label, self.reader["targets"]))
        if self.kind == "frames":
            first, last = self.reader["num_inputs"], self.reader["num_targets"]
            return f"{what}: {targets}, {first} frames -> the next {last}{self._more()}"
        given = [*self.reader.get("coordinates", ()), *filter(None, [self.reader.get("points")])]
        given += [*(self.reader.get("inputs") or ())]
        return f"{what}: {', '.join(map(self._label, given))} -> {targets}{self._more()}"

    def _label(self, name: str) -> str:
        (unit,) = [column.unit for column in self.columns if column.name == name]
        return name if unit == "1" else f"{name} ({unit})"

    def _more(self) -> str:
        more = [f"the scalar {self._label(name)}" for name in self.reader.get("parameters", ())]
        more += [
            f"a code of {column.shape[0]} numbers" for column in self.columns if column.name == self.reader.get("code")
        ]
        return f"; with {', '.join(more)}" if more else ""


def plain_name(name: str) -> str:
    """A name that every format can store and every option can hold."""
    return re.sub(r"[^\w ().+-]", "_", name).strip("_. ") or "field"
