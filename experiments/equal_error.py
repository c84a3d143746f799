"""``lsm-profile checkpoint=RUN``: a trained solver against the numerical solver of its benchmark, at equal error.

The numerical solver solves test samples on coarser and coarser grids. The honest competitor of a trained solver is the
cheapest of these solutions that is at least as accurate.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from data_prep.generation.failure import SolverFailure
from data_prep.generation.generator import Generator
from experiments.app import compose_config
from experiments.assemble import make_generator
from experiments.check import require_same_shapes, spread
from experiments.device import choose_device
from experiments.revision import code_revision
from experiments.runs import load_run
from lsm.data.store import Store, require_fields
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.provenance import describe_environment

if TYPE_CHECKING:
    from lsm.checkpoint import Checkpoint
    from lsm.data.datamodule import FieldDataModule


@dataclass(frozen=True)
class Cost:
    """Accuracy and time of one way to solve.

    Args:
        error: relative L2 error, mean over the samples.
        seconds: wall-clock time of a sample.
        device_seconds: time of a sample that the device worked, of all threads on a CPU.
        coarsening: spacing of the numerical solver's grid over that of the data; None for a trained solver.
    """

    error: float
    seconds: float
    device_seconds: float
    coarsening: float | None = None


def compare_with_solver(cfg: DictConfig, data_dir: str | None) -> dict[str, Any]:
    """Measure and compare; write and return the figures.

    Args:
        cfg: options of ``lsm-profile``.
        data_dir: folder of the store, if not the recorded one.
    Raises:
        InputError: the benchmark has no numerical solver, or the store lacks what it starts with.
    """
    options = {"checkpoint": cfg.checkpoint, "data_dir": data_dir, "plugins": list(cfg.plugins)}
    checkpoint, data = load_run(OmegaConf.create({**options, "split": "test", "store": None, "resolution": None}))
    generator = generator_of(checkpoint, data)
    chosen = spread(len(data.dataset("test")), cfg.samples)
    training_seconds = training_seconds_of(checkpoint)
    trained = _measure_trained(cfg, checkpoint, data, chosen)
    grids = _measure_grids(generator, data, chosen)
    first, end = data.splits["train"]
    result = {
        "benchmark": checkpoint.run["config"]["benchmark"]["name"],
        "model": checkpoint.run["config"]["model"]["name"],
        "checkpoint": str(checkpoint.path),
        "samples": chosen,
        "device": str(choose_device(cfg.device)),
        "trained": asdict(trained),
        "solver": [asdict(grid) for grid in grids],
        **conclude(trained, grids, end - first, training_seconds),
        "code": code_revision(),
        "environment": describe_environment(),
    }
    write_whole(Path(cfg.run_dir) / "equal_error.json", json.dumps(result, indent=2) + "\n")
    return result


def generator_of(checkpoint: Checkpoint, data: FieldDataModule) -> Generator:
    """The numerical solver of a run's benchmark, with the options by which its data were made.

    Raises:
        InputError: the benchmark has none, or it does not solve stored samples.
    """
    benchmark = checkpoint.run["config"]["benchmark"]
    name = benchmark["name"]
    if not benchmark.get("generator"):
        raise InputError(f"{name} has no numerical solver to compare with", options=("checkpoint",))
    # The solver itself comes from the configuration of this call: nothing recorded is instantiated.
    cfg = compose_config("generate", f"benchmark={name}")
    recorded = data.describe()["provenance"].get("generator") or {}
    for option in cfg.benchmark.generator:
        if option in recorded:
            cfg.benchmark.generator[option] = recorded[option]
    generator = make_generator(cfg)
    if not generator.drawn:
        raise InputError(f"the numerical solver of {name} does not solve stored samples again", options=("checkpoint",))
    return generator


def _measure_trained(cfg: DictConfig, checkpoint: Checkpoint, data: FieldDataModule, chosen: Sequence[int]) -> Cost:
    """Error on the chosen samples, and the time of the prediction of one."""
    from lsm.fields import FieldBatch
    from lsm.metrics import relative_l2
    from lsm.profiling import prediction, time_calls

    device = choose_device(cfg.device)
    solver = checkpoint.solver.to(device)
    batches = [FieldBatch.stack([data.dataset("test")[index]]).to(device) for index in chosen]
    errors = [relative_l2(prediction(solver, batch)(), batch.targets).item() for batch in batches]
    timed = time_calls(prediction(solver, batches[0]), device, cfg.warmup, cfg.repeats)
    return Cost(float(np.mean(errors)), timed.seconds, timed.device_seconds)


def _measure_grids(generator: Generator, data: FieldDataModule, chosen: Sequence[int]) -> list[Cost]:
    """The numerical solver on each of its grids on which it solves all chosen samples, the finest first.

    Raises:
        InputError: it does not solve them on the grid of the data.
    """
    first, _ = data.splits["test"]
    with Store(data.path) as store:
        require_fields(store, [*generator.drawn, *data.reader.fields])
        require_same_shapes(store, generator, "the recorded options of the solver")
        stored = [{name: store.field(name)[first + index] for name in store.fields} for index in chosen]
    frames = data.spec.frames
    known = frames.inputs if frames else 0
    found = (_measure_grid(generator, data, stored, coarsening, known) for coarsening in generator.coarsenings)
    costs = [cost for cost in found if cost is not None]
    if not costs or costs[0].coarsening != generator.coarsenings[0]:
        raise InputError("the numerical solver does not solve these samples on the grid of the data", ("samples",))
    return costs


def _measure_grid(
    generator: Generator,
    data: FieldDataModule,
    stored: Sequence[Mapping[str, np.ndarray]],
    coarsening: float,
    known: int,
) -> Cost | None:
    from lsm.fields import FieldBatch
    from lsm.metrics import relative_l2

    errors, walls, processors = [], [], []
    try:
        generator.solve_again(stored[0], coarsening, known)  # compiles and allocates
        for arrays in stored:
            wall, processor = time.perf_counter(), time.process_time()
            solved = generator.solve_again(arrays, coarsening, known)
            walls.append(time.perf_counter() - wall)
            processors.append(time.process_time() - processor)
            there, truth = (
                FieldBatch.stack([data.reader.decode(fields)]).targets for fields in ({**arrays, **solved}, arrays)
            )
            errors.append(relative_l2(there, truth).item())
    except SolverFailure:  # too coarse
        return None
    return Cost(float(np.mean(errors)), float(np.mean(walls)), float(np.mean(processors)), coarsening)


def conclude(
    trained: Cost, grids: Sequence[Cost], num_training_samples: int, training_seconds: float | None
) -> dict[str, Any]:
    """How much faster the trained solver is than the cheapest grid that is as accurate, and after how many solves that pays.

    What has to pay is the solution of the training samples on the grid of the data, and the training.

    Args:
        trained: the trained solver.
        grids: the numerical solver, first on the grid of the data.
        num_training_samples: how many samples were solved for the training.
        training_seconds: time of the device for the training; None if it is unknown.
    """
    accurate = [grid for grid in grids if grid.error <= trained.error]
    equal = min(accurate, key=lambda grid: grid.device_seconds, default=None)
    data_seconds = num_training_samples * grids[0].device_seconds
    gain = equal.device_seconds - trained.device_seconds if equal else 0.0
    known = gain > 0 and training_seconds is not None
    return {
        "equal": asdict(equal) if equal else None,
        "speed_up": equal.device_seconds / trained.device_seconds if equal else None,
        "speed_up_on_the_grid_of_the_data": grids[0].device_seconds / trained.device_seconds,
        "data_seconds": data_seconds,
        "training_seconds": training_seconds,
        "solves_to_break_even": (data_seconds + training_seconds) / gain if known else None,
    }


def training_seconds_of(checkpoint: Checkpoint) -> float | None:
    """Time of the device for the whole training; None if no checkpoint records it.

    Which epoch is the best one is known only at the end, so the epochs after it count as well. The last checkpoint of the run,
    beside the best one, records the time of all of them.
    """
    from lsm.checkpoint import read
    from lsm.training.cost import recorded_cost

    last = checkpoint.path.with_name("last.ckpt")
    path = last if checkpoint.path.is_file() and last.is_file() else checkpoint.path
    return recorded_cost(read(path)).get("device_seconds")
