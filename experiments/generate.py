"""``lsm-generate``: make a benchmark's data with its numerical solver."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from data_prep.engine import Job, Report, generate
from experiments.cli import check_preset, command, console, progress_bar


def run(cfg: DictConfig) -> Report:
    """Generate what is missing of ``cfg.store``."""
    check_preset(cfg)
    job = Job(
        generator=instantiate(cfg.benchmark.generator),
        path=Path(cfg.store),
        benchmark=cfg.benchmark.name,
        num_samples=cfg.num_samples,
        seed=cfg.seed,
        max_attempts=cfg.max_attempts,
        shard=cfg.shard,
        num_shards=cfg.num_shards,
    )
    with progress_bar() as progress:
        task = progress.add_task(f"{cfg.benchmark.name} samples", total=None)
        report = generate(
            job,
            workers=cfg.workers or len(os.sched_getaffinity(0)),
            on_start=lambda found, wanted: progress.update(task, completed=found, total=wanted),
            on_done=lambda count: progress.advance(task, count),
        )
    _tell(job, report)
    return report


def _tell(job: Job, report: Report) -> None:
    for index, attempt, reason in report.redrawn:
        console.print(f"[yellow]sample {index}, draw {attempt} did not converge and was drawn anew: {reason}[/]")
    if report.merged:
        console.print(f"{job.path}: {job.num_samples} samples ({report.computed} computed, {report.found} found)")
    else:
        console.print(
            f"shard {job.shard} of {job.num_shards} is done ({report.computed} computed, {report.found} found) in {job.parts}; "
            "when all are, run the same command without shard to merge them"
        )


main = command("generate", run)

if __name__ == "__main__":
    main()
