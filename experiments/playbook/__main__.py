"""``python -m experiments.playbook``: do what is open until the time is over; the exit code says whether to call again."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.cli import command, console
from experiments.device import choose_device
from experiments.playbook.ledger import Ledger
from experiments.playbook.processes import Deadline
from experiments.playbook.report import write_report
from experiments.playbook.schedule import run_units
from experiments.playbook.stages import plan

#: Exit codes, by what is left to do; 75 is what sysexits.h calls a temporary failure.
DONE, FAILED, CALL_AGAIN = 0, 1, 75


def run(cfg: DictConfig) -> int:
    """Work as configured.

    Returns:
        0: every unit is done, or skipped for a reason on record. 1: nothing is left to do, but units failed. 75: call again.
    Raises:
        InputError: the device is not there, or a stage or benchmark is unknown.
    """
    deadline = Deadline(cfg.time_limit)
    choose_device(cfg.device)
    ledger = Ledger(Path(cfg.out), {"device": cfg.device, "size": cfg.size, "seed": cfg.seed})
    units = plan(cfg)
    if cfg.retry:
        ledger.forget_failures(units)
    before = {number: signal.signal(number, lambda *_: deadline.cancel()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        run_units(units, ledger, deadline)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        write_report(units, ledger)
    states = [ledger.status(unit.key) for unit in units]
    console.print(f"{states.count('done')} of {len(units)} units done; {ledger.folder / 'report.md'}", soft_wrap=True)
    if not all(ledger.is_final(unit.key) for unit in units):
        console.print("the time is over: call again to go on")
        return CALL_AGAIN
    return FAILED if "failed" in states else DONE


def _leave(cfg: DictConfig) -> Any:
    sys.exit(run(cfg))


main = command("playbook", _leave)

if __name__ == "__main__":
    main()
