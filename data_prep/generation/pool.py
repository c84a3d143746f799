"""Worker processes that solve the missing samples of a job.

Owns the processes: their start, their threads, interrupts, and their end with the parent. It knows no file format.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import numpy as np
from threadpoolctl import threadpool_limits

from data_prep.generation.failure import SolverFailure
from data_prep.generation.job import Job
from data_prep.generation.parts import write_part
from lsm.errors import InputError

#: How worker processes start. A new interpreter shares no lock and no thread with the parent.
START_METHOD = "spawn"

#: A call ends early if at least this many samples, and at least one per worker, have failed before any sample is finished.
HOPELESS = 8


def compute(job: Job, missing: Sequence[int], workers: int, on_done: Callable[[int], None]) -> dict[int, str]:
    """Solve samples in worker processes.

    Args:
        job: the data set.
        missing: indices of the samples to solve.
        workers: number of processes.
        on_done: called with the number of newly finished samples.
    Returns:
        For each sample that did not converge in any draw, by index, the reason of the last failure.
    Raises:
        InputError: a worker process was killed, or none of the first samples converged.
    """
    size = job.generator.batch_size
    batches = [missing[start : start + size] for start in range(0, len(missing), size)]
    if not batches:
        return {}
    failed: dict[int, str] = {}
    context = multiprocessing.get_context(START_METHOD)
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
                if len(failed) >= max(HOPELESS, workers) and not _any_finished(job):
                    raise _Hopeless(_describe_hopeless(job, failed))
        except BrokenProcessPool as error:
            raise InputError(
                f"a worker process was killed (out of memory?); finished samples are kept in {job.parts}: "
                "run the same command again with fewer workers"
            ) from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | _Hopeless):
                ours.close()  # ends the workers, even in the middle of a sample
            pool.shutdown(cancel_futures=True)
            raise
    return failed


class _Hopeless(InputError):
    """No sample of the job converges."""


def _any_finished(job: Job) -> bool:
    """Whether this call, another shard, or an earlier call has finished a sample."""
    return job.path.exists() or any(job.parts.glob("*.npz"))


def _describe_hopeless(job: Job, failed: Mapping[int, str]) -> str:
    return (
        f"none of the first {len(failed)} samples converged in {job.max_attempts} draws ({failed[min(failed)]}); "
        f"remove {job.parts} and change the options of the solver, or raise max_attempts if it is low"
    )


@contextmanager
def _deferring_interrupts() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block, and make processes that are started in it ignore Ctrl-C.

    The workers belong to the terminal's process group and would receive the signal, too; only the parent may end them.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    caught: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # new processes inherit the mask, not the handler
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
    """End this process at once when the parent closes its end of the pipe or dies."""
    wait([parent])
    os._exit(1)


def _solve_and_write(indices: Sequence[int]) -> _BatchResult:
    job = _job
    if job is None:
        raise RuntimeError("this worker process has no job: it was not started by compute()")
    failures: dict[int, list[str]] = {index: [] for index in indices}
    pending, written = list(indices), 0
    for attempt in range(job.max_attempts):
        rngs = [np.random.default_rng((job.seed, index, attempt)) for index in pending]
        results = job.generator.solve_batch(rngs)
        for index, result in zip(pending, results, strict=True):
            if isinstance(result, SolverFailure):
                failures[index].append(str(result))
            else:
                write_part(job, index, result, attempt, failures.pop(index))
                written += 1
        pending = list(failures)
        if not pending:
            break
    return _BatchResult(written, {index: reasons[-1] for index, reasons in failures.items()})
