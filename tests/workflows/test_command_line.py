"""The commands as processes: help, mistakes told in one sentence, sweeps, and what a run leaves behind."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import Finished, call, call_forked, environment_of
from conftest import ROOT, SPLITS, TINY_DARCY
from omegaconf import OmegaConf

import lsm
from lsm.data.store import Store
from lsm.errors import InputError

COMMANDS = ("generate", "convert", "train", "evaluate", "report", "visualize", "predict", "export", "inspect")

_SPLITS = ",".join(f"{name}:{limits}" for name, limits in SPLITS.items())
TINY = (
    *("preset=quick", "benchmark.reader.resolution=13", "model.width=8", "model.patch=[3,3]", "data.batch_size=2"),
    *(f"data.splits={{{_SPLITS}}}", "trainer.max_epochs=1", "trainer.accelerator=cpu"),
)


@pytest.fixture(scope="module")
def place(darcy_store, darcy_run, tmp_path_factory) -> Path:
    """A folder with good data, bad data and checkpoints."""
    place = tmp_path_factory.mktemp("command_line")
    (place / "data").mkdir()
    (place / "data/darcy_quick.h5").write_bytes(darcy_store.read_bytes())
    (place / "truncated").mkdir()
    (place / "truncated/darcy_quick.h5").write_bytes(darcy_store.read_bytes()[:-5000])
    (place / "a_file").touch()
    content = torch.load(darcy_run / "checkpoints/best.ckpt", weights_only=True)
    torch.save(content, place / "good.ckpt")
    torch.save({name: content[name] for name in ("lsm", "state_dict", "epoch")}, place / "solver.ckpt")
    (place / "settings.yaml").write_text("name: heat\n")
    content["lsm"]["schema"] = 99
    torch.save(content, place / "other_schema.ckpt")
    return place


#: Command, options, words of the one sentence.
MISTAKES = {
    "missing data": (
        ("train", *TINY, "data_dir=nowhere", "run_dir=unborn"),
        ("nowhere/darcy_quick.h5", "lsm-generate benchmark=darcy preset=quick", "lsm-convert benchmark=darcy"),
    ),
    "an option that there is not": (
        ("visualize", "checkpoint=run", "output=here"),
        ("output is no option of this command; --help lists the options",),
    ),
    "option of another model": (
        ("train", *TINY, "model=fno", "model/block=identity"),
        ("model/block belongs to model=lsm and model=lsm2; leave it out",),
    ),
    "no folder to look for a run": (
        ("train", *TINY, "resume=auto"),
        ("resume=auto continues the run in run_dir=FOLDER; add run_dir=FOLDER, or give resume=FOLDER",),
    ),
    "sharded parameters under a recipe that needs whole ones": (
        ("train", *TINY, "recipe=modern", "+trainer.strategy=fsdp", "run_dir=sharded"),
        ("FSDP", "gradient clipping", "averaged weights", "Muon", "add recipe=quick"),
    ),
    "a precision that rounds the data": (
        ("train", *TINY, "trainer.precision=bf16-true", "run_dir=half"),
        ("trainer.precision is bf16-true", "choose bf16-mixed"),
    ),
    "patch that does not fit": (
        ("train", *TINY, "model.patch=[3,3,3]", "run_dir=patch"),
        ("model.patch is [3, 3, 3]", "rank 2"),
    ),
    "truncated store": (
        ("train", *TINY, "data_dir=truncated", "run_dir=truncated/run"),
        ("truncated/darcy_quick.h5", "truncated", "generate or convert again"),
    ),
    "run folder that cannot be made": (
        ("train", *TINY, "run_dir=a_file/run"),
        ("a_file/run",),
    ),
    "run to resume that is not there": (
        ("train", *TINY, "resume=gone_run"),
        ("gone_run does not exist", "resume= takes a checkpoint, or a run's folder"),
    ),
    "checkpoint to resume that is not there, into another folder": (
        ("train", *TINY, "resume=gone_run.ckpt", "run_dir=gone_run"),
        ("gone_run.ckpt does not exist",),
    ),
    "checkpoint of another schema": (
        ("evaluate", "checkpoint=other_schema.ckpt"),
        ("other_schema.ckpt", "schema 99"),
    ),
    "wrong split": (
        ("evaluate", "checkpoint=good.ckpt", "split=tset"),
        ("split is tset", "train, validation, test"),
    ),
    "file that is no checkpoint": (
        ("evaluate", "checkpoint=data/darcy_quick.h5"),
        ("darcy_quick.h5 is damaged or no checkpoint",),
    ),
    "configuration as a checkpoint": (
        ("evaluate", "checkpoint=settings.yaml"),
        ("settings.yaml is damaged or no checkpoint",),
    ),
    "solver without a training": (
        ("train", "resume=solver.ckpt", "run_dir=unborn"),
        ("solver.ckpt holds a solver without the state of a training",),
    ),
    "precision that there is not": (
        ("train", *TINY, "trainer.precision=bf17", "run_dir=precision"),
        ("trainer: Precision 'bf17' is invalid",),
    ),
    "flag that there is not": (("train", *TINY, "+trainer.foo=1", "run_dir=flag"), ("trainer: ", "'foo'")),
    "flag without a plus": (
        ("train", *TINY, "trainer.gradient_clip_val=1"),
        ("trainer.gradient_clip_val is not in the configuration; trainer has ", "use +trainer.gradient_clip_val=1"),
    ),
    "misspelt flag": (
        ("train", *TINY, "trainer.max_epoch=1"),
        ("trainer.max_epoch is not in the configuration; did you mean trainer.max_epochs?", "+trainer.max_epoch=1"),
    ),
    "option of another optimiser": (
        ("train", *TINY, "optimizer.learning_rate=1"),
        ("optimizer.learning_rate is not in the configuration; optimizer has lr, weight_decay. To append",),
    ),
    "rate that is no number": (
        ("train", *TINY, "optimizer.lr=abc", "run_dir=rate"),
        ("optimizer.lr is abc, expected a finite number of at least 0",),
    ),
    "file for a benchmark": (
        ("train", *TINY, "data.file=heat.npz"),
        ("data.file is for your own data; add benchmark=custom",),
    ),
    "option that the shell split": (("train", *TINY, "data.names={inputs:[u"), ("as 'KEY={NAME: VALUE}'",)),
    "patch that is no list": (
        ("train", *TINY, "model.patch=6", "run_dir=patch6"),
        ("model.patch is 6, expected a list, each item a whole number of at least 1",),
    ),
    "width that is none": (("train", *TINY, "model.width=abc", "run_dir=width"), ("model.width is abc",)),
    "batch of a wrong kind": (("train", *TINY, "data.batch_size=abc", "run_dir=batch"), ("data.batch_size is abc",)),
    "split that is none": (
        ("train", *TINY, "data.splits.train=[0,10.5]", "run_dir=split"),
        ("split train is [0, 10.5]", "data.splits"),
    ),
    "negative seed": (("train", *TINY, "seed=-1", "run_dir=seed"), ("seed is -1",)),
    "negative rate": (("train", *TINY, "optimizer.lr=-1", "run_dir=rate"), ("optimizer", "-1")),
    "no epoch": (("train", *TINY, "trainer.max_epochs=0", "run_dir=epoch"), ("trainer.max_epochs is 0",)),
    "time that is none": (
        ("train", *TINY, "time_limit=abc", "run_dir=time"),
        ("time_limit is abc, expected a positive number",),
    ),
    "compiled and recomputed": (
        ("train", *TINY, "compile=eager", "recompute=true", "run_dir=compile"),
        ("recompute=true and compile=eager", "cannot be combined, since the compiler decides"),
    ),
    "recomputed in another way": (
        ("train", *TINY, "recompute=all", "run_dir=compile"),
        ("recompute is all", "cheap"),
    ),
    "compiler that there is not": (("train", *TINY, "compile=foo", "run_dir=compile"), ("compile is foo", "inductor")),
    "points on a grid": (
        ("train", *TINY, "+model.projection.name=fourier", "run_dir=points"),
        ("projection fourier does not support 'grid' sites",),
    ),
    "names that are no list": (
        ("train", *TINY, "benchmark.reader.inputs=permeability", "run_dir=names"),
        ("benchmark.reader.inputs is permeability, expected a list, each item a text",),
    ),
    "no checkpoint": (("evaluate",), ("checkpoint= is missing; --help describes it",)),
    "empty folder of data": (
        ("generate", "data_dir=", "num_samples=1"),
        ("data_dir= is not a usable path", "LSM_DATA_DIR"),
    ),
    "empty folder of a run": (("train", *TINY, "run_dir="), ("run_dir= is not a usable path",)),
    "quoted home folder": (
        ("train", *TINY, "run_dir='~/run'"),
        ("run_dir=~/run is not a usable path", "write it out in full"),
    ),
    "model switch that is neither on nor off": (
        ("train", *TINY, "model.block.latent=no", "run_dir=switch"),
        ("model.block.latent is no, expected true or false",),
    ),
    "data switch that is neither on nor off": (
        ("train", *TINY, "data.in_memory=no", "run_dir=switch"),
        ("data.in_memory is no, expected true or false",),
    ),
    "model count that is none": (
        ("train", *TINY, "model.num_scales=two", "run_dir=count"),
        ("model.num_scales is two, expected a whole number",),
    ),
    "patch that is not whole": (
        ("train", *TINY, "model.patch=[2.5,2]", "run_dir=patch"),
        ("model.patch is [2.5, 2], expected a list, each item a whole number of at least 1",),
    ),
    "no heads": (
        ("train", *TINY, "model.block.heads=0", "run_dir=heads"),
        ("model.block.heads is 0, expected a whole number of at least 1",),
    ),
    "seed beyond what libraries take": (("train", *TINY, "seed=5000000000"), ("seed is 5000000000", "4294967295")),
    "missing checkpoint": (
        ("visualize", "checkpoint=gone"),
        ("gone", "does not exist"),
    ),
    "data folder that cannot be made": (
        ("generate", "data_dir=a_file/data", "num_samples=1"),
        ("a_file",),
    ),
    "one folder for a sweep": (("train", "-m", "seed=0,1", "run_dir=one"), ("run_dir=one", "hydra.sweep.dir=FOLDER")),
    "switch that is neither on nor off": (("generate", "merge=flase"), ("merge is flase, expected true or false",)),
    "number that is none": (("generate", "seed=abc"), ("seed is abc, expected a whole number",)),
    "count that is not whole": (("generate", "num_samples=1e3"), ("num_samples is 1000.0, expected a whole number",)),
    "no processes": (("generate", *TINY_DARCY, "workers=0"), ("workers is 0, expected a whole number of at least 1",)),
    "generator option of another kind": (
        ("generate", "benchmark=airfoil", "benchmark.generator.mach=abc"),
        ("benchmark.generator.mach is abc, expected a positive number below 1",),
    ),
    "generator option out of range": (
        ("generate", "benchmark=plasticity", "benchmark.generator.columns=50"),
        ("benchmark.generator.columns is 50, expected a multiple of 20 from 20 to 200",),
    ),
    "generator option out of range in a conversion": (
        ("convert", "benchmark=pipe", "benchmark.generator.resolution=64", "source=."),
        ("resolution is 64", "odd"),
    ),
    "folder for a store": (("generate", "store=truncated"), ("truncated is a folder, expected a file",)),
    "folder with brackets": (
        ("generate", *TINY_DARCY, "store='no[/permission]:smile:/a_file/store.h5'", "check=true"),
        ("no[/permission]:smile:/a_file/store.h5 does not exist",),
    ),
    "home folder that no shell wrote out": (
        ("convert", "source=~/darcy"),
        ("source=~/darcy", "write ~ as a full path"),
    ),
    "no direction": (("convert",), ("source=FOLDER", "export=FOLDER")),
    "missing published files": (
        ("convert", "source=."),
        ("smooth1.mat", "smooth2.mat", "lsm-generate benchmark=darcy"),
    ),
}

#: Of these, values of a wrong kind or range, which one check refuses (see ``test_registry.py``): a few stand for all of them.
SAME_CHECK = {
    *("patch that is no list", "width that is none", "batch of a wrong kind", "model count that is none", "no epoch"),
    *("patch that is not whole", "no heads", "names that are no list", "seed beyond what libraries take"),
    *("data switch that is neither on nor off", "number that is none", "count that is not whole", "time that is none"),
    *("switch that is neither on nor off", "negative seed", "split that is none", "generator option out of range"),
    *("compiler that there is not", "no processes", "quoted home folder", "empty folder of a run"),
}

BY_CHECK = [pytest.param(name, marks=[pytest.mark.slow] if name in SAME_CHECK else []) for name in MISTAKES]

#: Command, options, words of what Hydra says in lines of its own.
MISSPELT = {
    "benchmark": (("generate", "benchmark=darci"), ("darci", "darcy")),
    "preset": (("generate", "preset=quik"), ("quik", "paper", "quick")),
    "option": (("generate", "num_sample=3"), ("num_sample is no option of this command; did you mean num_samples?",)),
    "option of train": (("train", "modl.width=3"), ("modl.width is no option", "did you mean model.width?")),
    "option of a model": (("train", "model.widht=3"), ("model.widht is no option", "did you mean model.width?")),
    "options of a model": (("train", "model={widht: 3}"), ("model.widht is no option", "did you mean model.width?")),
    "option that no model has": (
        ("train", "model=unet", "model.foo=3"),
        ("model.foo is no option", "width, num_scales"),
    ),
    "option of the data": (("train", "data.batchsize=3"), ("data.batchsize is no", "did you mean data.batch_size?")),
    "option of an optimiser": (
        ("train", "optimizer.momentum=1"),
        ("optimizer.momentum is not", "+optimizer.momentum=1"),
    ),
}

ALL = {name: options for table in (MISTAKES, MISSPELT) for name, (options, _) in table.items()}


@pytest.fixture(scope="module")
def finished(place, read_only, request) -> dict[str, Finished]:
    """Every command of this file: some as whole processes, the others as forks of one (see ``forked_commands.py``)."""
    chosen = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    whole = {
        "sweep": ("train", "-m", "seed=0,1", *TINY, "data.path=data/darcy_quick.h5"),
        "generate --help": ("generate", "--help"),
        "missing published files": ALL["missing published files"],
    }
    helps = {f"{name} --help": (name, "--help") for name in COMMANDS}
    forbidden = {
        "no permission for data": ("generate", f"data_dir={read_only}", "num_samples=1"),
        "no permission for a run": ("train", f"run_dir={read_only / 'run'}"),
    }
    needed = {name: options for name, options in ALL.items() if name not in SAME_CHECK or name in chosen}
    forked = {name: options for name, options in {**helps, **forbidden, **needed}.items() if name not in whole}
    with ThreadPoolExecutor(2) as pool:
        forks = pool.submit(call_forked, place, list(forked.values()))
        processes = {name: pool.submit(call, place, *options) for name, options in whole.items()}
        results = dict(zip(forked, forks.result(), strict=True))
        return results | {name: process.result() for name, process in processes.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_worth_reading(name, finished):
    told = finished[f"{name} --help"]
    assert (told.code, told.errors) == (0, "")
    assert len(told.output.split("\n\n")[0]) > 40, "what it does"
    examples = told.output.partition("Examples:")[2].strip().splitlines()
    assert len(examples) >= 3
    assert all(line.strip().startswith(f"lsm-{name} ") for line in examples)
    if name in ("generate", "convert", "train"):
        benchmarks = sorted(path.stem for path in (ROOT / "conf/benchmark").glob("*.yaml"))
        assert f"benchmark: {', '.join(benchmarks)}" in told.output
        presets = sorted(path.stem for path in (ROOT / "conf/preset").glob("*.yaml"))
        assert f"preset: {', '.join(presets)}" in told.output


@pytest.mark.parametrize("name", BY_CHECK)
def test_a_mistake_is_told_in_one_sentence(name, finished):
    told = finished[name]
    assert told.code == 1
    lines = told.errors.strip().splitlines()
    assert len(lines) == 1, told.errors
    assert lines[0].startswith("error: ")
    assert "Traceback" not in told.errors + told.output
    assert "Errno" not in told.errors, "for people"
    for words in MISTAKES[name][1]:
        assert words in lines[0]


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_name_is_told_with_the_right_ones(name, finished):
    told = finished[name]
    assert told.code == 1
    assert "Traceback" not in told.errors + told.output
    assert MISSPELT[name][1][0] in told.errors.splitlines()[0]
    for words in MISSPELT[name][1]:
        assert words in told.errors


def test_mistakes_leave_nothing_behind(place, finished):
    assert not (place / "gone").exists(), "a folder named as a misspelt checkpoint"
    assert not (place / "gone_run").exists(), "a folder named as a misspelt run"
    assert not (place / "evaluation/tset").exists(), "a folder named as a misspelt split"
    assert not (place / "nowhere").exists()
    assert not (place / "one").exists()
    assert not (place / "~").exists()


@pytest.mark.parametrize("what", ["data", "a run"])
def test_a_folder_without_permission_is_told(what, finished, read_only):
    told = finished[f"no permission for {what}"]
    assert told.code == 1
    assert len(told.errors.strip().splitlines()) == 1, told.errors
    assert "permission" in told.errors
    assert str(read_only) in told.errors
    assert "Traceback" not in told.errors + told.output


@pytest.fixture
def runs(place, finished) -> list[Path]:
    assert finished["sweep"].code == 0, finished["sweep"].errors
    return sorted(
        path.parent for path in place.glob("runs/darcy/sweeps/**/config.yaml") if path.parent.name != ".hydra"
    )


def test_a_sweep_makes_a_run_of_each(runs):
    assert len(runs) == 2
    assert runs[0].parent == runs[1].parent
    assert runs[0].parents[1].name == "sweeps", "an option with a slash makes no folders"
    seeds = [yaml.safe_load((run / "config.yaml").read_text())["seed"] for run in runs]
    assert seeds == [0, 1]
    assert ["seed=0" in runs[0].name, "seed=1" in runs[1].name] == [True, True]
    weights = [torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in runs]
    assert any(not torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_folder_of_a_sweep_is_named_by_its_options():
    assert name_folder("data_dir=/a/b,seed=1") == "data_dir=_a_b,seed=1"
    long = [name_folder(f"data.splits.train={'9' * 500},seed={seed}") for seed in (1, 2)]
    assert long[0] != long[1]
    assert all(name.startswith("data.splits.train=9") and len(name) <= 255 for name in long)


def name_folder(options: str) -> str:
    """What the configuration makes of a sweep's options."""
    return OmegaConf.create({"options": options, "name": "${lsm.folder_name:${options}}"}).name


def test_commands_answer_without_the_heavy_libraries():
    """Which take seconds to import."""
    imports = ", ".join(f"experiments.{name}" for name in COMMANDS)
    code = f"import sys, {imports}; print({{'torch', 'pytorch_lightning', 'matplotlib'}} & set(sys.modules))"
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment_of(), capture_output=True, text=True, check=True
    )
    assert finished.stdout == "set()\n"


def test_a_run_folder_tells_how_it_was_made(runs, place):
    run = runs[1]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert "${" not in (run / "config.yaml").read_text(), "everything is filled in"
    assert config["data_dir"] == "data", "LSM_DATA_DIR says where data lie"
    assert (config["model"]["width"], config["benchmark"]["name"], config["preset"]) == (8, "darcy", "quick")
    environment = json.loads((run / "environment.json").read_text())
    assert environment["seed"] == 1
    assert environment["lsm"] == lsm.__version__
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["machine"]["processor"]
    if (ROOT / ".git").exists():
        assert len(environment["commit"].removesuffix("+changes")) == 40
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["best.ckpt", "last.ckpt"]
    with (run / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"train/relative_l2", "val/relative_l2", "epoch", "step"} <= set(rows[0])
    assert 0 < float(rows[-1]["train/relative_l2"] or rows[0]["train/relative_l2"]) < 10
    assert list(run.glob("tensorboard/version_0/events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("option", "named"), [("device=cuda:99", "cuda:99"), ("batch_size=0", "batch_size is 0"), ("device=abc", "abc")]
)
def test_a_device_or_batch_that_makes_no_sense_is_named(option, named, command, tmp_path):
    with pytest.raises(InputError, match=named):
        command("generate", *TINY_DARCY, "num_samples=2", f"store={tmp_path / 'store.h5'}", option)
    assert not (tmp_path / "store.h5").exists()


@pytest.mark.slow
def test_samples_solved_together_are_those_solved_alone(darcy_store, command, tmp_path):
    store = tmp_path / "store.h5"
    command("generate", *TINY_DARCY, "num_samples=5", f"store={store}", "workers=1", "batch_size=3")
    with Store(store) as together, Store(darcy_store) as alone:
        for name in together.fields:
            np.testing.assert_array_equal(together.field(name)[:], alone.field(name)[:5])


@pytest.mark.slow
def test_a_store_with_more_samples_than_asked_for_is_told(command, tmp_path, capsys):
    store = tmp_path / "a[old]" / "store.h5"
    for num_samples, told in ((3, "3 samples (3"), (2, "3 samples, more than the 2 asked for (0")):
        options = [*TINY_DARCY, f"num_samples={num_samples}", f"store='{store}'", "workers=1", "device=auto"]
        command("generate", *options)
        assert f"{store}: {told} computed" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_says_that_finished_samples_are_kept(tmp_path):
    """The signal may be ignored here, as in what a shell runs in the background."""
    command = [sys.executable, "-m", "experiments.generate", "benchmark=elasticity_p", "workers=1", "num_samples=2000"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment_of(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    parts = tmp_path / "data/elasticity.h5.parts"
    deadline = time.monotonic() + 60
    while not list(parts.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "interrupted\n"
    assert "finished samples are kept in data/elasticity.h5.parts: run the same command again" in output
    assert list(parts.glob("*.npz"))
