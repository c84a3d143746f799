"""What a report says of a run in words: where it comes from, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from experiments.assemble import preset_options
from experiments.evaluations import Evaluated, named_in_title
from experiments.folders import run_of
from experiments.options import as_option
from experiments.runs import flatten
from lsm.files import require_regular
from lsm.plain import parse_json
from lsm.provenance import describe_environment

#: What is shown of an environment, by its dotted name.
_CIRCUMSTANCES = {
    "date": "date",
    "commit": "commit",
    "code": "digest of the code",
    "lsm": "lsm",
    "python": "python",
    "packages.torch": "torch",
    "machine.processor": "processor",
    "machine.torch_threads": "threads",
    "machine.gpu": "GPU",
}

#: Options of ``lsm-report`` that other commands do not have.
_OWN_OPTIONS = ("dpi=",)


def title_of(evaluated: Mapping[str, Evaluated]) -> str:
    """Such as ``lsm on darcy``, with the transforms of the predictions."""
    models = dict.fromkeys(one.metrics["model"] for one in evaluated.values())
    benchmarks = dict.fromkeys(one.metrics["benchmark"] for one in evaluated.values())
    changed = named_in_title(next(iter(evaluated.values())).metrics["transforms"])
    return f"{', '.join(models)} on {', '.join(name.replace('_', ' ') for name in benchmarks)}{changed}"


def subtitle_of(evaluated: Mapping[str, Evaluated]) -> str:
    """Which fields are predicted, and on what they are measured."""
    first = next(iter(evaluated.values()))
    spec, split = first.data.spec, first.metrics["split"]
    inputs, targets = (
        [channel.name.replace("_", " ") for channel in channels] for channels in (spec.inputs, spec.targets)
    )
    what = f"{', '.join(inputs)} to {', '.join(targets)}"
    what += f", {spec.frames.inputs} frames to the next {spec.frames.targets}" if spec.frames else ""
    sites = ("up to " if spec.ragged else "") + " x ".join(map(str, spec.sites))
    several = f"; {len(evaluated)} checkpoints" if len(evaluated) > 1 else ""
    return f"{what}; {len(first.data.dataset(split))} samples of the {split} split on {sites} sites{several}"


def facts_of(one: Evaluated) -> dict[str, str]:
    """What is known of a checkpoint, its training, its data and its evaluation, as texts by name."""
    solver, metrics, epoch = one.checkpoint.solver, one.metrics, one.checkpoint.epoch
    facts: dict[str, Any] = {
        "checkpoint": metrics["checkpoint"],
        "model": f"{metrics['model']}, {sum(parameter.numel() for parameter in solver.parameters()):,} parameters",
        "benchmark": f"{metrics['benchmark']}, preset {metrics['preset']}",
        "seed": metrics["seed"],
        "epoch of the checkpoint": None if epoch is None else epoch + 1,
    }
    for number, environment in enumerate(_environments(run_of(one.path))):
        facts["trained" + (f", call {number + 1}" if number else "")] = _circumstances(environment)
    facts["transforms of the predictions"] = ", ".join(metrics["transforms"]) or None
    facts["evaluated"] = _circumstances({**metrics["environment"], "code": metrics["code"]})
    facts |= _data("training data", one.checkpoint.data)
    if metrics["data"] != one.checkpoint.data:
        facts |= _data("evaluation data", metrics["data"])
    return {name: str(value) for name, value in facts.items() if value is not None}


def _environments(run: Path) -> Iterator[dict[str, Any]]:
    """Records of the calls that trained a run, in their order."""
    for path in sorted(run.glob("environment*.json"), key=_call_of):
        require_regular(path)
        yield parse_json(path.read_text(errors="replace"), str(path))


def _call_of(environment: Path) -> tuple[bool, int, str]:
    """Sorts ``environment.json`` before ``environment-resumed-2.json``, and this before ``environment-resumed-10.json``."""
    return environment.stem != "environment", len(environment.stem), environment.stem


def _circumstances(environment: Mapping[str, Any]) -> str:
    flat = flatten(environment)
    known = {name: flat.get(key) for key, name in _CIRCUMSTANCES.items()}
    return ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)


def _data(what: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about data; empty if nothing was recorded."""
    if not described:
        return {}
    facts = {what: f"{described.get('store')}, {described.get('num_samples')} samples"}
    return facts | {f"{what}: {key}": value for key, value in flatten(_provenance(described)).items()}


def _provenance(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """How data were made; empty if that was not recorded."""
    provenance = described.get("provenance")
    return provenance if isinstance(provenance, Mapping) else {}


def commands_of(evaluated: Mapping[str, Evaluated]) -> list[tuple[str, str]]:
    """What makes the results again: a sentence and a command line each, every one once."""
    typed = [option for option in HydraConfig.get().overrides.task if not option.startswith("output=")]
    measured = [option for option in typed if not option.startswith(_OWN_OPTIONS)]
    commands = [command for one in evaluated.values() for command in _training_of(one)]
    commands.append(("Evaluate", shlex.join(["lsm-evaluate", *measured])))
    commands.append(("Write this report", shlex.join(["lsm-report", *typed])))
    return list(dict.fromkeys(commands))


def _training_of(one: Evaluated) -> Iterator[tuple[str, str]]:
    options, name = one.checkpoint.run.get("overrides"), run_of(one.path).name
    if _provenance(one.checkpoint.data).get("source") == "generated":
        which = shlex.split(preset_options(one.metrics["benchmark"], one.metrics["preset"]))
        yield "Generate data of this kind; their exact options are listed above", shlex.join(["lsm-generate", *which])
    if options:
        plugins = one.config.get("plugins")  # no recorded option, since a checkpoint must not choose code to import
        options = [*options, *([f"plugins={as_option(plugins)}"] if plugins else [])]
        yield f"Train the run {name} again", shlex.join(["lsm-train", *options, f"run_dir={name}-again"])


def written() -> str:
    """When and with what a report is written."""
    environment = describe_environment()
    commit = f", commit {environment['commit']}" if environment["commit"] else ""
    return f"Written by lsm-report on {environment['date']}, lsm {environment['lsm']}{commit}."
