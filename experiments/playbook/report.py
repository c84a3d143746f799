"""All records in one file, and a table of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from experiments.playbook.ledger import Ledger, write_whole
from experiments.playbook.schedule import Unit
from experiments.playbook.stages import STAGES


def write_report(units: Sequence[Unit], ledger: Ledger) -> None:
    """Write ``report.json`` and ``report.md`` of every record in the ledger's folder, those of ``units`` first."""
    recorded = sorted(f"{path.parent.name}/{path.stem}" for path in ledger.folder.glob("*/*.json"))
    keys = [unit.key for unit in units]
    keys += [key for key in recorded if key not in keys and key.partition("/")[0] in STAGES]
    records = [record for key in keys if (record := ledger.read(key))]
    write_whole(ledger.folder / "report.json", json.dumps(records, indent=2) + "\n")
    lines = ["| unit | state | seconds | found |", "| --- | --- | --- | --- |"]
    for record in records:
        told = str(record["error"] or record["result"].get("summary", "")).replace("|", "/").replace("\n", " ")
        lines.append(f"| {record['unit']} | {record['status']} | {record['seconds']:.0f} | {told} |")
    write_whole(ledger.folder / "report.md", "\n".join(lines) + "\n")
