"""``lsm-generate``: make a benchmark's data with its numerical solver."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from data_prep.generation.engine import Report, generate, merge
from data_prep.generation.generator import Statistic
from data_prep.generation.job import Job
from data_prep.generation.parts import fields_lacking
from experiments.app import command
from experiments.assemble import make_generator
from experiments.check import check_store
from experiments.device import choose_device
from lsm.errors import InputError
from lsm.progress import console, progress_bar
from lsm.provenance import count_processors


def run(cfg: DictConfig) -> Report | list[Statistic]:
    """Generate what is missing of ``cfg.store``, or only merge or check what is there."""
    _choose_device(cfg)
    generator = make_generator(cfg)
    if cfg.check:
        return check_store(cfg, generator)
    job = Job(
        generator=generator,
        path=Path(cfg.store),
        benchmark=cfg.benchmark.name,
        num_samples=cfg.num_samples,
        seed=cfg.seed,
        max_attempts=cfg.max_attempts,
        shard=cfg.shard,
        num_shards=cfg.num_shards,
    )
    report = _merge(job) if cfg.merge else _generate(job, choose_workers(cfg))
    _tell(job, report)
    return report


def choose_workers(cfg: DictConfig) -> int:
    """As many as asked for, else one on each processor, but one alone on a GPU: each takes memory of it, and one fills it."""
    if cfg.workers is not None:
        return cfg.workers
    return count_processors() if cfg.device == "cpu" else 1


def _merge(job: Job) -> Report:
    if job.shard:
        raise InputError(f"merge=true merges the samples of all shards; leave out shard={job.shard}")
    return merge(job)


def _generate(job: Job, workers: int) -> Report:
    try:
        with progress_bar() as progress:
            task = progress.add_task(f"{job.benchmark} samples", total=None)
            return generate(
                job,
                workers,
                on_start=lambda found, wanted: progress.update(task, completed=found, total=wanted),
                on_done=lambda count: progress.advance(task, count),
            )
    except KeyboardInterrupt:
        console.print(f"finished samples are kept in {job.parts}: run the same command again to go on", soft_wrap=True)
        raise


def _choose_device(cfg: DictConfig) -> None:
    """Put a device's name in the place of "auto".

    Raises:
        InputError: the benchmark's solver knows no device or batch, but one is asked for; or the device is not there.
    """
    unknown = [name for name in ("device", "batch_size") if name not in cfg.benchmark.generator]
    asked = [f"{name}={cfg[name]}" for name in unknown if cfg[name] != {"device": "cpu", "batch_size": 1}[name]]
    if asked:
        raise InputError(
            f"the solver of {cfg.benchmark.name} solves one sample at a time on the CPU; leave out {asked[0]}"
        )
    if cfg.device != "cpu":
        cfg.device = str(choose_device(cfg.device))


def _tell(job: Job, report: Report) -> None:
    for index, attempt, reason in report.redrawn:
        told = f"sample {index}, draw {attempt} did not converge, and another one was drawn: {reason}"
        console.print(told, style="yellow", soft_wrap=True)
    if report.merged:
        with job.open_store() as store:
            more = f", more than the {job.num_samples} asked for" if store.num_samples > job.num_samples else ""
            told = f"{job.path}: {store.num_samples} samples{more} ({report.computed} computed, {report.found} found)"
            if lacking := fields_lacking(job, store):
                console.print(lacking, style="yellow", soft_wrap=True)
    else:
        told = (
            f"shard {job.shard} of {job.num_shards} is done ({report.computed} computed, {report.found} found) in "
            f"{job.parts}; when all are, the same command with merge=true instead of shard merges them"
        )
    console.print(told, soft_wrap=True)


main = command("generate", run)

if __name__ == "__main__":
    main()
