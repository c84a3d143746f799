"""Bands and ensembles from the command line: calibrated, tested, predicted, drawn and reported."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import copy_store

import lsm
from lsm.errors import InputError


@pytest.fixture(scope="module")
def runs(darcy_run, tmp_path_factory):
    """Two copies of a run; the second predicts something else."""
    folder = tmp_path_factory.mktemp("bands")
    for name, file in (("a", "best"), ("b", "last")):
        shutil.copytree(darcy_run, folder / name)
        shutil.copy(darcy_run / f"checkpoints/{file}.ckpt", folder / name / "checkpoints/best.ckpt")
    return folder


@pytest.fixture(scope="module")
def calibrated(runs, command):
    return command("evaluate", f"checkpoint={runs / 'a'}", "device=cpu", "bands=true")


def inputs_of(runs, command, folder):
    return command("predict", f"checkpoint={runs / 'a'}", f"template={folder / 'in.npz'}")


def test_bands_are_calibrated_and_tested(calibrated, runs):
    bands = calibrated["bands"]
    assert bands["file"] == str(runs / "a/checkpoints/best.bands.safetensors")
    assert bands["calibration_samples"] == 2
    assert list(bands["coverage"]["site"]) == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6"], "2 / (2 + 1) is the limit"
    assert set(bands["coverage"]["field"]["0.5"]) == {"pressure"}
    assert json.loads((runs / "a/evaluation/test/metrics.json").read_text())["bands"] == bands


@pytest.mark.usefixtures("calibrated")
def test_predictions_have_limits(runs, command, tmp_path):
    source = inputs_of(runs, command, tmp_path)
    options = [f"checkpoint={runs / 'a'}", f"input={source}", "device=cpu"]
    found = np.load(command("predict", *options, f"output={tmp_path / 'out.npz'}", "level=0.5", "band=site"))
    np.testing.assert_allclose(
        found["pressure_low"] + found["pressure_high"], 2 * found["pressure"], rtol=1e-4, atol=1e-6
    )
    width = found["pressure_high"] - found["pressure_low"]
    assert (width > 0).all()
    np.testing.assert_allclose(width[0], width[1], atol=1e-6)
    record = json.loads(str(found["provenance"]))
    assert record["band"] == {"level": 0.5, "kind": "site", "calibration_samples": 2}
    for option, problem in (
        ("level=0.9", "no band of level 0.9; with 2 calibration samples there are bands of level 0.1"),
        ("level=2", "level is 2"),
    ):
        with pytest.raises(InputError, match=problem):
            command("predict", *options, f"output={tmp_path / 'no.npz'}", option)
    with pytest.raises(InputError, match=r"npy file holds one array"):
        command("predict", *options, f"output={tmp_path / 'no.npy'}", "level=0.5")


def test_bands_that_were_not_calibrated_are_asked_for(runs, command, tmp_path):
    options = [
        f"checkpoint={runs / 'b'}",
        f"input={inputs_of(runs, command, tmp_path)}",
        f"output={tmp_path / 'o.npz'}",
    ]
    with pytest.raises(FileNotFoundError, match="calibrate the bands by lsm-evaluate .* bands=true"):
        command("predict", *options, "level=0.5")
    for option, problem in (
        ("split=validation", "choose another split"),
        ("transforms=[batch_statistics]", "transforms"),
    ):
        with pytest.raises(InputError, match=problem):
            command("evaluate", f"checkpoint={runs / 'b'}", "device=cpu", "bands=true", option)


def test_bands_of_the_training_stay_when_other_data_or_sites_are_evaluated(
    calibrated, runs, darcy_store, command, tmp_path
):
    file = Path(calibrated["bands"]["file"])
    before, other = file.read_bytes(), copy_store(darcy_store, tmp_path / darcy_store.name, seed=99)
    options = [f"checkpoint={runs / 'a'}", "device=cpu", f"run_dir={tmp_path / 'evaluation'}"]
    for more, told in (
        ([f"store={other}"], r"the data of the training, and .*darcy_quick\.h5 holds other ones \(seed was 0, is 99\)"),
        ([f"data_dir={tmp_path}"], r"seed was 0, is 99"),
        (["resolution=25"], r"bands belong to the sites of the training, \(13, 13\), not to \(25, 25\)"),
    ):
        with pytest.raises(InputError, match=told):
            command("evaluate", *options, *more, "bands=true")
        assert file.read_bytes() == before
    coverage = command("evaluate", *options, f"store={other}", "bands=null")["bands"]["coverage"]
    assert coverage == calibrated["bands"]["coverage"], "the samples are the same, but for their provenance"
    same = copy_store(darcy_store, tmp_path / "same.h5")
    assert command("evaluate", *options, f"store={same}", "bands=true")["bands"] == calibrated["bands"]


@pytest.mark.slow
@pytest.mark.usefixtures("calibrated")
def test_a_picture_and_a_report_show_the_band(runs, command, tmp_path):
    options = [f"checkpoint={runs / 'a'}", "device=cpu", "dpi=20"]
    (picture,) = command(
        "visualize", *options, "samples=[0]", "level=0.5", "curve=false", "format=pdf", f"run_dir={tmp_path}"
    )
    assert picture.read_bytes().startswith(b"%PDF")
    page = command("report", *options, f"output={tmp_path / 'page.html'}").read_text()
    assert "Coverage of the bands on 2 samples, calibrated on 2 others" in page


def test_an_ensemble_predicts_mean_and_spread(runs, command, tmp_path):
    both = f"checkpoint=[{runs / 'a'},{runs / 'b'}]"
    comparison = command("evaluate", both, "device=cpu", "ensemble=true", "bands=true", "metrics=[relative_l2]")
    assert set(comparison["models"]) >= {"ensemble"}
    source = inputs_of(runs, command, tmp_path)
    output = f"output={tmp_path / 'o.npz'}"
    found = np.load(command("predict", both, f"input={source}", output, "device=cpu", "level=0.5"))
    given = np.load(source)["permeability"][..., None]
    members = [lsm.load(runs / name / "checkpoints/best.ckpt").solver.predict(given)[..., 0] for name in "ab"]
    np.testing.assert_allclose(found["pressure"], np.mean(members, axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["pressure_spread"], np.std(members, axis=0, ddof=1), rtol=1e-3, atol=1e-6)
    assert (found["pressure_low"] < found["pressure"]).all()
    (picture,) = command("visualize", both, "device=cpu", "dpi=20", "samples=[1]", f"run_dir={tmp_path}")
    assert picture.name == "test_0001.png"


@pytest.mark.slow
def test_other_pictures_of_a_run(runs, command, tmp_path):
    options = [f"checkpoint={runs / 'b'}", "device=cpu", "dpi=20", f"run_dir={tmp_path}"]
    (latents,) = command("visualize", *options, "what=latents", "samples=[0]")
    assert latents.name == "latents_test_0000.png"
    names = {path.name for path in command("visualize", *options, "what=errors")}
    assert names >= {"test_errors.png", "test_relative_l2_per_band.png", "test_spectrum_pressure.png"}
    (page,) = command("visualize", *options, "what=gallery", "gallery_dpi=10")
    assert page.read_text().count("<img ") == 2
    (fields,) = command("visualize", *options, "format=vtk", "samples=[0]")
    assert fields.name == "test_0000.vts"
    with pytest.raises(InputError, match="format=vtk"):
        command("visualize", *options, "format=vtk", "what=errors")
    with pytest.raises(InputError, match="what=latents works with one checkpoint only"):
        command("visualize", f"checkpoint=[{runs / 'a'},{runs / 'b'}]", "what=latents")


@pytest.mark.usefixtures("calibrated")
def test_an_exported_folder_has_the_bands_of_its_checkpoint(runs, command, tmp_path, capsys):
    folder = command("export", f"checkpoint={runs / 'a'}", f"output={tmp_path / 'folder'}")
    assert str(runs) not in (folder / "model.bands.safetensors").read_bytes().decode("latin-1")
    source, found = inputs_of(runs, command, tmp_path), []
    for checkpoint in (runs / "a", folder):
        output = tmp_path / f"{checkpoint.name}.npz"
        options = (f"input={source}", f"output={output}", "device=cpu", "level=0.5")
        found.append(np.load(command("predict", f"checkpoint={checkpoint}", *options))["pressure_low"])
    np.testing.assert_array_equal(*found)
    damaged = runs / "b/checkpoints/best.bands.safetensors"
    damaged.write_bytes(b"no bands")
    folder = command("export", f"checkpoint={runs / 'b'}", f"output={tmp_path / 'other'}")
    damaged.unlink()
    assert not (folder / "model.bands.safetensors").exists()
    assert "is damaged or no file of bands" in " ".join(capsys.readouterr().out.split())
