"""Evaluation and pictures of a small trained run: numbers, files, choices, mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import copy_store, tiny_training
from matplotlib.figure import Figure

from experiments.mistakes import describe
from lsm import plotting
from lsm.checkpoint import load
from lsm.data.datamodule import FieldDataModule
from lsm.data.readers.base import make_reader
from lsm.data.store import StoredField, StoreWriter
from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.training.history import read_history, to_csv


@pytest.fixture(scope="module")
def run(darcy_store, command, tmp_path_factory) -> Path:
    """A run whose best checkpoint is not its last: three epochs, two training and six test samples."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    options = tiny_training(darcy_store, folder)
    splits = "data.splits={train:[0,2],validation:[2,3],test:[3,9]}"
    options = [option for option in options if not option.startswith("data.splits")] + [splits]
    command("train", *options, "trainer.max_epochs=3", "optimizer.lr=0.03", "scheduler=step")
    return folder


#: Columns of errors in parts; 13 sites along an axis have no high waves.
PARTS = (
    *("relative_l2_per_band low", "relative_l2_per_band middle"),
    *("relative_l2_per_region boundary", "relative_l2_per_region interior"),
)


def data_of(run: Path) -> FieldDataModule:
    saved = load(run / "checkpoints/last.ckpt").run["config"]
    return FieldDataModule(saved["data"]["path"], make_reader(saved["benchmark"]["reader"]), saved["data"]["splits"])


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "samples.csv").open() as file:
        return list(csv.DictReader(file))


def test_errors_are_those_of_each_sample_by_hand(run, command, tmp_path):
    command("evaluate", f"checkpoint={run / 'checkpoints/last.ckpt'}", "device=cpu", f"run_dir={tmp_path}")
    solver, data = load(run / "checkpoints/last.ckpt").solver, data_of(run)
    rows = rows_of(tmp_path)
    assert [row["sample"] for row in rows] == [str(index) for index in range(6)]
    assert [row["file_sample"] for row in rows] == [str(index) for index in range(3, 9)], "the split begins at sample 3"
    assert list(rows[0]) == ["sample", "file_sample", "relative_l2", "rmse", "max_error", "relative_h1", *PARTS]
    for index, row in enumerate(rows):
        sample = data.dataset("test")[index]
        with torch.no_grad():
            prediction = solver(FieldBatch.stack([sample]))[0].double().numpy()
        truth = sample.targets.double().numpy()
        error = np.sqrt(((prediction - truth) ** 2).sum() / (truth**2).sum())
        assert float(row["relative_l2"]) == pytest.approx(error, rel=1e-5)


def test_metrics_do_not_depend_on_the_batch_size(run, command, tmp_path):
    """To 1e-5: float32 convolutions round differently in batches of another size."""
    summaries, samples = [], []
    for batch_size in (1, 2, 4, 5, 6, 50):
        folder = tmp_path / str(batch_size)
        options = [f"checkpoint={run}", "device=cpu", f"batch_size={batch_size}", f"run_dir={folder}"]
        summary = command("evaluate", *options)["relative_l2"]
        low, high = summary.pop("interval")
        summaries.append({**summary, "low": low, "high": high})
        samples.append([float(row["relative_l2"]) for row in rows_of(folder)])
    for summary, errors in zip(summaries[1:], samples[1:], strict=True):
        assert summary == pytest.approx(summaries[0], rel=1e-5)
        assert errors == pytest.approx(samples[0], rel=1e-5)
    assert max(samples[0]) > 1.01 * min(samples[0]), "samples differ, so a mean of batch means would show"


def test_metrics_file(run, command, tmp_path):
    returned = command("evaluate", f"checkpoint={run}", "device=cpu", f"run_dir={tmp_path}")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == returned
    errors = np.array([float(row["relative_l2"]) for row in rows_of(tmp_path)])
    summary = metrics["relative_l2"]
    assert summary["num_samples"] == 6
    assert summary["mean"] == pytest.approx(errors.mean(), rel=1e-6)
    assert summary["std"] == pytest.approx(errors.std(ddof=1), rel=1e-4)
    assert summary["median"] == pytest.approx(np.median(errors), rel=1e-6)
    assert summary["worst"] == pytest.approx(errors.max(), rel=1e-6)
    assert summary["worst_sample"] == errors.argmax()
    assert (metrics["benchmark"], metrics["preset"], metrics["split"], metrics["seed"]) == ("darcy", "quick", "test", 0)
    assert {"commit", "packages", "machine", "python", "date"} <= set(metrics["environment"])


def test_a_run_stands_for_its_best_checkpoint(run, command):
    metrics = {
        name: command("evaluate", f"checkpoint={path}", "device=cpu", "split=validation")
        for name, path in {
            "run": run,
            "best": run / "checkpoints/best.ckpt",
            "last": run / "checkpoints/last.ckpt",
        }.items()
    }
    mean = {name: values["relative_l2"]["mean"] for name, values in metrics.items()}
    assert mean["run"] == mean["best"]
    assert load(run).path == run / "checkpoints/best.ckpt"
    assert mean["best"] <= mean["last"]
    assert metrics["last"]["epoch"] == 2
    with (run / "csv/version_0/metrics.csv").open() as file:
        logged = [float(row["val/relative_l2"]) for row in csv.DictReader(file) if row["val/relative_l2"]]
    assert len(logged) == 3
    assert mean["last"] == pytest.approx(logged[-1], rel=1e-4), "evaluation measures what training logged"
    assert mean["best"] == pytest.approx(min(logged), rel=1e-4)
    assert metrics["best"]["epoch"] == int(np.argmin(logged))


@pytest.mark.parametrize(("split", "num_samples"), [("train", 2), ("validation", 1), ("test", 6)])
def test_each_split_has_its_folder(split, num_samples, run, command):
    command("evaluate", f"checkpoint={run}", "device=cpu", f"split={split}")
    assert len(rows_of(run / "evaluation" / split)) == num_samples


def test_data_may_have_moved(run, command, darcy_store, tmp_path):
    here = command("evaluate", f"checkpoint={run}", "device=cpu", f"run_dir={tmp_path / 'here'}")
    moved = tmp_path / "checkpoint_only" / "last.ckpt"
    moved.parent.mkdir()
    shutil.copy(run / "checkpoints/best.ckpt", moved)
    shutil.copy(darcy_store, tmp_path / darcy_store.name)
    for where in (f"data_dir={tmp_path}", f"store={tmp_path / darcy_store.name}"):
        there = command("evaluate", f"checkpoint={moved}", "device=cpu", where)
        assert there["relative_l2"] == here["relative_l2"]
        assert (moved.parent / "evaluation/test_last/metrics.json").is_file()
        assert there["data"]["store"] == str(tmp_path / darcy_store.name)
        assert there["data"]["provenance"] == here["data"]["provenance"]
        assert there["data"]["provenance"]["source"] == "generated"
    with pytest.raises(FileNotFoundError, match=r"nowhere.*lsm-generate benchmark=darcy preset=quick.*data_dir="):
        command("evaluate", f"checkpoint={moved}", f"data_dir={tmp_path / 'nowhere'}")


@pytest.fixture
def other_store(darcy_store, tmp_path) -> Path:
    """The same data under another name."""
    return Path(shutil.copy(darcy_store, tmp_path / "other.h5"))


def test_evaluations_do_not_replace_one_another(run, command, other_store):
    """Another checkpoint, store, grid or statistics has a folder of its own."""
    for options, folder in (
        ([f"checkpoint={run}"], "test"),
        ([f"checkpoint={run / 'checkpoints/best.ckpt'}"], "test"),
        ([f"checkpoint={run / 'checkpoints/last.ckpt'}"], "test_last"),
        (
            [f"checkpoint={run / 'checkpoints/last.ckpt'}", "transforms=[batch_statistics]"],
            "test_last_batch_statistics",
        ),
        ([f"checkpoint={run}", f"store={other_store}"], "test_other"),
        ([f"checkpoint={run}", "resolution=25"], "test_25"),
        ([f"checkpoint={run}", "resolution=[25,25]"], "test_25_25"),
    ):
        returned = command("evaluate", *options, "device=cpu")
        assert json.loads((run / "evaluation" / folder / "metrics.json").read_text()) == returned


@pytest.mark.slow
def test_pictures_do_not_replace_one_another(run, command, other_store):
    """Another checkpoint, grid or store has a folder of its own; the first three samples are drawn where none are named."""
    for options, folder in (
        ([f"checkpoint={run}"], "figures"),
        ([f"checkpoint={run / 'checkpoints/last.ckpt'}"], "figures_last"),
        ([f"checkpoint={run}", f"store={other_store}", "resolution=25"], "figures_other_25"),
        ([f"checkpoint={run}", "transforms=[symmetry_average]"], "figures_symmetry_average"),
    ):
        pictures = command("visualize", *options, "device=cpu", "dpi=30", "curve=false")
        assert pictures == [run / folder / f"test_000{index}.png" for index in range(3)]


def test_every_error_that_is_defined_is_recorded(run, command, tmp_path):
    metrics = command("evaluate", f"checkpoint={run}", "device=cpu", f"run_dir={tmp_path}")
    assert "relative_l2_per_channel" not in metrics, "there is one"
    assert list(metrics["relative_l2_per_region"]) == ["boundary", "interior"]
    assert list(metrics["relative_l2_per_band"]) == ["low", "middle"]
    assert metrics["training_data"] == metrics["data"]
    errors = np.array([float(row["relative_l2_per_band low"]) for row in rows_of(tmp_path)])
    assert metrics["relative_l2_per_band"]["low"]["mean"] == pytest.approx(errors.mean(), rel=1e-6)
    assert {"rmse", "max_error", "relative_h1"} <= set(metrics)


def test_data_are_looked_for_where_they_lay_and_then_where_the_environment_says(
    run, command, darcy_store, tmp_path, monkeypatch
):
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["lsm"]["run"]["config"]["data"]["path"] = f"nowhere/{darcy_store.name}"
    moved = tmp_path / "moved.ckpt"
    torch.save(checkpoint, moved)
    monkeypatch.setenv("LSM_DATA_DIR", str(darcy_store.parent))
    assert command("evaluate", f"checkpoint={moved}", "device=cpu")["data"]["store"] == str(darcy_store)
    monkeypatch.setenv("LSM_DATA_DIR", str(tmp_path))
    assert command("evaluate", f"checkpoint={run}", "device=cpu")["data"]["store"] == str(darcy_store)


@pytest.fixture(scope="module")
def seeds(darcy_store, command, tmp_path_factory) -> Path:
    """Folder of runs: one model with the seeds 0 and 1, and another one."""
    folder = tmp_path_factory.mktemp("seeds")
    for name, options in {"a/seed0": ["seed=0"], "a/seed1": ["seed=1"], "wide": ["model.width=16"]}.items():
        command("train", *tiny_training(darcy_store, folder / name), "trainer.max_epochs=1", *options)
    return folder


def test_several_checkpoints_are_compared(seeds, command):
    """Means over seeds and the paired comparison by hand; a pattern names the same runs as a list."""
    found = command("evaluate", f"checkpoint=[{seeds}/a/*,{seeds}/wide]", "device=cpu")
    folder = seeds / "comparison/a_seed0+a_seed1+wide/test"
    assert json.loads((folder / "comparison.json").read_text()) == found
    errors = {label: [float(row["relative_l2"]) for row in rows_of(folder / label)] for label in found["checkpoints"]}
    assert list(errors) == ["a/seed0", "a/seed1", "wide"]
    for label, mine in errors.items():
        alone = command("evaluate", f"checkpoint={seeds / label}", "device=cpu", "metrics=[relative_l2]")
        assert alone["relative_l2"]["mean"] == pytest.approx(np.mean(mine), rel=1e-6)
    model = found["models"]["lsm (a)"]["errors"]["relative_l2"]
    means = [np.mean(errors[label]) for label in ("a/seed0", "a/seed1")]
    assert list(model["means"].values()) == pytest.approx(means, rel=1e-6)
    assert model["mean"] == pytest.approx(np.mean(means), rel=1e-6)
    assert model["deviation"] == pytest.approx(np.std(means, ddof=1), rel=1e-4)
    assert found["models"]["lsm (wide)"]["errors"]["relative_l2"]["deviation"] is None
    (pair,) = found["pairs"]
    assert (pair["first"], pair["second"]) == ("lsm (a)", "lsm (wide)")
    averaged, wide = np.mean([errors["a/seed0"], errors["a/seed1"]], axis=0), np.array(errors["wide"])
    compared = pair["metrics"]["relative_l2"]
    assert [compared[key] for key in ("wins", "losses", "ties")] == [sum(averaged < wide), sum(averaged > wide), 0]
    assert compared["difference"] == pytest.approx(np.mean(averaged - wide), rel=1e-4)
    assert compared["low"] <= compared["difference"] <= compared["high"]
    with (folder / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["checkpoint"], row["seed"]) for row in rows] == [("a/seed0", "0"), ("a/seed1", "1"), ("wide", "0")]
    assert float(rows[2]["relative_l2"]) == pytest.approx(wide.mean(), rel=1e-6)
    assert {"relative_l2_per_band low", "relative_l2_per_region boundary"} <= set(rows[0])


def test_checkpoints_of_one_run_are_no_seeds_of_a_model(run, command, tmp_path):
    pattern = f"checkpoint={run}/checkpoints/*.ckpt"
    found = command("evaluate", pattern, "device=cpu", f"run_dir={tmp_path}", "metrics=[relative_l2]")
    assert list(found["models"]) == ["lsm (best)", "lsm (last)"]
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [("lsm (best)", "lsm (last)")]


def test_checkpoints_with_other_samples_are_not_compared(run, seeds, command, tmp_path):
    """Their test splits are [3, 9) and [7, 9) of one store."""
    found = command("evaluate", f"checkpoint=[{run},{seeds}/wide]", "device=cpu", f"run_dir={tmp_path}")
    assert found["pairs"] == []
    (told,) = found["not_compared"]
    assert "are not compared: they were evaluated on different samples" in told
    assert all(model["errors"]["relative_l2"]["mean"] > 0 for model in found["models"].values())


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("[]", "names no checkpoint; give one, a list, or a pattern"),
        ("{0}/gone*", "gone.* matches neither a checkpoint nor the folder of a run"),
        ("[{0}/wide,{0}/wide/checkpoints/best.ckpt]", "checkpoint best is given twice"),
    ],
)
def test_mistakes_in_the_choice_of_checkpoints_are_named(names, told, seeds, command):
    with pytest.raises(Exception, match=told):
        command("evaluate", f"checkpoint={names.format(seeds)}", "device=cpu")


def test_a_store_of_other_fields_is_named(run, command, tmp_path):
    store = tmp_path / "other.h5"
    fields = {name: StoredField((13, 13, 13), "1", "") for name in ("permeability", "pressure")}
    with StoreWriter(store, "darcy", fields, 20, {}) as writer:
        writer.write(slice(0, 20), {name: np.ones((20, 13, 13, 13)) for name in fields})
    told = (
        r"other\.h5 holds a grid of rank 3 with permeability -> pressure; the solver of .* a grid of rank 2 with perm"
    )
    with pytest.raises(InputError, match=told):
        command("evaluate", f"checkpoint={run}", "device=cpu", f"store={store}", f"run_dir={tmp_path}")


def test_a_run_without_a_best_checkpoint_names_its_last(run, command, tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    shutil.copy(run / "checkpoints/last.ckpt", tmp_path / "run/checkpoints")
    with pytest.raises(FileNotFoundError, match=r"best\.ckpt does not exist.*give .*last\.ckpt"):
        command("evaluate", f"checkpoint={tmp_path / 'run'}")


def test_batch_statistics_are_a_choice(run, command, tmp_path):
    options = [f"checkpoint={run}", "device=cpu", "batch_size=3"]
    honest = command("evaluate", *options, f"run_dir={tmp_path / 'a'}")
    quirk = command("evaluate", *options, f"run_dir={tmp_path / 'b'}", "transforms=[batch_statistics]")
    assert (honest["transforms"], quirk["transforms"]) == ([], ["batch_statistics"])
    assert honest["relative_l2"]["mean"] != quirk["relative_l2"]["mean"]


def changed_checkpoint(run: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The checkpoint of a run with another description."""
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    change(content["lsm"])
    torch.save(content, path)
    return path


#: What a second run may have otherwise, and what is said of it.
OTHER_SAMPLES = {
    "split": (
        lambda described: described["run"]["config"]["data"]["splits"].update(
            train=[0, 7], validation=[7, 8], test=[8, 9]
        ),
        r"\(splits\.test was \[7, 9\], is \[8, 9\]\)",
    ),
    "drawn with another seed": (
        lambda described: described["data"]["provenance"].update(split_seed=1),
        r"\(split_seed was None, is 1\)",
    ),
}


@pytest.mark.parametrize("case", OTHER_SAMPLES)
def test_solvers_are_judged_together_on_samples_that_none_was_trained_on(case, seeds, darcy_store, command, tmp_path):
    change, told = OTHER_SAMPLES[case]
    other = changed_checkpoint(seeds / "a/seed1", tmp_path / "second.ckpt", change)
    options = [f"checkpoint=[{seeds}/a/seed0,{other}]", "device=cpu", f"run_dir={tmp_path / 'both'}"]
    options_of = {"evaluate": ["ensemble=true"], "visualize": ["samples=[0]", "dpi=20"]}
    unknown = copy_store(darcy_store, tmp_path / "unknown.h5", seed=99)
    for name, more in options_of.items():
        with pytest.raises(InputError, match=rf"second.* was trained on other samples than .*seed0.* {told}"):
            command(name, *options, *more)
        assert command(name, *options, *more, f"store={unknown}"), "no run knows these data"


def test_solvers_are_judged_together_whatever_else_is_different(seeds, darcy_store, command, tmp_path):
    """Another place of the data, or another part of the samples that are not judged."""

    def change(described: dict[str, Any]) -> None:
        described["data"].update(store="elsewhere/darcy.h5", num_samples=8)
        described["data"]["provenance"].update(lsm_version="0")
        data = described["run"]["config"]["data"]
        data.update(path=str(shutil.copy(darcy_store, tmp_path)), batch_size=1)
        data["splits"].update(train=[0, 4], validation=[4, 7])

    other = changed_checkpoint(seeds / "a/seed1", tmp_path / "second.ckpt", change)
    options = [f"checkpoint=[{seeds}/a/seed0,{other}]", "device=cpu", f"run_dir={tmp_path / 'both'}"]
    assert "ensemble" in command("evaluate", *options, "ensemble=true")["models"]
    assert command("visualize", *options, "samples=[0]", "dpi=20")
    for more in (["bands=true"], ["split=validation"]):
        with pytest.raises(InputError, match=r"\(splits\.validation was \[5, 7\], is \[4, 7\]\)"):
            command("evaluate", *options, "ensemble=true", *more)


def test_what_is_made_of_transformed_predictions_names_the_transforms(run, command, tmp_path, monkeypatch, capsys):
    """The page of a report, of a gallery, titles of pictures of errors, a comparison, and what the commands print."""
    options, few = ["device=cpu", "transforms=[symmetry_average]"], ["dpi=20", f"run_dir={tmp_path / 'pictures'}"]
    page = command("report", f"checkpoint={run}", *options, "dpi=20").read_text()
    assert "<title>lsm on darcy, symmetry_average</title>" in page
    assert "<tr><th>transforms of the predictions</th><td>symmetry_average</td></tr>" in page
    (gallery,) = command("visualize", f"checkpoint={run}", *options, *few, "what=gallery", "gallery_dpi=10")
    assert "<title>darcy, test split, symmetry_average</title>" in gallery.read_text()
    titles: list[str] = []

    def note(figure: Figure, *_: object) -> None:
        titles.append(figure.get_suptitle() or figure.axes[0].get_title())

    monkeypatch.setattr(plotting, "save_figure", note)
    command("visualize", f"checkpoint={run}", *options, *few, "what=errors")
    assert len(titles) > 2
    assert all(title.startswith("darcy, test split, symmetry_average") for title in titles)
    several = f"checkpoint=[{run}/checkpoints/best.ckpt,{run}/checkpoints/last.ckpt]"
    metrics = "metrics=[relative_l2]"
    assert command("evaluate", several, *options, metrics)["transforms"] == ["symmetry_average"]
    assert command("evaluate", several, "device=cpu", metrics)["transforms"] == []
    command("evaluate", f"checkpoint={run}", *options, metrics)
    printed = " ".join(capsys.readouterr().out.split())
    assert "darcy, test split, 6 samples, symmetry_average" in printed
    assert "mean errors, symmetry_average; of a model with several seeds" in printed


def test_symmetries_are_those_of_the_data_that_are_evaluated(run, command, darcy_store, tmp_path):
    """They hold without wind: for the data of the training, but not for those of another store."""

    def change(described: dict[str, Any]) -> None:
        for symmetry in described["run"]["config"]["benchmark"]["symmetries"]:
            symmetry["when"] = {"wind": 0}

    solver = changed_checkpoint(run, tmp_path / "solver.ckpt", change)
    windy = copy_store(darcy_store, tmp_path / "windy.h5", wind=3)
    options = [f"checkpoint={solver}", "device=cpu", "transforms=[symmetry_average]"]
    assert command("evaluate", *options)["relative_l2"]["mean"] > 0
    for name in ("evaluate", "report", "visualize"):
        with pytest.raises(InputError, match="these data have no exact symmetries to average over"):
            command(name, *options, f"store={windy}")


@pytest.mark.parametrize("name", ["evaluate", "visualize"])
def test_mistakes_are_named(name, run, command, tmp_path):
    with pytest.raises(InputError, match="split is tset, expected one of train, validation, test"):
        command(name, f"checkpoint={run}", "split=tset", f"run_dir={tmp_path}")
    with pytest.raises(InputError, match=r"device 'cud' is not available .*device=cpu"):
        command(name, f"checkpoint={run}", "device=cud", f"run_dir={tmp_path}")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device 'cuda' is not available"):
            command(name, f"checkpoint={run}", "device=cuda", f"run_dir={tmp_path}")
    with pytest.raises(FileNotFoundError, match=r"gone\.ckpt does not exist"):
        command(name, f"checkpoint={tmp_path / 'gone.ckpt'}", f"run_dir={tmp_path}")


def test_an_empty_split_is_named(command, darcy_store, tmp_path):
    options = tiny_training(darcy_store, tmp_path / "run")
    command("train", *options, "data.splits.validation=[5,5]", "trainer.max_epochs=1")
    with pytest.raises(InputError, match="validation split of this run is empty"):
        command("evaluate", f"checkpoint={tmp_path / 'run'}", "split=validation")


def test_a_field_that_is_zero_everywhere_is_named(run, command, other_store, tmp_path):
    first = load(run / "checkpoints/last.ckpt").run["config"]["data"]["splits"]["test"][0]
    with h5py.File(other_store, "a") as file:
        file["fields/pressure"][first + 1] = 0.0
    with pytest.raises(
        InputError, match="relative_l2 of sample 1 of the test split is not finite: a true field is zero everywhere"
    ):
        command("evaluate", f"checkpoint={run}", "device=cpu", f"store={other_store}", f"run_dir={tmp_path}")


def test_pictures_of_samples(run, command, tmp_path):
    pictures = command("visualize", f"checkpoint={run}", "samples=[5,0]", "device=cpu", f"run_dir={tmp_path}", "dpi=40")
    assert [path.name for path in pictures] == ["test_0005.png", "test_0000.png", "learning_curve.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert (tmp_path / "learning_curve.csv").read_text() == to_csv(read_history(run))
    for option, named in (
        ("samples=7", "samples is 7, expected a list, each item a whole number of at least 0"),
        ("samples=[a]", r"samples is \['a'\], expected a list"),
        ("samples=[-1]", r"samples is \[-1\], expected a list"),
        ("samples=[0.5]", "expected a list"),
        ("dpi=0", "dpi is 0"),
        ("resolution=1.5", r"resolution is 1\.5, expected a whole number"),
        ("resolution=abc", "resolution is abc, expected a whole number"),
    ):
        with pytest.raises(InputError, match=named):
            command("visualize", f"checkpoint={run}", option, f"run_dir={tmp_path}")
    for samples in ("[6]", "[0,7]"):
        with pytest.raises(InputError, match=r"not in the test split, which has 0 to 5"):
            command("visualize", f"checkpoint={run}", f"samples={samples}", f"run_dir={tmp_path}")


def test_a_checkpoint_without_its_run_has_no_learning_curve(run, command, tmp_path):
    alone = tmp_path / "solver.ckpt"
    shutil.copy(run / "checkpoints/best.ckpt", alone)
    (picture,) = command("visualize", f"checkpoint={alone}", "samples=[0]", "device=cpu", "dpi=40")
    assert picture.name == "test_0000.png"


def test_another_resolution_than_in_training(darcy_store, command, tmp_path, capsys):
    """A model normalised by channel takes any grid; one normalised by site says why not."""
    folder = tmp_path / "run"
    command("train", *tiny_training(darcy_store, folder), "trainer.max_epochs=1")
    options = [f"checkpoint={folder}", "device=cpu", f"run_dir={tmp_path / 'fine'}", "resolution=25"]
    metrics = command("evaluate", *options)
    assert metrics["sites"] == [25, 25]
    checkpoint = load(folder / "checkpoints/best.ckpt")
    reader = make_reader({**checkpoint.run["config"]["benchmark"]["reader"], "resolution": 25})
    sample = FieldDataModule(darcy_store, reader, checkpoint.run["config"]["data"]["splits"]).dataset("test")[0]
    assert sample.inputs.shape == (25, 25, 1)
    with torch.no_grad():
        prediction = checkpoint.solver(FieldBatch.stack([sample]))[0]
    error = (prediction - sample.targets).norm() / sample.targets.norm()
    assert float(rows_of(tmp_path / "fine")[0]["relative_l2"]) == pytest.approx(float(error), rel=1e-5)
    picture, _ = command("visualize", *options, "samples=[0]", "dpi=50")
    assert picture.is_file()
    transforms = "transforms=[training_grid]"
    interpolated = command("evaluate", *options, transforms)["relative_l2"]["mean"]
    assert interpolated != metrics["relative_l2"]["mean"]
    page = command("report", *options[:2], "resolution=25", transforms, "dpi=30")
    assert page == folder / "report/test_25_training_grid.html"
    assert f"{interpolated:.4f}" in page.read_text()
    capsys.readouterr()
    command("visualize", *options, transforms, "samples=[0]", "dpi=30")
    assert f"{float(rows_of(tmp_path / 'fine')[0]['relative_l2']):.4f}" in capsys.readouterr().out
    for option in ("what=latents", "level=0.9"):
        with pytest.raises(InputError, match="exist only for predictions without transforms; remove transforms"):
            command("visualize", *options, transforms, option)
    with pytest.raises(InputError, match="14 evenly spaced sites cannot be chosen from the 25 stored along x"):
        command("evaluate", *options[:-1], "resolution=14")

    folder = tmp_path / "by_site"
    by_site = ["data.normalization.inputs=site", "data.normalization.targets=site", "trainer.max_epochs=1"]
    command("train", *tiny_training(darcy_store, folder), *by_site)
    with pytest.raises(InputError, match=r"normalised per site on a grid \(13, 13, 1\)") as caught:
        command("evaluate", f"checkpoint={folder}", "device=cpu", "resolution=25")
    assert "data.normalization.inputs=channel" in describe(caught.value)
