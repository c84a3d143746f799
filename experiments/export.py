"""``lsm-export``: a folder with weights, description and model card, to be uploaded or used without lsm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.app import command
from experiments.bands import carry_bands
from experiments.folders import run_of
from experiments.runs import load_trained
from lsm.errors import InputError, explained
from lsm.plain import parse_json
from lsm.progress import console
from lsm.registry import Index, check_value


def run(cfg: DictConfig) -> Path:
    """Export as configured; return the folder.

    Raises:
        InputError: the folder holds files, the format is unknown, or a package is missing.
    """
    checkpoint = load_trained(cfg)

    from lsm.export import export

    folder = run_of(cfg.checkpoint) / "export" / cfg.format if cfg.output is None else Path(cfg.output)
    export(checkpoint, folder, cfg.format, _metrics(checkpoint.path, checkpoint.epoch), cfg.license)
    carry_bands(cfg.checkpoint, checkpoint.solver, folder)
    for path in sorted(folder.iterdir()):
        console.print(f"{path}  ({path.stat().st_size:,} bytes)", soft_wrap=True)
    console.print(f'read it with lsm.load("{folder}")', soft_wrap=True)
    return folder


def _metrics(checkpoint: Path, epoch: int | None) -> dict[str, Any]:
    """Errors on the test split, if this checkpoint or exported folder was evaluated with its own data and grid."""
    suffix = "" if checkpoint.is_dir() or checkpoint.stem == "best" else f"_{checkpoint.stem}"
    path = run_of(checkpoint) / "evaluation" / f"test{suffix}" / "metrics.json"
    if not path.is_file():
        return {}
    with explained(f"{path} holds no metrics", InputError, "run lsm-evaluate again", passing=()):
        metrics = parse_json(path.read_text(errors="replace"), "the file")
        _check_kinds(metrics)
    return metrics if metrics.get("epoch") == epoch else {}


def _check_kinds(metrics: Mapping[str, Any]) -> None:
    """Check what a model card shows of metrics."""
    from lsm.evaluation import summaries_in

    for name, kind in {"epoch": Index | None, "split": str | None, "sites": list[int] | None}.items():
        check_value(name, metrics.get(name), kind)
    for name, summary in summaries_in(metrics).items():
        for figure in ("num_samples", "mean", "std", "median", "worst"):
            check_value(f"{name}.{figure}", summary.get(figure), float)


main = command("export", run)

if __name__ == "__main__":
    main()
