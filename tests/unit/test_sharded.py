"""A solver whose parameters lie in two processes, each of which holds a half (FSDP), trains as in one process."""

from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from tiny import batch, spec
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lsm.fields import FieldBatch
from lsm.solver import NeuralSolver, build_solver

FIELDS = spec(sites=(16, 16))
PROCESSES = 2


def make(name: str) -> NeuralSolver:
    torch.manual_seed(0)
    return build_solver({"model": {"name": name, "width": 8}}, FIELDS).eval()


def train(solver: NeuralSolver, samples: FieldBatch, steps: int = 3) -> list[torch.Tensor]:
    """Mean squared errors before each step."""
    optimizer = torch.optim.Adam(solver.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = (solver(samples) - samples.targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def train_a_share(rank: int, name: str, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=PROCESSES)
    solver, samples = make(name), batch(FIELDS, size=4)
    whole = sum(parameter.numel() for parameter in solver.parameters())
    fully_shard(solver, mesh=init_device_mesh("cpu", (PROCESSES,)))
    share = FieldBatch(*(field.chunk(PROCESSES)[rank] for field in (samples.inputs, samples.targets)))
    losses = torch.stack(train(solver, share))
    distributed.all_reduce(losses)
    held = sum(parameter.to_local().numel() for parameter in solver.parameters())
    if rank == 0:
        torch.save({"losses": losses / PROCESSES, "share": held / whole}, f"{folder}/found.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lsm", "lsm2"])
def test_two_processes_that_hold_half_of_the_parameters_train_as_one(name: str, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train_a_share, (name, str(tmp_path)), nprocs=PROCESSES)
    found = torch.load(tmp_path / "found.pt")
    expected = torch.stack(train(make(name), batch(FIELDS, size=4)))
    assert expected[-1] < expected[0]
    torch.testing.assert_close(found["losses"], expected, rtol=1e-4, atol=1e-6)
    assert found["share"] == pytest.approx(1 / PROCESSES, abs=0.02)
