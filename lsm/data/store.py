"""The store: one HDF5 file a benchmark, with names, units and provenance.

Owns the schema. ``data_prep`` writes stores, readers decode what they hold; this module knows no benchmark.

Schema, version 1::

    attributes    schema, version, benchmark, provenance (JSON), display (JSON, optional)
    /fields/NAME  (n, ...), chunked a sample at a time; attributes unit, description
    /samples/NAME (n,), bookkeeping: of a generator attempt, residual, iterations; of own data sample, the place in the file
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from lsm.data.hdf5 import (
    SUFFIXES,
    damage_reported,
    member_names,
    open_dataset,
    open_group,
    open_hdf5,
    read_attribute,
    require_true_size,
)
from lsm.errors import InputError
from lsm.files import remove_leftovers, require_space, whole_file
from lsm.plain import MAX_TEXT, parse_json
from lsm.registry import Count, check_value

SCHEMA = "lsm-store"
VERSION = 1

#: Versions of the HDF5 format from which on headers and indices have checksums, too.
_FORMAT = ("v110", "v110")

#: Bytes of one sample, all fields together, up to which a store is read unless another limit is given.
MAX_SAMPLE_BYTES = 2.5e8


@dataclass(frozen=True)
class StoredField:
    """One named array of a data set, without its leading sample axis.

    Args:
        shape: shape of one sample.
        unit: unit of the values; "1" where dimensionless.
        description: one line for a reader who has never seen the benchmark.
        dtype: numpy type of the values on disk.
    """

    shape: tuple[int, ...]
    unit: str
    description: str
    dtype: str = "float32"


class StoredArray:
    """One array of a store, ``(samples, ...)``; values are read from the disk when they are indexed.

    Args:
        path: the store.
        name: name of the array.
        dataset: the array in the file, checked when the store was opened.
        max_bytes: limit for one sample.
    """

    def __init__(self, path: Path, name: str, dataset: h5py.Dataset, max_bytes: float) -> None:
        self._path, self._name, self._dataset, self._max_bytes = path, name, dataset, max_bytes
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype = dataset.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, samples: int | slice) -> np.ndarray:
        """Values of one sample, or of a slice of samples.

        Raises:
            IndexError: there is no such sample.
            InputError: the file is damaged there, or a value is not finite.
        """
        chosen = range(len(self))[samples]
        indices = chosen if isinstance(chosen, range) else (chosen,)
        for index in indices:
            require_true_size(self._path, self._dataset, (index, *[0] * (len(self.shape) - 1)), self._max_bytes)
        with damage_reported(self._path):
            values = np.asarray(self._dataset[samples])
        bad = first_not_finite(values if isinstance(chosen, range) else values[None])
        if bad is not None:
            raise InputError(
                f"{self._path} holds {self._name} of sample {indices[bad]} with values that are not finite; "
                "generate or convert the data again"
            )
        return values


def first_not_finite(values: np.ndarray) -> int | None:
    """Index of the first sample with a value that is NaN or infinite in single precision; None without one.

    Args:
        values: ``(n, ...)``.
    """
    with np.errstate(over="ignore"):
        single = values.astype(np.float32, copy=False)
    bad = ~np.isfinite(single).reshape(len(values), -1).all(axis=1)
    return int(bad.argmax()) if bad.any() else None


def sample_bytes(fields: Mapping[str, StoredField]) -> int:
    """Bytes of one sample of all fields, uncompressed."""
    return sum(prod(field.shape) * np.dtype(field.dtype).itemsize for field in fields.values())


class Store:
    """Read a store of arrays ``(samples, ...)``; samples are read from the disk when they are needed.

    The file may come from anybody: everything but the values is checked when it is opened, the values when they are read.

    Args:
        path: the HDF5 file.
        max_sample_bytes: largest size of one sample of all fields, uncompressed, that is accepted.
    Raises:
        InputError: the file is not a complete store of a known version, or exceeds a limit.
        FileNotFoundError: there is no such file.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/heat.h5"
        >>> fields = {"temperature": StoredField((4,), "K", "at the cell centres")}
        >>> with StoreWriter(path, "heat", fields, num_samples=2, provenance={}) as writer:
        ...     writer.write(slice(0, 2), {"temperature": np.ones((2, 4))})
        >>> with Store(path) as store:
        ...     store.num_samples, store.field("temperature")[1]
        (2, array([1., 1., 1., 1.], dtype=float32))
    """

    benchmark: str
    provenance: dict[str, Any]
    display: dict[str, Any]
    fields: dict[str, StoredField]
    num_samples: int

    def __init__(self, path: str | Path, max_sample_bytes: float = MAX_SAMPLE_BYTES) -> None:
        self.path, self._max_sample_bytes = Path(path), max_sample_bytes
        self._file = open_hdf5(self.path)
        try:
            self._read_header()
            # Chunks are samples, whose size is checked below.
            self._arrays = self._open_arrays("fields", inf)
            self._records = self._open_arrays("samples", MAX_SAMPLE_BYTES) if "samples" in self._file else {}
            if problem := self._find_problem():
                raise InputError(f"{self.path} holds {problem}")
            self.fields = {name: self._describe(name, dataset) for name, dataset in self._arrays.items()}
            self.num_samples = len(next(iter(self._arrays.values())))
            self._require_size()
        except BaseException:
            self._file.close()
            raise

    def _read_header(self) -> None:
        found = (self._attribute("schema"), self._attribute("version"))
        if not isinstance(found[0], str) or not isinstance(found[1], np.integer) or found != (SCHEMA, VERSION):
            raise InputError(
                f"{self.path} has schema {found[0]} version {found[1]}, expected {SCHEMA} version {VERSION}; "
                "generate or convert the data again with this version of lsm"
            )
        self.benchmark = self._text(self._file, "benchmark", "the file")
        provenance = self._text(self._file, "provenance", "the file", MAX_TEXT)
        self.provenance = parse_json(provenance, f"the provenance of {self.path}")
        stored = self._attribute("display") is not None
        display = self._text(self._file, "display", "the file", MAX_TEXT) if stored else "{}"
        self.display = parse_json(display, f"the display record of {self.path}")

    def _attribute(self, name: str) -> Any:
        return read_attribute(self.path, self._file, name)

    def _text(self, item: Any, name: str, what: str, longest: int = 10_000) -> str:
        value = read_attribute(self.path, item, name)
        if not isinstance(value, str) or len(value) > longest or not "".join(value.split()).isprintable():
            raise InputError(
                f"{self.path}: the attribute {name} of {what} is missing or no printable text of at most {longest} characters"
            )
        return value

    def _open_arrays(self, group: str, max_bytes: float) -> dict[str, h5py.Dataset]:
        parent = open_group(self.path, self._file, group)
        names = member_names(self.path, parent)
        return {name: open_dataset(self.path, parent, name, max_bytes) for name in names}

    def _find_problem(self) -> str | None:
        """The first reason against the arrays together, in words; each of them is sound."""
        arrays = {**self._arrays, **self._records}
        for name, dataset in arrays.items():
            if dataset.ndim < 1:
                return f"{name} without a sample axis"
        for name, dataset in self._arrays.items():
            if dataset.chunks not in (None, (1, *dataset.shape[1:])):
                return f"{name} of shape {dataset.shape} in chunks {dataset.chunks}, expected one per sample"
        counts = {name: len(dataset) for name, dataset in arrays.items()}
        if not self._arrays or len(set(counts.values())) != 1 or 0 in counts.values():
            return f"numbers of samples {counts}, expected the same number in all arrays, at least 1"
        return None

    def _describe(self, name: str, dataset: h5py.Dataset) -> StoredField:
        unit, description = (self._text(dataset, attribute, name) for attribute in ("unit", "description"))
        return StoredField(dataset.shape[1:], unit, description, str(dataset.dtype))

    def _require_size(self) -> None:
        size = sample_bytes(self.fields)
        if size > self._max_sample_bytes:
            raise InputError(
                f"a sample of {self.path} has {size:.4g} bytes, the limit max_sample_bytes is {self._max_sample_bytes:.4g}; "
                "raise the limit if you trust the file",
                options=("max_sample_bytes",),
            )

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def field(self, name: str) -> StoredArray:
        """The array ``name``, ``(samples, ...)``; nothing is read yet.

        Raises:
            InputError: there is no such array.
        """
        if name not in self._arrays:
            raise InputError(f"{self.path} holds no field {name!r}, only {', '.join(self._arrays)}")
        return StoredArray(self.path, name, self._arrays[name], self._max_sample_bytes)

    def bookkeeping(self) -> dict[str, np.ndarray]:
        """The generator's records of every sample, ``(n,)`` by name; empty for converted data."""
        with damage_reported(self.path):
            return {name: dataset[:] for name, dataset in self._records.items()}


def is_store(path: Path) -> bool:
    """Whether a file says that it is a store.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read.
    """
    if path.suffix not in SUFFIXES:
        return False
    with open_hdf5(path) as file:
        return has_schema(path, file)


def has_schema(path: Path, file: h5py.File) -> bool:
    """Whether an open file says that it is a store, of any version.

    Raises:
        InputError: it is damaged.
    """
    schema = read_attribute(path, file, "schema")
    return isinstance(schema, str) and schema == SCHEMA


class StoreWriter:
    """Write a store of arrays ``(samples, ...)`` so that the file appears whole or not at all.

    Use as a context manager: everything goes to a partial file of its own name, which takes the final name when the block ends
    well. Of two writers of one path the last one to finish prevails, and its store is whole.

    Args:
        path: the HDF5 file to make.
        benchmark: name of the benchmark.
        fields: what is stored of one sample.
        num_samples: how many samples.
        provenance: anything that JSON can hold.
        bookkeeping: numpy types of per-sample records.
    Raises:
        InputError: there are no samples or fields to write; or, when the block ends, some were not written.
    """

    def __init__(
        self,
        path: str | Path,
        benchmark: str,
        fields: Mapping[str, StoredField],
        num_samples: int,
        provenance: Mapping[str, Any],
        bookkeeping: Mapping[str, str] | None = None,
        display: Mapping[str, Any] | None = None,
    ) -> None:
        check_value("num_samples", num_samples, Count)
        if not fields:
            raise InputError(f"{path} would have no field; name at least one")
        self.path, self._fields = Path(path), dict(fields)
        self._written = {name: np.zeros(num_samples, dtype=bool) for name in fields}
        # Compression is not counted on, so a set that would just have fitted may be refused.
        require_space(self.path, num_samples * sample_bytes(fields))
        remove_leftovers(self.path)
        with ExitStack() as stack:
            partial = stack.enter_context(whole_file(self.path))
            # The partial file is locked already, and HDF5 would not get a second lock.
            self._file = stack.enter_context(h5py.File(partial.name, "w", libver=_FORMAT, locking=False))
            self._describe(benchmark, provenance, display or {})
            self._create_arrays(num_samples, bookkeeping or {})
            stack.push(lambda kind, *_: None if kind else self._require_all())
            self._open = stack.pop_all()

    def _describe(self, benchmark: str, provenance: Mapping[str, Any], display: Mapping[str, Any]) -> None:
        texts = {"provenance": provenance, "display": display}
        plain = {name: json.dumps(dict(content), allow_nan=False) for name, content in texts.items()}
        self._file.attrs.update(schema=SCHEMA, version=VERSION, benchmark=benchmark, **plain)

    def _create_arrays(self, num_samples: int, bookkeeping: Mapping[str, str]) -> None:
        for name, field in self._fields.items():
            dataset = self._file.create_dataset(
                f"fields/{name}",
                shape=(num_samples, *field.shape),
                dtype=field.dtype,
                chunks=(1, *field.shape),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
                fletcher32=True,
            )
            dataset.attrs.update(unit=field.unit, description=field.description)
        for name, dtype in bookkeeping.items():
            self._file.create_dataset(f"samples/{name}", shape=(num_samples,), dtype=dtype, fletcher32=True)

    def write(
        self, index: int | slice, fields: Mapping[str, np.ndarray], records: Mapping[str, Any] | None = None
    ) -> None:
        """Write one sample, or a slice of samples.

        Args:
            index: which.
            fields: some or all of the store's fields, ``(...)`` of one sample and ``(n, ...)`` of several.
            records: bookkeeping of the same samples.
        Raises:
            InputError: there is no such field or sample, a shape is not as declared, or a value is not finite.
        """
        for name, values in fields.items():
            if problem := self._find_problem(index, name, np.asarray(values)):
                raise InputError(f"{self.path} cannot take {name}: {problem}")
            self._file[f"fields/{name}"][index] = values
            self._written[name][index] = True
        for name, value in (records or {}).items():
            self._file[f"samples/{name}"][index] = value

    def _find_problem(self, index: int | slice, name: str, values: np.ndarray) -> str | None:
        """The first reason against writing values of a field, in words; None without one."""
        if name not in self._fields:
            return f"the store only has the fields {', '.join(self._fields)}"
        field, num_samples = self._fields[name], len(self._written[name])
        indices = range(num_samples)[index] if isinstance(index, slice) else [index]
        if not all(0 <= chosen < num_samples for chosen in indices):
            return f"the store has samples 0 to {num_samples - 1}, not {index}"
        expected = ((len(indices),) if isinstance(index, slice) else ()) + field.shape
        if values.shape != expected:
            return f"it has shape {values.shape}, expected {expected}"
        if values.dtype.kind not in "biuf":
            return f"it has type {values.dtype}, expected numbers"
        return _find_problem_of_values(values.reshape(len(indices), *field.shape), field.dtype, indices)

    def _require_all(self) -> None:
        for name, written in self._written.items():
            if not written.all():
                first = int(written.argmin())
                raise InputError(
                    f"{self.path} was not created: {name} is missing for {(~written).sum()} samples, the first of them {first}"
                )

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def _find_problem_of_values(values: np.ndarray, dtype: str, indices: Sequence[int]) -> str | None:
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    bad = first_not_finite(stored)
    if bad is not None:
        return f"its values of sample {indices[bad]} are not finite; leave that sample out"
    changed = stored.dtype.kind in "iu" and (stored != values).any()
    return f"it holds values that {dtype} cannot represent" if changed else None


def require_fields(store: Store, names: Iterable[str]) -> None:
    """Check that a store holds some arrays.

    Raises:
        InputError: one is missing; the message says how to come by it.
    """
    held = store.fields
    missing = [name for name in names if name not in held]
    if missing:
        remedy = (
            "put the published files that hold them into the folder of the others, and convert again with overwrite=true"
            if store.provenance.get("source") == "published"
            else "generate the data of this benchmark, or choose another store"
        )
        raise InputError(f"{store.path} lacks {', '.join(missing)} (it holds {', '.join(held)}); {remedy}")
