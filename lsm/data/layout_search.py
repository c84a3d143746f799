"""Which arrays of a file are what, found from their names and shapes, and from what the user says of them.

Arrays have the samples on their first axis. By name, ``inputs`` and ``targets`` are the fields, ``coords`` says where the sites
lie, ``parameters`` are scalars and ``code`` a vector of each sample; :class:`~lsm.data.layout.Roles` gives these roles to other
arrays. Fields are ``(samples, *sites)`` or ``(samples, *sites, channels)``, coordinates ``(samples, *sites, d)``, or
``(*sites, d)`` if all samples share them; coordinates that are one array each have no last axis. Knows no file format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

from lsm.data.layout import SINGULAR, Column, Kind, Layout, Part, Roles, Shape, plain_name
from lsm.data.ragged import is_one_coordinate
from lsm.data.readers.base import AXES
from lsm.errors import InputError

#: A last axis of at most so many values, fewer than the sites along any other axis, is one of channels.
_MOST_CHANNELS = 4

#: Frames from which a time series is predicted, unless they are given.
_FIRST_FRAMES = 10

#: What to do with an axis of channels, or of time, that follows that of the samples.
_TO_END = "move it to the end with np.moveaxis(a, 1, -1)"

#: What an array without sites may be, and what to do then.
_DESCRIBES_SAMPLE = "holds numbers that describe a whole sample, list it under parameters"

#: What to do where parameters alone are to give fields.
_GIVE_SITES = (
    "give the coordinates of the sites, (*sites, d) for all samples, or an array (samples, *sites) as input, such as one of "
    "the coordinates"
)

#: Arguments that the remedies of this module change.
_ARRAYS = ("arrays",)


def find_layout(
    shapes: Mapping[str, Shape],
    roles: Roles,
    names: Mapping[str, Sequence[str]] | None = None,
    units: Mapping[str, Sequence[str]] | None = None,
) -> Layout:
    """Find how arrays are to be read.

    Args:
        shapes: of the arrays of a file, by name.
        roles: what the user says of them.
        names: of the channels of arrays, by the name of the array, where the file says them; those of the user count before them.
        units: likewise, or one for all channels of an array.
    Raises:
        InputError: arrays are missing or do not fit together; the message says which.

    Example:
        >>> layout = find_layout({"inputs": (100, 64, 64), "targets": (100, 64, 64, 2)}, Roles())
        >>> layout.describe()
        'a grid of 64 x 64 sites: input -> target_1, target_2'
    """
    return _Search(shapes, roles, names or {}, units or {}).find()


class _Placing(NamedTuple):
    """How coordinates are read: the sites that they describe, and whether all samples share them."""

    sites: Shape
    shared: bool


class _Search:
    """The arrays of each role, and what their shapes say."""

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        roles: Roles,
        names: Mapping[str, Sequence[str]],
        units: Mapping[str, Sequence[str]],
    ) -> None:
        self.shapes, self.roles, self.units = shapes, roles, units
        self.names = {**names, **(roles.names or {})}
        self.inputs, self.targets, self.coords, self.parameters = (
            self._arrays_of(role) for role in ("inputs", "targets", "coords", "parameters")
        )
        others = {*self.inputs, *self.targets, *self.coords, *self.parameters}
        codes = [roles.code] if roles.code else [name for name in ("code",) if name in shapes and name not in others]
        self.code = next(iter(self._named("code", codes)), None)
        if not self.targets:
            raise InputError(
                f"no array is named targets; the arrays are {', '.join(shapes)}: say which are inputs and which are targets",
                options=_ARRAYS,
            )
        self.num_samples = shapes[self.targets[0]][0] if shapes[self.targets[0]] else 0

    def _arrays_of(self, role: str) -> list[str]:
        given = getattr(self.roles, role)
        # What is called as one role may be scalars of a sample.
        is_free = role in self.shapes and role not in {*(self.roles.parameters or ()), self.roles.code}
        return self._named(role, given if given is not None else [role] if is_free else [])

    def _named(self, role: str, names: Sequence[str]) -> list[str]:
        missing = [name for name in names if name not in self.shapes]
        if missing:
            raise InputError(f"{role}: no array is called {missing[0]}; the arrays are {', '.join(self.shapes)}")
        return list(names)

    def find(self) -> Layout:
        kind = self.roles.kind or self._kind()
        if self.roles.frames is not None and kind != "frames":
            raise InputError(
                f"frames {list(self.roles.frames)} apply only to a time series, but these arrays are read as kind {kind}; "
                "remove the frames, or give targets without inputs and coordinates",
                options=("frames",),
            )
        if kind == "frames":
            sites, columns, reader = self._frames()
        elif kind == "grid":
            sites, columns, reader = self._grid()
        else:
            sites, columns, reader = self._placed(kind)
        reader |= self._periodic(kind)
        scalars = [column for name in self.parameters for column in self._scalars(name)]
        reader |= {"parameters": [column.name for column in scalars]} if scalars else {}
        columns += scalars
        if self.code is not None and kind == "points":
            columns.append(
                Column("code", self._of_sample(self.code), (Part(self.code),), self._unit_of_array(self.code))
            )
            reader["code"] = "code"
        elif self.code is not None:
            raise InputError(
                f"{self.code} is a code vector, which only point clouds can use; list it under parameters instead",
                options=("parameters",),
            )
        self._require_known(columns)
        hints = {"grid": self._hint_about_channels, "frames": self._hint_about_time}
        hint = hints[kind](sites) if kind in hints else self._hint_about_coords()
        return Layout(kind, sites, self.num_samples, tuple(_each_once(columns)), reader, hint=hint)

    def _periodic(self, kind: Kind) -> dict[str, bool]:
        """The option of the reader if the user says that the fields are periodic."""
        if self.roles.periodic and kind not in ("grid", "frames"):
            raise InputError(
                f"periodic applies to grids and to time series on grids, but these arrays are read as kind {kind}; "
                "leave it out",
                options=("periodic",),
            )
        return {"periodic": True} if self.roles.periodic else {}

    def _require_known(self, columns: Sequence[Column]) -> None:
        """Names and units that are given belong to arrays and fields that are there."""
        arrays = [*self.inputs, *self.targets, *self.parameters]
        fields = [column.name for column in columns if column.name not in ("points", "code")]
        known = {"names": arrays, "units": [*fields, *arrays, *self.coords, *filter(None, [self.code])]}
        for option, names in known.items():
            unknown = [name for name in getattr(self.roles, option) or () if name not in names]
            if unknown:
                raise InputError(
                    f"{option} are given for {unknown[0]}, expected is one of {', '.join(dict.fromkeys(names))}",
                    options=(option,),
                )

    def _kind(self) -> Kind:
        """Of the sites, where the user does not say it.

        Raises:
            InputError: the targets may be a time series, or fields that follow from the parameters.
        """
        if self.coords:
            return "points" if len(self._placings[0].sites) == 1 else "mesh"
        if self.inputs and self.roles.frames is None:
            return "grid"
        if self.parameters and self.roles.frames is None:
            raise InputError(
                f"{self._listed(*self.targets, *self.parameters)} can be read in two ways: if the last axis of the targets is "
                f"time, set data.kind=frames or the numbers of frames; if fields follow from the parameters, {_GIVE_SITES}",
                options=("frames", "coords"),
            )
        return "frames"

    def _grid(self) -> tuple[Shape, list[Column], dict[str, Any]]:
        if not self.inputs:
            raise InputError(
                f"a grid needs inputs, but none were found; leave data.kind out and {_GIVE_SITES}",
                options=("coords", "arrays"),
            )
        if self.coords:
            raise InputError(
                f"kind=grid has no coordinates, but {self._listed(*self.coords)} was found; remove data.kind to read a mesh or a "
                "cloud, or set data.coords=[] for a regular grid"
            )
        sites = self._lattice()
        inputs, targets = (self._fields(names, sites) for names in (self.inputs, self.targets))
        reader = {"name": "grid", "inputs": _names(inputs), "targets": _names(targets)}
        return sites, [*inputs, *targets], reader

    def _lattice(self) -> Shape:
        """The sites of a grid: the axes of the first target without one of channels."""
        whole = self._of_sample(self.targets[0])
        candidates = [whole, whole[:-1]]
        if self.roles.channels_last is not None:
            candidates = [whole[:-1] if self.roles.channels_last else whole]
        elif len(whole) > 1 and (whole[-1] <= _MOST_CHANNELS and whole[-1] < min(whole[:-1])):
            candidates.reverse()
        for sites in candidates:
            if self._all_fit(sites):
                return sites
        remedies = self._remedy_of_scalars() + self._remedy_of_channels()
        raise InputError(
            f"inputs and targets do not lie on a common grid of 1 to {len(AXES)} axes: "
            f"{self._listed(*self.inputs, *self.targets)}; expected shapes are (samples, *sites) or (samples, *sites, channels)"
            f"{remedies}",
            options=_ARRAYS,
        )

    def _hint_about_time(self, sites: Shape) -> str:
        """How to store a series whose first axis is time, unless the shape says that it is the last one: a square, and frames."""
        frames = self._of_sample(self.targets[0])[-1]
        if len(sites) > 1 and len(set(sites)) == 1 and frames != sites[0]:
            return ""
        return f"the last axis (size {frames}) is read as time; if the first axis is time, {_TO_END}"

    def _hint_about_channels(self, sites: Shape) -> str:
        """Which change gives another reading of a grid.

        As many samples as sites along the first axis, and more along the last, suggest that the last one is that of the samples.
        Equal axes, and planes, are read as sites without a word, unless an input lacks the last axis.
        """
        whole = self._of_sample(self.targets[0])
        if len(whole) > 1 and self.num_samples == whole[0] and whole[-1] > whole[0]:
            return (
                f"the first axis (size {whole[0]}) is read as that of the samples; if it is the last one (size {whole[-1]}), "
                "move it to the front with np.moveaxis(a, -1, 0)"
            )
        lacks_last = sites == whole and any(len(self._of_sample(name)) < len(sites) for name in self.inputs)
        is_thin = (
            len(sites) > 1 and sites[0] < min(sites[1:]) and (sites[0] <= _MOST_CHANNELS or len(sites) == len(AXES))
        )
        if not lacks_last and (is_thin or (len(sites) == len(AXES) and sites[0] != sites[1] == sites[2])):
            return f"the first axis (size {sites[0]}) is read as sites; if it holds channels, {_TO_END}"
        taken, option, other = ("sites", "true", whole[:-1]) if sites == whole else ("channels", "false", whole)
        is_plane = len(sites) == len(whole) == 2 and sites[-1] > _MOST_CHANNELS
        is_usual = not lacks_last and (is_plane or whole[-1:] == whole[-2:-1])
        if self.roles.channels_last is not None or is_usual or not self._all_fit(other):
            return ""
        instead = "channels" if taken == "sites" else "sites"
        return f"the last axis (size {whole[-1]}) is read as {taken}; set data.channels_last={option} to read it as {instead}"

    def _hint_about_coords(self) -> str:
        """Which options give the other reading of coordinates; empty if there is none of the kind that the user says."""
        if len(self._placings) < 2 or self.roles.kind == "mesh":
            return ""
        (_, shared), (sites, _) = self._placings
        components = len(self._positions(shared))
        if components < len(sites):
            return ""
        as_points = self.roles.kind is None and components > len(sites) > 1
        options = f"data.channels_last={str(shared).lower()}{' data.kind=points' if as_points else ''}"
        readings = [("all samples", "sites"), ("each sample", "channels")]
        (taken, axis), (other, instead) = readings if shared else readings[::-1]
        return (
            f"the coordinates are read as those of {taken} and the last axis of {self.targets[0]} (size {self.num_samples}) as "
            f"{axis}; set {options} to read those of {other} and {instead}"
        )

    def _remedy_of_scalars(self) -> str:
        """What to do if an input of a grid has no sites; empty if all have some."""
        scalars = [name for name in self.inputs if len(self._of_sample(name)) < 2]
        if not scalars:
            return ""
        more = " and give the coordinates of the sites" if scalars == self.inputs else ""
        return f"; if {', '.join(scalars)} {_DESCRIBES_SAMPLE}{more}"

    def _remedy_of_channels(self) -> str:
        """What to do if the arrays would share a grid without their first axes; empty if not."""
        whole, *others = (self._of_sample(name) for name in (*self.targets, *self.inputs))
        for sites in (whole[1:], whole):
            if sites and all(sites in (shape, shape[1:]) for shape in others):
                return f"; if the first axis holds channels, {_TO_END}"
        return ""

    def _all_fit(self, sites: Shape) -> bool:
        """Whether all inputs and targets are known on these sites."""
        return 1 <= len(sites) <= len(AXES) and all(self._fits(name, sites) for name in (*self.inputs, *self.targets))

    def _fits(self, name: str, sites: Shape) -> bool:
        shape = self._of_sample(name)
        repeated = name in self.inputs and 0 < len(shape) < len(sites) and shape == sites[: len(shape)]
        return shape == sites or shape[:-1] == sites or repeated

    def _placed(self, kind: Kind) -> tuple[Shape, list[Column], dict[str, Any]]:
        """Fields on a mesh or a cloud."""
        lattice, shared = self._placings[0]
        positions = self._positions(shared)
        if kind == "mesh" and (len(lattice) != len(positions) or len(lattice) < 2):
            raise InputError(
                f"a structured mesh has 2 or 3 axes and one coordinate for each, but there are {len(positions)} coordinates "
                f"for {lattice} sites; read the sites as points instead",
                options=("kind",),
            )
        self._require_channels_as_said(lattice)
        sites = lattice if kind == "mesh" else (prod(lattice),)
        inputs = self._fields(self.inputs, lattice, sites)
        targets = self._fields(self.targets, lattice, sites)
        if kind == "mesh":
            axes = [
                Column(axis, sites, (part,), self._unit(axis, part.array, part.channel))
                for axis, part in zip(AXES, positions, strict=False)
            ]
            reader: dict[str, Any] = {"name": "mesh", "coordinates": _names(axes)}
        else:
            unit = ", ".join(dict.fromkeys(map(self._unit_of_array, self.coords)))
            axes = [Column("points", (*sites, len(positions)), tuple(positions), unit)]
            reader = {"name": "points", "points": "points"}
        reader |= {"targets": _names(targets)} | ({"inputs": _names(inputs)} if inputs else {})
        return sites, [*axes, *inputs, *targets], reader

    def _require_channels_as_said(self, sites: Shape) -> None:
        """Where coordinates say which axes are sites, channels_last may repeat what follows from them, and no more."""
        said = self.roles.channels_last
        if said is None or (len(self._of_sample(self.targets[0])) > len(sites)) == said:
            return
        has = "no" if said else "a"
        raise InputError(
            f"channels_last is {str(said).lower()}, but {self._listed(self.targets[0])} has {has} channel axis in addition to "
            f"the sites of {self._listed(*self.coords)}; remove channels_last",
            options=("channels_last",),
        )

    @cached_property
    def _placings(self) -> list[_Placing]:
        """The ways to read the coordinates, of which the first is taken.

        There are two if there are as many samples as sites along each axis: coordinates of each sample, and fields with as many
        channels; or coordinates that all samples share, and fields without channels. The latter are likelier if there is a
        coordinate for each axis, or, where points are asked for, more than that.

        Raises:
            InputError: there are no coordinates, or they are not those of the sites of the targets.
        """
        if not self.coords:
            raise InputError("a mesh or cloud needs coordinates of its sites", options=("coords",))
        if self._are_axes():
            x_y = ", ".join(self.coords)
            raise InputError(
                f"{self._listed(*self.coords)} are the coordinates along the axes of {self._listed(self.targets[0])}, not those "
                f"of its sites; for a regular grid set data.coords=[], else store {x_y} = np.meshgrid({x_y}, indexing='ij')",
                options=("coords",),
            )
        found = [placing for placing in self._candidates() if self._holds(self.targets[0], placing.sites)]
        if not found:
            raise InputError(
                f"coordinates and targets share no sites: {self._listed(*self.coords, self.targets[0])}; expected are "
                "coordinates (samples, *sites, d) or (*sites, d), without the last axis if each is an array of its own, and "
                "fields (samples, *sites) or (samples, *sites, channels)",
                options=_ARRAYS,
            )
        if len(found) == 1:
            return found
        if self.roles.channels_last is not None:
            return found[:1] if self.roles.channels_last else found[1:]
        names = (*self.inputs, *self.targets)
        found = [placing for placing in found if all(self._holds(name, placing.sites) for name in names)] or found
        sites, shared = found[-1]
        spare = len(self._positions(shared)) - len(sites)
        return found[::-1] if spare == 0 or (spare > 0 and self.roles.kind == "points") else found

    def _are_axes(self) -> bool:
        """Whether each array of coordinates lies along one axis of the targets, unless the user says that there are points."""
        lengths = tuple(size for name in self.coords for size in self.shapes[name])
        is_said = self.roles.kind == "points" or self.roles.channels_last
        return len(lengths) == len(self.coords) > 1 and not is_said and self._holds(self.targets[0], lengths)

    def _candidates(self) -> Iterator[_Placing]:
        """What the shape of the coordinates admits: those of each sample, and those that all samples share."""
        shape = self.shapes[self.coords[0]]
        lattice = shape if self._by_axis else shape[:-1]
        if shape[:1] == (self.num_samples,) and len(lattice) > 1:
            yield _Placing(lattice[1:], shared=False)
        if lattice:
            yield _Placing(lattice, shared=True)

    @cached_property
    def _by_axis(self) -> bool:
        """Whether each array of coordinates is one coordinate, without a last axis for several."""
        if len(self.coords) > 1:
            return True
        target, shape = self.targets[0], self.shapes[self.coords[0]]
        is_on_line = len(shape) in (1, 2) and self._holds(target, shape[-1:])
        return is_on_line and (is_one_coordinate(shape) or not self._holds(target, shape[:-1]))

    def _holds(self, name: str, sites: Shape) -> bool:
        """Whether an array is a field on some sites, with or without an axis of channels."""
        shape = self._of_sample(name)
        return sites in (shape, shape[:-1])

    def _positions(self, shared: bool) -> list[Part]:
        first = self.shapes[self.coords[0]]
        if self._by_axis:
            parts = [Part(name, None, shared) for name in self.coords]
            if {self.shapes[name] for name in self.coords} != {first}:
                raise InputError(f"coordinates differ in shape: {self._listed(*self.coords)}", options=("coords",))
        else:
            parts = [Part(self.coords[0], channel, shared) for channel in range(first[-1])]
        if not 1 <= len(parts) <= len(AXES):
            raise InputError(f"{len(parts)} coordinates in {self._listed(*self.coords)}, expected 1 to {len(AXES)}")
        return parts

    def _frames(self) -> tuple[Shape, list[Column], dict[str, Any]]:
        """Time series ``(samples, *sites, frames)``, one array per field."""
        whole = self._of_sample(self.targets[0])
        if (self.inputs and self.inputs != self.targets) or self.coords or not 2 <= len(whole) <= len(AXES) + 1:
            raise InputError(
                f"a time series is an array (samples, *sites, frames) for each field, on 1 to {len(AXES)} axes of sites, without "
                f"inputs and coordinates: {self._listed(*self.inputs, *self.targets, *self.coords)}",
                options=_ARRAYS,
            )
        if self.roles.channels_last:
            raise InputError(
                f"a time series has no axis of channels, but channels_last is true for {self._listed(self.targets[0])}; "
                "give one array (samples, *sites, frames) for each field, and leave channels_last out",
                options=("channels_last",),
            )
        if any(self._of_sample(name) != whole for name in self.targets):
            raise InputError(
                f"the fields of a time series have different shapes: {self._listed(*self.targets)}; give arrays of one shape",
                options=_ARRAYS,
            )
        first, last = self.roles.frames or self._split_frames(whole[-1])
        if first + last > whole[-1]:
            raise InputError(
                f"frames [{first}, {last}] need {first + last} frames, {self._listed(self.targets[0])} has {whole[-1]}",
                options=("frames",),
            )
        columns = [self._column(name, None, whole) for name in self.targets]
        reader = {"name": "frames", "targets": _names(columns), "num_inputs": first, "num_targets": last}
        return whole[:-1], columns, reader

    def _split_frames(self, stored: int) -> tuple[int, int]:
        """Numbers of frames from which is predicted, at least two, and that are predicted."""
        if stored < 2:
            raise InputError(
                f"a time series (samples, *sites, frames) has two frames or more, but {self._listed(self.targets[0])} "
                f"has {stored}",
                options=_ARRAYS,
            )
        first = min(_FIRST_FRAMES, stored // 2)
        if first < 2:
            raise InputError(
                f"{self._listed(self.targets[0])} has {stored} frames on its last axis, too few to start from more than one; "
                f"give an array (samples, *sites, frames) for each field, or set frames to [1, {stored - 1}]",
                options=("frames",),
            )
        return first, stored - first

    def _fields(self, names: Sequence[str], lattice: Shape, sites: Shape | None = None) -> list[Column]:
        """A column per channel of some arrays."""
        return [column for name in names for column in self._channels(name, lattice, sites)]

    def _channels(self, name: str, lattice: Shape, sites: Shape | None) -> Iterator[Column]:
        """The columns of an array, stored at ``sites``; None for a grid, on which an input may lack the last axes."""
        shape = self._of_sample(name)
        if shape == lattice:
            yield self._column(name, None, sites or lattice)
        elif shape[:-1] == lattice:
            for channel in range(shape[-1]):
                yield self._column(name, channel, sites or lattice)
        elif sites is None:
            yield self._column(name, None, shape)
        elif len(shape) < 2:
            raise InputError(
                f"{self._listed(name)} has no sites; if it {_DESCRIBES_SAMPLE}",
                options=("parameters",),
            )
        else:
            raise InputError(f"{self._listed(name)} does not have the {lattice} sites of the targets", options=_ARRAYS)

    def _column(self, name: str, channel: int | None, shape: Shape) -> Column:
        called = plain_name(self._name(name, channel))
        return Column(called, shape, (Part(name, channel),), self._unit(called, name, channel))

    def _name(self, name: str, channel: int | None) -> str:
        """Of a field: as given, else that of its array, with a number if the array has several channels."""
        count = self._count(name, channel)
        if given := self.names.get(name):
            if len(given) != count:
                raise InputError(f"{len(given)} names are given for the {count} channels of {name}", options=("names",))
            return given[channel or 0]
        single = SINGULAR.get(name, name)
        return single if count == 1 else f"{single}_{(channel or 0) + 1}"

    def _scalars(self, name: str) -> Iterator[Column]:
        shape = self._of_sample(name)
        if len(shape) > 1:
            raise InputError(f"{self._listed(name)}: expected are scalars, (samples,) or (samples, p)")
        for channel in range(shape[0]) if shape else (None,):
            yield self._column(name, channel, ())

    def _of_sample(self, name: str) -> Shape:
        shape = self.shapes[name]
        if not shape or shape[0] != self.num_samples:
            raise InputError(
                f"{self._listed(name, self.targets[0])}: the first axis counts the samples and must have the same length "
                "in all arrays"
            )
        return shape[1:]

    def _unit_of_array(self, name: str) -> str:
        """Of a vector or of positions, whose components are stored as one array."""
        return (self.roles.units or {}).get(name) or ", ".join(dict.fromkeys(self.units.get(name) or ("1",)))

    def _unit(self, called: str, name: str, channel: int | None) -> str:
        """Of a field: as the user says of it or of its array, else as the file says of the array."""
        said = self.roles.units or {}
        of_array = self.units.get(name) or ("1",)
        if len(of_array) not in (1, self._count(name, channel)):
            raise InputError(f"{len(of_array)} units are given for the {self._count(name, channel)} channels of {name}")
        return said.get(called) or said.get(name) or of_array[min(channel or 0, len(of_array) - 1)]

    def _count(self, name: str, channel: int | None) -> int:
        """Channels of an array, of which this is one."""
        return 1 if channel is None else self.shapes[name][-1]

    def _listed(self, *names: str) -> str:
        return ", ".join(f"{name} {self.shapes[name]}" for name in dict.fromkeys(names))


def _names(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns]


def _each_once(columns: Sequence[Column]) -> Iterator[Column]:
    known: dict[str, Column] = {}
    for column in columns:
        if column.name not in known:
            yield column
        elif known[column.name] != column:
            raise InputError(
                f"two fields would both be named {column.name}; give the channels different names", options=("names",)
            )
        known[column.name] = column
