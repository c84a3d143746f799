"""Which units of work the stages consist of, and in which order."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from experiments.cli import compose_config, config_dir
from experiments.playbook import work
from experiments.playbook.processes import Deadline, Skipped
from experiments.playbook.schedule import Unit
from lsm.errors import InputError

STAGES = ("tests", "timings", "data", "train")

#: Distributions whose modules have another name.
_DISTRIBUTIONS = {"skfem": "scikit-fem"}


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as the playbook's size has it.

    Args:
        name: its name.
        train: configuration of its training.
        lacking: the library that its generator needs and that is not installed; None if nothing lacks.
    """

    name: str
    train: DictConfig
    lacking: str | None

    @property
    def store(self) -> Path:
        """The file of its data."""
        return Path(self.train.data.path)

    @property
    def num_samples(self) -> int:
        """Samples that its splits reach to."""
        return max(end for _, end in self.train.data.splits.values())

    def knows_device(self) -> bool:
        """Whether its solver runs on a GPU."""
        return "device" in self.train.benchmark.generator


def plan(cfg: DictConfig) -> list[Unit]:
    """The units of the asked stages. Step times come first, then each benchmark's data and training, then what is left.

    Raises:
        InputError: there is no such stage or benchmark.
    """
    stages = STAGES if cfg.stage == "all" else [cfg.stage] if isinstance(cfg.stage, str) else list(cfg.stage)
    for stage in stages:
        if stage not in STAGES:
            raise InputError(f"stage {stage!r} is unknown; choose one of: all, {', '.join(STAGES)}")
    least = cfg.sizes[cfg.size].at_least
    if cfg.time_limit <= least:
        raise InputError(f"time_limit is {cfg.time_limit} seconds, expected more than {least}, or nothing is begun")
    benchmarks = [describe(name, cfg) for name in chosen_benchmarks(cfg)]
    backends = list(cfg.timings.compile)
    tests = _tests(cfg)
    units = [
        *tests[:1],
        *(_timing(benchmark, backend, cfg) for backend in backends[:1] for benchmark in benchmarks),
        *(unit for benchmark in benchmarks for unit in (_data(benchmark, cfg), _training(benchmark, cfg))),
        *(_timing(benchmark, backend, cfg) for backend in backends[1:] for benchmark in benchmarks),
        *tests[1:],
    ]
    unique: dict[str, Unit] = {}
    for unit in units:
        unique.setdefault(unit.key, unit)  # two benchmarks may train on one store
    return [replace(unit, at_least=least) for unit in unique.values() if unit.stage in stages]


def chosen_benchmarks(cfg: DictConfig) -> list[str]:
    """Names of the benchmarks in order of cost; those whose cost is not known come last.

    Raises:
        InputError: there is no such benchmark.
    """
    available = sorted(path.stem for path in (config_dir() / "benchmark").glob("*.yaml"))
    if isinstance(cfg.benchmarks, str):
        raise InputError(f"benchmarks is {cfg.benchmarks}, expected a list such as [{cfg.benchmarks}]")
    unknown = [name for name in cfg.benchmarks or [] if name not in available]
    if unknown:
        raise InputError(f"benchmark {unknown[0]!r} is unknown; choose from: {', '.join(available)}")
    ordered = [name for name in cfg.order if name in available]
    ordered += [name for name in available if name not in ordered]
    return [name for name in ordered if cfg.benchmarks is None or name in cfg.benchmarks]


def describe(name: str, cfg: DictConfig) -> Benchmark:
    """A benchmark at the playbook's size."""
    train = compose_config("train", *work.size_options(name, cfg), f"data_dir={cfg.data_dir}", *cfg.train.options)
    return Benchmark(name, train, lacking_library(train.benchmark.generator["_target_"]))


def lacking_library(target: str) -> str | None:
    """What keeps the module of a class from being imported: a library's name, or the error; None if nothing does."""
    try:
        importlib.import_module(target.rpartition(".")[0])
    except ModuleNotFoundError as error:
        module = (error.name or str(error)).partition(".")[0]
        return _DISTRIBUTIONS.get(module, module)
    except ImportError as error:
        return str(error)
    return None


def _tests(cfg: DictConfig) -> list[Unit]:
    """What asks for the device goes to its lane, the rest keeps the processor busy."""
    return [
        Unit("tests", name, partial(work.run_tests, cfg, name), lane="device" if index == 0 else "processor")
        for index, name in enumerate(cfg.tests)
    ]


def _timing(benchmark: Benchmark, backend: str | None, cfg: DictConfig) -> Unit:
    name = f"{benchmark.name}_{backend or 'uncompiled'}"
    return Unit(
        "timings", name, _unless_lacking(benchmark, partial(work.time_steps, cfg, benchmark.name, name, backend))
    )


def _data(benchmark: Benchmark, cfg: DictConfig) -> Unit:
    on_device = cfg.device != "cpu" and benchmark.knows_device()
    options = work.generate_options(cfg, benchmark.name, benchmark.num_samples, on_device)
    return Unit(
        "data",
        benchmark.store.stem,
        _unless_lacking(benchmark, partial(work.generate, cfg, options, benchmark.store, benchmark.num_samples)),
        lane="device" if on_device else "processor",
        product=benchmark.store,
    )


def _training(benchmark: Benchmark, cfg: DictConfig) -> Unit:
    return Unit(
        "train",
        benchmark.name,
        partial(work.train, cfg, benchmark.name, benchmark.train.trainer.max_epochs),
        needs=f"data/{benchmark.store.stem}",
    )


def _unless_lacking(benchmark: Benchmark, do: work.Work) -> work.Work:
    def checked(deadline: Deadline) -> work.Result:
        if benchmark.lacking:
            raise Skipped(f"needs {benchmark.lacking}")
        return do(deadline)

    return checked
