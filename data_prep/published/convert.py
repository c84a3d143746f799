"""Conversion of published data files to a store, and back.

The configuration of a benchmark lists the published files and the stored field that each array contains. This module
owns the conversion and its checks; the file formats are in ``formats.py``. It knows no benchmark.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import lsm
from data_prep.published.formats import MatVersion, open_array, write_array
from lsm.data.matlab5 import Mat5Array
from lsm.data.store import MAX_SAMPLE_BYTES, Store, StoredField, StoreWriter, first_not_finite, sample_bytes
from lsm.errors import InputError
from lsm.files import require_free, sha256

#: Number of samples that are converted at a time.
BLOCK = 64

Progress = Callable[[int], None]


@dataclass(frozen=True)
class PublishedArray:
    """One array of a published file.

    Args:
        fields: the stored field that it contains; several if it has an axis ``c`` over fields.
        axes: names of its axes in order, such as "n x y" or "x y n"; ``n`` is the sample axis.
        variable: its name in a ``.mat`` file.
    """

    fields: tuple[str, ...]
    axes: tuple[str, ...]
    variable: str | None = None

    @property
    def sample_axes(self) -> tuple[str, ...]:
        """Axes of one sample of one field, in the published order."""
        return tuple(axis for axis in self.axes if axis not in ("n", "c"))


@dataclass(frozen=True)
class PublishedFile:
    """One published file.

    Args:
        name: path relative to the folder that the user gives.
        samples: range ``[first, end)`` of the store's samples that it contains.
        arrays: its arrays.
        sha256: checksum of the published file, if known.
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
        """Names of the stored fields that it contains."""
        return {name for array in self.arrays for name in array.fields}


@dataclass(frozen=True)
class Layout:
    """The published files of a benchmark and the properties of their content.

    Args:
        benchmark: its name.
        files: the files.
        fields: shape, unit and description of every stored field, by name.
        required: stored fields that training needs; files without any of them are optional.
        ranges: smallest and largest plausible value of a field, where known.
    """

    benchmark: str
    files: tuple[PublishedFile, ...]
    fields: Mapping[str, StoredField]
    required: frozenset[str]
    ranges: Mapping[str, tuple[float, float]]
    display: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Source:
    """One field of an opened file, read in blocks of samples."""

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

    @property
    def max_sample_bytes(self) -> int:
        """Bytes of one sample in double precision."""
        return prod(self.shape) * 8

    def release(self) -> None:
        """Forget values that are held in memory."""
        if isinstance(self.data, Mat5Array):
            self.data.release()

    def read(self, first: int, end: int) -> np.ndarray:
        """Samples ``(end - first, *shape)``."""
        choice = {"n": slice(first, end), "c": self.array.fields.index(self.field)}
        block = np.asarray(self.data[tuple(choice.get(axis, slice(None)) for axis in self.axes)])
        kept = [axis for axis in self.axes if axis != "c"]
        return block.transpose([kept.index(axis) for axis in ("n", *self.array.sample_axes)])


_Opened = Mapping[PublishedFile, list[_Source]]


@contextmanager
def _open_sources(path: Path, file: PublishedFile) -> Iterator[list[_Source]]:
    sources = []
    with ExitStack() as stack:
        for array in file.arrays:
            where = f"{path}" + (f" ({array.variable})" if array.variable else "")
            data, axes = stack.enter_context(open_array(path, array.variable, array.axes))
            if problem := _find_problem(data, axes, array):
                raise InputError(f"{where} has shape {data.shape}, {problem}")
            sources += [_Source(field, data, axes, array, where) for field in array.fields]
        yield sources


def _find_problem(data: Any, axes: tuple[str, ...], array: PublishedArray) -> str | None:
    """What is expected instead of an array whose shape does not fit its description."""
    if len(data.shape) != len(axes):
        return f"expected {len(axes)} axes: {' '.join(axes)}"
    if "c" in axes and data.shape[axes.index("c")] != len(array.fields):
        return f"expected {len(array.fields)} fields along axis c of {' '.join(axes)}"
    if 0 in data.shape:
        return "expected at least one value along each axis"
    return None


def import_files(
    layout: Layout, folder: Path, path: Path, strict: bool, on_start: Progress, on_done: Progress
) -> list[str]:
    """Convert published files to a store without loss: values keep their type.

    Args:
        layout: the files and their content.
        folder: the folder that contains them.
        path: the store to write.
        strict: refuse files with sizes other than the published ones.
        on_start: called with the total number of samples.
        on_done: called with the number of newly converted samples.
    Returns:
        Lines of a report: checksums, and shape, type and range of the values of each field.
    Raises:
        FileNotFoundError: a required file is missing.
        InputError: an array is missing, has another shape, or holds implausible values.
    """
    files = _present_files(layout, folder)
    with ExitStack() as stack:
        opened = {file: stack.enter_context(_open_sources(folder / file.name, file)) for file in files}
        # Values are not read before all shapes are known to fit.
        if problem := _find_misfit(opened, layout, strict):
            raise InputError(problem)
        rows = _rows(opened)
        fields = _stored_fields(opened, layout.fields)
        checksums = {file.name: sha256(folder / file.name) for file in files}
        lines = [_describe_checksum(checksums[file.name], file) for file in files]
        num_samples = max(end for _, end in rows.values())
        on_start(sum(end - first for first, end in rows.values()))
        provenance = {"source": "published", "files": checksums, "lsm_version": lsm.__version__}
        writer = stack.enter_context(
            StoreWriter(path, layout.benchmark, fields, num_samples, provenance, display=layout.display)
        )
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
            f"or generate the data with `lsm-generate benchmark={layout.benchmark}`"
        )
    return [file for file in layout.files if (folder / file.name).is_file()]


def _describe_checksum(found: str, file: PublishedFile) -> str:
    if file.sha256 is None:
        return f"{file.name}: SHA-256 {found} (no published checksum is known)"
    verdict = "as published" if found == file.sha256 else f"NOT the published one, {file.sha256}"
    return f"{file.name}: SHA-256 {found} ({verdict})"


def _find_misfit(opened: _Opened, layout: Layout, strict: bool) -> str | None:
    """The first thing in which shapes and types do not fit the layout or each other, in words."""
    return _find_wrong_shape(opened, layout, strict) or _find_wrong_count(opened) or _find_wrong_type(opened)


def _find_wrong_shape(opened: _Opened, layout: Layout, strict: bool) -> str | None:
    limit = max(MAX_SAMPLE_BYTES, sample_bytes(layout.fields))
    lengths: dict[str, tuple[int, str]] = {}
    for file, source in _sources_of(opened):
        expected = (file.samples[1] - file.samples[0], *layout.fields[source.field].shape)
        if other := _describe_other_shape(source.field, (source.num_samples, *source.shape), expected, strict):
            return f"{source.where} {other}"
        for axis, length in zip(source.array.sample_axes, source.shape, strict=True):
            known, where = lengths.setdefault(axis, (length, source.where))
            if known != length:
                return f"{source.where} has {length} values along axis {axis}, {where} has {known}"
        if source.max_sample_bytes > limit:
            return f"{source.where} has samples of {source.max_sample_bytes:.3g} bytes, more than {limit:.3g}"
    return None


def _describe_other_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...], strict: bool) -> str | None:
    if len(found) == len(expected) and (found == expected or not strict):
        return None
    remedy = "give the preset and the options of that size (preset=paper is the published one)"
    return f"holds {name} of shape {found}, expected {expected}: {remedy}, or strict=false for data of other sizes"


def _find_wrong_count(opened: _Opened) -> str | None:
    for group in _groups(opened):
        counts = {source.num_samples for file in group for source in opened[file]}
        if len(counts) > 1:
            names = ", ".join(file.name for file in group)
            return f"the arrays of {names} hold different numbers of samples: {sorted(counts)}"
    return None


def _find_wrong_type(opened: _Opened) -> str | None:
    first: dict[str, tuple[Any, ...]] = {}
    for _, source in _sources_of(opened):
        kind = source.data.dtype
        if kind.kind not in "iuf":
            return f"{source.where} has type {kind}, expected real numbers; is it the published file?"
        if first.setdefault(source.field, (source.shape, kind)) != (source.shape, kind):
            return f"{source.where} differs in shape or type from the other file with {source.field}"
    return None


def _sources_of(opened: _Opened) -> Iterator[tuple[PublishedFile, _Source]]:
    return ((file, source) for file, sources in opened.items() for source in sources)


def _groups(opened: _Opened) -> list[list[PublishedFile]]:
    """Files with the same range of samples, in the order of the ranges."""
    ranges = sorted({file.samples for file in opened})
    return [[file for file in opened if file.samples == samples] for samples in ranges]


def _rows(opened: _Opened) -> dict[PublishedFile, tuple[int, int]]:
    """Rows of the store for each file: files with the same range share their rows, different ranges follow each other."""
    rows: dict[PublishedFile, tuple[int, int]] = {}
    first = 0
    for group in _groups(opened):
        end = first + opened[group[0]][0].num_samples
        rows |= dict.fromkeys(group, (first, end))
        first = end
    return rows


def _stored_fields(opened: _Opened, described: Mapping[str, StoredField]) -> dict[str, StoredField]:
    return {
        source.field: replace(described[source.field], shape=source.shape, dtype=str(source.data.dtype))
        for _, source in _sources_of(opened)
    }


def _copy(
    sources: Sequence[_Source],
    rows: tuple[int, int],
    writer: StoreWriter,
    ranges: Mapping[str, tuple[float, float]],
    extremes: dict[str, tuple[float, float]],
    on_done: Progress,
) -> None:
    first, end = rows
    step = max(1, min(BLOCK, int(MAX_SAMPLE_BYTES / max(source.max_sample_bytes for source in sources))))
    for start in range(first, end, step):
        stop = min(start + step, end)
        for source in sources:
            block = source.read(start - first, stop - first)
            found = _check_values(block, source, start - first, ranges.get(source.field))
            low, high = extremes.get(source.field, found)
            extremes[source.field] = (min(low, found[0]), max(high, found[1]))
            writer.write(slice(start, stop), {source.field: block})
        on_done(stop - start)
    for source in sources:
        source.release()


def _check_values(
    block: np.ndarray, source: _Source, first: int, limits: tuple[float, float] | None
) -> tuple[float, float]:
    low, high = float(block.min()), float(block.max())
    problem = ""
    if (bad := first_not_finite(block)) is not None:
        problem = f"of sample {first + bad} is not finite; the file is damaged"
    elif limits and not limits[0] <= low <= high <= limits[1]:
        problem = (
            f"runs from {low:.6g} to {high:.6g}, plausible is {limits[0]} to {limits[1]}; "
            "is it the right file, with its axes in the published order?"
        )
    if problem:
        raise InputError(f"{source.where}: {source.field} {problem}")
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
    """Write the samples of a store in the format of the published files.

    A store smaller or larger than the published data set is divided among the files in the published proportion.

    Args:
        layout: the files and their content.
        path: the store.
        folder: folder for the files.
        mat_version: version of ``.mat`` files.
        strict: refuse a store whose fields have other shapes than the generator's; it may belong to another benchmark.
        overwrite: replace existing files.
        on_start: called with the number of files.
        on_done: called with 1 after each file.
    Returns:
        Lines of a report: each file with its number of samples.
    Raises:
        InputError: the store lacks a required field, holds another benchmark or too few samples, or a file exists already.
    """
    lines = []
    with Store(path, max(MAX_SAMPLE_BYTES, sample_bytes(layout.fields))) as store:
        files = _files_of(layout, store, path, strict)
        if not overwrite:
            remedy = "add overwrite=true to replace it, or choose another folder"
            require_free(*(folder / file.name for file in files), remedy=remedy)
        if problem := _find_too_few(files, store.num_samples):
            raise InputError(f"{path} {problem}")
        on_start(len(files))
        for file, (first, end) in zip(files, _shares(files, store.num_samples), strict=True):
            arrays = {array.variable: _publish(store, array, first, end) for array in file.arrays}
            write_array(folder / file.name, arrays, mat_version)
            lines.append(f"{folder / file.name}: {end - first} samples")
            on_done(1)
    return lines


def _files_of(layout: Layout, store: Store, path: Path, strict: bool) -> list[PublishedFile]:
    """The published files whose fields are in the store, after a check of the fields."""
    files = [file for file in layout.files if file.fields <= set(store.fields)]
    if problem := _find_unfit_fields(layout, store, sorted({name for file in files for name in file.fields}), strict):
        raise InputError(f"{path} {problem}")
    return files


def _shares(files: Sequence[PublishedFile], num_samples: int) -> list[tuple[int, int]]:
    """Range ``[first, end)`` of a store's samples for each file, in the published proportion."""
    total = max(file.samples[1] for file in files)
    return [(file.samples[0] * num_samples // total, file.samples[1] * num_samples // total) for file in files]


def _find_too_few(files: Sequence[PublishedFile], num_samples: int) -> str | None:
    """What to do about a store of which some file would get no sample."""

    def suffices(count: int) -> bool:
        return all(first < end for first, end in _shares(files, count))

    if suffices(num_samples):
        return None
    names, enough = ", ".join(file.name for file in files), next(filter(suffices, itertools.count(1)))
    return f"holds {num_samples} sample(s), too few to divide among {names}; generate at least {enough}"


def _find_unfit_fields(layout: Layout, store: Store, names: Sequence[str], strict: bool) -> str | None:
    if not layout.required <= set(names):
        return f"holds only {', '.join(store.fields)}, required are {', '.join(sorted(layout.required))}"
    shapes = ((name, store.fields[name].shape, layout.fields[name].shape) for name in names)
    return next(filter(None, (_describe_other_shape(*shape, strict) for shape in shapes)), None)


def _publish(store: Store, array: PublishedArray, first: int, end: int) -> np.ndarray:
    """Samples ``[first, end)`` of one array, with its axes in the published order."""
    columns = [store.field(name)[first:end] for name in array.fields]
    stored_axes = ("n", *array.sample_axes)
    if "c" not in array.axes:
        return np.ascontiguousarray(columns[0].transpose([stored_axes.index(axis) for axis in array.axes]))
    axes = ("c", *stored_axes)
    return np.ascontiguousarray(np.stack(columns).transpose([axes.index(axis) for axis in array.axes]))
