"""``lsm-profile``: what a training step and a prediction cost, and in which operations the time goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments import processes
from experiments.app import check_benchmark, command
from experiments.assemble import make_module
from experiments.device import choose_device
from experiments.revision import code_revision
from experiments.runs import record_of
from experiments.samples import one_batch
from experiments.tables.profiles import print_comparison, print_details
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console
from lsm.provenance import describe_environment

#: Length of the learning-rate schedule, of which a profile does the first few steps.
_STEPS = 1000


def run(cfg: DictConfig) -> dict[str, Any]:
    """Measure one model as configured; write and return the figures."""
    from lsm.profiling import profile

    check_benchmark(cfg)
    data = one_batch(cfg)
    batch = next(data.batches("train")).to(choose_device(cfg.device))
    measured = profile(
        lambda: make_module(cfg, data, lambda: _STEPS, {}),
        batch,
        cfg.trainer.precision,
        cfg.compile,
        cfg.warmup,
        cfg.repeats,
    )
    result = {
        "benchmark": cfg.benchmark.name,
        "model": cfg.model.name,
        "preset": cfg.preset,
        "sites": list(data.spec.sites),
        "precision": cfg.trainer.precision,
        "compile": cfg.compile,
        "device": str(batch.inputs.device),
        **measured,
        "config": record_of(cfg, [], {})["config"],
        "code": code_revision(),
        "environment": describe_environment(),
    }
    write_whole(Path(cfg.run_dir) / "profile.json", json.dumps(result, indent=2) + "\n")
    return result


def compare(cfg: DictConfig, overrides: list[str]) -> list[dict[str, Any]]:
    """Measure families one after the other, each in a process of its own, since memory and compiled code remain in a process.

    Raises:
        InputError: none of them could be measured.
    """
    options = [text for text in overrides if text.split("=")[0].lstrip("+") not in ("compare", "model", "run_dir")]
    results = []
    for model in cfg.compare:
        folder = Path(cfg.run_dir) / model
        try:
            processes.call_module(
                "experiments.profile", [*options, f"model={model}", f"run_dir={folder}"], folder / "log.txt"
            )
            results.append(json.loads((folder / "profile.json").read_text()))
        except processes.CommandFailed as failure:
            console.print(f"{model} is left out: {failure}", style="yellow", soft_wrap=True)
    if not results:
        raise InputError(f"none of {', '.join(cfg.compare)} could be measured; see the logs in {cfg.run_dir}")
    write_whole(Path(cfg.run_dir) / "comparison.json", json.dumps(results, indent=2) + "\n")
    return results


def from_command_line(cfg: DictConfig) -> list[dict[str, Any]]:
    """Measure and print one model, or several side by side."""
    if cfg.compare is not None:
        results = compare(cfg, list(HydraConfig.get().overrides.task))
        print_comparison(results)
        console.print(f"figures: {Path(cfg.run_dir) / 'comparison.json'}", soft_wrap=True)
        return results
    result = run(cfg)
    print_comparison([result])
    print_details(result)
    console.print(f"figures: {Path(cfg.run_dir) / 'profile.json'}", soft_wrap=True)
    return [result]


main = command("profile", from_command_line)

if __name__ == "__main__":
    main()
