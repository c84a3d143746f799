"""A user's own data: what the README tells to write is enough to train, evaluate and draw, from any folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from experiments.cli import require_store


def readme_block(language: str, holding: str) -> str:
    """The one block of code in the README that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (block,) = [block for block in blocks if holding in block]
    return block


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the README's store, of few samples on a small grid, and its YAML."""
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark/heat.yaml").write_text(readme_block("yaml", "name: heat"))
    monkeypatch.chdir(tmp_path)
    code = readme_block("python", "StoreWriter").replace("1000", "12").replace("(64, 64)", "(16, 16)")
    conductivity = np.random.default_rng(0).uniform(1, 2, (12, 16, 16)).astype("f4")
    (tmp_path / "data").mkdir()
    exec(code, {"conductivity": conductivity, "temperature": conductivity**-2})
    return tmp_path


def test_a_prediction_from_python_is_made_as_the_readme_says(darcy_run):
    names: dict[str, Any] = {}
    exec(readme_block("python", "lsm.load").replace("runs/demo", str(darcy_run)), names)
    assert names["pressure"].shape == (43, 43, 1)
    assert np.isfinite(names["pressure"]).all()


def test_data_that_are_not_there_are_to_be_written():
    """A benchmark without a generator has no published files either, wherever its YAML lies."""
    with pytest.raises(
        FileNotFoundError, match=r"heat\.h5 does not exist: write it with lsm\.data\.store\.StoreWriter, or"
    ):
        require_store(Path("nowhere/heat.h5"), {"name": "heat"}, "paper")
    with pytest.raises(FileNotFoundError, match=r"make it with `lsm-generate benchmark=darcy`"):
        require_store(Path("nowhere/darcy.h5"), {"name": "darcy", "generator": {}}, "paper")


def call(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_store_and_a_yaml_are_enough(folder):
    splits = "data.splits={train:[0,6],validation:[6,8],test:[8,12]}"
    small = ("model.width=8", "model.trunk.num_scales=2", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    steps = [
        ("train", "--config-dir", str(folder), "benchmark=heat", splits, *small, "run_dir=run"),
        ("evaluate", "checkpoint=run"),
        ("visualize", "checkpoint=run", "samples=[0]", "dpi=40"),
    ]
    for name, *options in steps:
        done = call(folder, name, *options)
        assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "run/evaluation/test/metrics.json").read_text())
    assert metrics["relative_l2"]["num_samples"] == 4
    assert (folder / "run/figures/test_0000.png").is_file()


@pytest.mark.parametrize("key", ["name", "reader", "loss"])
def test_what_a_yaml_lacks_is_said(key, folder):
    whole = (folder / "benchmark/heat.yaml").read_text()
    (folder / "benchmark/heat.yaml").write_text(re.sub(rf"^{key}:.*\n", "", whole, flags=re.MULTILINE))
    done = call(folder, "train", "--config-dir", str(folder), "benchmark=heat", "run_dir=lacking")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert key in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("name", "lacks"), [("generate", "generator"), ("convert", "published")])
def test_what_own_data_cannot_do_is_said(name, lacks, folder):
    more = [] if name == "generate" else ["source=."]
    done = call(folder, name, "--config-dir", str(folder), "benchmark=heat", *more)
    assert done.returncode == 1
    assert done.stderr.startswith("error: benchmark heat has no ")
    assert lacks in done.stderr
    assert "Traceback" not in done.stderr
