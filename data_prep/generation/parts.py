"""Finished samples on disk, one file each, and the store that they are merged into.

Owns the format of a part and the order of merging and removing, so that a kill at any moment loses nothing. It knows no
process pool.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from zipfile import BadZipFile

import numpy as np

from data_prep.generation.generator import Sample
from data_prep.generation.job import Job, claim, require_same
from lsm import __version__
from lsm.data.store import Store, StoreWriter
from lsm.errors import InputError
from lsm.files import whole_file

#: What is recorded of every sample besides its fields, and the numpy type.
BOOKKEEPING = {"attempt": "uint16", "residual": "float64", "iterations": "uint32"}

_RECORDS = "_records"

#: Index, attempt and reason of a draw that did not converge and was replaced.
Redraw = tuple[int, int, str]


def require_parts(job: Job) -> int:
    """How many samples the store holds, after a look that the others are there as parts.

    Raises:
        InputError: some are not.
    """
    apart = [index for index in range(job.num_samples) if not job.part(index).exists()]
    # The store is looked at last: another call that merges removes the parts only when the store is there.
    in_store = samples_in_store(job)
    missing = [index for index in apart if index >= in_store]
    if missing:
        raise InputError(_describe_missing(job, missing))
    return in_store


def _describe_missing(job: Job, missing: Sequence[int]) -> str:
    counted = f"{len(missing)} of {job.num_samples} samples of {job.path} are missing"
    if job.num_shards == 1:
        return f"{counted}: {_first_few(missing)}; finish the shards, or leave out merge=true to compute them here"
    by_shard = {shard: [i for i in missing if i % job.num_shards == shard] for shard in range(job.num_shards)}
    lacking = ", ".join(
        f"shard {shard} lacks {len(some)} ({_first_few(some)})" for shard, some in by_shard.items() if some
    )
    return f"{counted}: {lacking}; run these shards of {job.num_shards}, then merge again"


def _first_few(indices: Sequence[int]) -> str:
    return ", ".join(map(str, indices[:3])) + (", ..." if len(indices) > 3 else "")


def samples_in_store(job: Job) -> int:
    """How many samples of this very data set the store holds already."""
    if not job.path.exists():
        return 0
    with Store(job.path) as store:
        if store.provenance.get("source") == "published":
            raise InputError(
                f"{job.path} was converted from published files, generated samples are not mixed with them; "
                "choose another data_dir or store (check=true compares it with the published figures)"
            )
        found = {key: store.provenance.get(key) for key in job.identity}
        require_same(found, job.identity, job.path)
        return store.num_samples


def write_part(job: Job, index: int, sample: Sample, attempt: int, failures: list[str]) -> None:
    expected = {name: (field.shape, field.dtype) for name, field in job.generator.fields.items()}
    found = {name: (values.shape, str(values.dtype)) for name, values in sample.fields.items()}
    if found != expected:
        raise TypeError(f"the generator declared {expected} and made {found}")
    records = {"attempt": attempt, "residual": sample.residual, "iterations": sample.iterations, "failures": failures}
    with whole_file(job.part(index)) as file:
        np.savez(file, **{_RECORDS: np.array(json.dumps(records))}, **sample.fields)


def merge_parts(job: Job) -> list[Redraw]:
    """Put the samples that the store holds by now and the parts together; remove the parts."""
    in_store = require_parts(job)
    redrawn: list[Redraw] = []
    if in_store < job.num_samples:
        redrawn = _write_store(job, in_store)
    _tidy(job, max(in_store, job.num_samples))
    return redrawn


def _write_store(job: Job, in_store: int) -> list[Redraw]:
    records = {index: _read_records(job, index) for index in range(in_store, job.num_samples)}
    redrawn = [(i, attempt, reason) for i, kept in records.items() for attempt, reason in enumerate(kept["failures"])]
    with ExitStack() as stack:
        old = stack.enter_context(Store(job.path)) if in_store else None
        if old:
            redrawn = [tuple(draw) for draw in old.provenance["redrawn"]] + redrawn
        provenance = {"source": "generated", **job.identity, "lsm_version": __version__, "redrawn": redrawn}
        fields = job.generator.fields
        writer = stack.enter_context(
            StoreWriter(job.path, job.benchmark, fields, job.num_samples, provenance, BOOKKEEPING)
        )
        if old:
            bookkeeping = old.bookkeeping()
            for index in range(in_store):
                sample = {name: old.field(name)[index] for name in fields}
                writer.write(index, sample, {name: values[index] for name, values in bookkeeping.items()})
        for index, kept in records.items():
            writer.write(index, _read_fields(job, index), {name: kept[name] for name in BOOKKEEPING})
    return redrawn


def tidy_leftovers(job: Job, in_store: int) -> None:
    """Tidy what a kill left between merging and tidying, unless another process is at work there or they are other data."""
    if job.parts.exists():
        with suppress(InputError), claim(job.whole):
            _tidy(job, in_store)


def _tidy(job: Job, in_store: int) -> None:
    """Remove the parts that the store holds and then, unless there are more, all else: an empty folder ends with its claim."""
    parts = list(job.parts.glob("*.npz"))
    stored = [part for part in parts if int(part.stem) < in_store]
    for part in stored:
        part.unlink()
    if stored == parts:
        for file in list(job.parts.iterdir()):
            file.unlink()


def _read_records(job: Job, index: int) -> dict[str, Any]:
    with _open_part(job, index) as part:
        return json.loads(str(part[_RECORDS]))


def _read_fields(job: Job, index: int) -> dict[str, np.ndarray]:
    with _open_part(job, index) as part:
        return {name: part[name] for name in job.generator.fields}


@contextmanager
def _open_part(job: Job, index: int) -> Iterator[Mapping[str, np.ndarray]]:
    """A finished sample's file, whose arrays are read when asked for.

    Raises:
        InputError: it is damaged.
    """
    path = job.part(index)
    try:
        with np.load(path) as part:
            yield part
    except (BadZipFile, EOFError, KeyError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}): remove it and run the same command again") from error
