"""The inputs of predictions, read from a file in blocks of samples.

The file holds one array per input field, by its name: ``(samples, *sites)``, in a roll-out ``(samples, *sites, frames)``; also
``code`` ``(samples, k)``, and a scalar parameter by its name ``(samples,)``. Or it holds the arrays that
:meth:`lsm.solver.NeuralSolver.predict` takes, ``inputs``, ``coords``, ``code`` and ``parameters``; a ``.npy`` file holds
``inputs`` alone. Or it is laid out as a file of training data, see :mod:`lsm.data.layout`: ``inputs`` without the coordinates,
which are ``coords``, and without an axis of channels if there is one. A field that is the same along the last axes may lack them.
VTK files number their points with the first axis fastest. Clouds with different numbers of points are laid out as
:mod:`lsm.data.ragged` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lsm.data import structured_vtk, vtk_files
from lsm.data.array_files import NAMELESS, ArrayInFile, open_arrays
from lsm.data.ragged import even_out
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
def open_inputs(path: Path, spec: FieldSpec) -> Iterator[InputFile]:
    """Open a file of inputs, arrays ``(samples, ...)``; see :class:`InputFile`."""
    with open_arrays(path) as arrays:
        yield InputFile(arrays, spec, path)


class InputFile:
    """Samples of an open file, as arguments of :meth:`lsm.solver.NeuralSolver.predict`.

    Args:
        arrays: by name, see :func:`lsm.data.array_files.open_arrays`.
        spec: the fields of the solver.
        path: the file, for messages; in a VTK file the sites of a lattice are one axis, the first axis of the lattice fastest.
    Raises:
        InputError: an array is missing, or has another shape than the solver takes.
    """

    def __init__(self, arrays: Mapping[str, ArrayInFile], spec: FieldSpec, path: Path) -> None:
        self.spec, self.path = spec, path
        self._counts = None
        if spec.geometry == "points":
            places = ["coords"] if "coords" in arrays else [channel.name for channel in spec.inputs[: spec.space]]
            arrays, self._counts = even_out(path, arrays, places)
        arrays = _by_name(_with_channels(arrays, spec), spec)
        packed = arrays.get("inputs", arrays.get(NAMELESS))
        self._packed = packed is not None
        needed = shapes(spec) if self._packed else expected_arrays(spec)
        found: dict[str, Any] = {**arrays, "inputs": packed} if self._packed else dict(arrays)
        # A mesh's or cloud's coordinates are the first of its inputs, as the readers of training data arrange them.
        self._shapes = {n: shape for n, shape in needed.items() if shape is not None and (n in found or n != "coords")}
        missing = [name for name in self._shapes if name not in found]
        if missing:
            held = ", ".join(name for name in arrays if name) or "one array without a name"
            raise InputError(
                f"{path} lacks {', '.join(missing)} (it holds {held}); template=FILE writes what is expected"
            )
        self._arrays = {
            n: _as_vector(path, n, found[n]) if shape == () else found[n] for n, shape in self._shapes.items()
        }
        if path.suffix in vtk_files.SUFFIXES and spec.geometry != "points":
            self._require_lattice()
            self._arrays = {name: self._on_lattice(name, values) for name, values in self._arrays.items()}
        self.has_samples = all(self._fits(name, array.shape[1:]) for name, array in self._arrays.items())
        if not self.has_samples and not all(self._fits(name, array.shape) for name, array in self._arrays.items()):
            self._refuse_shapes()
        counts = {array.shape[0] for array in self._arrays.values()}
        self.num_samples = counts.pop() if self.has_samples else 1
        if (self.has_samples and counts) or not self.num_samples or not self.sample_bytes:
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
        if self._packed or self.spec.frames:
            return len(shape) == len(wanted) and shape[-1] == wanted[-1]
        return len(shape) == len(wanted) or (len(shape) > 0 and shape == wanted[: len(shape)])

    def _refuse_shapes(self) -> None:
        found = ", ".join(f"{name} {tuple(array.shape)}" for name, array in self._arrays.items())
        wanted = ", ".join(f"{name} {_shape_text(shape)}" for name, shape in self._shapes.items())
        raise InputError(f"{self.path} holds {found}; expected are {wanted}, with the same number of samples in all")

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
        values = np.array(array[start:stop] if self.has_samples else array[:][None], dtype=np.float32)
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

    def __init__(self, array: ArrayInFile) -> None:
        self._array, self._key, self._values = array, "", np.empty(0)
        self.shape = array.shape

    def __getitem__(self, block: slice | tuple[()]) -> np.ndarray:
        if self._key != repr(block):
            self._key, self._values = repr(block), self._array[block]
        return self._values


class _Channel:
    """One channel of an array in a file, which looks like an array in a file.

    Args:
        array: ``(samples, ..., channels)``, or ``(..., channels)`` if samples share it.
        index: of the channel.
        shared: number of samples that share the array; None if it has an axis of samples.
    """

    def __init__(self, array: _LastBlock, index: int, shared: int | None = None) -> None:
        self._array, self._index, self._shared = array, index, shared
        self.shape = (*(() if shared is None else (shared,)), *array.shape[:-1])

    def __getitem__(self, block: Any) -> np.ndarray:
        if self._shared is None:
            return self._array[block][..., self._index]
        values = self._array[:][..., self._index]
        return np.broadcast_to(values, (len(range(self._shared)[block]), *values.shape))


def _with_channels(arrays: Mapping[str, Any], spec: FieldSpec) -> Mapping[str, Any]:
    """The arrays, and as ``velocity_2``, as training data are called, the second channel of an array ``velocity``."""
    kept = {name: _LastBlock(array) for name, array in arrays.items() if array.shape}
    found = dict(arrays)
    for channel in (*spec.inputs, *spec.parameters):
        stem, _, number = channel.name.rpartition("_")
        if channel.name not in arrays and stem in kept and number.isdecimal():
            index = int(number) - 1
            found |= {channel.name: _Channel(kept[stem], index)} if 0 <= index < kept[stem].shape[-1] else {}
    return found


def _by_name(arrays: Mapping[str, ArrayInFile], spec: FieldSpec) -> Mapping[str, Any]:
    """The arrays of a file that is laid out as one of training data, by the names of fields; any others as they are."""
    inputs, rank = arrays.get("inputs"), len(spec.sites)
    whole = inputs is not None and len(inputs.shape) in (rank + 1, rank + 2) and inputs.shape[-1] == spec.input_channels
    if whole or spec.frames:
        return arrays
    num_positions = 0 if spec.geometry == "grid" else spec.space_dim
    names = [channel.name for channel in spec.inputs]
    found: dict[str, Any] = {name: array for name, array in arrays.items() if name != "inputs"}
    if inputs is not None:
        found |= _channels_of(inputs, names[num_positions:], rank)
    if num_positions and (coords := arrays.get("coords")) is not None:
        shared = inputs.shape[0] if inputs is not None and len(coords.shape) == rank + 1 else None
        found |= _channels_of(coords, names[:num_positions], rank, shared)
    if (scalars := arrays.get("parameters")) is not None:
        found |= _channels_of(scalars, [channel.name for channel in spec.parameters], 0)
    return found if all(name in found for name in expected_arrays(spec)) else arrays


def _channels_of(array: ArrayInFile, names: Sequence[str], rank: int, shared: int | None = None) -> dict[str, Any]:
    """The channels of an array by name, if it has as many; one channel needs no axis."""
    if len(names) == 1 and len(array.shape) == rank + 1:
        return {names[0]: array}
    if array.shape[-1:] != (len(names),):
        return {}
    kept = _LastBlock(array)
    return {name: _Channel(kept, index, shared) for index, name in enumerate(names)}


def _as_vector(path: Path, name: str, numbers: ArrayInFile) -> np.ndarray:
    """One number per sample; MATLAB has no vectors but rows and columns."""
    if 8 * prod(numbers.shape) > MAX_SAMPLE_BYTES:
        raise InputError(f"{path} holds {name} {numbers.shape}; expected is (samples,)")
    return np.ravel(numbers[:] if numbers.shape else numbers[()])


def _with_axes(values: np.ndarray, rank: int) -> np.ndarray:
    return values.reshape(*values.shape, *[1] * (rank - values.ndim))


def _shape_text(shape: Sequence[int]) -> str:
    return f"(samples{''.join(f', {size}' for size in shape)})"
