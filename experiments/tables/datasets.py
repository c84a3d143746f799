"""The data that a table needs: which are missing, how to make them, and how those that exist were made."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import processes
from experiments.assemble import make_datamodule
from experiments.options import as_option
from experiments.processes import Deadline
from experiments.tables.devices import kind_of
from experiments.tables.plan import Experiment
from lsm.errors import InputError, explained
from lsm.progress import console

#: Samples that are solved together on a GPU.
_BATCH_SIZE = 64


@dataclass(frozen=True)
class Missing:
    """A data set that does not exist, or has too few samples.

    Args:
        path: its store.
        options: of the ``lsm-generate`` that makes it; empty if the benchmark has no generator.
    """

    path: Path
    options: tuple[str, ...]

    @property
    def command(self) -> str:
        """The call of ``lsm-generate``, for a shell."""
        return shlex.join(["lsm-generate", *self.options])

    def __str__(self) -> str:
        return f"{self.path}: {self.command if self.options else 'write it with lsm.data.store.StoreWriter'}"


def missing_data(experiments: Iterable[Experiment], more: Sequence[str], device: str) -> list[Missing]:
    """Data sets to make, each once, with as many samples as the splits of all experiments need.

    Args:
        experiments: of a table.
        more: options of ``lsm-generate`` for each of them.
        device: where to solve, if the solver can choose.
    """
    needed: dict[Path, Experiment] = {}
    for experiment in experiments:
        before = needed.get(experiment.store)
        if before is None or before.num_samples < experiment.num_samples:
            needed[experiment.store] = experiment
    return [
        Missing(path, _generate_options(experiment, more, device))
        for path, experiment in needed.items()
        if _samples_in(path) < experiment.num_samples
    ]


def _samples_in(path: Path) -> int:
    from lsm.data.store import Store

    if not path.exists():
        return 0
    with Store(path) as store:
        return store.num_samples


def _generate_options(experiment: Experiment, more: Sequence[str], device: str) -> tuple[str, ...]:
    generator = experiment.cfg.benchmark.get("generator")
    if generator is None:
        return ()
    chosen = [option for option in experiment.options if option.startswith(("benchmark=", "preset=", "set="))]
    on_device = [f"device={device}", f"batch_size={_BATCH_SIZE}"] * (
        kind_of(device) == "cuda" and "device" in generator
    )
    return (*chosen, *more, *on_device, f"store={as_option(experiment.store)}", f"num_samples={experiment.num_samples}")


def require_data(missing: Sequence[Missing]) -> None:
    """Refuse to start without data.

    Raises:
        InputError: some are missing; the message gives the commands that make them.
    """
    if missing:
        listed = "\n  ".join(map(str, missing))
        raise InputError(f"data are missing; add generate=true, or make them first:\n  {listed}")


def generate_data(missing: Sequence[Missing], log: Path, deadline: Deadline, more: Sequence[str]) -> None:
    """Make data sets one after the other; finished samples are kept if the time ends.

    Args:
        missing: what to make.
        log: file for the output of ``lsm-generate``.
        deadline: when to stop.
        more: further words of the command line.
    Raises:
        InputError: a data set cannot be made.
        OutOfTime: the deadline came first.
    """
    for data in missing:
        if not deadline.left():
            raise processes.OutOfTime
        if not data.options:
            require_data([data])
        console.print(data.command, soft_wrap=True)
        with explained(f"{data.path} could not be made", processes.CommandFailed):
            processes.call_module("experiments.generate", [*more, *data.options], log, deadline)


def provenance_of(experiment: Experiment) -> dict[str, Any]:
    """How the data of an experiment were made."""
    return make_datamodule(experiment.config, in_memory=False).describe()["provenance"]
