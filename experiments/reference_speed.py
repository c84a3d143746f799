"""Compare the cost of LSM with that of its public reference code, step by step in turn, at the published sizes.

    python -m experiments.reference_speed REFERENCE [--benchmarks darcy pipe] [--batch-size 20] [--output FOLDER]

``REFERENCE`` is a checkout of github.com/thuml/Latent-Spectral-Models. Its models run as they are, on the CPU. Each
implementation has a process of its own, and does a step while the others wait.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from experiments.app import compose_config
from experiments.assemble import make_module
from experiments.revision import code_revision
from experiments.samples import one_batch
from lsm.files import write_whole
from lsm.process_memory import TUNABLES, PeakMemory, keep_freed_memory
from lsm.provenance import describe_environment

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lsm.fields import FieldBatch

Calls = dict[str, Callable[[], Any]]

BENCHMARKS = ("elasticity_g", "airfoil", "darcy", "pipe", "navier_stokes", "elasticity_p", "plasticity")

#: Samples of a batch where the published 20 would take more than ten minutes or all of a workstation's memory.
FEWER_SAMPLES = {"navier_stokes": 6, "plasticity": 4}

#: Files of the reference's models by the rank of the grid; 0 for point clouds.
MODELS = {2: "LSM_2D", 3: "LSM_3D", 0: "LSM_Irregular_Geo"}

REFERENCE = "reference"

#: What our commands set in the environment, see :mod:`lsm.process_memory` and :mod:`lsm.process_threads`.
_OUR_SETTINGS = (TUNABLES, "GOMP_SPINCOUNT")

#: Ends the name of a kind whose cheap results are computed again.
CHEAP = ", recompute=cheap"


# The reference


def load_source(path: Path) -> ModuleType:
    """A file of the reference as a module, with its constants on the CPU."""
    spec = importlib.util.spec_from_loader(path.stem, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    text = path.read_text().replace(".cuda()", "").replace('device="cuda"', 'device="cpu"')
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def reference_calls(source: Path, cfg: Any, batch: FieldBatch) -> Calls:
    """A training step and a prediction of the reference: its model, loss and optimiser."""
    import torch

    from lsm.model.grid import missing_sites

    points = batch.code is not None
    sites = batch.inputs.shape[1:-1]
    file = load_source(source / "models" / f"{MODELS[0 if points else len(sites)]}.py")
    padding = missing_sites(sites, [16 * size for size in cfg.model.patch]) if not points else [0, 0]
    channels = 1 if cfg.benchmark.name == "navier_stokes" else batch.targets.shape[-1]
    torch.manual_seed(0)
    model = file.Model(
        SimpleNamespace(
            in_dim=batch.inputs.shape[-1],
            out_dim=channels,
            d_model=cfg.model.width,
            num_token=4,
            num_basis=12,
            patch_size=",".join(map(str, cfg.model.patch)),
            padding=",".join(map(str, reversed(padding))),
        )
    )
    deformation = file.IPHI() if points else None
    parameters = [*model.parameters(), *(deformation.parameters() if deformation else ())]
    optimizer = load_source(source / "utils/adam.py").Adam(parameters, lr=1e-3, weight_decay=1e-4)

    def predict() -> Tensor:
        if deformation is not None:
            return model(batch.coords, code=batch.code, iphi=deformation)
        return roll_out(model, batch.inputs, batch.targets.shape[-1] // channels)

    def step() -> None:
        model.train()
        optimizer.zero_grad()
        difference = (predict() - batch.targets).unflatten(-1, (-1, channels)).movedim(-2, 1).flatten(2)
        truth = batch.targets.unflatten(-1, (-1, channels)).movedim(-2, 1).flatten(2)
        (difference.norm(dim=2) / truth.norm(dim=2)).sum().backward()
        optimizer.step()

    def infer() -> None:
        model.eval()
        with torch.no_grad():
            predict()

    return {"step": step, "prediction": infer}


def roll_out(model: nn.Module, frames: Tensor, count: int) -> Tensor:
    """``count`` frames, each predicted from the last ones ``(b, *sites, t)``; a single prediction without time."""
    import torch

    found: list[Tensor] = []
    for _ in range(count):
        found.append(model(frames))
        if count > 1:
            frames = torch.cat([frames[..., 1:], found[-1]], dim=-1)
    return torch.cat(found, dim=-1)


# Ours, and the processes


def own_kinds(precisions: Sequence[str]) -> list[str]:
    """How ours runs: in each precision, with everything kept for the gradients, and without what is cheap to compute again."""
    return [kind for precision in precisions for kind in (precision, f"{precision}{CHEAP}")]


def own_calls(cfg: Any, data: Any, batch: FieldBatch, precision: str) -> tuple[Calls, int]:
    """A training step and a prediction as ``lsm-train`` does them, and the floating-point operations of the step."""
    from lsm.flops import count_flops
    from lsm.profiling import prediction, training_step

    module = make_module(cfg, data, lambda: 1000, {})
    step = training_step(module, batch, precision)
    flops = count_flops(step)["Global"]
    return {"step": step, "prediction": prediction(module.solver, batch, precision)}, flops


def serve(pipe: Connection, source: Path, benchmark: str, batch_size: int, threads: int, kind: str) -> None:
    """One process: answer each name of a call with its seconds of the processor, and ``end`` with the peak of the memory."""
    import torch

    torch.set_num_threads(threads)
    recompute = "recompute=cheap" if kind.endswith(CHEAP) else "recompute=false"
    cfg = compose_config(
        "train", f"benchmark={benchmark}", f"data.batch_size={batch_size}", "data_dir=no_data", recompute
    )
    data = one_batch(cfg)
    batch = next(data.batches("train"))
    memory = PeakMemory(torch.device("cpu"))
    flops = None
    if kind == REFERENCE:
        calls = reference_calls(source, cfg, batch)
    else:
        keep_freed_memory()  # as every command does
        calls, flops = own_calls(cfg, data, batch, kind.removesuffix(CHEAP))
    pipe.send(flops)
    while (name := pipe.recv()) != "end":
        begin = time.process_time()
        calls[name]()
        pipe.send(time.process_time() - begin)
    pipe.send(memory.read())


def compare(source: Path, benchmark: str, kinds: Sequence[str], options: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of a step and of a prediction, and the peak of the memory, of the reference and of each kind of ours."""
    spawn = multiprocessing.get_context("spawn")
    size = min(options.batch_size, FEWER_SAMPLES.get(benchmark, options.batch_size))
    pipes, flops = {}, {}
    for kind in (REFERENCE, *kinds):
        here, there = spawn.Pipe()
        arguments = (there, source, benchmark, size, options.threads, kind)
        with usual_settings() if kind == REFERENCE else nullcontext():
            spawn.Process(target=serve, args=arguments, daemon=True).start()
        pipes[kind], flops[kind] = here, here.recv()
    found: dict[str, Any] = {"benchmark": benchmark, "batch_size": size}
    for name in ("step", "prediction"):
        seconds: dict[str, list[float]] = {kind: [] for kind in pipes}
        for _ in range(1 + options.repeats):
            for kind, pipe in pipes.items():
                pipe.send(name)
                seconds[kind].append(pipe.recv())
        found[name] = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
    for pipe in pipes.values():
        pipe.send("end")
    found["memory_bytes"] = {kind: pipe.recv() for kind, pipe in pipes.items()}
    found["flops_per_second"] = {kind: flops[kind] / found["step"][kind] for kind in kinds if not kind.endswith(CHEAP)}
    return found


@contextmanager
def usual_settings() -> Iterator[None]:
    """Processes that start within this context handle memory and waiting threads as any program does, not as our commands."""
    settings = {name: os.environ.pop(name) for name in _OUR_SETTINGS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(settings)


# The table


def ratio(row: dict[str, Any], quantity: str, kind: str) -> float:
    """How many times as fast as the reference; of the memory, as a share of the reference's."""
    ours, theirs = row[quantity][kind], row[quantity][REFERENCE]
    return ours / theirs if quantity == "memory_bytes" else theirs / ours


def as_markdown(rows: Sequence[dict[str, Any]], precisions: Sequence[str], peaks: dict[str, float]) -> str:
    """The ratios of every benchmark, and their geometric mean."""
    quantities = {"step": "step", "prediction": "prediction", "memory_bytes": "memory"}
    columns = [(quantity, kind) for kind in own_kinds(precisions) for quantity in quantities]
    columns = [(quantity, kind) for quantity, kind in columns if quantity != "prediction" or not kind.endswith(CHEAP)]
    head = [f"{quantities[quantity]}, {kind}" for quantity, kind in columns]
    head += [f"share of peak, {kind}" for kind in precisions]
    lines = [f"| benchmark | batch | {' | '.join(head)} |", "|---" * (len(head) + 2) + "|"]
    for row in rows:
        cells = [f"{ratio(row, quantity, kind):.2f}" for quantity, kind in columns]
        cells += [f"{row['flops_per_second'][kind] / peaks[kind]:.0%}" for kind in precisions]
        lines.append(f"| {row['benchmark']} | {row['batch_size']} | {' | '.join(cells)} |")
    means = [statistics.geometric_mean(ratio(row, *column) for row in rows) for column in columns]
    lines.append(f"| geometric mean | | {' | '.join(f'{mean:.2f}' for mean in means)} |{' |' * len(precisions)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write ``reference_speed.json`` and ``.md``."""
    import torch

    from lsm.profiling import PRECISIONS, matrix_peak

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path, help="checkout of the reference code")
    parser.add_argument("--benchmarks", nargs="+", default=list(BENCHMARKS), choices=BENCHMARKS)
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/reference_speed"))
    options = parser.parse_args()
    if not (options.reference / "models").is_dir():
        parser.error(f"{options.reference} has no folder models/; give a checkout of the reference code")
    torch.set_num_threads(options.threads)
    rows, peaks = [], {}
    for benchmark in options.benchmarks:
        rows.append(compare(options.reference.resolve(), benchmark, own_kinds(options.precisions), options))
        print(json.dumps(rows[-1]), flush=True)
    for kind in options.precisions:
        peaks[kind] = max(matrix_peak(torch.device("cpu"), dtype) for dtype in PRECISIONS[kind])
    table = as_markdown(rows, options.precisions, peaks)
    result = {"threads": options.threads, "matrix_peak": peaks, "rows": rows, "code": code_revision()}
    result["environment"] = describe_environment()
    write_whole(options.output / "reference_speed.json", json.dumps(result, indent=2) + "\n")
    write_whole(options.output / "reference_speed.md", table)
    print(table)


if __name__ == "__main__":
    main()
