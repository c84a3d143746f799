"""The comparison with the reference's speed: its code on the CPU, its roll-out, and the ratios."""

from __future__ import annotations

import os

import pytest
import torch

from experiments.reference_speed import CHEAP, REFERENCE, as_markdown, load_source, ratio, roll_out, usual_settings
from lsm.process_memory import TUNABLES
from lsm.process_threads import wait_briefly

GPU_CODE = """
import torch
CENTRE = torch.tensor([0.5], device="cuda")
MODES = torch.arange(3).cuda()
"""


def test_constants_of_the_reference_lie_on_the_cpu(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(GPU_CODE)
    module = load_source(path)
    assert module.CENTRE.device == module.MODES.device == torch.device("cpu")
    assert module.MODES.tolist() == [0, 1, 2]


def test_a_frame_follows_from_the_last_ones():
    """Of frames 1 and 2 that sum to the next one: 3, 5, 8."""
    frames = torch.tensor([[[1.0, 2.0]]])
    assert roll_out(lambda window: window.sum(-1, keepdim=True), frames, 3).tolist() == [[[3.0, 5.0, 8.0]]]


def test_without_time_there_is_one_prediction():
    assert roll_out(lambda inputs: 2 * inputs, torch.ones(1, 1, 1), 1).tolist() == [[[2.0]]]


def row(benchmark: str, ours: float, memory: float) -> dict:
    cheap = f"32-true{CHEAP}"
    seconds = {REFERENCE: 3.0, "32-true": ours, cheap: 2 * ours}
    return {
        "benchmark": benchmark,
        "batch_size": 20,
        "step": seconds,
        "prediction": seconds,
        "memory_bytes": {REFERENCE: 100.0, "32-true": memory, cheap: memory / 2},
        "flops_per_second": {"32-true": 5.0},
    }


def test_time_is_told_as_a_speed_up_and_memory_as_a_share():
    assert ratio(row("pipe", 2.0, 80.0), "step", "32-true") == pytest.approx(1.5)
    assert ratio(row("pipe", 2.0, 80.0), "memory_bytes", "32-true") == pytest.approx(0.8)


def test_the_table_ends_with_geometric_means():
    lines = as_markdown([row("pipe", 3.0, 40.0), row("darcy", 0.75, 90.0)], ["32-true"], {"32-true": 10.0}).splitlines()
    assert lines[2].split(" | ")[:3] == ["| pipe", "20", "1.00"]
    assert lines[3].endswith("| 4.00 | 4.00 | 0.90 | 2.00 | 0.45 | 50% |")
    assert lines[4].startswith("| geometric mean | | 2.00 | 2.00 | 0.60 | 1.00 | 0.30 |")


def test_processes_of_the_reference_start_without_our_settings(monkeypatch):
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "here")
    wait_briefly()
    monkeypatch.setenv(TUNABLES, "setting")
    ours = dict(os.environ)
    with usual_settings():
        assert dict(os.environ) == {"HOME": "here"}
    assert dict(os.environ) == ours
