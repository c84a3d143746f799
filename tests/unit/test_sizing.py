"""Suggested sizes: models of every family can be made with them, and they follow data and machine."""

import pytest
import torch
from tiny import batch, spec

from lsm import sizing
from lsm.model import MODELS
from lsm.sizing import Machine, suggest
from lsm.solver import build_solver

CPU, GPU = Machine(memory=8e9, fast=False), Machine(memory=8e10, fast=True)


def nested(options):
    """Dotted names as groups."""
    made = {}
    for name, value in options.items():
        group, _, option = name.rpartition(".")
        (made.setdefault(group, {}) if group else made)[option] = value
    return made


FIELDS = [spec(sites=(7,)), spec(sites=(17, 6)), spec("points", (30,), inputs=2), spec("mesh", (6, 9), inputs=2)]


@pytest.mark.parametrize("fields", FIELDS, ids=lambda fields: f"{fields.geometry} {fields.sites}")
@pytest.mark.parametrize("family", MODELS.names())
def test_every_family_is_made_and_called(family, fields):
    if fields.geometry not in MODELS[family].geometries:
        pytest.skip("this family does not support such sites")
    sizes = suggest(family, fields.sites, fields.geometry == "points", 100, CPU)
    samples = batch(fields, size=2)
    with torch.no_grad():
        prediction = build_solver({"model": {"name": family, **nested(sizes.model)}}, fields)(samples)
    assert prediction.shape == samples.targets.shape


def test_sizes_follow_sites_samples_and_machine():
    assert suggest("lsm", (64, 64), False, 800, CPU).model == {"width": 16, "num_scales": 5}
    assert suggest("lsm", (64, 9), False, 800, CPU).model["num_scales"] == 2
    assert suggest("lsm", (64, 64), False, 800, GPU).model["width"] == 32
    assert suggest("lsm", (4000,), True, 800, CPU).model["projection.resolution"] == 96
    assert suggest("fno", (20, 9), False, 800, CPU).model["modes"] == [10, 4]
    assert suggest("fno", (256, 64), False, 800, CPU).model["modes"] == 12
    assert suggest("vit", (100, 100), False, 800, CPU).model["patch"] == [4, 4]
    few, many = (suggest("lsm", (64, 64), False, count, CPU) for count in (100, 10_000))
    assert (few.batch_size, many.batch_size) == (5, 20)
    assert (few.max_epochs, many.max_epochs) == (100, 10)
    assert suggest("lsm", (64, 64), False, 800, Machine(memory=3e8, fast=False)).batch_size == 2
    gpu = Machine(memory=4e9, fast=True)
    batches = [suggest(name, (64, 64), False, 800, gpu).batch_size for name in ("lsm", "transolver")]
    assert batches == [19, 6], "Transolver's own width and layers keep three times as much"


def test_memory_that_holds_files_is_free(monkeypatch):
    monkeypatch.setattr(sizing, "available_memory", lambda: 123)
    monkeypatch.setattr(sizing, "best_device", lambda: torch.device("cpu"))
    assert Machine.present() == Machine(memory=123, fast=False)
