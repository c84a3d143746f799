"""``lsm-profile``: what training and prediction cost, in which operations the time goes, and how it grows with the sites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments import own_data
from experiments.apart import measure_apart
from experiments.app import check_benchmark, command
from experiments.assemble import make_module
from experiments.device import choose_device, precision_is_chosen
from experiments.equal_error import compare_with_solver
from experiments.processes import CommandFailed
from experiments.revision import code_revision
from experiments.runs import record_of
from experiments.samples import at_sites, one_batch
from experiments.scaling import Growth, measure_growths
from experiments.tables.growths import print_growths
from experiments.tables.profiles import print_comparison, print_details, print_equal_error
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console
from lsm.provenance import describe_environment

#: Length of the learning-rate schedule, of which a profile does the first few steps.
_STEPS = 1000


def run(cfg: DictConfig) -> dict[str, Any]:
    """Measure one model as configured; write and return the figures.

    With ``sites`` the model is still that of the benchmark's own sites: options that follow from the sites, such as the number of
    scales of LSM-2, do not change with the size that is measured.
    """
    from lsm.profiling import profile

    check_benchmark(cfg, "reader")
    cfg = _independent_of_sites(cfg)
    data = one_batch(cfg)
    batch = next(data.batches("train"))
    sites = list(cfg.sites or data.spec.sites)
    batch = (at_sites(batch, data.spec, sites) if cfg.sites else batch).to(choose_device(cfg.device))
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
        "sites": sites,
        "built_for": list(data.spec.sites),
        "precision": cfg.trainer.precision,
        "precision_is_chosen": precision_is_chosen(cfg),
        "compile": cfg.compile,
        "recompute": cfg.recompute,
        "device": str(batch.inputs.device),
        **measured,
        "config": record_of(cfg, [], {})["config"],
        "code": code_revision(),
        "environment": describe_environment(),
    }
    write_whole(Path(cfg.run_dir) / "profile.json", json.dumps(result, indent=2) + "\n")
    return result


def _independent_of_sites(cfg: DictConfig) -> DictConfig:
    """The configuration with normalisation by channel in place of that by site, which ties a model to its sites."""
    if cfg.sites is None:
        return cfg
    cfg = cfg.copy()
    for fields in ("inputs", "targets"):
        if cfg.data.normalization[fields] == "site":
            cfg.data.normalization[fields] = "channel"
    return cfg


def compare(cfg: DictConfig, overrides: list[str]) -> list[dict[str, Any]]:
    """Measure families one after the other, each in a process of its own.

    Raises:
        InputError: none of them could be measured.
    """
    results = []
    for model in cfg.compare:
        try:
            results.append(measure_apart(overrides, {"model": model}, Path(cfg.run_dir) / model))
        except CommandFailed as failure:
            console.print(f"{model} is left out: {failure}", style="yellow", soft_wrap=True)
    if not results:
        raise InputError(f"none of {', '.join(cfg.compare)} could be measured; see the logs in {cfg.run_dir}")
    write_whole(Path(cfg.run_dir) / "comparison.json", json.dumps(results, indent=2) + "\n")
    return results


def from_command_line(cfg: DictConfig) -> list[dict[str, Any]] | dict[str, Growth]:
    """Measure and print one model, several, how their costs grow with the sites, or a trained one beside a numerical solver."""
    if cfg.checkpoint is not None:
        typed = any(option.startswith("data_dir=") for option in HydraConfig.get().overrides.task)
        result = compare_with_solver(cfg, cfg.data_dir if typed else None)
        print_equal_error(result)
        console.print(f"figures: {Path(cfg.run_dir) / 'equal_error.json'}", soft_wrap=True)
        return [result]
    if own := own_data.is_asked(cfg):
        cfg, *_ = own_data.complete(cfg, list(HydraConfig.get().overrides.task), "profile")
    if cfg.sites and not isinstance(cfg.sites[0], int):
        growths = measure_growths(cfg, list(HydraConfig.get().overrides.task))
        print_growths(growths, cfg.fit_from)
        console.print(f"figures: {Path(cfg.run_dir) / 'scaling.json'}, .csv, .png, .pdf", soft_wrap=True)
        return growths
    if cfg.compare is not None:
        results = compare(cfg, list(HydraConfig.get().overrides.task))
        print_comparison(results)
        if own:
            console.print(
                f"sizes are chosen for each family: see {Path(cfg.run_dir) / 'FAMILY' / 'log.txt'}", soft_wrap=True
            )
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
