"""``trainer.precision``: chosen by the hardware, recorded as what was chosen, kept when the run continues; inputs keep theirs."""

from __future__ import annotations

import json

import pytest
import torch
from omegaconf import OmegaConf
from tiny import spec

from experiments.app import compose_config, plain
from experiments.device import precision_is_chosen
from experiments.revision import code_revision
from experiments.runs import record_of, types_precision
from experiments.tables.cells import Cell, state_of
from experiments.tables.costs import profile_of
from experiments.tables.plan import make_plan
from lsm import device
from lsm.device import suitable_precision
from lsm.model import MODELS

ON_CPU = "trainer.accelerator=cpu"


def processor(monkeypatch, *instructions: str) -> None:
    """A processor with some of the instructions for bfloat16."""
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda name=name: name in instructions, raising=False)


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [((), "32-true"), (("avx512_bf16",), "bf16-mixed"), (("avx512_bf16", "amx_tile"), "bf16-mixed")],
)
def test_a_processor_computes_in_bfloat16_where_it_has_the_instructions(instructions, expected, monkeypatch):
    processor(monkeypatch, *instructions)
    assert suitable_precision("cpu") == expected


@pytest.mark.parametrize("native", [False, True])
def test_a_gpu_is_asked_for_bfloat16_that_is_not_emulated(native, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or native)
    assert suitable_precision("cuda") == ("bf16-mixed" if native else "32-true")


def test_devices_that_are_not_there_or_not_known_compute_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert {suitable_precision(name) for name in ("cuda", "mps", "tpu")} == {"32-true"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("preset=quick", ON_CPU), "bf16-mixed"),
        (("preset=night", ON_CPU), "bf16-mixed"),
        (("preset=quick", ON_CPU, "trainer.precision=32-true"), "32-true"),
        (("preset=paper", ON_CPU), "32-true"),
        (("preset=paper", ON_CPU, "trainer.precision=auto"), "bf16-mixed"),
        (("preset=quick", "trainer.accelerator=gpu"), "32-true"),
    ],
)
def test_a_run_records_the_precision_that_was_chosen(options, expected, monkeypatch):
    processor(monkeypatch, "avx512_bf16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = compose_config("train", "benchmark=darcy", *options)
    assert record_of(cfg, [], {})["config"]["trainer"]["precision"] == expected


def test_a_profile_suits_its_device(monkeypatch):
    processor(monkeypatch, "avx512_bf16")
    monkeypatch.setattr(device, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    precisions = [
        plain(compose_config("profile", "benchmark=darcy", "preset=quick", *more))["trainer"]["precision"]
        for more in ((), ("device=cpu",))
    ]
    assert precisions == ["32-true", "bf16-mixed"]


def test_a_table_suits_its_device(monkeypatch):
    """What a row is composed with is what its profile and its runs record, also beside a GPU that is not used."""
    processor(monkeypatch, "avx512_bf16")
    monkeypatch.setattr(device, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = "table=night", "benchmarks=[darcy]", "models=[lsm2]"
    plans = [make_plan(compose_config("table", *options, *more)) for more in ((), ("device=cpu",))]
    precisions = [plan.experiments[0].config["trainer"]["precision"] for plan in plans]
    assert precisions == ["32-true", "bf16-mixed"]


def table_of(folder, *options: str) -> Cell:
    """The first run of a table whose preset leaves the precision to the machine."""
    options = "table=night", "benchmarks=[darcy]", "models=[lsm2]", "device=cpu", f"run_dir={folder}", *options
    return Cell(make_plan(compose_config("table", *options)).experiments[0], 0)


def finish(cell: Cell, monkeypatch) -> None:
    """Leave what a finished run and its profile record, without training."""
    experiment = cell.experiment
    run = {"config": experiment.config, "overrides": list(experiment.options)}
    content = {"lsm": {"run": run, "data": {}}, "epoch": experiment.config["trainer"]["max_epochs"] - 1}
    monkeypatch.setattr("lsm.checkpoint.read", lambda path: content)
    files = {
        cell.last: {},
        cell.evaluation / "metrics.json": {"epoch": content["epoch"], "code": code_revision(), "relative_l2": {}},
        experiment.folder / "profile/profile.json": {
            "config": experiment.config,
            "precision_is_chosen": precision_is_chosen(experiment.cfg),
            "code": code_revision(),
        },
    }
    for path, record in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        ((), (), True),
        ((), ("options=['trainer.precision=auto']",), True),
        (("options=['trainer.precision=bf16-mixed']",), (), False),
        ((), ("options=['trainer.precision=32-true']",), False),
        ((), ("+table.rows.lsm2.options=['trainer.precision=32-true']",), False),
    ],
)
def test_a_table_keeps_the_precision_that_another_machine_chose(before, now, kept, tmp_path, monkeypatch):
    """Trained where the processor has bfloat16 in hardware, collected where it has not."""
    monkeypatch.setattr(device, "suitable_precision", lambda kind: "bf16-mixed")
    finish(table_of(tmp_path, *before), monkeypatch)
    monkeypatch.setattr(device, "suitable_precision", lambda kind: "32-true")
    cell = table_of(tmp_path, *now)
    state = state_of(cell, {}, "relative_l2", accept_other_code=False)
    changed = "trainer.precision was bf16-mixed, is 32-true"
    assert (state.status, state.reason) == (("finished", "") if kept else ("outdated", changed))
    assert (profile_of(cell.experiment, accept_other_code=False) is not None) is kept


def test_the_last_option_says_whether_a_precision_was_typed():
    typed = "trainer.precision=32-true"
    assert types_precision([typed])
    assert types_precision([f"++{typed}", "seed=1"])
    assert not types_precision([typed, "trainer.precision=auto"])
    assert not types_precision(["seed=1"])
    for options, chosen in (((), True), ((typed,), False)):
        assert precision_is_chosen(compose_config("profile", "benchmark=darcy", "preset=quick", *options)) is chosen


def test_tables_that_ship_are_in_float32_on_every_machine(monkeypatch):
    processor(monkeypatch, "avx512_bf16")
    for name in ("quick", "ablation", "lsm2_ablation"):
        assert "trainer.precision=32-true" in OmegaConf.to_container(
            compose_config("table", f"table={name}").table.options
        )


#: Options of each family for small fields.
SMALL = {
    "ffno": {"width": 8, "modes": 3, "num_layers": 2},
    "flare": {"width": 8, "num_blocks": 2, "heads": 2},
    "fno": {"width": 8, "modes": 3},
    "lsm": {"width": 8, "num_scales": 2},
    "lsm2": {"width": 8},
    "transolver": {"width": 8, "num_layers": 2, "heads": 2},
    "unet": {"width": 8, "num_scales": 2},
    "vit": {"width": 8, "num_layers": 2, "heads": 2},
}


@pytest.mark.parametrize("family", MODELS.names())
def test_mixed_precision_does_not_round_the_inputs(family):
    """A training on rounded inputs fits another function than the one that is evaluated in single precision."""
    fields = spec(sites=(12, 10), inputs=2)
    torch.manual_seed(0)
    model = MODELS.make({"name": family, **SMALL[family]}, fields).eval()
    inputs = torch.rand(3, *fields.sites, 2).bfloat16().float()
    close_by = inputs * (1 + 2**-10)
    assert torch.equal(close_by.bfloat16().float(), inputs)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal(model(inputs), model(close_by))
