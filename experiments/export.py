"""``lsm-export``: a folder with weights, description and model card, to be uploaded or used without lsm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.app import command
from experiments.bands import carry_bands
from experiments.folders import run_of
from experiments.runs import difference, difference_of_data, load_trained
from lsm.errors import InputError, explained
from lsm.plain import parse_json
from lsm.progress import console
from lsm.registry import Config, Index, check_value

if TYPE_CHECKING:
    from lsm.checkpoint import Checkpoint


def run(cfg: DictConfig) -> Path:
    """Export as configured; return the folder.

    Raises:
        InputError: the folder holds files, the format is unknown, or a package is missing.
    """
    checkpoint = load_trained(cfg)

    from lsm.checkpoint import plugins_of
    from lsm.export import export

    folder = run_of(cfg.checkpoint) / "export" / cfg.format if cfg.output is None else Path(cfg.output)
    export(checkpoint, folder, cfg.format, _metrics(checkpoint), cfg.license)
    carry_bands(cfg.checkpoint, checkpoint.solver, folder)
    for path in sorted(folder.iterdir()):
        console.print(f"{path}  ({path.stat().st_size:,} bytes)", soft_wrap=True)
    first = f"import {', '.join(plugins)}, then " if (plugins := plugins_of(checkpoint.run)) else ""
    console.print(f'{first}read it with lsm.load("{folder}")', soft_wrap=True)
    return folder


def _metrics(checkpoint: Checkpoint) -> dict[str, Any]:
    """Errors on the test split, if this checkpoint or exported folder was evaluated with its own data and grid."""
    file = checkpoint.path
    suffix = "" if file.is_dir() or file.stem == "best" else f"_{file.stem}"
    path = run_of(file) / "evaluation" / f"test{suffix}" / "metrics.json"
    if not path.is_file():
        return {}
    with explained(f"{path} holds no metrics", InputError, "run lsm-evaluate again", passing=()):
        metrics = parse_json(path.read_text(errors="replace"), "the file")
        _check_kinds(metrics)
    if metrics.get("epoch") != checkpoint.epoch:
        return {}
    if changed := _other_data(checkpoint.data, metrics.get("data") or {}):
        told = f"{path} was measured on other data than those of the training ({changed})"
        console.print(f"warning: {told}; the model card leaves it out", soft_wrap=True)
        return {}
    return metrics


def _other_data(trained: Mapping[str, Any], evaluated: Mapping[str, Any]) -> str:
    """The first entry in which the data of an evaluation, or their number, differ; empty if those of the training are unknown."""
    counts = ({"num_samples": data.get("num_samples")} for data in (trained, evaluated))
    return difference_of_data(trained, evaluated) or (difference(*counts) if trained else "")


def _check_kinds(metrics: Mapping[str, Any]) -> None:
    """Check what is read of metrics for a model card."""
    from lsm.evaluation import summaries_in

    kinds = {"epoch": Index | None, "split": str | None, "sites": list[int] | None, "data": Config | None}
    for name, kind in kinds.items():
        check_value(name, metrics.get(name), kind)
    if metrics.get("data"):
        check_value("data.provenance", metrics["data"].get("provenance"), Config)
    for name, summary in summaries_in(metrics).items():
        for figure in ("num_samples", "mean", "std", "median", "worst"):
            check_value(f"{name}.{figure}", summary.get(figure), float)


main = command("export", run)

if __name__ == "__main__":
    main()
