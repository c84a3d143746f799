"""lsm-profile: figures without data, on stored samples, and of several families side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from experiments import processes, profile
from experiments.app import compose_config
from experiments.processes import CommandFailed
from experiments.samples import one_batch
from lsm.errors import InputError

TINY = ("preset=quick", "data.batch_size=2", "repeats=1", "warmup=1", "device=cpu")
TINY_DARCY = (*TINY, "benchmark=darcy", "model.width=8", "benchmark.sets.quick.resolution=13")


def config(folder: Path, *options: str) -> Any:
    return compose_config("profile", f"run_dir={folder / 'profile'}", f"data_dir={folder / 'data'}", *options)


def test_a_profile_needs_no_data(tmp_path, capsys):
    (result,) = profile.from_command_line(config(tmp_path, *TINY_DARCY, "model.patch=[3,3]", "model.num_scales=2"))
    written = json.loads((tmp_path / "profile/profile.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert not (tmp_path / "data").exists()
    assert (written["benchmark"], written["model"], written["sites"]) == ("darcy", "lsm", [13, 13])
    assert written["batch_size"] == 2
    assert set(written["flops"]["by_part"]) >= {"trunk.down", "trunk.blocks", "trunk.up", "head"}
    shown = capsys.readouterr().out
    for words in ("training: step", "share of the matrix-product peak", "Slowest operations", "trunk.blocks"):
        assert words in shown


@pytest.mark.parametrize("benchmark", ["plasticity", "elasticity_p", "navier_stokes", "airfoil"])
def test_random_samples_have_the_shape_of_the_benchmark(benchmark, tmp_path):
    cfg = config(tmp_path, *TINY, f"benchmark={benchmark}")
    data = one_batch(cfg)
    (batch,) = data.batches("train")
    assert len(batch) == 2
    batch.sample(0).check(data.spec)
    assert data.spec.geometry == {"elasticity_p": "points", "airfoil": "mesh"}.get(benchmark, "grid")


def test_stored_samples_are_taken_where_they_exist(darcy_store, tmp_path):
    cfg = config(tmp_path, *TINY_DARCY, f"data.path={darcy_store}", "data.splits.train=[3,9]")
    data = one_batch(cfg)
    assert data.splits["train"] == (3, 5)
    assert data.describe()["provenance"]["source"] == "generated"


def test_without_data_and_generator_the_missing_store_is_named(tmp_path):
    cfg = config(tmp_path, *TINY_DARCY)
    OmegaConf.set_struct(cfg, False)
    del cfg.benchmark["generator"]
    with pytest.raises(FileNotFoundError, match=r"darcy_quick\.h5 does not exist: write it with"):
        one_batch(cfg)


@pytest.mark.slow
def test_families_are_compared_and_one_that_does_not_serve_is_left_out(tmp_path, monkeypatch, capsys):
    options = [*TINY, "benchmark=elasticity_p", "model.width=8", f"run_dir={tmp_path}"]

    def call(module: str, words: list[str], log: Path) -> None:
        assert module == "experiments.profile"
        try:
            profile.run(compose_config("profile", *words, f"data_dir={tmp_path / 'data'}"))
        except InputError as error:
            raise CommandFailed(str(error)) from error

    monkeypatch.setattr(processes, "call_module", call)
    cfg = compose_config("profile", *options, "compare=[lsm,fno]")
    results = profile.compare(cfg, [*options, "compare=[lsm,fno]"])
    assert [result["model"] for result in results] == ["lsm"]
    assert json.loads((tmp_path / "comparison.json").read_text()) == json.loads(json.dumps(results))
    assert (tmp_path / "lsm/profile.json").is_file()
    assert re.search("fno is left out: .*does not serve 'points' sites", capsys.readouterr().out)
    with pytest.raises(InputError, match="none of fno, unet could be measured"):
        profile.compare(compose_config("profile", *options, "compare=[fno,unet]"), options)
