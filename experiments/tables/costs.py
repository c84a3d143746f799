"""What training costs: the profile of each experiment, the epochs that a budget allows, and how long runs will take."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments import processes
from experiments.options import as_option
from experiments.processes import Deadline
from experiments.revision import code_revision
from experiments.runs import difference, essence, no_part_of
from experiments.tables.cells import read_json
from experiments.tables.devices import environment_of, kind_of, shared_devices
from experiments.tables.plan import Experiment, Plan
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console

#: What a budget sets, besides what a run may change anyway.
_LENGTH = ("trainer.max_epochs", "scheduler")

#: What older profiles do not record, and costs do not depend on.
_UNRECORDED = ("benchmark.reader.periodic",)

#: Calls that are timed, and calls before them.
_REPEATS, _WARMUP = 16, 2


def profile_of(experiment: Experiment, accept_other_code: bool) -> dict[str, Any] | None:
    """The recorded profile of an experiment; None without one of the present configuration and code."""
    recorded = read_json(_folder(experiment) / "profile.json")
    if recorded is None or not (config := recorded.get("config")):
        return None
    # Profiles did not always record whether the precision was chosen; where the table leaves the choice, it was.
    ignored = no_part_of(experiment.cfg, config, recorded.get("precision_is_chosen", True))
    if difference(essence(config), essence(experiment.config), (*ignored, *_LENGTH, *_UNRECORDED)):
        return None
    same = recorded.get("code") == code_revision(experiment.cfg.plugins)
    return recorded if accept_other_code or same else None


def make_profile(experiment: Experiment, device: str, threads: int, deadline: Deadline, more: list[str]) -> None:
    """Measure an experiment by ``lsm-profile``.

    Args:
        experiment: what to measure.
        device: where; of several GPUs the first one that runs share, see :mod:`experiments.tables.devices`.
        threads: of numerical libraries.
        deadline: when to stop.
        more: further words of the command line.
    Raises:
        CommandFailed: it cannot be measured.
        OutOfTime: the deadline came first.
    """
    folder = _folder(experiment)
    options = [*more, *experiment.options, f"run_dir={as_option(folder)}", f"device={kind_of(device)}"]
    options += [f"repeats={_REPEATS}", f"warmup={_WARMUP}"]
    variables = environment_of(0, shared_devices(device))
    processes.call_module("experiments.profile", options, folder / "log.txt", deadline, threads, (), variables)


def keep_pace(experiment: Experiment, deadline: Deadline) -> None:
    """Store how fast the machine was when an experiment was measured as the pace of its table, which has one pace only.

    Args:
        experiment: the experiment, which has a profile.
        deadline: until when to wait for another process that stores the pace.
    Raises:
        OutOfTime: the deadline came first.
    """
    path = _pace(experiment)
    profile = read_json(_folder(experiment) / "profile.json") or {}
    with processes.held(path.with_suffix(".lock"), deadline):
        if not path.exists() and profile.get("reference_seconds") is not None:
            write_whole(path, json.dumps({"reference_seconds": profile["reference_seconds"]}) + "\n")


def _pace(experiment: Experiment) -> Path:
    """In the folder of the table: the time of the reference step beside the first profile."""
    return experiment.folder.parents[1] / "pace.json"


def _slowness(experiment: Experiment, profile: dict[str, Any]) -> float:
    """Time of the reference step divided by that of the table's pace; 1 where it was not measured, as on a GPU."""
    pace, seconds = read_json(_pace(experiment)), profile.get("reference_seconds")
    return seconds / pace["reference_seconds"] if pace and seconds else 1.0


def _folder(experiment: Experiment) -> Path:
    return experiment.folder / "profile"


def epoch_seconds(config: dict[str, Any], step: float, batch: float) -> float:
    """Seconds of the device for one epoch: its training steps, and the prediction of the validation split.

    Args:
        config: configuration of the run.
        step: seconds of a training step.
        batch: seconds of the prediction of a batch.
    """
    size, splits, trainer = config["data"]["batch_size"], config["data"]["splits"], config["trainer"]
    train, validation = (math.ceil((end - first) / size) for first, end in (splits["train"], splits["validation"]))
    train = _limited(train, trainer.get("limit_train_batches"))
    validation = _limited(validation, trainer.get("limit_val_batches"))
    return train * step + validation * batch / (trainer.get("check_val_every_n_epoch") or 1)


def _limited(batches: int, limit: float | None) -> int:
    """How many batches of an epoch Lightning uses: at most a number, or a share of them."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def profiled_epoch_seconds(experiment: Experiment, profile: dict[str, Any]) -> float:
    """:func:`epoch_seconds` from a profile, converted to the table's pace of the machine."""
    measured = profile["step"]["device_seconds"], profile["inference"]["batch_device_seconds"]
    return epoch_seconds(experiment.config, *measured) / _slowness(experiment, profile)


def training_seconds(experiment: Experiment, profile: dict[str, Any]) -> float:
    """Seconds of the device for all epochs of an experiment."""
    return experiment.config["trainer"]["max_epochs"] * profiled_epoch_seconds(experiment, profile)


def budget_seconds(benchmark: str, plan: Plan, cfg: DictConfig) -> float | None:
    """Seconds of the device that every run of a benchmark gets; None if its recipe sets them, or they are not measured yet."""
    if benchmark not in plan.references:
        return cfg.budget
    profile = profile_of(plan.references[benchmark], cfg.accept_other_code)
    return None if profile is None else training_seconds(plan.references[benchmark], profile)


def within_budget(experiment: Experiment, budget: float | None, profile: dict[str, Any] | None) -> Experiment:
    """An experiment that trains for as many epochs as take its row's share of the budget, with a schedule that spans them.

    Args:
        experiment: as its recipe has it.
        budget: seconds of the device; None for the epochs of the recipe.
        profile: its profile.
    Raises:
        InputError: the learning-rate schedule neither spans a run nor has a length in epochs.
    """
    if budget is None or profile is None:
        return experiment
    # A quotient of 15 whole epochs may be computed as 14.999...
    seconds, of_epoch = budget * experiment.row.share, profiled_epoch_seconds(experiment, profile)
    if of_epoch > seconds:
        told = f"{experiment.name}: one epoch takes {of_epoch:.3g} s, more than the {seconds:.3g} s that the row gets"
        console.print(f"warning: {told}; it trains for one epoch all the same", soft_wrap=True)
    epochs = max(math.floor(seconds / of_epoch + 1e-6), 1)
    return experiment.with_options(f"trainer.max_epochs={epochs}", *_stretched_schedule(experiment, epochs))


def _stretched_schedule(experiment: Experiment, epochs: int) -> list[str]:
    """Options that give the schedule the same shape over another number of epochs."""
    make = experiment.cfg.scheduler.make
    if OmegaConf.is_missing(make, "total_steps"):  # filled in when training begins
        return []
    if "step_size" in make and experiment.cfg.scheduler.interval == "epoch":
        return [
            f"scheduler.make.step_size={max(round(make.step_size * epochs / experiment.cfg.trainer.max_epochs), 1)}"
        ]
    raise InputError(
        f"the schedule {make['_target_']} of {experiment.name} cannot be stretched to a budget; choose a recipe whose schedule "
        "spans the run (scheduler=one_cycle), or budget=null"
    )


def quick_epoch_seconds(experiment: Experiment, device: str) -> float:
    """An estimate of :func:`epoch_seconds` from two training steps in this process, for a dry run."""
    from experiments.assemble import make_module
    from experiments.device import choose_device
    from experiments.samples import one_batch
    from lsm.profiling import prediction, time_calls, training_step

    console.print(f"{experiment.name}: measuring two training steps", soft_wrap=True)
    cfg, where = experiment.cfg, choose_device(device)
    data = one_batch(cfg)
    batch = next(data.batches("train")).to(where)
    module = make_module(cfg, data, lambda: 1000, {}).to(where)
    step = time_calls(training_step(module, batch, cfg.trainer.precision), where, 1, 2)
    predict = time_calls(prediction(module.solver, batch, cfg.trainer.precision), where, 1, 1)
    return epoch_seconds(experiment.config, step.device_seconds, predict.device_seconds)
