"""Generate a data set: many processes, resumable after a kill at any moment, identical whatever their number or order.

Every finished sample is one file in ``STORE.parts/``, written under another name and then renamed, so that a file is there
whole or not at all. When all are there they are merged into the store, which appears whole or not at all too. A sample's
random numbers come from (seed, index, attempt) alone. The engine knows no equation; a generator does.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any
from zipfile import BadZipFile

import numpy as np
from threadpoolctl import threadpool_limits

from data_prep.generation.generator import Sample, SolverFailure
from data_prep.generation.job import Job, check_manifest, claim, require_same
from lsm import __version__
from lsm.data.store import Store, StoreWriter
from lsm.errors import InputError, require_whole
from lsm.files import whole_file

#: What is recorded of every sample besides its fields, and the numpy type.
BOOKKEEPING = {"attempt": "uint16", "residual": "float64", "iterations": "uint32"}

_RECORDS = "_records"

#: Index, attempt and reason of a draw that did not converge and was replaced.
Redraw = tuple[int, int, str]


@dataclass(frozen=True)
class Report:
    """What a call did.

    Args:
        computed: samples solved now.
        found: samples that were there already.
        merged: whether the store is complete.
        redrawn: the draws that were replaced.
    """

    computed: int
    found: int
    merged: bool
    redrawn: list[Redraw]


def generate(job: Job, workers: int, on_start: Callable[[int, int], None], on_done: Callable[[int], None]) -> Report:
    """Do what is missing of a job, and merge when nothing is.

    Args:
        job: what to do.
        workers: processes; the data do not depend on it.
        on_start: called once with the number of samples found and wanted by this call.
        on_done: called with the number of samples that were just finished.
    Raises:
        InputError: the store or the parts hold other data, another process works on them, or samples failed.
        OSError: a file cannot be written; everything finished before is kept.
    """
    require_whole("workers", workers, 1)
    mine = range(job.shard, job.num_samples, job.num_shards)
    if (in_store := _samples_in_store(job)) >= job.num_samples:
        _tidy_leftovers(job, in_store)
        on_start(len(mine), len(mine))
        return Report(0, len(mine), True, [])
    with claim(job):
        in_store = _samples_in_store(job)  # anew: another call may have merged in between
        missing = [index for index in mine if index >= in_store and not job.part(index).exists()]
        on_start(len(mine) - len(missing), len(mine))
        failed = _compute(job, missing, workers, on_done)
        if failed:
            reasons = "; ".join(f"{index}: {reason}" for index, reason in sorted(failed.items())[:5])
            raise InputError(
                f"{len(failed)} of {job.num_samples} samples did not converge in {job.max_attempts} draws ({reasons}); "
                f"the others are kept in {job.parts}: raise max_attempts and run the same command again"
            )
        redrawn = _merge(job) if job.num_shards == 1 else []
    return Report(len(missing), len(mine) - len(missing), job.num_shards == 1, redrawn)


def merge(job: Job) -> Report:
    """Merge what all shards have finished, and compute nothing.

    Raises:
        InputError: samples are missing (the message says which, by shard), another process works on them, or the store or
            the parts hold other data.
    """
    check_manifest(job)
    redrawn: list[Redraw] = []
    if (in_store := _require_parts(job)) >= job.num_samples:
        _tidy_leftovers(job, in_store)
    else:
        with claim(job.whole):
            redrawn = _merge(job)
    return Report(0, job.num_samples, True, redrawn)


def _require_parts(job: Job) -> int:
    """How many samples the store holds, after a look that the others are there as parts.

    Raises:
        InputError: some are not.
    """
    apart = [index for index in range(job.num_samples) if not job.part(index).exists()]
    # The store is looked at last: another call that merges removes the parts only when the store is there.
    in_store = _samples_in_store(job)
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


def _samples_in_store(job: Job) -> int:
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


def _compute(job: Job, missing: Sequence[int], workers: int, on_done: Callable[[int], None]) -> dict[int, str]:
    """Solve samples in worker processes; return the reasons of those that failed."""
    size = job.generator.batch_size
    batches = [missing[start : start + size] for start in range(0, len(missing), size)]
    if not batches:
        return {}
    failed: dict[int, str] = {}
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    pool = ProcessPoolExecutor(min(workers, len(batches)), context, _start_worker, (job, theirs))
    with ours, theirs, pool:
        try:
            with _deferring_interrupts():
                futures = [pool.submit(_solve_and_write, batch) for batch in batches]
            for future in as_completed(futures):
                result = future.result()
                failed |= result.failed
                on_done(result.written)
        except BrokenProcessPool as error:
            raise InputError(
                f"a worker process was killed (out of memory?); finished samples are kept in {job.parts}: "
                "run the same command again, with fewer workers"
            ) from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                ours.close()  # which ends the workers, whatever they are at
            pool.shutdown(cancel_futures=True)
            raise
    return failed


@contextmanager
def _deferring_interrupts() -> Iterator[None]:
    """Ctrl-C waits for the end; processes started meanwhile never heed it: the parent, which gets it too, ends them."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    caught: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which processes inherit, unlike the handler
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if caught:
        raise KeyboardInterrupt


@dataclass(frozen=True)
class _BatchResult:
    written: int
    failed: dict[int, str]


_job: Job | None = None


def _start_worker(job: Job, parent: Connection) -> None:
    global _job
    _job = job
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=_exit_when_closed, args=(parent,), daemon=True).start()


def _exit_when_closed(parent: Connection) -> None:
    """End this process, whatever it is at, when the parent closes its end or dies."""
    wait([parent])
    os._exit(1)


def _solve_and_write(indices: Sequence[int]) -> _BatchResult:
    job = _job
    if job is None:
        raise RuntimeError("the worker was not started by the engine")
    failures: dict[int, list[str]] = {index: [] for index in indices}
    pending, written = list(indices), 0
    for attempt in range(job.max_attempts):
        rngs = [np.random.default_rng((job.seed, index, attempt)) for index in pending]
        results = job.generator.solve_batch(rngs)
        for index, result in zip(pending, results, strict=True):
            if isinstance(result, SolverFailure):
                failures[index].append(str(result))
            else:
                _write_part(job, index, result, attempt, failures.pop(index))
                written += 1
        pending = list(failures)
        if not pending:
            break
    return _BatchResult(written, {index: reasons[-1] for index, reasons in failures.items()})


def _write_part(job: Job, index: int, sample: Sample, attempt: int, failures: list[str]) -> None:
    expected = {name: (field.shape, field.dtype) for name, field in job.generator.fields.items()}
    found = {name: (values.shape, str(values.dtype)) for name, values in sample.fields.items()}
    if found != expected:
        raise TypeError(f"the generator declared {expected} and made {found}")
    records = {"attempt": attempt, "residual": sample.residual, "iterations": sample.iterations, "failures": failures}
    with whole_file(job.part(index)) as file:
        np.savez(file, **{_RECORDS: np.array(json.dumps(records))}, **sample.fields)


def _merge(job: Job) -> list[Redraw]:
    """Put the samples that the store holds by now and the parts together; remove the parts."""
    in_store = _require_parts(job)
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


def _tidy_leftovers(job: Job, in_store: int) -> None:
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
