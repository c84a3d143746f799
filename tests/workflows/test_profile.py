"""lsm-profile: figures without data, on stored samples, of several families side by side, and at several sizes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from data_prep.darcy.generator import DarcyGenerator
from experiments import apart, equal_error, processes, profile, scaling
from experiments.app import compose_config
from experiments.equal_error import Cost, conclude
from experiments.processes import CommandFailed, Deadline, OutOfTime
from experiments.samples import at_sites, one_batch
from experiments.schema import check_schema
from experiments.tables.growths import print_growths
from experiments.tables.numbers import NOTHING
from experiments.tables.profiles import print_equal_error
from lsm import process_memory
from lsm.checkpoint import load, read, write
from lsm.errors import InputError, OptionError
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.training.cost import recorded_cost

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


def test_what_a_model_costs_on_own_data_is_measured(command, tmp_path):
    arrays = np.random.default_rng(0).random((2, 8, 5, 6, 7, 1))
    np.savez(tmp_path / "cubes.npz", inputs=arrays[0], targets=arrays[1])
    own = (
        "benchmark=custom",
        f"data.file={tmp_path / 'cubes.npz'}",
        f"data_dir={tmp_path}",
        f"run_dir={tmp_path / 'a'}",
    )
    (result,) = command("profile", *own, "model=lsm2", "model.width=4", "warmup=1", "repeats=1", "device=cpu")
    assert (result["benchmark"], result["sites"], result["model"]) == ("cubes", [5, 6, 7], "lsm2")
    with pytest.raises(InputError, match="benchmark=custom takes a file of arrays"):
        command("profile", "benchmark=custom")


@pytest.mark.slow
def test_families_are_compared_and_one_that_does_not_serve_is_left_out(tmp_path, monkeypatch, capsys):
    options = [*TINY, "benchmark=elasticity_p", "model.width=8", f"run_dir={tmp_path}"]

    def call(module: str, words: list[str], log: Path, deadline: Deadline | None) -> None:
        assert (module, deadline) == ("experiments.profile", None)
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
    assert re.search("fno is left out: .*does not support 'points' sites", capsys.readouterr().out)
    with pytest.raises(InputError, match="none of fno, unet could be measured"):
        profile.compare(compose_config("profile", *options, "compare=[fno,unet]"), options)


# Equal error


def test_a_trained_solver_beside_the_numerical_one(darcy_run, command, tmp_path, capsys):
    (result,) = command(
        "profile", f"checkpoint={darcy_run}", "samples=2", f"run_dir={tmp_path}", "repeats=1", "device=cpu"
    )
    written = json.loads((tmp_path / "equal_error.json").read_text())
    assert written == json.loads(json.dumps(result))
    first, *others = written["solver"]
    assert (first["coarsening"], first["error"]) == (1, 0)
    assert [grid["coarsening"] for grid in others] == [1.25, 1.5, 2, 3]
    assert all(grid["error"] > 0 and grid["seconds"] > 0 for grid in others)
    metrics = command("evaluate", f"checkpoint={darcy_run}", f"run_dir={tmp_path / 'evaluation'}", "device=cpu")
    assert written["trained"]["error"] == pytest.approx(metrics["relative_l2"]["mean"], rel=1e-5)
    assert written["equal"] in written["solver"]
    last = read(darcy_run / "checkpoints/last.ckpt")
    assert written["training_seconds"] == recorded_cost(last)["device_seconds"]
    shown = capsys.readouterr().out
    for words in ("solver, grid of the data", "equal error", "times the speed of the solver at equal error"):
        assert words in shown


@pytest.mark.parametrize(("names", "seconds"), [(("best", "last"), 50.0), (("best",), 20.0)])
def test_the_epochs_after_the_best_one_count_as_training(names, seconds, darcy_run, tmp_path):
    shutil.copytree(darcy_run, tmp_path, dirs_exist_ok=True)
    (tmp_path / "checkpoints/last.ckpt").unlink()
    for name, cost in zip(names, (20.0, 50.0), strict=False):
        content = read(darcy_run / f"checkpoints/{name}.ckpt")
        content["callbacks"]["TrainingCost"] = {"seconds": cost, "device_seconds": cost}
        write(content, tmp_path / f"checkpoints/{name}.ckpt")
    assert equal_error.training_seconds_of(load(tmp_path)) == seconds


GRIDS = [Cost(0.0, 9.0, 8.0, 1.0), Cost(0.01, 5.0, 4.0, 2.0), Cost(0.03, 3.0, 2.0, 3.0), Cost(0.02, 3.0, 3.0, 4.0)]


@pytest.mark.parametrize(
    ("error", "seconds", "coarsening", "speed_up", "solves"),
    [
        (0.02, 0.5, 4.0, 6.0, (100 * 8 + 50) / 2.5),
        (0.05, 0.5, 3.0, 4.0, (100 * 8 + 50) / 1.5),
        (0.005, 0.5, 1.0, 16.0, (100 * 8 + 50) / 7.5),
        (0.01, 8.0, 2.0, 0.5, None),
    ],
)
def test_the_cheapest_grid_that_is_as_accurate_is_the_competitor(error, seconds, coarsening, speed_up, solves):
    told = conclude(Cost(error, 2 * seconds, seconds), GRIDS, 100, 50.0)
    assert told["equal"]["coarsening"] == coarsening
    assert (told["speed_up"], told["solves_to_break_even"]) == (speed_up, solves)
    assert (told["speed_up_on_the_grid_of_the_data"], told["data_seconds"]) == (8 / seconds, 800)


def test_what_is_not_known_is_not_concluded():
    assert conclude(Cost(0.02, 1.0, 0.5), GRIDS, 100, None)["solves_to_break_even"] is None
    told = conclude(Cost(0.001, 1.0, 0.5), GRIDS[1:], 100, 50.0)
    assert (told["equal"], told["speed_up"], told["solves_to_break_even"]) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speed_up": 5.0, "solves_to_break_even": 1234.0}, "pays off after 1.23 k solves at equal error"),
        ({"speed_up": 0.5}, "the numerical solver is no slower at equal error"),
        ({"speed_up": 5.0}, "the time of the training is unknown"),
        ({"equal": None}, "no grid of the solver is as accurate"),
    ],
)
def test_a_conclusion_is_a_sentence(change, words, capsys):
    result = {
        "benchmark": "darcy",
        "model": "lsm",
        "samples": [0, 1],
        "trained": asdict(Cost(0.02, 1.0, 0.5)),
        "solver": list(map(asdict, GRIDS)),
        "equal": asdict(GRIDS[1]),
        "speed_up_on_the_grid_of_the_data": 16.0,
        "data_seconds": 800.0,
        "training_seconds": 50.0,
        "solves_to_break_even": None,
    }
    print_equal_error({**result, **change})
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("benchmark", "drawn", "told"),
    [
        ({"name": "custom"}, (), "custom has no numerical solver to compare with"),
        ({"name": "darcy", "generator": {"low": 1}}, (), "darcy does not solve stored samples again"),
        ({"name": "darcy", "generator": {"low": 1}}, ("permeability",), None),
    ],
)
def test_the_solver_is_that_of_the_benchmark_with_the_options_of_the_data(benchmark, drawn, told, monkeypatch):
    monkeypatch.setattr(DarcyGenerator, "drawn", drawn)
    checkpoint = SimpleNamespace(run={"config": {"benchmark": benchmark}})
    recorded = {"generator": {"class": "DarcyGenerator", "resolution": 30, "low": 2.0, "equation": "none"}}
    data = SimpleNamespace(describe=lambda: {"provenance": recorded})
    if told is None:
        assert equal_error.generator_of(checkpoint, data) == DarcyGenerator(resolution=30, low=2.0)
        return
    with pytest.raises(InputError, match=told):
        equal_error.generator_of(checkpoint, data)


def test_with_a_checkpoint_the_run_says_the_rest(darcy_run, command, tmp_path):
    for option in ("model=fno", "benchmark=pipe", "sites=[9,9]", "trainer.precision=bf16-mixed"):
        with pytest.raises(InputError, match="has no effect on lsm-profile with these options"):
            command("profile", f"checkpoint={darcy_run}", option, f"run_dir={tmp_path}")
    with pytest.raises(InputError, match="samples=3 has no effect"):
        command("profile", *TINY_DARCY, "samples=3", f"run_dir={tmp_path}")


# Sizes


def test_another_number_of_sites_has_the_values_of_sites_of_the_batch():
    spec = FieldSpec("mesh", (3, 4), ("x", "y"), (Channel("a"),), (Channel("u"), Channel("v")))
    values = torch.arange(24.0).reshape(2, 3, 4, 1)
    batch = FieldBatch(values, torch.cat([values + 100, values + 200], -1), coords=torch.cat([values, -values], -1))
    spread = at_sites(batch, spec, [5, 7])
    assert spread.inputs.shape == (2, 5, 7, 1)
    assert set(spread.inputs[1].flatten().tolist()) <= set(values[1].flatten().tolist())
    assert len(set(spread.inputs[1].flatten().tolist())) > 6, "not one site for all"
    torch.testing.assert_close(spread.targets, torch.cat([spread.inputs + 100, spread.inputs + 200], -1))
    torch.testing.assert_close(spread.coords, torch.cat([spread.inputs, -spread.inputs], -1))
    with pytest.raises(InputError, match=r"sites is \[5\], expected a number for each of the axes x, y"):
        at_sites(batch, spec, [5])


def test_padding_stays_padding_at_other_sites():
    spec = FieldSpec("points", (9,), ("point",), (Channel("a"),), (Channel("u"),), ragged=True)
    mask = torch.tensor([[True, True, True, False]])
    fields = mask[..., None].float()
    spread = at_sites(FieldBatch(fields, fields, fields, mask=mask), spec, [50])
    assert set(spread.mask.flatten().tolist()) == {True, False}
    torch.testing.assert_close(spread.inputs[..., 0].bool(), spread.mask)


@pytest.mark.slow
def test_one_model_is_measured_on_other_sites(tmp_path):
    """LSM-2 would choose fewer scales for a smaller lattice; normalisation by site would refuse it."""
    options = [
        *TINY,
        "benchmark=darcy",
        "model=lsm2",
        "model.width=4",
        "model.num_scales=null",
        "benchmark.sets.quick.resolution=43",
    ]
    options += ["data.normalization.inputs=site", "data.normalization.targets=site"]
    small, own = (profile.run(config(tmp_path, *options, *more)) for more in (["sites=[9,12]"], ["sites=[43,43]"]))
    assert (small["sites"], small["built_for"], own["built_for"]) == ([9, 12], [43, 43], [43, 43])
    assert small["parameters"] == own["parameters"]
    assert small["flops"]["inference_per_sample"] < 0.1 * own["flops"]["inference_per_sample"]


@pytest.mark.parametrize(
    ("sites", "fits"), [("[8,8]", True), ("[[500],[1000]]", True), ("[]", False), ("[[]]", False), ("[[0,8]]", False)]
)
def test_sites_are_one_size_or_several(sites, fits, tmp_path):
    cfg = config(tmp_path, *TINY_DARCY, f"sites={sites}")
    if fits:
        check_schema("profile", cfg)
    else:
        with pytest.raises(OptionError, match="sites is "):
            check_schema("profile", cfg)


def measured(sites: Sequence[int], seconds: float, memory: int | None) -> dict[str, Any]:
    """What is read of a profile; operations grow with the number of sites."""
    return {
        "benchmark": "darcy",
        "batch_size": 1,
        "precision": "32-true",
        "device": "cpu",
        "sites": list(sites),
        "step": {"device_seconds": seconds},
        "inference": {"latency_device_seconds": seconds / 4},
        "memory_bytes": memory,
        "flops": {"training_per_sample": 3e6 * sites[0], "inference_per_sample": 1e6 * sites[0]},
    }


@pytest.fixture
def machine(monkeypatch):
    """A machine with 1000 bytes on which `slow` takes as many milliseconds as sites squared, and too long at 400 sites."""
    calls = []

    def call(module: str, words: list[str], log: Path, deadline: Deadline) -> None:
        options = dict(word.split("=", 1) for word in words)
        (size,) = json.loads(options["sites"])
        calls.append((options["model"], size, options.get("warmup")))
        if options["model"] == "broken":
            raise CommandFailed("it does not support these sites")
        if (options["model"], size) == ("slow", 400):
            raise OutOfTime
        seconds, memory = (size**2, None) if options["model"] == "slow" else (size, 2 * size)
        log.parent.mkdir(parents=True)
        (log.parent / "profile.json").write_text(json.dumps(measured([size], seconds / 1000, memory)))

    monkeypatch.setattr(apart.processes, "call_module", call)
    monkeypatch.setattr(process_memory, "available_memory", lambda: 1000)
    return calls


def test_costs_grow_and_what_cannot_be_measured_is_named(tmp_path, machine, capsys):
    options = ["sites=[[800],[100],[200],[400]]", "compare=[fast,slow,broken]", "time_limit=30", "warmup=2"]
    cfg = compose_config("profile", "benchmark=elasticity_p", f"run_dir={tmp_path}", *options)
    growths = scaling.measure_growths(cfg, [*options, f"run_dir={tmp_path}"])
    assert machine == [
        *[("fast", size, "2") for size in (100, 200, 400)],
        *[("slow", size, "2") for size in (100, 200, 400)],
        ("broken", 100, "2"),
    ]
    assert growths["fast"].left_out == {"800": "it needs about 0.0 GiB of memory, 0.0 GiB are free"}
    assert growths["slow"].left_out["400"] == "it takes longer than time_limit=30 seconds"
    assert growths["broken"].left_out["800"] == "a smaller size was left out"
    written = json.loads((tmp_path / "scaling.json").read_text())
    laws = {name: model["power_laws"] for name, model in written["models"].items()}
    assert laws["fast"]["step_seconds"]["exponent"] == pytest.approx(1)
    assert laws["slow"]["step_seconds"]["exponent"] == pytest.approx(2)
    assert laws["slow"]["memory_bytes"] is None
    assert laws["broken"]["training_flops"] is None
    rows = list(csv.DictReader((tmp_path / "scaling.csv").open()))
    assert [(row["model"], row["num_sites"]) for row in rows][2:4] == [("fast", "400"), ("slow", "100")]
    assert (rows[3]["step_seconds"], rows[3]["memory_bytes"]) == ("10", "")
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"scaling.{suffix}").stat().st_size > 5000
    print_growths(growths, cfg.fit_from)
    shown = capsys.readouterr().out
    assert "slow from 400 sites on is left out: it takes longer than time_limit=30 seconds" in shown
    assert "│ training step, time of the device" in " ".join(shown.split())
    assert "with its standard error" in " ".join(shown.split())
    assert re.search(rf"exponent +│ +1\.00 ± 0\.00 +│ +2\.00 +│ +{NOTHING}", shown)


def test_small_sizes_are_not_fitted_unless_the_user_says_so(capsys):
    growths = {"fast": scaling.Growth([measured([size], size / 1000, None) for size in (2, 4, 400)])}
    assert scaling.first_fitted(growths, None) == 400 / 64
    assert growths["fast"].fit("step_seconds", scaling.first_fitted(growths, None)) is None
    assert growths["fast"].fit("step_seconds", scaling.first_fitted(growths, 4)).num_sizes == 2
    print_growths(growths, 4)
    shown = " ".join(capsys.readouterr().out.split())
    assert "from 4 sites on" in shown
    assert "standard error" not in shown


def test_where_nothing_can_be_measured_the_logs_are_named(tmp_path, machine):
    options = ["sites=[[100],[200]]", "compare=[broken]"]
    cfg = compose_config("profile", "benchmark=elasticity_p", f"run_dir={tmp_path}", *options)
    with pytest.raises(InputError, match=f"none of broken could be measured; see the logs in {tmp_path}"):
        scaling.measure_growths(cfg, options)
