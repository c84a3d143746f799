"""The paper's ablations: each is one override of the command line, trains, and changes the model in the way it says."""

from __future__ import annotations

import pytest
from conftest import tiny_training

from experiments.app import plain
from experiments.runs import essence
from experiments.tables.plan import make_plan
from lsm.checkpoint import load
from lsm.fields import Channel, FieldSpec
from lsm.model import MODELS
from lsm.model.latent_spectral.spectral_block import IdentityBlock

ABLATIONS = {
    "model.num_scales=1": lambda model: len(model.trunk.blocks) == 1,
    "model.num_scales=3": lambda model: len(model.trunk.blocks) == 3,
    "model/block=identity": lambda model: all(isinstance(b, IdentityBlock) for b in model.trunk.blocks),
    "model.block.latent=false": lambda model: not any(hasattr(block, "tokens") for block in model.trunk.blocks),
    "model.block.spectral=false": lambda model: not any("spectral" in name for name, _ in model.named_parameters()),
    "model.block.num_basis=5": lambda model: all(b.spectral.weights.shape[1] == 10 for b in model.trunk.blocks),
    "model.block.num_tokens=7": lambda model: all(block.tokens.shape[1] == 7 for block in model.trunk.blocks),
    "model.patch=[2,5]": lambda model: model.trunk.patch == (2, 5),
}


@pytest.mark.parametrize("override", ABLATIONS)
def test_one_override_is_the_ablation(override, compose):
    config = plain(compose("train", "benchmark=darcy", "preset=quick", override))
    fields = FieldSpec("grid", (12, 12), ("x", "y"), (Channel("a"),), (Channel("u"),))
    assert ABLATIONS[override](MODELS.make(config["model"], fields))


@pytest.mark.parametrize(
    "override",
    [pytest.param(name, marks=[] if name == "model/block=identity" else pytest.mark.slow) for name in ABLATIONS],
)
def test_an_ablation_trains(override, command, darcy_store, tmp_path):
    key = override.split("=")[0]
    options = [text for text in tiny_training(darcy_store, tmp_path) if text.split("=")[0] != key]
    command("train", *options, "trainer.max_epochs=1", override)
    assert ABLATIONS[override](load(tmp_path / "checkpoints/last.ckpt").solver.model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "fields", "count"),
    [
        ("airfoil", FieldSpec("mesh", (12, 12), ("i", "j"), (Channel("x"), Channel("y")), (Channel("u"),)), 13),
        ("elasticity_p", FieldSpec("points", (90,), ("point",), (Channel("x"), Channel("y")), (Channel("u"),)), 14),
    ],
)
def test_every_row_of_the_ablations_of_lsm2_changes_one_part(benchmark, fields, count, compose):
    plan = make_plan(compose("table", "table=lsm2_ablation", f"benchmarks=[{benchmark}]"))
    configs = {experiment.row.name: essence(experiment.config) for experiment in plan.experiments}
    whole = configs.pop("lsm2")
    changed = {
        name: [key for key in {**whole, **other} if whole.get(key) != other.get(key)] for name, other in configs.items()
    }
    assert all(changed.values())
    parts = {name: {key.split(".")[0] for key in keys} for name, keys in changed.items() if name != "quick_recipe"}
    assert all(len(part) == 1 for part in parts.values()), parts
    sizes = {}
    for experiment in plan.experiments:
        model = MODELS.make({**experiment.config["model"], "width": 8}, fields)
        sizes[experiment.row.name] = sum(parameter.numel() for parameter in model.parameters())
    of_model = [name for name, part in parts.items() if part == {"model"} and name != "fixed_frequencies"]
    assert len(of_model) == count
    # A cloud has one scale, at which it predicts.
    alike = {"supervision"} if benchmark == "elasticity_p" else set()
    assert {name for name in of_model if sizes[name] == sizes["lsm2"]} == alike
