"""What a model costs: time of a step, latency, memory, floating-point operations, and the slowest operations.

A training step is timed through :meth:`lsm.training.module.SolverModule.training_step`, which computes the loss in every
training. This module knows no configuration and no file.
"""

from __future__ import annotations

import math
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch import Tensor, nn

from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.flops import count_flops, split_flops
from lsm.process_memory import PeakMemory
from lsm.solver import NeuralSolver
from lsm.training.module import SolverModule

Call = Callable[[], Any]

#: Types of the numbers in matrix products, by the name of the precision.
PRECISIONS = {"32-true": (torch.float32,), "bf16-mixed": (torch.float32, torch.bfloat16)}


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over several repetitions.

    Args:
        seconds: median.
        fastest: least.
        slowest: greatest.
        device_seconds: median of the time that the device worked: on a CPU that of all threads of this process, waiting for other
            programs left out; else the same as ``seconds``.
        first: seconds of the first call, which compiles and allocates.
    """

    seconds: float
    fastest: float
    slowest: float
    device_seconds: float
    first: float


def time_calls(call: Call, device: torch.device, warmup: int, repeats: int) -> Timing:
    """Time ``call``, on a GPU until the device has finished.

    Args:
        call: what to time.
        device: where it computes.
        warmup: calls before those that count; at least one is made.
        repeats: calls that count.
    """
    return time_in_turn([call], device, warmup, repeats)[0]


def time_in_turn(calls: Sequence[Call], device: torch.device, warmup: int, repeats: int) -> list[Timing]:
    """:func:`time_calls` for several calls, each made once before any is made again.

    A machine that other programs use may be half as fast a minute later, so calls that are to be compared take turns.
    """
    walls: list[list[float]] = [[] for _ in calls]
    processors: list[list[float]] = [[] for _ in calls]
    for _ in range(max(warmup, 1) + repeats):
        for index, call in enumerate(calls):
            _wait(device)
            wall, processor = time.perf_counter(), time.process_time()
            call()
            _wait(device)
            walls[index].append(time.perf_counter() - wall)
            processors[index].append(time.process_time() - processor)
    return [
        _summary(wall, processor if device.type == "cpu" else wall, repeats)
        for wall, processor in zip(walls, processors, strict=True)
    ]


def _summary(walls: Sequence[float], busy: Sequence[float], repeats: int) -> Timing:
    timed = walls[-repeats:]
    return Timing(statistics.median(timed), min(timed), max(timed), statistics.median(busy[-repeats:]), walls[0])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def precision_context(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """What the trainer wraps around a step in this precision.

    Raises:
        InputError: the precision is none of :data:`PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"precision is {precision}, expected one of {', '.join(PRECISIONS)} for a profile", options=("precision",)
        )
    if precision == "bf16-mixed":
        return MixedPrecision("bf16-mixed", device.type).forward_context
    return Precision().forward_context


def training_step(module: SolverModule, batch: FieldBatch, precision: str = "32-true") -> Call:
    """A function that performs one optimiser step: loss, gradients, update.

    Args:
        module: what to train, on the batch's device.
        batch: the samples of every step, ``(b, *sites, c)``.
        precision: one of :data:`PRECISIONS`.
    """
    optimizer: Any = module.configure_optimizers()["optimizer"]
    context = precision_context(precision, batch.inputs.device)

    def step() -> None:
        module.train()
        with context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*self.trainer.* reference is not registered.*")
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def reference_step() -> Call:
    """A training step of a small network on the CPU, the same everywhere: its time tells how fast a machine is at the moment."""
    fine, coarse, last = nn.Conv2d(16, 32, 3), nn.Conv2d(32, 64, 3, stride=2), nn.Conv2d(64, 64, 3)
    network = nn.Sequential(fine, nn.GELU(), coarse, nn.GELU(), last)
    fields = torch.ones(4, 16, 48, 48)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        network(fields).square().mean().backward()
        optimizer.step()

    return step


def prediction(solver: NeuralSolver, batch: FieldBatch, precision: str = "32-true") -> Call:
    """A function that predicts a batch ``(b, *sites, c)`` in evaluation mode, without gradients."""
    context = precision_context(precision, batch.inputs.device)

    def predict() -> Tensor:
        solver.eval()
        with context(), torch.no_grad():  # normalised weights (F-FNO) cannot be counted in inference mode
            return solver(batch)

    return predict


# The machine


def matrix_peak(device: torch.device, dtype: torch.dtype, size: int | None = None, repeats: int = 5) -> float:
    """Floating-point operations in a second of the device, by products of square matrices.

    Args:
        device: where to multiply.
        dtype: type of the numbers.
        size: of the matrices, ``(size, size)``; large enough by default for the device to reach its limit.
        repeats: products that are timed; their median counts.
    """
    size = size or (8192 if device.type == "cuda" else 512 * math.isqrt(torch.get_num_threads()))
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / time_calls(lambda: left @ right, device, 1, repeats).device_seconds


def slowest_operations(call: Call, device: torch.device, count: int = 10) -> list[dict[str, Any]]:
    """The operations in which a call spends most of its time, without those that they call.

    Args:
        call: what to look at; it is called once.
        device: where it computes.
        count: how many operations.
    Returns:
        ``name``, ``calls``, ``seconds`` and ``share`` of each, slowest first.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    attribute = "self_cpu_time_total"
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
        attribute = "self_device_time_total"
    with _silent(), torch.profiler.profile(activities=activities) as profiler:
        call()
        _wait(device)
    found = [(getattr(event, attribute) / 1e6, event) for event in profiler.key_averages()]
    total = sum(seconds for seconds, _ in found) or 1.0
    slowest = sorted(found, key=lambda pair: -pair[0])[:count]
    return [
        {"name": event.key, "calls": event.count, "seconds": seconds, "share": seconds / total}
        for seconds, event in slowest
        if seconds > 0
    ]


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what libraries write to the error stream: PyTorch's profiler reports there that it starts and stops."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# All of it


def profile(
    make_module: Callable[[], SolverModule],
    batch: FieldBatch,
    precision: str = "32-true",
    backend: str | None = None,
    warmup: int = 3,
    repeats: int = 10,
    num_slowest: int = 10,
) -> dict[str, Any]:
    """Measure the training and the inference of a solver.

    Args:
        make_module: makes what is trained; it is moved to the batch's device.
        batch: samples ``(b, *sites, c)``, on the device to measure.
        precision: one of :data:`PRECISIONS`.
        backend: of ``torch.compile``; None for none.
        warmup: calls before those that are timed.
        repeats: calls that are timed.
        num_slowest: how many of the slowest operations to name.
    Returns:
        Plain data: ``parameters``, ``flops``, ``step``, ``inference``, ``memory_bytes`` (of a training step, parameters and state
        of the optimiser included), ``reference_seconds`` (of a :func:`reference_step` in turn with the training steps; None on a
        GPU), ``matrix_peak``, ``share_of_peak`` and ``slowest``.
    """
    device = batch.inputs.device
    memory = PeakMemory(device)
    module = make_module().to(device)
    step = training_step(module, batch, precision)
    if backend:
        module.solver.model.compile(backend=backend)
    first = time_calls(step, device, warmup=1, repeats=1).first
    memory_bytes = memory.read()
    timed, reference_seconds = _beside_reference(step, device, warmup, repeats)
    # By a model of its own, whose parts no compiler hides, and after the peak of the memory is read.
    flops = _count_flops(make_module().to(device), batch, precision)
    slowest = slowest_operations(step, device, num_slowest)
    peak = max(matrix_peak(device, dtype) for dtype in PRECISIONS[precision])
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "batch_size": len(batch),
        "flops": _describe_flops(flops, len(batch)),
        "step": {**asdict(timed), "first": first, "samples_per_second": len(batch) / timed.seconds},
        "reference_seconds": reference_seconds,
        "inference": _time_inference(module.solver, batch, precision, warmup, repeats),
        "memory_bytes": memory_bytes,
        "matrix_peak": peak,
        "share_of_peak": flops["step"].get("Global", 0) / timed.device_seconds / peak,
        "slowest": slowest,
    }


def _beside_reference(step: Call, device: torch.device, warmup: int, repeats: int) -> tuple[Timing, float | None]:
    """Time a step, on a CPU in turn with the reference step, whose seconds are returned, too."""
    if device.type != "cpu":
        return time_calls(step, device, warmup, repeats), None
    timed, reference = time_in_turn([step, reference_step()], device, warmup, repeats)
    return timed, reference.device_seconds


def _count_flops(module: SolverModule, batch: FieldBatch, precision: str) -> dict[str, Mapping[str, int]]:
    """Operations of a training step and of a prediction of the batch, by part."""
    calls = {
        "step": training_step(module, batch, precision),
        "inference": prediction(module.solver, batch, precision),
    }
    return {name: count_flops(call) for name, call in calls.items()}


def _describe_flops(flops: Mapping[str, Mapping[str, int]], size: int) -> dict[str, Any]:
    """Operations per sample: of a training step, of a prediction, and those of the prediction by part."""
    step, inference = (flops[name].get("Global", 0) / size for name in ("step", "inference"))
    parts = {name: count / size for name, count in split_flops(flops["inference"]).items()}
    return {"training_per_sample": step, "inference_per_sample": inference, "by_part": parts}


def _time_inference(
    solver: NeuralSolver, batch: FieldBatch, precision: str, warmup: int, repeats: int
) -> dict[str, float]:
    """Latency of one sample, and the time and throughput of a batch."""
    device = batch.inputs.device
    one = time_calls(prediction(solver, batch.map(lambda tensor: tensor[:1]), precision), device, warmup, repeats)
    whole = one if len(batch) == 1 else time_calls(prediction(solver, batch, precision), device, warmup, repeats)
    return {
        "latency": one.seconds,
        "latency_device_seconds": one.device_seconds,
        "batch_seconds": whole.seconds,
        "batch_device_seconds": whole.device_seconds,
        "samples_per_second": len(batch) / whole.seconds,
    }
