"""What is done and with what result: one JSON file a unit of work, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from experiments.environment import describe_environment
from lsm.files import whole_file

#: "unfinished" is what the time did not suffice for; all others are final.
Status = Literal["done", "failed", "skipped", "unfinished"]


class Named(Protocol):
    """Anything with the key of its record."""

    @property
    def key(self) -> str:
        """``STAGE/NAME``."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears under its name only when it is complete."""
    with whole_file(path) as file:
        file.write(text.encode())


class Ledger:
    """The records of a folder.

    Args:
        folder: where they lie, as ``STAGE/NAME.json``.
        circumstances: added to each record, as is the environment (commit, versions, machine).
    """

    def __init__(self, folder: Path, circumstances: Mapping[str, Any]) -> None:
        self.folder = folder
        self._circumstances = {**circumstances, "environment": describe_environment()}

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def read(self, key: str) -> dict[str, Any] | None:
        """The record of a unit; None if it has none."""
        path = self._path(key)
        return json.loads(path.read_text()) if path.is_file() else None

    def status(self, key: str) -> Status | None:
        """How a unit stands; None if it was never begun."""
        record = self.read(key)
        return record["status"] if record else None

    def is_final(self, key: str) -> bool:
        """Whether a unit will not be worked on again."""
        return self.status(key) in ("done", "failed", "skipped")

    def write(
        self,
        key: str,
        status: Status,
        seconds: float,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> dict[str, Any]:
        """Record how a unit ended; the seconds of earlier unfinished calls are added.

        Args:
            key: the unit's.
            status: how it stands now.
            seconds: what it took in this call.
            result: what it found.
            error: why it failed or was skipped.
        """
        earlier = self.read(key) or {}
        again = earlier.get("status") == "unfinished"
        record = {
            "unit": key,
            "status": status,
            "seconds": round(seconds + (earlier["seconds"] if again else 0), 3),
            "calls": 1 + (earlier["calls"] if again else 0),
            "error": error,
            "result": dict(result or {}),
            **self._circumstances,
        }
        write_whole(self._path(key), json.dumps(record, indent=2) + "\n")
        return record

    def forget_failures(self, units: Iterable[Named]) -> None:
        """Remove the records of units that failed or were skipped, so that they are done anew."""
        for unit in units:
            if self.status(unit.key) in ("failed", "skipped"):
                self._path(unit.key).unlink()
