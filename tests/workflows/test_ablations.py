"""The paper's ablations: each is one override of the command line, trains, and changes the model in the way it says."""

from __future__ import annotations

import pytest
from conftest import tiny_training

from lsm.checkpoint import load
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
def test_one_override_is_the_ablation(override, command, darcy_store, tmp_path):
    options = [*tiny_training(darcy_store, tmp_path), "trainer.max_epochs=1", override]
    key = override.split("=")[0]
    options = [option for option in options[:-1] if option.split("=")[0] != key] + [override]
    command("train", *options)
    assert ABLATIONS[override](load(tmp_path / "checkpoints/last.ckpt").solver.model)
