"""Checkpoints from a stranger: what they record of their run executes no code, reads no secret and writes nowhere else."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from training import SCHEDULES, content, options_of, train_until

from experiments.runs import resumed_config
from lsm.errors import InputError

SECRET = "correct horse battery staple"


class Tripwire:
    """Unpickled, it makes the file ``tripped`` in the working folder."""

    def __reduce__(self) -> Any:
        return open, ("tripped", "w")


#: Values that execute code where they are instantiated; each leaves ``tripped`` in the working folder.
PAYLOADS = {
    "mkdir": "{_target_: os.mkdir, _args_: [tripped]}",
    "eval": "{_target_: builtins.eval, _args_: [\"open('tripped', 'w')\"]}",
    "pickle": "{_target_: torch.load, f: payload.pkl, weights_only: false}",
    "through a module of ours": "{_target_: lsm.files.os.mkdir, _args_: [tripped]}",
    "nested": "{_target_: pytorch_lightning.callbacks.Timer, duration: {_target_: os.mkdir, _args_: [tripped]}}",
}

#: Where a configuration is instantiated.
PLACES = (
    *("+callbacks.x={}", "+logger.x={}", "++optimizer={}", "++optimizer.lr={}", "++scheduler.make={}", "+loss.x={}"),
    *("++scheduler.make.pct_start={}", "+trainer.plugins=[{}]", "+trainer.profiler={}", "++trainer={}", "++model={}"),
)

#: Options that name code, files or the environment in other ways.
OTHERS = (
    *("+callbacks.x._target_=os.mkdir", "callbacks.progress._target_=os.mkdir", "optimizer._target_=builtins.eval"),
    *("+optimizer._args_=[tripped]", "scheduler.make._target_=os.mkdir", "trainer._target_=os.mkdir"),
    *("plugins=[evil]", "+hydra.searchpath=['file:///tmp']", "hydra/launcher=basic", "benchmark=../../evil"),
    *("experiment=/tmp/evil", "optimizer@callbacks.x=adam", "seed=1,2"),
    *('data_dir="${oc.env:SECRET}"', 'data.path="${oc.env:SECRET}"', 'model.width="${oc.decode:${oc.env:SECRET}}"'),
    *('logger.csv.name="${oc.env:SECRET}"', 'run_dir="${oc.env:SECRET}"', 'benchmark.name="${oc.env:SECRET}"'),
    *("logger.csv.name=../../tripped", "logger.csv.name=tripped", "+callbacks.x.dirpath=..", "run_dir=../tripped"),
    *(
        "+logger.csv.version=../../tripped",
        "+callbacks={x: {dirpath: tripped}}",
        "+trainer.default_root_dir=../tripped",
    ),
    *("no option", "a={", "[" * 4000, ""),
)

OPTIONS = [
    *(place.format(payload) for place in PLACES for payload in PAYLOADS.values()),
    *OTHERS,
]


@pytest.fixture(scope="module")
def stopped(command, darcy_store, tmp_path_factory) -> Path:
    """The last checkpoint of a run of two finished epochs of four."""
    folder = tmp_path_factory.mktemp("stranger") / "run"
    with pytest.MonkeyPatch.context() as patch:
        train_until(command, (2, 0), patch, (*options_of(darcy_store, folder, *SCHEDULES["paper"]),))
    return folder / "checkpoints/last.ckpt"


@pytest.fixture
def craft(stopped, tmp_path, monkeypatch) -> Iterator[Callable[..., Path]]:
    """``craft(change)`` makes a checkpoint of which ``change`` altered the record; then nothing may have been executed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", SECRET)
    (tmp_path / "payload.pkl").write_bytes(pickle.dumps(Tripwire()))
    (tmp_path / "evil.py").write_text("open('tripped', 'w')")
    monkeypatch.syspath_prepend(tmp_path)

    def make(change: Callable[[dict[str, Any]], None]) -> Path:
        saved = content(stopped)
        change(saved["lsm"]["run"])
        path = tmp_path / "stranger.ckpt"
        torch.save(saved, path)
        return path

    yield make
    assert not list(tmp_path.rglob("tripped*"))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


REFUSED = "not taken from a checkpoint|does not record the run that wrote it"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_recorded_option_is_refused(option, stopped, monkeypatch):
    monkeypatch.setenv("SECRET", SECRET)
    saved = content(stopped)
    saved["lsm"]["run"]["overrides"].append(option)
    with pytest.raises(InputError, match=REFUSED) as caught:
        resumed_config(stopped, saved, ["trainer.max_epochs=3"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("option", [*(PLACES[0].format(payload) for payload in PAYLOADS.values()), *OTHERS[-16:-4:2]])
def test_the_command_executes_none_of_them(option, craft, command, capsys):
    path = craft(lambda run: run["overrides"].append(option))
    with pytest.raises(InputError, match=REFUSED) as caught:
        command("train", f"resume={path}", "run_dir=run")
    assert SECRET not in str(caught.value) + capsys.readouterr().out


#: Entries of a recorded configuration that name code or the environment.
RECORDED = {
    "callbacks": {"x": {"_target_": "os.mkdir", "_args_": ["tripped"]}},
    "logger": {"csv": {"_target_": "os.mkdir", "_args_": ["tripped"]}},
    "trainer": {"_target_": "os.mkdir", "_args_": ["tripped"], "max_epochs": 4},
    "optimizer": {"_target_": "builtins.eval", "_args_": ["open('tripped', 'w')"]},
    "scheduler": {"make": {"_target_": "os.mkdir", "_args_": ["tripped"]}},
    "seed": "${oc.env:SECRET}",
    "preset": "${oc.env:SECRET}",
    "plugins": ["evil"],
}
READING = ("train", "evaluate", "visualize")


def readings() -> list:
    """Every entry with every command; by default training meets all, the others one each."""
    default = {*(("train", key) for key in RECORDED), ("evaluate", "callbacks"), ("visualize", "seed")}
    every = product(READING, RECORDED)
    return [pytest.param(*pair, marks=[] if pair in default else pytest.mark.slow) for pair in every]


@pytest.mark.parametrize(("name", "key"), readings())
def test_a_recorded_configuration_is_never_instantiated(name, key, craft, command, capsys):
    """It is compared, and read by name; where it differs from what may change, the call is refused."""
    path = craft(lambda run: run["config"].update({key: RECORDED[key]}))
    options = [f"resume={path}", "trainer.max_epochs=3"] if name == "train" else [f"checkpoint={path}", "device=cpu"]
    options += ["samples=[0]", "dpi=30"] if name == "visualize" else []
    refused = ""
    try:
        command(name, *options, "run_dir=run")
    except InputError as error:
        refused = str(error)
    assert SECRET not in refused + capsys.readouterr().out
    if name == "train" and key in ("trainer", "optimizer", "scheduler", "preset"):
        assert "cannot change from" in refused
    if key == "seed":
        assert "seed is ${oc.env:SECRET}, expected a whole number" in refused


@pytest.mark.parametrize("name", ["train", "evaluate", "visualize"])
def test_a_recorded_path_is_no_expression(name, craft, command, capsys):
    path = craft(lambda run: run["config"]["data"].update(path="${oc.env:SECRET}"))
    options = f"resume={path}" if name == "train" else f"checkpoint={path}"
    with pytest.raises((InputError, FileNotFoundError), match=r"\$\{oc.env:SECRET\}") as caught:
        command(name, options, "run_dir=run")
    assert SECRET not in str(caught.value) + capsys.readouterr().out


def test_metrics_quote_a_recorded_name_as_it_is(craft, command):
    path = craft(lambda run: run["config"]["benchmark"].update(name="${oc.env:SECRET}"))
    command("evaluate", f"checkpoint={path}", "device=cpu", "run_dir=run")
    assert json.loads(Path("run/metrics.json").read_text())["benchmark"] == "${oc.env:SECRET}"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("config", None, "run.config is None"),
        ("config", {}, r"benchmark\.name is None"),
        ("config", {"benchmark": {"name": 3}}, r"benchmark\.name is 3, expected a text"),
        ("overrides", "seed=1", "run.overrides is seed=1, expected a list"),
        ("overrides", [3], r"run.overrides is \[3\], expected a list"),
        ("choices", [], "run.choices is "),
    ],
)
def test_a_damaged_record_is_told(key, value, told, craft, command):
    path = craft(lambda run: run.update({key: value}))
    with pytest.raises(
        InputError,
        match=rf"stranger\.ckpt does not (record the run that wrote it|describe a solver of this version): {told}",
    ):
        command("train", f"resume={path}", "run_dir=run")
    if key == "config":
        with pytest.raises(InputError, match=told):
            command("evaluate", f"checkpoint={path}", "run_dir=run")


def test_what_the_user_repeats_is_taken(craft, command):
    """Code that the command line names is the user's own; the recorded option is then replaced by the typed one."""
    added = "+callbacks.timer={_target_: pytorch_lightning.callbacks.Timer}"

    def record(run: dict[str, Any]) -> None:
        run["overrides"].append(added)
        run["config"]["callbacks"]["timer"] = {"_target_": "pytorch_lightning.callbacks.Timer"}

    path = craft(record)
    with pytest.raises(InputError, match="repeat it on the command line"):
        command("train", f"resume={path}", "run_dir=run")
    result = command("train", f"resume={path}", "run_dir=run", added, "trainer.max_epochs=3")
    saved = content(result.last)
    assert saved["lsm"]["run"]["overrides"].count(added) == 1
    assert any("Timer" in key for key in saved["callbacks"])
