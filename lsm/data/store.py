"""The store: one HDF5 file a benchmark, with names, units and provenance.

Owns the schema. ``data_prep`` writes stores, readers decode what they hold; this module knows no benchmark.

Schema, version 1::

    attributes    schema, version, benchmark, provenance (JSON), display (JSON, optional)
    /fields/NAME  (n, ...), chunked a sample at a time; attributes unit, description
    /samples/NAME (n,), bookkeeping of the generator: attempt, residual, iterations
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from lsm.errors import InputError, require_whole
from lsm.files import put_in_place

SCHEMA = "lsm-store"
VERSION = 1


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


class Store:
    """Read a store lazily; nothing is held in memory.

    Args:
        path: the HDF5 file.
    Raises:
        InputError: the file is no readable store of a known version.
        FileNotFoundError: there is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} does not exist")
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder; store= takes a file, data_dir= takes a folder")
        try:
            self._file = h5py.File(self.path, "r")
        except PermissionError:
            raise
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read as HDF5 ({error}); it is truncated or no HDF5 file: "
                "remove it and generate or convert again"
            ) from error
        found = (self._file.attrs.get("schema"), self._file.attrs.get("version"))
        if found != (SCHEMA, VERSION):
            self._file.close()
            raise InputError(
                f"{self.path} has schema {found[0]} version {found[1]}, expected {SCHEMA} version {VERSION}; "
                "generate or convert the data again with this version of lsm"
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

    @property
    def benchmark(self) -> str:
        """Name of the benchmark whose data this is."""
        return str(self._file.attrs["benchmark"])

    @property
    def provenance(self) -> dict[str, Any]:
        """How the data came to be."""
        return json.loads(self._file.attrs["provenance"])

    @property
    def display(self) -> dict[str, Any]:
        """What pictures of these fields need to know (:class:`lsm.plotting.display.Display`); empty if nothing is stored."""
        return json.loads(self._file.attrs.get("display", "{}"))

    @property
    def fields(self) -> dict[str, StoredField]:
        """What is stored of one sample."""
        return {name: self._describe(dataset) for name, dataset in self._file["fields"].items()}

    @staticmethod
    def _describe(dataset: h5py.Dataset) -> StoredField:
        attributes = dataset.attrs
        return StoredField(dataset.shape[1:], attributes["unit"], attributes["description"], str(dataset.dtype))

    @property
    def num_samples(self) -> int:
        """Number of samples."""
        return min(len(dataset) for dataset in self._file["fields"].values())

    def field(self, name: str) -> h5py.Dataset:
        """The array ``name``, with its leading sample axis, unread.

        Raises:
            InputError: there is no such array.
        """
        if name not in self._file["fields"]:
            raise InputError(f"{self.path} holds no field {name!r}, only {', '.join(self._file['fields'])}")
        return self._file["fields"][name]

    def bookkeeping(self) -> dict[str, np.ndarray]:
        """The generator's records of every sample; empty for converted data."""
        return {name: dataset[:] for name, dataset in self._file["samples"].items()} if "samples" in self._file else {}


class StoreWriter:
    """Write a store so that the file appears whole or not at all.

    Use as a context manager: everything goes to ``PATH.partial``, which takes its final name when the block ends well.

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
        require_whole("num_samples", num_samples, 1)
        if not fields:
            raise InputError(f"{path} is to hold no field; name at least one")
        self.path, self._fields = Path(path), dict(fields)
        self._written = {name: np.zeros(num_samples, dtype=bool) for name in fields}
        self._partial = self.path.with_name(self.path.name + ".partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._require_space(fields, num_samples)
        try:
            self._file = h5py.File(self._partial, "w")
        except BlockingIOError as error:
            raise InputError(f"another process is writing {path}; wait for it, or choose another data_dir") from error
        try:
            self._describe(benchmark, fields, num_samples, provenance, bookkeeping or {})
            self._file.attrs["display"] = json.dumps(dict(display or {}))
        except BaseException:
            self._discard()
            raise

    def _describe(
        self,
        benchmark: str,
        fields: Mapping[str, StoredField],
        num_samples: int,
        provenance: Mapping[str, Any],
        bookkeeping: Mapping[str, str],
    ) -> None:
        self._file.attrs.update(schema=SCHEMA, version=VERSION, benchmark=benchmark, provenance=json.dumps(provenance))
        for name, field in fields.items():
            dataset = self._file.create_dataset(
                f"fields/{name}",
                shape=(num_samples, *field.shape),
                dtype=field.dtype,
                chunks=(1, *field.shape),
                compression="gzip",
                compression_opts=1,
                shuffle=True,
            )
            dataset.attrs.update(unit=field.unit, description=field.description)
        for name, dtype in bookkeeping.items():
            self._file.create_dataset(f"samples/{name}", shape=(num_samples,), dtype=dtype)

    def _require_space(self, fields: Mapping[str, StoredField], num_samples: int) -> None:
        """Refuse before HDF5 fills a disk: it could neither close such a file nor leave the process without a crash.

        Compression is not counted on, so a set that would just have fitted may be refused.
        """
        needed = num_samples * sum(prod(field.shape) * np.dtype(field.dtype).itemsize for field in fields.values())
        if shutil.disk_usage(self.path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

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
            self._check(index, name, np.asarray(values))
            self._file[f"fields/{name}"][index] = values
            self._written[name][index] = True
        for name, value in (records or {}).items():
            self._file[f"samples/{name}"][index] = value

    def _check(self, index: int | slice, name: str, values: np.ndarray) -> None:
        if name not in self._fields:
            raise InputError(f"{self.path} is to hold {', '.join(self._fields)}, not {name}")
        num_samples = len(self._written[name])
        indices = range(num_samples)[index] if isinstance(index, slice) else [index]
        if not all(0 <= chosen < num_samples for chosen in indices):
            raise InputError(f"{self.path} is to hold samples 0 to {num_samples - 1}, not {index}")
        expected = ((len(indices),) if isinstance(index, slice) else ()) + self._fields[name].shape
        if values.shape != expected:
            raise InputError(f"{name} to be written to {self.path} has shape {values.shape}, expected {expected}")
        bad = ~np.isfinite(values).reshape(len(indices), -1).all(axis=1)
        if bad.any():
            raise InputError(
                f"{name} of sample {indices[int(bad.argmax())]} holds values that are not finite; leave it out"
            )

    def _require_all(self) -> None:
        for name, written in self._written.items():
            if not written.all():
                first = int(written.argmin())
                raise InputError(
                    f"{self.path} is not made: {name} of {(~written).sum()} samples, the first of them {first}, was not written"
                )

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._require_all()
            self._file.close()
            put_in_place(self._partial, self.path)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        try:
            self._file.close()
        finally:
            self._partial.unlink(missing_ok=True)


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
