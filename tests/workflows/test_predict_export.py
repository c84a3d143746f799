"""``lsm-predict`` and ``lsm-export`` on a trained run, and the folder used like a checkpoint."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from conftest import copy_store

import lsm
from lsm.errors import InputError


def test_from_a_template_to_predictions(darcy_run, command, tmp_path):
    template = command("predict", f"checkpoint={darcy_run}", f"template={tmp_path / 'in.npz'}", "device=cpu")
    permeability = np.load(template)["permeability"]
    output = command(
        "predict", f"checkpoint={darcy_run}", f"input={template}", f"output={tmp_path / 'out.h5'}", "device=cpu"
    )
    expected = lsm.load(darcy_run / "checkpoints/best.ckpt").solver.predict(permeability[..., None])
    with h5py.File(output) as file:
        np.testing.assert_allclose(file["pressure"][:], expected[..., 0], rtol=0, atol=1e-6 * np.abs(expected).max())
        record = json.loads(file.attrs["provenance"])
    assert record["training_data"]["num_samples"] == 9
    assert record["checkpoint"].endswith("best.ckpt")
    assert {"commit", "date", "epoch", "model"} <= record.keys()
    assert record["outside_training_range"] == [], "a template stays inside"
    np.savez(tmp_path / "wide.npz", permeability=5 * permeability)
    wide = f"input={tmp_path / 'wide.npz'}", f"output={tmp_path / 'wide.h5'}"
    with h5py.File(command("predict", f"checkpoint={darcy_run}", *wide, "device=cpu")) as file:
        (warning,) = json.loads(file.attrs["provenance"])["outside_training_range"]
    assert "trained on 3 to 12" in warning


def test_what_is_missing_or_in_the_way_is_named(darcy_run, command, tmp_path):
    with pytest.raises(InputError, match="give input=FILE and output=FILE, or template=FILE"):
        command("predict", f"checkpoint={darcy_run}", "device=cpu")
    (tmp_path / "there.npz").write_bytes(b"")
    with pytest.raises(InputError, match="exists already.*overwrite=true"):
        command("predict", f"checkpoint={darcy_run}", f"template={tmp_path / 'there.npz'}")


def test_an_exported_folder_serves_as_checkpoint(darcy_run, darcy_store, command, tmp_path):
    command("evaluate", f"checkpoint={darcy_run}", "device=cpu")
    folder = command("export", f"checkpoint={darcy_run}", f"output={tmp_path / 'darcy'}", "license=mit")
    solver, loaded = (lsm.load(place).solver for place in (darcy_run / "checkpoints/best.ckpt", folder))
    inputs = np.random.default_rng(0).random((2, 13, 13, 1))
    assert np.array_equal(loaded.predict(inputs), solver.predict(inputs))
    card = (folder / "README.md").read_text()
    assert "Benchmark `darcy`, preset `quick`" in card
    assert "| relative_l2 | 2 |" in card
    assert str(darcy_store.parent) not in card + (folder / "config.json").read_text()
    results = [
        command(
            "evaluate", f"checkpoint={place}", f"store={darcy_store}", f"run_dir={tmp_path / 'errors'}", "device=cpu"
        )
        for place in (darcy_run, folder)
    ]
    assert results[0]["relative_l2"] == results[1]["relative_l2"]
    command(
        "evaluate", f"checkpoint={folder}", f"store={darcy_store}", f"run_dir={folder}/evaluation/test", "device=cpu"
    )
    again = command("export", f"checkpoint={folder}", f"output={tmp_path / 'again'}")
    assert "| relative_l2 | 2 |" in (again / "README.md").read_text(), "errors of the folder itself"
    output = command(
        "predict", f"checkpoint={folder}", f"input={darcy_store}", f"output={tmp_path / 'out.npz'}", "device=cpu"
    )
    assert np.load(output)["pressure"].shape == (9, 25, 25)


def test_errors_on_other_data_are_told_and_not_published(darcy_run, darcy_store, command, tmp_path, capsys):
    """A store of the same name in another folder, and an evaluation of fewer samples."""
    run = shutil.copytree(darcy_run, tmp_path / "run")
    copy_store(darcy_store, tmp_path / darcy_store.name, seed=99)
    options = [f"checkpoint={run}", "device=cpu"]
    command("evaluate", *options, f"data_dir={tmp_path}")
    metrics, told = run / "evaluation/test/metrics.json", " ".join(capsys.readouterr().out.split())
    assert f"warning: {tmp_path / darcy_store.name} holds other data than" in told
    assert "(seed was 0, is 99)" in told
    folder = command("export", f"checkpoint={run}", f"output={tmp_path / 'other'}")
    assert "Not measured" in (folder / "README.md").read_text()
    told = " ".join(capsys.readouterr().out.split())
    assert f"{metrics} was measured on other data than those of the training (seed was 0, is 99)" in told
    command("evaluate", *options)
    assert "warning" not in capsys.readouterr().out
    folder = command("export", f"checkpoint={run}", f"output={tmp_path / 'own'}")
    assert "| relative_l2 | 2 |" in (folder / "README.md").read_text()
    content = json.loads(metrics.read_text())
    content["data"]["num_samples"] = 8
    metrics.write_text(json.dumps(content))
    folder = command("export", f"checkpoint={run}", f"output={tmp_path / 'fewer'}")
    assert "Not measured" in (folder / "README.md").read_text()
    assert "(num_samples was 9, is 8)" in " ".join(capsys.readouterr().out.split())


def test_the_default_folder_is_that_of_the_run(darcy_run, command):
    assert command("export", f"checkpoint={darcy_run}") == darcy_run / "export/safetensors"
    with pytest.raises(InputError, match="holds files already"):
        command("export", f"checkpoint={darcy_run}")
    assert torch.is_tensor(next(lsm.load(darcy_run / "export/safetensors").solver.parameters()))
