"""Units of work, done in order in two lanes at once: what uses the device, and what keeps the processor busy meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.cli import console
from experiments.playbook.ledger import Ledger
from experiments.playbook.processes import Deadline, OutOfTime, Skipped, WorkFailed

Lane = Literal["device", "processor"]


@dataclass(frozen=True)
class Unit:
    """A piece of work with a record of its own.

    Args:
        stage: the folder of its record.
        name: the name of its record.
        work: does it and returns the result; may raise what ``processes`` defines, and anything else to fail.
        lane: what it uses.
        needs: key of the unit that must be done before.
        product: a file outside the folder of records that it makes; where that is gone, and needed, the unit is done again.
        at_least: seconds below which it is no use to begin.
    """

    stage: str
    name: str
    work: Callable[[Deadline], dict[str, Any]]
    lane: Lane = "device"
    needs: str | None = None
    product: Path | None = None
    at_least: float = 0.0

    @property
    def key(self) -> str:
        """``STAGE/NAME``."""
        return f"{self.stage}/{self.name}"


def run_units(units: Sequence[Unit], ledger: Ledger, deadline: Deadline) -> None:
    """Do what is open of ``units``, each lane in its own order, until nothing is or the deadline comes.

    A unit that fails is recorded and does not stop the others; one that needs it is skipped.
    """
    schedule = _Schedule(units, ledger, deadline)
    with ThreadPoolExecutor(2) as pool:
        for lane in [pool.submit(schedule.serve, lane) for lane in ("device", "processor")]:
            lane.result()


class _Schedule:
    def __init__(self, units: Sequence[Unit], ledger: Ledger, deadline: Deadline) -> None:
        self.units, self.ledger, self.deadline = units, ledger, deadline
        self.by_key = {unit.key: unit for unit in units}
        self.lock = threading.Lock()
        self.begun: set[str] = set()

    def serve(self, lane: Lane) -> None:
        """Do the units of one lane; wait for those of the other that they need."""
        while True:
            with self.lock:
                waiting = [unit for unit in self.units if unit.lane == lane and self._can_begin(unit)]
                unit = next((unit for unit in waiting if self._is_ready(unit)), None)
                if unit:
                    self.begun.add(unit.key)
            if unit:
                self._perform(unit)
            elif waiting:
                time.sleep(0.05)
            else:
                return

    def _can_begin(self, unit: Unit) -> bool:
        """Whether a unit is open and time suffices; not whether what it needs is there."""
        left = self.deadline.left()
        return unit.key not in self.begun and 0 < left >= unit.at_least and not self._is_settled(unit)

    def _is_settled(self, unit: Unit) -> bool:
        if self.ledger.status(unit.key) == "done" and unit.product and not unit.product.exists():
            users = [other for other in self.units if other.needs == unit.key]
            return bool(users) and all(map(self._is_settled, users))
        return self.ledger.is_final(unit.key)

    def _is_ready(self, unit: Unit) -> bool:
        return unit.needs not in self.by_key or self._is_settled(self.by_key[unit.needs])

    def _perform(self, unit: Unit) -> None:
        console.print(f"{unit.key} ...", soft_wrap=True)
        started = time.monotonic()
        result: dict[str, Any] | None = None
        error: str | None = None
        try:
            if unit.needs in self.by_key and self.ledger.status(unit.needs) != "done":
                raise Skipped(f"needs {unit.needs}, which {self.ledger.status(unit.needs)}")
            result, status = unit.work(self.deadline), "done"
        except OutOfTime:
            status = "unfinished"
        except Skipped as reason:
            status, error = "skipped", str(reason)
        except WorkFailed as failure:
            status, error, result = "failed", str(failure), failure.result
        except Exception as failure:
            status, error = "failed", f"{type(failure).__name__}: {failure}"
        record = self.ledger.write(unit.key, status, time.monotonic() - started, result, error)
        told = error or (result or {}).get("summary", "")
        console.print(f"{unit.key} {status} after {record['seconds']:.0f} s  {told}", soft_wrap=True)
