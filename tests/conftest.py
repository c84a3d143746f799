"""What many tests share: one thread, tiny data, and commands run without a process."""

from __future__ import annotations

import os

# Before numpy and torch are imported: their thread pools read these once.
for _library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"

import json
import multiprocessing
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hydra
import numpy as np
import pytest
import torch
from composition import compose_once, load_once
from hydra._internal.config_repository import ConfigRepository
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from toy_generators import ToyGenerator
from toy_sets import expected_content

from data_prep.generation import pool
from data_prep.generation.job import Job
from experiments import (
    convert,
    evaluate,
    export,
    generate,
    import_reference,
    inspect,
    predict,
    profile,
    report,
    train,
    visualize,
)
from experiments.app import check, compose_config, config_dir
from experiments.device import settle_precision

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]

RUNS = {
    "train": train.from_command_line,
    "generate": generate.run,
    "convert": convert.run,
    "evaluate": evaluate.run,
    "report": report.run,
    "visualize": visualize.run,
    "import": import_reference.run,
    "predict": predict.run,
    "export": export.run,
    "inspect": inspect.run,
    "profile": profile.from_command_line,
}

#: The benchmarks that have data of their own.
BENCHMARKS = sorted({path.stem for path in (ROOT / "conf/benchmark").glob("*.yaml")} - {"custom"})

#: Darcy data of seconds: solved on 25 x 25 sites.
TINY_DARCY = ("benchmark=darcy", "preset=quick", "benchmark.sets.quick.solver_resolution=25")

#: A Darcy run of seconds: every second site, a model of width 8.
TINY_RUN = ("benchmark=darcy", "preset=quick", "benchmark.sets.quick.resolution=13")
TINY_MODEL = ("model.width=8", "model.patch=[3,3]", "model.num_scales=2", "trainer.accelerator=cpu")


def run_command(name: str, *overrides: str) -> Any:
    """What ``lsm-NAME OVERRIDES`` does, in this process; mistakes come as exceptions."""
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        cfg = compose_once(name, list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = cfg.hydra.run.dir
        HydraConfig.instance().set_config(cfg)
        del cfg.hydra
    try:
        check(name, cfg)
        return RUNS[name](settle_precision(cfg))
    finally:
        HydraConfig.instance().cfg = None


@pytest.fixture(scope="session", autouse=True)
def _each_composition_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hydra, "compose", compose_once)
        patch.setattr(ConfigRepository, "load_config", load_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _fast_workers() -> None:
    """Worker processes that this process starts are forks of one server, which imports the libraries once."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_forkserver_preload(["data_prep.generation.pool", "toy_generators"])
        pool.START_METHOD = "forkserver"


@pytest.fixture(autouse=True)
def _no_data_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LSM_DATA_DIR", raising=False)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)


@pytest.fixture(scope="session")
def compose() -> Callable[..., DictConfig]:
    """``compose(name, *overrides)``: see :func:`experiments.app.compose_config`."""
    return compose_config


@pytest.fixture(scope="session")
def command() -> Callable[..., Any]:
    """``command(name, *overrides)``: see :func:`run_command`."""
    return run_command


@pytest.fixture
def train(command, monkeypatch) -> Callable[..., Any]:
    """``train(*options, stop=(epoch, batch))``: ``lsm-train OPTIONS``; ``stop`` kills it before that batch."""
    from training import train_until

    def run(*options: str, stop: tuple[int, int] | None = None) -> Any:
        if stop is None:
            return command("train", *options)
        with monkeypatch.context() as patch:
            return train_until(command, stop, patch, options)

    return run


@pytest.fixture
def toy() -> ToyGenerator:
    """A generator of microseconds."""
    return ToyGenerator()


@pytest.fixture
def job(toy: ToyGenerator, tmp_path: Path) -> Job:
    """Seven samples of the toy generator, not yet made."""
    return Job(toy, tmp_path / "toy.h5", "toy", num_samples=7, seed=3)


@pytest.fixture
def expected(job: Job) -> dict[str, np.ndarray]:
    """The store's content once the job is done."""
    return expected_content(job)


@pytest.fixture(scope="session")
def darcy_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine solved Darcy samples on 25 x 25 cells; not to be written to."""
    store = tmp_path_factory.mktemp("darcy") / "darcy_quick.h5"
    run_command("generate", *TINY_DARCY, f"store={store}", "num_samples=9", "workers=1")
    return store


@pytest.fixture(scope="session")
def darcy_run(darcy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Darcy run of two epochs: 5 training, 2 validation and 2 test samples; not to be written to."""
    folder = tmp_path_factory.mktemp("run") / "run"
    run_command("train", *tiny_training(darcy_store, folder), "trainer.max_epochs=2")
    return folder


def tiny_training(store: Path, folder: Path) -> list[str]:
    """Options of a Darcy training of a second."""
    splits = [f"data.splits.{name}={limits}" for name, limits in SPLITS.items()]
    return [*TINY_RUN, *TINY_MODEL, *splits, "data.batch_size=2", f"data.path={store}", f"run_dir={folder}"]


def copy_store(store: Path, copy: Path, **facts: Any) -> Path:
    """A copy of a store whose provenance has further, or other, facts."""
    shutil.copy(store, copy)
    with h5py.File(copy, "a") as file:
        file.attrs["provenance"] = json.dumps({**json.loads(file.attrs["provenance"]), **facts})
    return copy


SPLITS = {"train": "[0,5]", "validation": "[5,7]", "test": "[7,9]"}


@pytest.fixture(scope="session")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which nobody can make a file, not even root."""
    folder = tmp_path_factory.mktemp("permission") / "read_only"
    folder.mkdir()
    immutable = os.geteuid() == 0
    if immutable:
        if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
            pytest.skip("this file system cannot keep root from writing")
    else:
        folder.chmod(0o555)
    yield folder
    if immutable:
        subprocess.run(["chattr", "-i", folder], check=True)
    folder.chmod(0o755)


def load_config(path: Path) -> dict[str, Any]:
    """A YAML file as plain data."""
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
