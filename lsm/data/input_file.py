"""The inputs of predictions, read from a file in blocks of samples.

The file holds one array per input field, by its name: ``(samples, *sites)``, in a roll-out ``(samples, *sites, frames)``, whose
first frames are used; also ``code`` ``(samples, k)``, and a scalar parameter by its name ``(samples,)``. Or it holds the arrays
that :meth:`lsm.solver.NeuralSolver.predict` takes, ``inputs``, ``coords``, ``code`` and ``parameters``; a ``.npy`` file holds
``inputs`` alone. Or it is laid out as a file of training data, see :mod:`lsm.data.layout_search`: ``inputs`` without the
coordinates, which are ``coords``, and without an axis of channels if there is one. Channels may have the names that the training
or the file gives them, and arrays the names of those that were coordinates or codes in the training. A field that is the same
along the last axes may lack them. One sample needs no axis of samples: fields of just the shape ``sites`` are one sample. VTK
files number their points with the first axis fastest. Clouds with different numbers of points are laid out as
:mod:`lsm.data.ragged` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lsm.data import structured_vtk, vtk_files
from lsm.data.array_files import FORMATS, NAMELESS, ArrayInFile, ArraysInFile, open_arrays
from lsm.data.layout import SINGULAR, Roles, plain_name
from lsm.data.mesh_set import is_mesh_set
from lsm.data.ragged import even_out, is_one_coordinate
from lsm.data.readers.base import AXES
from lsm.data.store import MAX_SAMPLE_BYTES
from lsm.errors import InputError
from lsm.fields import FieldSpec, shapes


def expected_arrays(spec: FieldSpec) -> dict[str, tuple[int, ...]]:
    """By name the shape of each array of one sample: of a field ``(*sites,)``, in a roll-out ``(*sites, frames)``."""
    frames = (spec.frames.inputs,) if spec.frames else ()
    arrays: dict[str, tuple[int, ...]] = {channel.name: (*spec.sites, *frames) for channel in spec.inputs}
    arrays |= {"code": (spec.code,)} if spec.code else {}
    return arrays | {channel.name: () for channel in spec.parameters}


@contextmanager
def open_inputs(path: Path, spec: FieldSpec, roles: Roles | None = None) -> Iterator[InputFile]:
    """Open a file of inputs, arrays ``(samples, ...)``; see :class:`InputFile`.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is damaged, of another format or several files, or its arrays do not fit.
    """
    if is_mesh_set(path):
        raise InputError(
            f"{path} is a folder, or a pattern that names several files; give one file of inputs at a time, "
            f"{', '.join(FORMATS)}"
        )
    with open_arrays(path) as arrays:
        yield InputFile(arrays, spec, path, roles)


class InputFile:
    """Samples of an open file, as arguments of :meth:`lsm.solver.NeuralSolver.predict`.

    Args:
        given: arrays by name, see :func:`lsm.data.array_files.open_arrays`.
        spec: the fields of the solver.
        path: the file, for messages; in a VTK file the sites of a lattice are one axis, the first axis of the lattice fastest.
        roles: that arrays of other names had in the training data.
    Raises:
        InputError: an array is missing, or has another shape than the solver takes.
    """

    def __init__(self, given: ArraysInFile, spec: FieldSpec, path: Path, roles: Roles | None = None) -> None:
        self.spec, self.path, roles = spec, path, roles or Roles()
        self._counts = None
        arrays: Mapping[str, Any] = _with_roles(given, spec, roles)
        if spec.geometry == "points":
            by_axis = "coords" not in arrays
            places = [channel.name for channel in spec.inputs[: spec.space]] if by_axis else ["coords"]
            of_samples = ("parameters", "code", *(roles.parameters or ()))
            arrays, self._counts = even_out(path, arrays, places, of_samples, by_axis=by_axis)
        arrays = _with_channels(arrays, spec, roles)
        others = {name: array for name, array in arrays.items() if name != "inputs"}
        if expected_arrays(spec).keys() <= others.keys():  # fields by their names: inputs is something else
            arrays = others
        arrays = _by_name(arrays, spec, roles)
        packed = arrays.get("inputs", arrays.get(NAMELESS))
        self._packed = packed is not None
        needed = shapes(spec) if self._packed else expected_arrays(spec)
        found: dict[str, Any] = {**arrays, "inputs": packed} if self._packed else dict(arrays)
        # A mesh's or cloud's coordinates are the first of its inputs, as the readers of training data arrange them.
        self._shapes = {n: shape for n, shape in needed.items() if shape is not None and (n in found or n != "coords")}
        missing = [name for name in self._shapes if name not in found]
        if unusable := [name for name in missing if name in given.others]:
            raise InputError(given.others[unusable[0]])
        if missing:
            held = ", ".join(name for name in given if name) or "one array without a name"
            raise InputError(
                f"{path} lacks {', '.join(missing)} (it holds {held}); template=FILE writes what is expected"
            )
        self._arrays = {
            n: _as_vector(path, n, found[n]) if shape == () else found[n] for n, shape in self._shapes.items()
        }
        if path.suffix in vtk_files.SUFFIXES and spec.geometry != "points":
            self._require_lattice()
            self._arrays = {name: self._on_lattice(name, values) for name, values in self._arrays.items()}
        single = all(self._fits(name, array.shape) for name, array in self._arrays.items())
        whole = single and any(array.shape == self._shapes[name] for name, array in self._arrays.items())
        # On as many sites along each axis one sample looks like several that lack the last axes.
        self.has_samples = not whole and all(self._fits(name, array.shape[1:]) for name, array in self._arrays.items())
        if not self.has_samples and not single:
            self._refuse_shapes()
        counts = {array.shape[0] for array in self._arrays.values()}
        self.num_samples = counts.pop() if self.has_samples else 1
        if (self.has_samples and counts) or not self.num_samples or not self.sample_bytes or not self._share_sites():
            self._refuse_shapes()
        self._require_size()

    def _require_size(self) -> None:
        if self.sample_bytes > MAX_SAMPLE_BYTES:
            raise InputError(
                f"a sample of {self.path} has {self.sample_bytes:.4g} bytes, expected at most {MAX_SAMPLE_BYTES:.4g}"
            )

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample ``(...)`` of all arrays ``(samples, ...)``, in single precision."""
        sizes = [array.shape[1:] if self.has_samples else array.shape for array in self._arrays.values()]
        return 4 * sum(map(prod, sizes))

    def _fits(self, name: str, shape: tuple[int, ...]) -> bool:
        wanted = self._shapes[name]
        if name in ("code", "parameters") or wanted == ():
            return shape == wanted or (wanted == () and shape == (1,))
        if self._packed:
            return len(shape) == len(wanted) and shape[-1] == wanted[-1]
        if self.spec.frames:
            return len(shape) == len(wanted) and shape[-1] >= wanted[-1]
        return len(shape) == len(wanted) or (len(shape) > 0 and shape == wanted[: len(shape)])

    def _share_sites(self) -> bool:
        """Whether all fields lie on the same sites; a field may lack the last axes. Arrays of all channels say it themselves."""
        if self._packed:
            return True
        first, rank = int(self.has_samples), len(self.spec.sites)
        found = [self._arrays[channel.name].shape[first : first + rank] for channel in self.spec.inputs]
        sites = max(found, key=len)
        sites = sites if len(sites) == rank else self.spec.sites
        return all(shape == sites[: len(shape)] for shape in found)

    def notes(self) -> list[str]:
        """A sentence for each field of a roll-out with more frames than the solver takes."""
        if self._packed or self.spec.frames is None:
            return []
        taken = self.spec.frames.inputs
        held = {channel.name: self._arrays[channel.name].shape[-1] for channel in self.spec.inputs}
        return [
            f"{name} has {count} frames, of which the first {taken} are taken"
            for name, count in held.items()
            if count > taken
        ]

    def _refuse_shapes(self) -> None:
        found = ", ".join(f"{name} {tuple(array.shape)}" for name, array in self._arrays.items())
        wanted = ", ".join(f"{name} {_shape_text(shape)}" for name, shape in self._shapes.items())
        raise InputError(
            f"{self.path} holds {found}; expected are {wanted}, with the same number of samples in all, and "
            "fields on the same sites"
        )

    def _require_lattice(self) -> None:
        """A structured grid says how many points it has along each axis."""
        wanted = tuple(size for size in self.spec.sites if size > 1)
        if self.path.suffix == ".vts" and (held := structured_vtk.sites_of(self.path)) != wanted:
            raise InputError(f"{self.path} is a structured grid of {held} points, the solver takes {self.spec.sites}")

    def _on_lattice(self, name: str, values: Any) -> Any:
        if self._shapes[name][:1] != self.spec.sites[:1]:
            return values
        if values.shape != (1, prod(self.spec.sites)):
            raise InputError(
                f"{self.path} holds {name} of shape {values.shape[1:]} at its points, the solver takes {self.spec.sites}"
            )
        return values[:].reshape(1, *self.spec.sites[::-1]).transpose(0, *range(len(self.spec.sites), 0, -1))

    def block(self, start: int, stop: int) -> dict[str, Any]:
        """Samples ``start`` to ``stop`` as arrays ``(stop - start, ...)``, in float32.

        Raises:
            InputError: a value is not finite.
        """
        read = {name: self._read(name, start, stop) for name in self._arrays}
        given = read if self._packed else self._combined(read)
        if self.spec.geometry != "grid" and "coords" not in given:
            given["coords"] = given["inputs"][..., : self.spec.space_dim]
        if self._counts is not None:
            given["mask"] = np.arange(given["inputs"].shape[1]) < self._counts[start:stop, None]
        return given

    def _read(self, name: str, start: int, stop: int) -> np.ndarray:
        array = self._arrays[name]
        block = array[start:stop] if self.has_samples else array[:][None]
        if self.spec.frames and self._shapes[name]:
            block = block[..., : self._shapes[name][-1]]
        values = np.array(block, dtype=np.float32)
        bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if bad.any():
            raise InputError(
                f"{name or 'the array'} of sample {start + int(bad.argmax())} in {self.path} is not finite"
            )
        return values

    def _combined(self, read: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One array of all input channels, ordered by frame, then by field; and one of all parameters."""
        fields = [read[channel.name] for channel in self.spec.inputs]
        whole = max((values.shape for values in fields), key=len)
        full = len(self.spec.sites) + 1 + bool(self.spec.frames)
        whole = whole if len(whole) == full else (whole[0], *self.spec.sites)
        stacked = np.stack([np.broadcast_to(_with_axes(values, full), whole) for values in fields], axis=-1)
        inputs = stacked.reshape(*whole[: len(self.spec.sites) + 1], -1)
        given = {"inputs": inputs} | ({"code": read["code"]} if self.spec.code else {})
        if self.spec.parameters:
            scalars = [read[channel.name].reshape(-1) for channel in self.spec.parameters]
            given["parameters"] = np.stack(scalars, axis=-1)
        return given


class _LastBlock:
    """An array in a file whose last block is kept, since several channels are cut out of each."""

    def __init__(self, array: Any) -> None:
        self._array, self._key, self._values = array, "", np.empty(0)
        self.shape = array.shape

    def __getitem__(self, block: slice | tuple[()]) -> np.ndarray:
        if self._key != repr(block):
            self._key, self._values = repr(block), self._array[block]
        return self._values


class _Channel:
    """One channel of an array in a file, which looks like an array in a file.

    Args:
        array: ``(..., channels)``.
        index: of the channel.
    """

    def __init__(self, array: _LastBlock, index: int) -> None:
        self._array, self._index = array, index
        self.shape = array.shape[:-1]

    def __getitem__(self, block: Any) -> np.ndarray:
        return self._array[block][..., self._index]


class _Shared:
    """An array that all samples share, which looks like an array ``(samples, ...)`` in a file.

    Args:
        array: ``(...)``.
        num_samples: how many samples share it.
    """

    def __init__(self, array: Any, num_samples: int) -> None:
        self._array, self.shape = array, (num_samples, *array.shape)

    def __getitem__(self, block: Any) -> np.ndarray:
        values = self._array[:]
        return np.broadcast_to(values, (len(range(self.shape[0])[block]), *values.shape))


def _with_roles(arrays: ArraysInFile, spec: FieldSpec, roles: Roles) -> ArraysInFile:
    """The arrays, and by the names that are looked for those that were coordinates or a code in the training.

    The only coordinate of a cloud, if its array has no axis of coordinates, gets the name of its channel.
    """
    coords = roles.coords or ()
    given = dict(zip(AXES if len(coords) > 1 else ("coords",), coords, strict=False))
    given |= {"code": roles.code} if roles.code else {}
    found = {name: arrays[array] for name, array in given.items() if array in arrays}
    single = found.get("coords", arrays.get("coords"))
    if single is not None and spec.geometry == "points" and spec.space == 1 and is_one_coordinate(single.shape):
        others = {name: array for name, array in {**arrays, **found}.items() if name != "coords"}
        return ArraysInFile({**others, spec.inputs[0].name: single}, arrays.others)
    if "coords" in found and found["coords"].shape[-1:] != (spec.space_dim,):
        found.pop("coords")  # an array of one coordinate, by the name of the field
    return ArraysInFile({**arrays, **found}, arrays.others)


def _with_channels(arrays: Mapping[str, Any], spec: FieldSpec, roles: Roles) -> Mapping[str, Any]:
    """The arrays, and channels by the names that training data give them.

    These are names of the user or of the file; else ``velocity_2`` is the second channel of an array ``velocity``.
    """
    wanted = [channel.name for channel in (*spec.inputs, *spec.parameters) if channel.name not in arrays]
    kept = {name: _LastBlock(array) for name, array in arrays.items() if array.shape}
    called = {plain_name(SINGULAR.get(name, name)): name for name in kept}
    found: dict[str, Any] = {}
    fields = [channel.name for channel in spec.inputs]
    for name in wanted:
        stem, _, number = name.rpartition("_")
        if name in called:
            found[name] = arrays[called[name]]
        elif name in fields and stem in called and _is_one_field(kept[called[stem]], arrays, spec):
            continue
        elif stem in called and number.isdecimal() and 0 < int(number) <= kept[called[stem]].shape[-1]:
            found[name] = _Channel(kept[called[stem]], int(number) - 1)
    for name, array in kept.items() if wanted else ():
        with suppress(InputError):  # labels that cannot be read, perhaps of an array without a role
            labels = [plain_name(label) for label in (roles.names or {}).get(name) or arrays[name].names]
            channels = _channels_of(array, labels, len(array.shape) - 1)
            found |= {label: channel for label, channel in channels.items() if label in wanted}
    if not spec.frames:  # a field may have an axis for its one channel
        after = len(spec.sites) + 1
        alone = {name: kept[name] for name in fields if name in kept}
        of_one_sample = (*spec.sites, 1)
        found |= {
            name: _Channel(array, 0)
            for name, array in alone.items()
            if array.shape[after:] == (1,) or array.shape == of_one_sample
        }
    return {**arrays, **found}


def _by_name(arrays: Mapping[str, Any], spec: FieldSpec, roles: Roles) -> Mapping[str, Any]:
    """The arrays of a file that is laid out as one of training data, by the names of fields; any others as they are."""
    inputs = None if "inputs" in (roles.parameters or ()) else arrays.get("inputs", arrays.get(NAMELESS))
    rank = len(spec.sites)
    shape: tuple[int, ...] = () if inputs is None else inputs.shape
    is_one = inputs is not None and _is_one_field(inputs, arrays, spec)
    whole = not is_one and len(shape) in (rank + 1, rank + 2) and shape[-1] == spec.input_channels
    as_in_python = not spec.parameters or ("parameters" in arrays and len(arrays["parameters"].shape) == 2)
    if spec.frames or (whole and as_in_python):
        return arrays
    names, num_positions = [channel.name for channel in spec.inputs], 0 if spec.geometry == "grid" else spec.space_dim
    places, fields, scalars = names[:num_positions], names[num_positions:], [one.name for one in spec.parameters]
    found: dict[str, Any] = {name: array for name, array in arrays.items() if name not in ("inputs", NAMELESS)}
    coords, parameters = arrays.get("coords"), arrays.get("parameters")
    for array, channels, axes in (
        (coords, places, rank),
        (None if is_one else inputs, names if whole else fields, rank),
        (parameters, scalars, 0),
    ):
        found |= {} if array is None else _channels_of(array, channels, axes)
    found |= {fields[0]: inputs} if is_one and len(fields) == 1 else {}
    axes_of_one = {**dict.fromkeys(fields, rank), **({"code": 1} if spec.code else {}), **dict.fromkeys(scalars, 0)}
    if (count := _count_samples(found, axes_of_one)) is not None:
        shared = [name for name in places if name in found and len(found[name].shape) == rank]
        found |= {name: _Shared(found[name], count) for name in shared}
    return found if is_one or all(name in found for name in expected_arrays(spec)) else arrays


def _is_one_field(array: Any, arrays: Mapping[str, Any], spec: FieldSpec) -> bool:
    """Whether an array is one field ``(samples, *sites)``, even if it has as many sites along the last axis as channels.

    The coordinates in the file say which axes are sites; without them these are the sites of the training.
    """
    shape, first = tuple(array.shape), spec.inputs[0].name
    if len(shape) != len(spec.sites) + 1:
        return False
    if spec.geometry != "grid" and "coords" in arrays:
        sites = arrays["coords"].shape[:-1]
    elif spec.geometry != "grid" and first in arrays:
        sites = arrays[first].shape
    else:
        return shape[1:] == spec.sites != shape[:-1]
    return sites in (shape, shape[1:])


def _count_samples(arrays: Mapping[str, Any], axes_of_one: Mapping[str, int]) -> int | None:
    """Samples as the first of some arrays says, given with the axes of one sample; None if it has no axis of samples."""
    for name, axes in axes_of_one.items():
        if name in arrays:
            shape = arrays[name].shape
            if len(shape) <= axes:
                return None
            return shape[0] if axes else prod(shape)  # MATLAB has no vectors
    return None


def _channels_of(array: Any, names: Sequence[str], rank: int) -> dict[str, Any]:
    """The channels of an array by name, if it has as many; one channel needs no axis."""
    if array.shape[-1:] == (len(names),):
        kept = _LastBlock(array)
        return {name: _Channel(kept, index) for index, name in enumerate(names)}
    return {names[0]: array} if len(names) == 1 and len(array.shape) == rank + 1 else {}


def _as_vector(path: Path, name: str, numbers: ArrayInFile) -> np.ndarray:
    """One number per sample; MATLAB has no vectors but rows and columns."""
    if 8 * prod(numbers.shape) > MAX_SAMPLE_BYTES:
        raise InputError(f"{path} holds {name} {numbers.shape}; expected is (samples,)")
    return np.ravel(numbers[:] if numbers.shape else numbers[()])


def _with_axes(values: np.ndarray, rank: int) -> np.ndarray:
    return values.reshape(*values.shape, *[1] * (rank - values.ndim))


def _shape_text(shape: Sequence[int]) -> str:
    return f"(samples{''.join(f', {size}' for size in shape)})"
