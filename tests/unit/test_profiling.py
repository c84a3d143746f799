"""FLOPs against formulas by hand, and timings, memory and steps against what they measure."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from lsm import profiling
from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.flops import count_flops, split_flops
from lsm.losses import WeightedSum
from lsm.model import MODELS
from lsm.profiling import (
    matrix_peak,
    precision_context,
    prediction,
    profile,
    slowest_operations,
    time_calls,
    time_in_turn,
    training_step,
)
from lsm.solver import build_solver
from lsm.training.module import SolverModule

CPU = torch.device("cpu")
SPEC = FieldSpec("grid", (8, 12), ("x", "y"), (Channel("a"),), (Channel("u"),))


def flops(call) -> int:
    return count_flops(call)["Global"]


# FLOPs


def test_products_of_matrices_and_convolutions_count_two_per_multiplication():
    assert flops(lambda: torch.ones(3, 4) @ torch.ones(4, 5)) == 2 * 3 * 4 * 5
    assert flops(lambda: nn.Linear(4, 5)(torch.ones(7, 4))) == 2 * 7 * 4 * 5
    assert flops(lambda: nn.Conv2d(2, 3, 3, padding=1)(torch.ones(1, 2, 6, 6))) == 2 * 36 * 9 * 2 * 3


def test_complex_products_count_four_real_ones():
    left, right = torch.ones(3, 4, dtype=torch.cfloat), torch.ones(4, 5, dtype=torch.cfloat)
    assert flops(lambda: left @ right) == 8 * 3 * 4 * 5
    assert flops(lambda: torch.einsum("bik,bkj->bij", left[None], right[None])) == 8 * 3 * 4 * 5


def test_transforms_count_five_n_log_n_and_real_ones_half():
    whole = 7 * 5 * 256 * math.log2(256)  # seven transforms of 16 x 16 numbers
    field = torch.ones(7, 16, 16)
    assert flops(lambda: torch.fft.fft2(field + 0j)) == whole
    assert flops(lambda: torch.fft.rfft2(field)) == whole / 2
    spectrum = torch.fft.rfft2(field)
    assert flops(lambda: torch.fft.irfft2(spectrum, s=(16, 16))) == whole / 2
    assert flops(lambda: torch.fft.fft(torch.ones(3, 8, dtype=torch.cfloat))) == 3 * 5 * 8 * 3


def test_attention_counts_both_of_its_products():
    points = torch.ones(2, 4, 10, 8)
    assert flops(lambda: scaled_dot_product_attention(points, points, points)) == 2 * 4 * (2 * 2 * 10 * 10 * 8)


def test_a_backward_pass_counts_the_gradients_of_both_factors():
    weights, inputs = torch.ones(4, 5, requires_grad=True), torch.ones(3, 4, requires_grad=True)
    assert flops(lambda: (inputs @ weights).sum().backward()) == 3 * (2 * 3 * 4 * 5)


class Parts(nn.Module):
    """A part that is small, a list, and one that consists of others."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.several = nn.Linear(4, 4), nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.large = nn.Sequential(nn.Linear(4, 40), nn.Linear(40, 4))

    def forward(self, points):
        return self.large(self.several[1](self.several[0](self.small(points)))) @ torch.ones(4, 1)


def test_flops_by_part_add_up_and_open_the_largest_part():
    parts = split_flops(count_flops(lambda: Parts()(torch.ones(1, 4))), "Parts.")
    assert parts == {"large.0": 320, "large.1": 320, "several": 64, "small": 32, "other": 8}
    assert list(parts.values()) == sorted(parts.values(), reverse=True)


# Steps


def make_module() -> SolverModule:
    torch.manual_seed(0)
    solver = build_solver({"model": {"name": "fno", "width": 4, "modes": 2, "num_layers": 1}}, SPEC)
    return SolverModule(
        solver,
        WeightedSum(terms={"relative_l2": 1.0}),
        lambda named: SGD([parameter for _, parameter in named], lr=0.1),
        lambda optimizer: StepLR(optimizer, 1),
    )


@pytest.fixture
def batch() -> FieldBatch:
    generator = torch.Generator().manual_seed(0)
    return FieldBatch(*(torch.rand(3, 8, 12, 1, generator=generator) for _ in range(2)))


def test_a_step_is_the_loss_of_training_and_one_update(batch):
    module, expected = make_module(), make_module()
    training_step(module, batch)()
    loss = expected.loss(expected.solver(batch), batch, SPEC)
    loss.backward()
    for found, wanted in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, wanted - 0.1 * wanted.grad)


def test_the_time_of_a_step_includes_what_training_does_around_the_model(batch, monkeypatch):
    """Whatever training_step does is timed: it is called, not repeated."""
    module, seen = make_module(), []
    original = module.training_step
    monkeypatch.setattr(module, "training_step", lambda *arguments: seen.append(arguments) or original(*arguments))
    time_calls(training_step(module, batch), CPU, warmup=1, repeats=2)
    assert len(seen) == 3


def test_precisions_are_those_of_the_trainer(batch):
    with precision_context("bf16-mixed", CPU)():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with precision_context("32-true", CPU)():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with pytest.raises(InputError, match="precision is 16-mixed, expected one of 32-true, bf16-mixed"):
        precision_context("16-mixed", CPU)


# Measurements


class Clock:
    """Time that passes as a call says: on the wall, and half of it on the processor."""

    def __init__(self, pauses: list[float]) -> None:
        self.now, self.pauses = 0.0, iter(pauses)

    def call(self) -> None:
        self.now += next(self.pauses)

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now / 2


@pytest.mark.parametrize("warmup", [0, 1])
def test_timings_are_those_of_the_repetitions(warmup, monkeypatch):
    """The first call never counts."""
    clock = Clock([9.0, 1.0, 3.0, 2.5])
    monkeypatch.setattr(profiling, "time", clock)
    timing = time_calls(clock.call, CPU, warmup, repeats=3)
    assert (timing.fastest, timing.seconds, timing.slowest, timing.first) == (1.0, 2.5, 3.0, 9.0)
    assert timing.device_seconds == 1.25


def test_calls_in_turn_meet_the_same_conditions(monkeypatch):
    """A machine that slows down by half between two rounds slows both calls down, and their ratio stays."""
    clock = Clock([9.0, 9.0, 1.0, 2.0, 1.0, 2.0, 1.5, 3.0, 1.5, 3.0, 1.5, 3.0])
    monkeypatch.setattr(profiling, "time", clock)
    first, second = time_in_turn([clock.call, clock.call], CPU, warmup=1, repeats=5)
    assert (first.seconds, second.seconds) == (1.5, 3.0)
    assert second.device_seconds / first.device_seconds == 2.0


def test_the_slowest_operations_come_first(capfd):
    left = torch.ones(800, 800)
    found = slowest_operations(lambda: (left @ left @ left).add(1.0), CPU, count=2)
    assert found[0]["name"] == "aten::mm"
    assert found[0]["calls"] == 2
    assert found[0]["share"] > found[1]["share"] > 0
    assert capfd.readouterr().err == ""


def test_the_peak_of_the_machine_is_a_rate():
    slow = matrix_peak(CPU, torch.float64, size=64, repeats=3)
    assert 1e7 < slow < 1e13


def test_a_profile_is_complete_and_consistent(batch):
    found = profile(make_module, batch, warmup=1, repeats=2, num_slowest=3)
    assert found["parameters"] == sum(parameter.numel() for parameter in make_module().parameters())
    counts = found["flops"]
    solver = make_module().solver.eval()
    assert counts["inference_per_sample"] == pytest.approx(flops(lambda: solver(batch)) / 3)
    assert sum(counts["by_part"].values()) == pytest.approx(counts["inference_per_sample"])
    assert counts["training_per_sample"] > 2 * counts["inference_per_sample"]
    assert found["step"]["samples_per_second"] == pytest.approx(3 / found["step"]["seconds"])
    assert found["inference"]["latency"] > 0
    assert found["share_of_peak"] == pytest.approx(
        3 * counts["training_per_sample"] / found["step"]["device_seconds"] / found["matrix_peak"]
    )
    assert len(found["slowest"]) == 3


@pytest.mark.parametrize("family", MODELS.names())
def test_the_flops_of_a_prediction_are_counted_for_every_family(family, batch):
    solver = build_solver({"model": {"name": family}}, SPEC)
    solver.fit_normalizers(lambda: [batch])
    assert flops(prediction(solver, batch)) > 0
