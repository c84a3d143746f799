"""A user's own data: what the README tells to write is enough to train, evaluate and draw, from any folder."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call_forked
from conftest import ROOT

from experiments.assemble import require_store


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
    with pytest.raises(
        FileNotFoundError, match=r"make it again with `lsm-train benchmark=custom data.file=FILE resume=RUN`"
    ):
        require_store(Path("nowhere/heat_1.h5"), {"name": "heat"}, "own")
    with pytest.raises(FileNotFoundError, match=r"make it with `lsm-generate benchmark=darcy`"):
        require_store(Path("nowhere/darcy.h5"), {"name": "darcy", "generator": {}}, "paper")


def test_a_store_and_a_yaml_are_enough(folder):
    splits = "data.splits={train:[0,6],validation:[6,8],test:[8,12]}"
    small = ("model.width=8", "model.num_scales=2", "trainer.max_epochs=1", "trainer.accelerator=cpu")
    steps = [
        ("train", "--config-dir", str(folder), "benchmark=heat", splits, *small, "run_dir=run"),
        ("evaluate", "checkpoint=run"),
        ("visualize", "checkpoint=run", "samples=[0]", "dpi=40"),
    ]
    for done in call_forked(folder, steps):
        assert done.code == 0, done.errors
    metrics = json.loads((folder / "run/evaluation/test/metrics.json").read_text())
    assert metrics["relative_l2"]["num_samples"] == 4
    assert (folder / "run/figures/test_0000.png").is_file()


def test_from_two_arrays_to_a_drawn_prediction(tmp_path, monkeypatch):
    """The README's tutorial, of fewer samples and one epoch of a small model."""
    monkeypatch.chdir(tmp_path)
    exec(readme_block("python", "np.savez").replace("200", "20"), {})
    lines = [line for line in readme_block("bash", "lsm-inspect heat.npz").splitlines() if line]
    steps = [shlex.split(line, comments=True) for line in lines]
    assert [words[0] for words in steps] == [f"lsm-{name}" for name in TUTORIAL]
    commands = [(name, *words[1:], *TUTORIAL[name]) for name, words in zip(TUTORIAL, steps, strict=True)]
    finished = dict(zip(TUTORIAL, call_forked(tmp_path, commands), strict=True))
    for done in finished.values():
        assert done.code == 0, done.errors
    assert "20 samples, read as a grid of 32 x 32 sites: input -> target" in finished["inspect"].output
    assert "heat.npz is read as a grid of 32 x 32 sites" in finished["train"].output
    assert (tmp_path / "heat.png").is_file()
    assert (tmp_path / "runs/heat/figures/test_0000.png").is_file()
    assert np.load(tmp_path / "predictions.npz")["target"].shape == (20, 32, 32)


#: The commands of the tutorial, and what makes them quick.
TUTORIAL = {
    "inspect": ("dpi=40",),
    "train": ("model.width=8", "model.num_scales=2", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
    "evaluate": ("metrics=[relative_l2]", "device=cpu"),
    "visualize": ("samples=[0]", "dpi=40", "device=cpu"),
    "predict": ("device=cpu",),
}


def test_what_a_yaml_lacks_and_what_own_data_cannot_do_is_said(folder):
    whole = (folder / "benchmark/heat.yaml").read_text()
    commands, named = [], []
    for key, pattern in (("name", r"^name:.*\n"), ("reader", r"^reader:.*\n"), ("sets", r"^sets:.*")):
        cut = re.sub(pattern, "", whole, flags=re.MULTILINE | (re.DOTALL if key == "sets" else re.NOFLAG))
        assert cut != whole
        (folder / f"benchmark/no_{key}.yaml").write_text(cut)
        commands.append(("train", f"benchmark=no_{key}", "run_dir=lacking"))
        named.append(key)
    for name, lacks, *more in (("generate", "generator"), ("convert", "published", "source=.")):
        commands.append((name, "benchmark=heat", *more))
        named.append(f"benchmark heat has no {lacks}")
    commands = [(name, "--config-dir", str(folder), *options) for name, *options in commands]
    for words, done in zip(named, call_forked(folder, commands), strict=True):
        assert done.code == 1
        assert done.errors.startswith("error: ")
        assert words in done.errors
        assert len(done.errors.splitlines()) == 1, done.errors


def test_files_of_options_that_nothing_reads_are_refused(folder):
    """The README's file of options, without its first line, and with a misspelt entry."""
    whole = readme_block("yaml", "# @package _global_")
    assert whole.startswith("# @package _global_\n")
    assert "sizes:" in whole
    (folder / "experiment/paper").mkdir(parents=True)
    file, told = folder / "experiment/paper/heat.yaml", []
    for text in (whole, whole.partition("\n")[2], whole.replace("sizes:", "size:")):
        file.write_text(text)
        options = (
            "--config-dir",
            str(folder),
            "benchmark=heat",
            "run_dir=run",
            "trainer.accelerator=cpu",
            "+trainer.fast_dev_run=true",
        )
        splits = "data.splits={train:[0,6],validation:[6,8],test:[8,12]}"
        (done,) = call_forked(folder, [("train", *options, splits, "data.batch_size=2")])
        told.append((done.code, done.errors))
    assert told[0][0] == 0, told[0]
    assert told[1] == (
        1,
        "error: the file experiment/paper/heat.yaml would have no effect; its first line must be # @package _global_\n",
    )
    assert told[2] == (
        1,
        "error: a configuration file sets size, which is no option of lsm-train; did you mean sizes?\n",
    )
