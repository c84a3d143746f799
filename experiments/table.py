"""``lsm-table``: do what is missing of a table of results, and write it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.app import command
from experiments.device import choose_device
from experiments.processes import Deadline
from experiments.tables import running
from experiments.tables.dry_run import describe_work
from experiments.tables.pictures import write_pictures
from experiments.tables.plan import make_plan
from experiments.tables.render import render, write_table
from experiments.tables.results import collect
from lsm.errors import InputError
from lsm.progress import console

#: Exit codes: all is done; runs failed; a later call can continue (what sysexits.h calls a temporary failure).
DONE, FAILED, CONTINUE = 0, 1, 75


def run(cfg: DictConfig) -> tuple[int, dict[str, Any]]:
    """Work as configured.

    Returns:
        An exit code, and the table as ``table.json`` holds it; for a dry run, what would be done.
    Raises:
        InputError: the table has a mistake, data are missing, or the device is not there.
    """
    plan = make_plan(cfg)
    if cfg.dry_run:
        return DONE, describe_work(plan, cfg)
    if cfg.time_limit is not None and cfg.time_limit <= running.MARGIN:
        raise InputError(f"time_limit is {cfg.time_limit} seconds, but every run needs more than {running.MARGIN:.0f}")
    if not cfg.collect:
        choose_device(cfg.device)
    deadline = Deadline(0.0 if cfg.collect else cfg.time_limit)
    with deadline.cancelled_by_signals():
        progress = running.run_table(plan, cfg, deadline)
    table: dict[str, Any] = {}
    if cfg.num_shards == 1:
        table = collect(plan, progress, cfg)
        paths = [*write_table(table, Path(cfg.run_dir)).values(), *write_pictures(table, Path(cfg.run_dir))]
        console.print(render(table, "md"), soft_wrap=True)
        console.print(f"table: {', '.join(map(str, paths))}", soft_wrap=True)
    if progress.left:
        continued = "without collect=true the same command runs them" if cfg.collect else "the same command continues"
        console.print(f"{progress.left} of {len(progress.cells)} runs are left: {continued}", soft_wrap=True)
        return DONE if cfg.collect else CONTINUE, table
    return FAILED if progress.failures else DONE, table


def from_command_line(cfg: DictConfig) -> None:
    """Run, and end with the exit code; in a sweep, whose other shards are to follow, a later call gives it."""
    code, _ = run(cfg)
    if code and HydraConfig.get().mode == RunMode.RUN:
        sys.exit(code)


main = command("table", from_command_line)

if __name__ == "__main__":
    main()
