"""Adding is one file and one YAML: a user's module and folder bring a part of every kind, which train and are evaluated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Finished, call_forked

from experiments.revision import code_revision
from lsm.data.store import StoredField, StoreWriter

MODULE = '''
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lsm.data.augment import AUGMENTATIONS
from lsm.evaluation import TRANSFORMS
from lsm.losses import LOSSES
from lsm.metrics import METRICS
from lsm.model import ANY_GEOMETRY, MODELS
from lsm.model.latent_spectral.parts import BLOCKS
from lsm.registry import Count, Positive


@MODELS.register("sitewise")
class SitewiseNetwork(nn.Module):
    """The same small network at every site, wherever it lies."""

    geometries = ANY_GEOMETRY

    def __init__(self, spec, *, width: Count = 8, depth: Count = 1) -> None:
        super().__init__()
        layers = [nn.Linear(spec.in_channels, width)]
        for _ in range(depth):
            layers += [nn.GELU(), nn.Linear(width, width)]
        self.layers = nn.Sequential(*layers, nn.GELU(), nn.Linear(width, spec.out_channels))

    def forward(self, inputs, coords=None, code=None):
        return self.layers(inputs)


@BLOCKS.register("mean")
class MeanBlock(nn.Module):
    """Adds a learned multiple of the mean over a set of points."""

    def __init__(self, channels, *, start: Positive = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), start))

    def forward(self, points):
        return points + self.weight * points.mean(dim=1, keepdim=True)


def slopes(field, spec):
    """Differences along the first axis of a grid of length 1, divided by its spacing."""
    return (field[:, 1:] - field[:, :-1]) * (spec.sites[0] - 1)


@METRICS.register("slope_error")
def slope_error(prediction, batch, spec) -> Tensor:
    difference = slopes(prediction, spec) - slopes(batch.targets, spec)
    return difference.flatten(1).square().mean(dim=1).sqrt()


@LOSSES.register("smooth")
class SmoothLoss:
    """Mean square error of the field and, weighted, of its slopes, which need the grid's spacing."""

    def __init__(self, *, slope_weight: Positive = 0.01) -> None:
        self.slope_weight = slope_weight

    def __call__(self, prediction, batch, spec):
        field = (prediction - batch.targets).square().mean()
        return field + self.slope_weight * (slopes(prediction, spec) - slopes(batch.targets, spec)).square().mean()


@AUGMENTATIONS.register("scaled")
class Scaled:
    """Inputs and targets of a linear equation multiplied by one random factor."""

    def __init__(self, symmetries, *, most: Positive = 2.0) -> None:
        self.most = most

    def __call__(self, batch, spec, random):
        factor = 1 + (self.most - 1) * torch.rand((), generator=random)
        batch.inputs, batch.targets = factor * batch.inputs, factor * batch.targets
        return batch


@TRANSFORMS.register("halved")
def halve(predict, solver, symmetries):
    return lambda batch: 0.5 * predict(batch)


def make_optimizer(named_parameters: Iterable[tuple[str, nn.Parameter]], lr: float, decay: float):
    """Weights decay, biases do not."""
    groups = {name: [] for name in ("weights", "biases")}
    for name, parameter in named_parameters:
        groups["biases" if name.endswith("bias") else "weights"].append(parameter)
    decays = {"weights": decay, "biases": 0.0}
    return torch.optim.AdamW([{"params": groups[name], "weight_decay": decays[name]} for name in groups], lr=lr)
'''

CONFIGURATION = {
    "benchmark/warm.yaml": """
        name: warm
        reader: {name: grid, inputs: [source], targets: [warmth]}
        sets: {full: {store: warm, splits: {train: [0, 6], validation: [6, 8], test: [8, 12]}}}
    """,
    "experiment/paper/warm.yaml": """
        # @package _global_
        data: {batch_size: 3}
        trainer: {max_epochs: 2, accelerator: cpu}
        sizes: {lsm: {width: 8, num_scales: 2}}
    """,
    "model/sitewise.yaml": "{name: sitewise, width: 8, depth: 2}",
    "model/block/mean.yaml": "{name: mean, start: 0.2}",
    "loss/smooth.yaml": "{name: smooth, slope_weight: 0.02}",
    "augmentation/scaled.yaml": "{name: scaled, most: 1.5}",
    "optimizer/grouped.yaml": "{_target_: my_parts.make_optimizer, _partial_: true, lr: 0.01, decay: 0.5}",
    "recipe/mine.yaml": """
        # @package _global_
        defaults:
          - /loss: smooth
          - /optimizer: grouped
          - /scheduler: step
          - /augmentation: scaled
        metrics: [relative_l2, slope_error]
    """,
}

TRAIN = ("train", "--config-dir", "conf", "plugins=[my_parts]", "benchmark=warm")
EVALUATE = ("evaluate", "device=cpu", "metrics=[relative_l2,slope_error]")

STEPS = {
    "train": (*TRAIN, "model=sitewise", "recipe=mine", "run_dir=run", "trainer.max_epochs=1"),
    "resume": (*TRAIN[:-1], "resume=run", "trainer.max_epochs=2"),
    "evaluate": (*EVALUATE, "plugins=[my_parts]", "checkpoint=run/checkpoints/last.ckpt", "run_dir=plain"),
    "transform": (*EVALUATE, "plugins=[my_parts]", "checkpoint=run", "transforms=[halved]", "run_dir=halved"),
    "block": (*TRAIN, "model/block=mean", "run_dir=block", "trainer.max_epochs=1", "recipe=paper"),
    "resume without plugins": ("train", "--config-dir", "conf", "resume=run", "trainer.max_epochs=3"),
    "evaluate without plugins": ("evaluate", "device=cpu", "checkpoint=run", "run_dir=nowhere"),
    "plugin that there is not": (*TRAIN[:3], "plugins=[gone_parts]", "benchmark=warm", "run_dir=nowhere"),
    "option that there is not": (*TRAIN, "model=sitewise", "+model.deep=3", "run_dir=nowhere"),
    "option out of range": (*TRAIN, "model=sitewise", "model.depth=0", "run_dir=nowhere"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's folder: one module, YAML files, data."""
    folder = tmp_path_factory.mktemp("extension")
    (folder / "my_parts.py").write_text(MODULE)
    for name, text in CONFIGURATION.items():
        path = folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line.removeprefix(" " * 8) for line in text.strip("\n").splitlines()) + "\n")
    source = np.random.default_rng(0).uniform(1, 2, (12, 16, 16)).astype("f4")
    fields = {name: StoredField((16, 16), "1", name) for name in ("source", "warmth")}
    (folder / "data").mkdir()
    with StoreWriter(folder / "data/warm.h5", "warm", fields, 12, {}) as writer:
        writer.write(slice(0, 12), {"source": source, "warmth": 3 * source})
    return folder


@pytest.fixture(scope="module")
def finished(folder) -> dict[str, Finished]:
    return dict(zip(STEPS, call_forked(folder, STEPS.values()), strict=True))


@pytest.mark.parametrize("step", ["train", "resume", "evaluate", "transform", "block"])
def test_each_command_succeeds(step, finished):
    assert finished[step].code == 0, finished[step].errors


def checkpoint(folder: Path, run: str = "run") -> dict:
    return torch.load(folder / run / "checkpoints/last.ckpt", weights_only=True)


def test_family_optimizer_and_recipe_reach_the_checkpoint(folder, finished):
    saved = checkpoint(folder)
    assert (saved["epoch"], saved["global_step"]) == (1, 4), "two epochs, of which the second was resumed"
    assert saved["lsm"]["solver"]["model"] == {"name": "sitewise", "width": 8, "depth": 2}
    weights, biases = saved["optimizer_states"][0]["param_groups"]
    assert (weights["weight_decay"], biases["weight_decay"]) == (0.5, 0.0)
    assert len(weights["params"]) == len(biases["params"]) == 4
    config = saved["lsm"]["run"]["config"]
    assert (config["loss"]["name"], config["augmentation"]["most"]) == ("smooth", 1.5)
    assert config["data"]["batch_size"] == 3, "from the experiment of preset and benchmark"


def test_a_block_is_chosen_by_name_and_trains(folder, finished):
    saved = checkpoint(folder, "block")
    learned = [value for name, value in saved["state_dict"].items() if "blocks" in name]
    assert len(learned) == 2, "one weight at each of the two scales of the experiment"
    assert all((value != 0.2).all() for value in learned)
    assert saved["lsm"]["solver"]["model"]["block"] == {"name": "mean", "start": 0.2}


def test_a_metric_is_monitored_in_training_and_written_by_evaluation(folder, finished):
    with (folder / "run/csv/version_1/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/slope_error"]]
    assert len(rows) == 1
    assert float(rows[0]["val/slope_error"]) > 0
    metrics = json.loads((folder / "plain/metrics.json").read_text())
    assert metrics["slope_error"]["num_samples"] == 4
    with (folder / "plain/samples.csv").open() as file:
        samples = [float(row["slope_error"]) for row in csv.DictReader(file)]
    assert metrics["slope_error"]["mean"] == pytest.approx(np.mean(samples), rel=1e-6)
    assert "slope_error" in finished["evaluate"].output


def test_a_transform_changes_the_prediction(folder, finished):
    plain, halved = (json.loads((folder / name / "metrics.json").read_text()) for name in ("plain", "halved"))
    assert halved["transforms"] == ["halved"]
    assert halved["relative_l2"]["mean"] != plain["relative_l2"]["mean"]


def test_run_and_evaluation_record_the_code_of_the_plugin(folder, finished, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    files = ("run/environment.json", "run/environment-resumed-1.json", "plain/metrics.json")
    codes = {json.loads((folder / name).read_text())["code"] for name in files}
    assert codes == {code_revision(["my_parts"])} != {code_revision([])}


@pytest.mark.parametrize("name", ["resume", "evaluate"])
def test_plugins_are_named_on_the_command_line_only(name, finished, folder):
    told = finished[f"{name} without plugins"]
    assert told.code == 1
    assert "Traceback" not in told.errors
    if name == "evaluate":
        assert "model 'sitewise' is unknown" in told.errors
        assert "trained with the plugins my_parts" in told.errors
    assert "add plugins=[my_parts] if you trust them" in told.errors
    assert "my_parts" not in str(checkpoint(folder)["lsm"]["run"]["overrides"])


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("plugin that there is not", "plugin gone_parts cannot be imported"),
        ("option that there is not", "model.deep is no option of SitewiseNetwork; its options: width, depth"),
        ("option out of range", "model.depth is 0, expected a whole number of at least 1"),
    ],
)
def test_mistakes_in_extensions_are_told(step, words, finished):
    assert finished[step].code == 1
    assert finished[step].errors.startswith("error: ")
    assert words in finished[step].errors
    assert len(finished[step].errors.splitlines()) == 1
