"""Learning-rate schedules that span a run."""

from __future__ import annotations

import pytest
import torch

from experiments.assemble import _spanning


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_a_schedule_spans_runs_of_any_length(steps, compose):
    """A warm-up of a single step, of five in all, has a length of 0."""
    cfg = compose("train", "scheduler=one_cycle", "optimizer.lr=1e-3")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = _spanning(cfg.scheduler.make, lambda: steps)(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert 0 < min(rates) <= max(rates) <= 1e-3
