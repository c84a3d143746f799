"""Time, throughput and memory of a training step on samples of a benchmark's size, without its data.

Run as a program of its own: a crash or a compilation without end then costs one measurement.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from experiments.build import make_datamodule, make_module, plain
from experiments.cli import compose_config
from experiments.device import choose_device
from experiments.options import make_generator
from experiments.playbook.ledger import write_whole
from lsm.data.datamodule import FieldDataModule
from lsm.data.store import StoredField, StoreWriter
from lsm.fields import FieldBatch
from lsm.model.build import choose
from lsm.training.module import SolverModule


def write_noise(path: Path, benchmark: str, fields: Mapping[str, StoredField], num_samples: int) -> None:
    """A store of random numbers, ``[0.1, 1)`` or 0 and 1: enough for timing, of no physics."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, benchmark, fields, num_samples, {"source": "random numbers, for timing only"}) as writer:
        for name, field in fields.items():
            whole = np.issubdtype(np.dtype(field.dtype), np.integer)
            shape = (num_samples, *field.shape)
            values = rng.integers(0, 2, shape) if whole else rng.uniform(0.1, 1, shape)
            writer.write(slice(0, num_samples), {name: values.astype(field.dtype)})


def measure(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Step times of a benchmark in several precisions.

    Args:
        request: ``options`` of ``lsm-train`` that choose the benchmark and its size, ``device``, ``compile`` (a backend or
            None), ``precisions``, ``warmup`` and ``steps``.
    Yields:
        After each precision, plain data of all so far; one that failed holds ``error``.
    """
    device = choose_device(request["device"])
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose_config("train", *request["options"], f"data_dir={folder}")
        size = cfg.data.batch_size
        cfg.data.splits = {"train": [0, size], "validation": [size, size], "test": [size, size]}
        write_noise(Path(cfg.data.path), cfg.benchmark.name, make_generator(cfg).fields, size)
        data = make_datamodule(plain(cfg), in_memory=True)
        batch = next(data.batches("train")).to(device)
    answer: dict[str, Any] = {
        "batch_size": size,
        "compile": request["compile"],
        "device": str(device),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        "precisions": {},
    }
    for precision in request["precisions"]:
        answer["precisions"][precision] = _try(cfg, data, batch, precision, request)
        yield answer


def _try(
    cfg: DictConfig, data: FieldDataModule, batch: FieldBatch, precision: str, request: Mapping[str, Any]
) -> dict[str, Any]:
    torch.manual_seed(0)  # every precision starts from the same weights
    module = make_module(cfg, data, count_steps=lambda: request["warmup"] + request["steps"]).to(batch.inputs.device)
    if request["compile"]:
        module.solver.model.compile(backend=request["compile"])
    try:
        return time_module(module, batch, precision, request["warmup"], request["steps"])
    except RuntimeError as error:  # out of memory, or an operation that this precision does not have
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """What Lightning's ``trainer.precision`` does around a step."""
    contexts = {"32-true": nullcontext(), "bf16-mixed": torch.autocast(device.type, dtype=torch.bfloat16)}
    return choose("precision", contexts, precision)


def time_module(module: SolverModule, batch: FieldBatch, precision: str, warmup: int, steps: int) -> dict[str, Any]:
    """Forward, backward and optimiser step, timed one by one.

    Args:
        module: what to train, on the batch's device.
        batch: what to train on.
        precision: "32-true" or "bf16-mixed".
        warmup: steps before the timing starts; the first one compiles.
        steps: steps that are timed.
    Raises:
        RuntimeError: the loss is not finite, or the device refuses.
    """
    device = batch.inputs.device
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    optimizer = module.configure_optimizers()["optimizer"]
    module.train()
    seconds, losses = [], []
    for step in range(warmup + steps):
        if step == warmup and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        wait()
        started = time.perf_counter()
        with autocast(precision, device):
            loss = module.loss(module.solver(batch), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wait()
        seconds.append(time.perf_counter() - started)
        losses.append(loss.item())
    if not np.isfinite(losses).all():
        raise RuntimeError(f"the losses were {losses}")
    timed = seconds[warmup:]
    median = statistics.median(timed)
    return {
        "step_seconds": median,
        "fastest_seconds": min(timed),
        "slowest_seconds": max(timed),
        "first_step_seconds": seconds[0],
        "steps": steps,
        "samples_per_second": len(batch) / median,
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def main() -> None:
    """Measure what the argument, a JSON object, asks for, and write the answer to the file that it names."""
    request = json.loads(sys.argv[1])
    for answer in measure(request):
        write_whole(Path(request["answer"]), json.dumps(answer))


if __name__ == "__main__":
    main()
