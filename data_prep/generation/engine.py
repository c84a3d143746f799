"""Generate a data set in several processes; a run can be killed at any moment and resumed.

Each finished sample is one file in ``STORE.parts/``. It is written under a temporary name and then renamed, so that a
partly written file never carries the final name. When all samples are finished they are merged into the store, which is
written in the same way. The random numbers of a sample depend only on (seed, index, attempt); therefore the data do not
depend on the number of processes or on their order. This module owns the entry points :func:`generate` and
:func:`merge`; the processes are in ``pool.py``, the files in ``parts.py``. It knows no equation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from data_prep.generation.job import Job, check_manifest, claim
from data_prep.generation.parts import Redraw, merge_parts, require_parts, samples_in_store, tidy_leftovers
from data_prep.generation.pool import compute
from lsm.errors import InputError
from lsm.registry import Count, check_value


@dataclass(frozen=True)
class Report:
    """Result of a call.

    Args:
        computed: number of samples solved by this call.
        found: number of samples that existed before.
        merged: whether the store is complete.
        redrawn: draws that did not converge and were replaced.
    """

    computed: int
    found: int
    merged: bool
    redrawn: list[Redraw]


def generate(job: Job, workers: int, on_start: Callable[[int, int], None], on_done: Callable[[int], None]) -> Report:
    """Solve the missing samples of a job; without shards, then merge all samples into the store.

    Args:
        job: the data set, and the shard of it that this call computes.
        workers: number of processes; the data do not depend on it.
        on_start: called once with the numbers of samples that exist and that this call is responsible for.
        on_done: called with the number of newly finished samples.
    Raises:
        InputError: the store or the parts hold other data, another process works on them, or samples failed; if the first
            samples all fail, the rest is not computed.
        OSError: a file cannot be written; finished samples are kept.
    """
    check_value("workers", workers, Count)
    mine = range(job.shard, job.num_samples, job.num_shards)
    if (in_store := samples_in_store(job)) >= job.num_samples:
        tidy_leftovers(job, in_store)
        on_start(len(mine), len(mine))
        return Report(0, len(mine), True, [])
    with claim(job):
        in_store = samples_in_store(job)  # read again: another call may have merged since
        missing = [index for index in mine if index >= in_store and not job.part(index).exists()]
        on_start(len(mine) - len(missing), len(mine))
        failed = compute(job, missing, workers, on_done)
        if failed:
            reasons = "; ".join(f"{index}: {reason}" for index, reason in sorted(failed.items())[:5])
            raise InputError(
                f"{len(failed)} of {job.num_samples} samples did not converge in {job.max_attempts} draws ({reasons}); "
                f"the other samples are kept in {job.parts}: raise max_attempts and run the same command again, "
                "or choose options that are easier to solve"
            )
        redrawn = merge_parts(job) if job.num_shards == 1 else []
    return Report(len(missing), len(mine) - len(missing), job.num_shards == 1, redrawn)


def merge(job: Job) -> Report:
    """Merge the finished samples of all shards into the store, without computing any sample.

    Raises:
        InputError: samples are missing (the message lists them by shard), another process works on them, or the store or
            the parts hold other data.
    """
    check_manifest(job)
    redrawn: list[Redraw] = []
    if (in_store := require_parts(job)) >= job.num_samples:
        tidy_leftovers(job, in_store)
    else:
        with claim(job.whole):
            redrawn = merge_parts(job)
    return Report(0, job.num_samples, True, redrawn)
