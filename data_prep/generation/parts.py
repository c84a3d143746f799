"""Finished samples on disk, one file per sample, and their merging into the store.

Owns the file format of a part and the order of merging and removing: parts are removed only after the store that contains
them is complete, so that a kill at any moment loses no sample. It knows no process pool.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

import lsm
from data_prep.generation.generator import Sample
from data_prep.generation.job import Job, claim, require_same
from lsm.data.store import Store, StoreWriter, sample_bytes
from lsm.errors import InputError, explained
from lsm.files import require_regular, whole_file
from lsm.plain import MAX_TEXT, parse_json
from lsm.registry import Index, check_value

#: Recorded for every sample besides its fields, with the numpy type.
BOOKKEEPING = {"attempt": "uint16", "residual": "float64", "iterations": "uint32"}

_RECORDS = "_records"

#: What a part records as JSON.
_RECORD = {"attempt": Index, "residual": float, "iterations": Index, "failures": list[str]}

#: Sample index, attempt and reason of a draw that did not converge and was replaced.
Redraw = tuple[int, int, str]


def require_parts(job: Job) -> int:
    """Number of samples in the store, after checking that all other samples exist as parts.

    Raises:
        InputError: some samples are missing.
    """
    apart = [index for index in range(job.num_samples) if not job.part(index).exists()]
    # The store is read last: a call that merges at the same time removes the parts only after the store is complete.
    in_store = samples_in_store(job)
    missing = [index for index in apart if index >= in_store]
    if missing:
        raise InputError(_describe_missing(job, missing))
    return in_store


def _describe_missing(job: Job, missing: Sequence[int]) -> str:
    counted = f"{len(missing)} of {job.num_samples} samples of {job.path} are missing"
    if job.num_shards == 1:
        return f"{counted}: {_first_few(missing)}; finish the shards, or omit merge=true to compute them here"
    by_shard = {shard: [i for i in missing if i % job.num_shards == shard] for shard in range(job.num_shards)}
    lacking = ", ".join(
        f"shard {shard} lacks {len(some)} ({_first_few(some)})" for shard, some in by_shard.items() if some
    )
    return f"{counted}: {lacking}; run these shards of {job.num_shards}, then merge again"


def _first_few(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices[:3])) + (", ..." if len(indices) > 3 else "")


def samples_in_store(job: Job) -> int:
    """Number of samples that the store already holds.

    Raises:
        InputError: the store holds another data set.
    """
    if not job.path.exists():
        return 0
    with job.open_store() as store:
        if store.provenance.get("source") == "published":
            raise InputError(
                f"{job.path} was converted from published files and is never mixed with generated samples; "
                "choose another data_dir or store (check=true compares it with the published figures)"
            )
        found = {key: store.provenance.get(key) for key in job.identity}
        require_same(found, job.identity, job.path)
        if (lacking := fields_lacking(job, store)) and store.num_samples < job.num_samples:
            raise InputError(f"no samples can be added: {lacking}")
        return store.num_samples


def fields_lacking(job: Job, store: Store) -> str | None:
    """What to do about a store by an older version, whose generator stored fewer fields; None if it has all of them."""
    lacking = ", ".join(job.generator.fields.keys() - store.fields.keys())
    remedy = "move it away and generate it again, or choose another data_dir or store"
    return f"{job.path} was made by an older version of lsm and lacks {lacking}; {remedy}" if lacking else None


def write_part(job: Job, index: int, sample: Sample, attempt: int, failures: list[str]) -> None:
    expected = {name: (field.shape, field.dtype) for name, field in job.generator.fields.items()}
    found = {name: (values.shape, str(values.dtype)) for name, values in sample.fields.items()}
    if found != expected:
        raise TypeError(f"the generator declared {expected} and made {found}")
    records = {"attempt": attempt, "residual": sample.residual, "iterations": sample.iterations, "failures": failures}
    with whole_file(job.part(index)) as file:
        np.savez(file, **{_RECORDS: np.array(json.dumps(records))}, **sample.fields)


def merge_parts(job: Job) -> list[Redraw]:
    """Merge the samples of the store, if it exists, and those of the parts into a new store; remove the parts."""
    in_store = require_parts(job)
    redrawn: list[Redraw] = []
    if in_store < job.num_samples:
        redrawn = _write_store(job, in_store)
        _read_back(job)
    _tidy(job, max(in_store, job.num_samples))
    return redrawn


def _write_store(job: Job, in_store: int) -> list[Redraw]:
    records = {index: _read_records(job, index) for index in range(in_store, job.num_samples)}
    redrawn = [(i, attempt, reason) for i, kept in records.items() for attempt, reason in enumerate(kept["failures"])]
    with ExitStack() as stack:
        old = stack.enter_context(job.open_store()) if in_store else None
        if old:
            redrawn = [
                (int(i), int(attempt), str(reason)) for i, attempt, reason in old.provenance["redrawn"]
            ] + redrawn
        provenance = {"source": "generated", **job.identity, "lsm_version": lsm.__version__, "redrawn": redrawn}
        fields, display = job.generator.fields, job.generator.display
        writer = stack.enter_context(
            StoreWriter(job.path, job.benchmark, fields, job.num_samples, provenance, BOOKKEEPING, display)
        )
        if old:
            bookkeeping = old.bookkeeping()
            for index in range(in_store):
                sample = {name: old.field(name)[index] for name in fields}
                writer.write(index, sample, {name: values[index] for name, values in bookkeeping.items()})
        for index, kept in records.items():
            writer.write(index, _read_fields(job, index), {name: kept[name] for name in BOOKKEEPING})
    return redrawn


def _read_back(job: Job) -> None:
    """Read every sample of the new store, before the parts are removed.

    Raises:
        InputError: the store is damaged, or another process has written another one.
    """
    if samples_in_store(job) < job.num_samples:
        raise InputError(f"another process has replaced {job.path}; the parts are kept in {job.parts}")
    with job.open_store() as store:
        for name in store.fields:
            for index in range(store.num_samples):
                store.field(name)[index]


def tidy_leftovers(job: Job, in_store: int) -> None:
    """Remove parts that a kill after merging left behind, unless another process uses them or they hold other data."""
    if job.parts.exists():
        with suppress(InputError), claim(job.whole):
            _tidy(job, in_store)


def _tidy(job: Job, in_store: int) -> None:
    """Remove the parts that are in the store and, if no other parts remain, all other files of the folder.

    The empty folder itself is removed when the claim on it ends.
    """
    parts = list(job.parts.glob("*.npz"))
    stored = [part for part in parts if int(part.stem) < in_store]
    for part in stored:
        part.unlink()
    if stored == parts:
        for file in list(job.parts.iterdir()):
            file.unlink()


def _read_records(job: Job, index: int) -> dict[str, Any]:
    with _open_part(job, index) as part:
        records = parse_json(str(part[_RECORDS]), "its record")
        for name, annotation in _RECORD.items():
            check_value(f"{name} in its record", records.get(name), annotation)
        return records


def _read_fields(job: Job, index: int) -> dict[str, np.ndarray]:
    with _open_part(job, index) as part:
        return {name: part[name] for name in job.generator.fields}


@contextmanager
def _open_part(job: Job, index: int) -> Iterator[Mapping[str, np.ndarray]]:
    """Open the file of a finished sample; its arrays are read on access.

    Raises:
        InputError: the file is damaged, or larger than a sample.
    """
    path = job.part(index)
    require_regular(path)
    damage = (BadZipFile, EOFError, KeyError, ValueError, NotImplementedError, zlib.error)
    with explained(f"{path} is damaged", damage, "remove it and run the same command again", passing=()):
        _require_size(path, sample_bytes(job.generator.fields))
        with np.load(path) as part:
            yield part


def _require_size(path: Path, limit: int) -> None:
    """Compare the uncompressed size of a part with that of a sample, with some room for headers and the record."""
    with ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > limit + MAX_TEXT:
        raise ValueError(f"it has {size} bytes, a sample {limit}")
