"""Published data files -> store, and back.

Reads ``.npy`` and MATLAB ``.mat`` files (v5, and v7.3, which is HDF5 with reversed axes) as distributed. A benchmark's
configuration says which files there are and which stored field each array is; this module knows no benchmark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.published.formats import MatVersion, open_array, write_array
from lsm import __version__
from lsm.data.store import Store, StoredField, StoreWriter
from lsm.errors import InputError

#: Samples that are converted at a time.
BLOCK = 64

Progress = Callable[[int], None]


@dataclass(frozen=True)
class PublishedArray:
    """One array of a published file.

    Args:
        fields: the stored field that it is; several if its axis ``c`` runs over fields.
        axes: names of its axes in order, such as "n x y" or "x y n"; ``n`` runs over samples.
        variable: its name in a ``.mat`` file.
    """

    fields: tuple[str, ...]
    axes: tuple[str, ...]
    variable: str | None = None

    @property
    def sample_axes(self) -> tuple[str, ...]:
        """Axes of one sample of one field, in published order."""
        return tuple(axis for axis in self.axes if axis not in ("n", "c"))


@dataclass(frozen=True)
class PublishedFile:
    """One published file.

    Args:
        name: path below the folder that the user names.
        samples: ``[first, end)`` of the store's samples that it holds.
        arrays: what is in it.
        sha256: checksum of the published file, where known.
    """

    name: str
    samples: tuple[int, int]
    arrays: tuple[PublishedArray, ...]
    sha256: str | None = None

    @classmethod
    def from_config(cls, plain: Mapping[str, Any]) -> PublishedFile:
        """Build from an entry of a benchmark's configuration."""
        arrays = tuple(
            PublishedArray(tuple(array["fields"]), tuple(array["axes"].split()), array.get("variable"))
            for array in plain["arrays"]
        )
        first, end = plain["samples"]
        return cls(plain["name"], (first, end), arrays, plain.get("sha256"))

    @property
    def fields(self) -> set[str]:
        """Stored fields that are in it."""
        return {name for array in self.arrays for name in array.fields}


@dataclass(frozen=True)
class Layout:
    """A benchmark's published files and what is known of their content.

    Args:
        benchmark: its name.
        files: the files.
        fields: name, shape, unit and description of every stored field.
        required: stored fields without which nothing can be trained; files that hold none of them are optional.
        ranges: least and greatest plausible value of a field, where known.
    """

    benchmark: str
    files: tuple[PublishedFile, ...]
    fields: Mapping[str, StoredField]
    required: frozenset[str]
    ranges: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class _Source:
    """One field of one opened file: a view that is read a block of samples at a time."""

    field: str
    data: Any
    axes: tuple[str, ...]
    array: PublishedArray
    where: str

    @property
    def num_samples(self) -> int:
        return int(self.data.shape[self.axes.index("n")])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape[self.axes.index(axis)] for axis in self.array.sample_axes)

    def read(self, first: int, end: int) -> np.ndarray:
        """Samples ``(end - first, *shape)``."""
        choice = {"n": slice(first, end), "c": self.array.fields.index(self.field)}
        block = np.asarray(self.data[tuple(choice.get(axis, slice(None)) for axis in self.axes)])
        kept = [axis for axis in self.axes if axis != "c"]
        return block.transpose([kept.index(axis) for axis in ("n", *self.array.sample_axes)])


def sha256(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _open_sources(path: Path, file: PublishedFile) -> Iterator[list[_Source]]:
    sources = []
    with ExitStack() as stack:
        for array in file.arrays:
            where = f"{path}" + (f" ({array.variable})" if array.variable else "")
            data, axes = stack.enter_context(open_array(path, array.variable, array.axes))
            if len(data.shape) != len(axes):
                raise InputError(f"{where} has shape {data.shape}, expected {len(axes)} axes: {' '.join(axes)}")
            if "c" in axes and data.shape[axes.index("c")] != len(array.fields):
                raise InputError(
                    f"{where} has shape {data.shape}, expected {len(array.fields)} fields along axis c of {axes}"
                )
            if data.dtype.kind not in "iuf" or 0 in data.shape:
                raise InputError(
                    f"{where} holds {data.shape} of {data.dtype}, expected real numbers; is it the published file?"
                )
            sources += [_Source(field, data, axes, array, where) for field in array.fields]
        yield sources


def import_files(
    layout: Layout, folder: Path, path: Path, strict: bool, on_start: Progress, on_done: Progress
) -> list[str]:
    """Convert published files to a store, losslessly: values keep their type.

    Args:
        layout: which files, and what they hold.
        folder: where they lie.
        path: the store to make.
        strict: refuse files whose sizes are not the published ones.
        on_start, on_done: told how many samples there are, and how many were just converted.
    Returns:
        What was found, a line each: checksums, shapes, types, smallest and largest values.
    Raises:
        FileNotFoundError: a file that is needed is missing.
        InputError: an array is missing, has another shape, or holds values that cannot be right.
    """
    files = _present_files(layout, folder)
    checksums = {file.name: sha256(folder / file.name) for file in files}
    lines = [_describe_checksum(checksums[file.name], file) for file in files]
    with ExitStack() as stack:
        opened = {file: stack.enter_context(_open_sources(folder / file.name, file)) for file in files}
        for file, sources in opened.items():
            for source in sources:
                _check_size(source, file, layout.fields[source.field], strict)
        rows = _rows(opened)
        fields = _stored_fields(opened, layout.fields)
        num_samples = max(end for _, end in rows.values())
        on_start(sum(end - first for first, end in rows.values()))
        provenance = {"source": "published", "files": checksums, "lsm_version": __version__}
        writer = stack.enter_context(StoreWriter(path, layout.benchmark, fields, num_samples, provenance))
        extremes: dict[str, tuple[float, float]] = {}
        for file, sources in opened.items():
            _copy(sources, rows[file], writer, layout.ranges, extremes, on_done)
    for name, (low, high) in extremes.items():
        lines.append(
            f"{name}: {num_samples} x {fields[name].shape} {fields[name].dtype}, finite, {low:.6g} to {high:.6g}"
        )
    return lines


def _present_files(layout: Layout, folder: Path) -> list[PublishedFile]:
    missing = [f.name for f in layout.files if f.fields & layout.required and not (folder / f.name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}; put the published files of {layout.benchmark} there under these names, "
            f"or make the data with `lsm-generate benchmark={layout.benchmark}`"
        )
    return [file for file in layout.files if (folder / file.name).is_file()]


def _describe_checksum(found: str, file: PublishedFile) -> str:
    if file.sha256 is None:
        return f"{file.name}: SHA-256 {found} (no published checksum is known)"
    verdict = "as published" if found == file.sha256 else f"NOT the published one, {file.sha256}"
    return f"{file.name}: SHA-256 {found} ({verdict})"


def _check_size(source: _Source, file: PublishedFile, field: StoredField, strict: bool) -> None:
    expected = (file.samples[1] - file.samples[0], *field.shape)
    _check_shape(source.where, source.field, (source.num_samples, *source.shape), expected, strict)


def _check_shape(where: str, name: str, found: tuple[int, ...], expected: tuple[int, ...], strict: bool) -> None:
    if len(found) != len(expected) or (strict and found != expected):
        raise InputError(
            f"{where} holds {name} of shape {found}, expected {expected}: give the preset and the options of that size "
            "(preset=paper is the published one), or strict=false for data of other sizes"
        )


def _rows(opened: Mapping[PublishedFile, list[_Source]]) -> dict[PublishedFile, tuple[int, int]]:
    """Rows of the store for each file: files of one published range side by side, the ranges one after another."""
    rows: dict[PublishedFile, tuple[int, int]] = {}
    first = 0
    for samples in sorted({file.samples for file in opened}):
        group = {file: sources for file, sources in opened.items() if file.samples == samples}
        counts = {source.num_samples for sources in group.values() for source in sources}
        if len(counts) > 1:
            names = ", ".join(file.name for file in group)
            raise InputError(f"the arrays of {names} hold different numbers of samples: {sorted(counts)}")
        end = first + counts.pop()
        rows |= dict.fromkeys(group, (first, end))
        first = end
    return rows


def _stored_fields(
    opened: Mapping[PublishedFile, list[_Source]], described: Mapping[str, StoredField]
) -> dict[str, StoredField]:
    stored: dict[str, StoredField] = {}
    for source in (source for sources in opened.values() for source in sources):
        field = replace(described[source.field], shape=source.shape, dtype=str(source.data.dtype))
        if stored.setdefault(source.field, field) != field:
            raise InputError(f"{source.where} has shape or type unlike the other file of {source.field}")
    return stored


def _copy(
    sources: Sequence[_Source],
    rows: tuple[int, int],
    writer: StoreWriter,
    ranges: Mapping[str, tuple[float, float]],
    extremes: dict[str, tuple[float, float]],
    on_done: Progress,
) -> None:
    first, end = rows
    for start in range(first, end, BLOCK):
        stop = min(start + BLOCK, end)
        for source in sources:
            block = source.read(start - first, stop - first)
            found = _check_values(block, source, start - first, ranges.get(source.field))
            low, high = extremes.get(source.field, found)
            extremes[source.field] = (min(low, found[0]), max(high, found[1]))
            writer.write(slice(start, stop), {source.field: block})
        on_done(stop - start)


def _check_values(
    block: np.ndarray, source: _Source, first: int, limits: tuple[float, float] | None
) -> tuple[float, float]:
    low, high = float(block.min()), float(block.max())
    if not np.isfinite([low, high]).all():
        bad = first + int(np.argmax(~np.isfinite(block).reshape(len(block), -1).all(axis=1)))
        raise InputError(f"{source.where}: {source.field} of sample {bad} is not finite; the file is damaged")
    if limits and not limits[0] <= low <= high <= limits[1]:
        raise InputError(
            f"{source.where}: {source.field} runs from {low:.6g} to {high:.6g}, plausible is {limits[0]} to {limits[1]}; "
            "is it the right file, and are its axes in the published order?"
        )
    return low, high


def export_files(
    layout: Layout,
    path: Path,
    folder: Path,
    mat_version: MatVersion,
    strict: bool,
    overwrite: bool,
    on_start: Progress,
    on_done: Progress,
) -> list[str]:
    """Write a store as published files.

    A store smaller or larger than the published set is spread over the files in the published proportion.

    Args:
        layout: which files, and what they hold.
        path: the store.
        folder: where the files go.
        mat_version: which kind of ``.mat`` file.
        strict: refuse a store of samples of other sizes than the generator makes, which may be another benchmark's.
        overwrite: replace files that are there.
        on_start, on_done: told how many files there are, and that one was just written.
    Returns:
        What was written, a line each.
    Raises:
        InputError: the store lacks a field that is needed or holds another benchmark's, or a file is there already.
    """
    lines = []
    with Store(path) as store:
        files = [file for file in layout.files if file.fields <= set(store.fields)]
        if not layout.required <= {name for file in files for name in file.fields}:
            raise InputError(
                f"{path} holds only {', '.join(store.fields)}, needed are {', '.join(sorted(layout.required))}"
            )
        for name in sorted({name for file in files for name in file.fields}):
            _check_shape(f"{path}", name, store.fields[name].shape, layout.fields[name].shape, strict)
        present = [file.name for file in files if (folder / file.name).exists()]
        if present and not overwrite:
            raise InputError(
                f"{folder} holds {', '.join(present)} already; add overwrite=true to replace them, or choose another folder"
            )
        total = max(file.samples[1] for file in files)
        on_start(len(files))
        for file in files:
            first, end = (limit * store.num_samples // total for limit in file.samples)
            arrays = {array.variable: _publish(store, array, first, end) for array in file.arrays}
            write_array(folder / file.name, arrays, mat_version)
            lines.append(f"{folder / file.name}: {end - first} samples")
            on_done(1)
    return lines


def _publish(store: Store, array: PublishedArray, first: int, end: int) -> np.ndarray:
    """One array in published axis order."""
    columns = [store.field(name)[first:end] for name in array.fields]
    stored_axes = ("n", *array.sample_axes)
    if "c" not in array.axes:
        return np.ascontiguousarray(columns[0].transpose([stored_axes.index(axis) for axis in array.axes]))
    axes = ("c", *stored_axes)
    return np.ascontiguousarray(np.stack(columns).transpose([axes.index(axis) for axis in array.axes]))
