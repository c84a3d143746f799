"""Generate a data set: many processes, resumable after a kill at any moment, identical whatever their number or order.

Every finished sample is one file in ``STORE.parts/``, written under another name and then renamed, so that a file is there
whole or not at all. When all are there they are merged into the store, which appears whole or not at all too. A sample's
random numbers come from (seed, index, attempt) alone. The engine knows no equation; a generator does.
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
    check_value("workers", workers, Count)
    mine = range(job.shard, job.num_samples, job.num_shards)
    if (in_store := samples_in_store(job)) >= job.num_samples:
        tidy_leftovers(job, in_store)
        on_start(len(mine), len(mine))
        return Report(0, len(mine), True, [])
    with claim(job):
        in_store = samples_in_store(job)  # anew: another call may have merged in between
        missing = [index for index in mine if index >= in_store and not job.part(index).exists()]
        on_start(len(mine) - len(missing), len(mine))
        failed = compute(job, missing, workers, on_done)
        if failed:
            reasons = "; ".join(f"{index}: {reason}" for index, reason in sorted(failed.items())[:5])
            raise InputError(
                f"{len(failed)} of {job.num_samples} samples did not converge in {job.max_attempts} draws ({reasons}); "
                f"the others are kept in {job.parts}: raise max_attempts and run the same command again"
            )
        redrawn = merge_parts(job) if job.num_shards == 1 else []
    return Report(len(missing), len(mine) - len(missing), job.num_shards == 1, redrawn)


def merge(job: Job) -> Report:
    """Merge what all shards have finished, and compute nothing.

    Raises:
        InputError: samples are missing (the message says which, by shard), another process works on them, or the store or
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
