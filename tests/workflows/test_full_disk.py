"""On a full disk every command says which file could not be written, and what was there before stays whole."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_training
from small_disk import mounted
from training import SCHEDULES

from experiments.mistakes import describe
from lsm.checkpoint import load
from lsm.fields import Channel, FieldSpec
from lsm.prediction import predict_file
from lsm.solver import build_solver


class SmallDisk:
    """A file system of a few megabytes.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, left: int = 0) -> None:
        """Fill it, but for some bytes."""
        with (self.folder / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self.folder).free - left)

    def clear(self) -> None:
        """Remove what fills it."""
        (self.folder / "filler").unlink()

    def content(self) -> dict[str, bytes]:
        """All files but logs, which grow line by line, and what fills the disk."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.name != "filler"]
        logs = ("csv", "tensorboard", "lightning_logs")
        return {
            str(path.relative_to(self.folder)): path.read_bytes() for path in files if not set(path.parts) & set(logs)
        }


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "disk", size="8m") as folder:
        yield SmallDisk(folder)


def assert_told(disk: SmallDisk, name: str, work: Callable[[], Any], left: int = 0) -> None:
    """The work stops at a full disk, names a file, and leaves all files as they were; with space it goes on."""
    before = disk.content()
    disk.fill(left)
    with pytest.raises(OSError) as caught:  # noqa: PT011, the number is checked
        work()
    assert caught.value.errno == errno.ENOSPC
    assert describe(caught.value).startswith("the disk is full while writing")
    assert name in describe(caught.value)
    assert disk.content() == before
    disk.clear()
    work()


def first_epoch(store: Path, disk: SmallDisk) -> list[str]:
    """Options of a run of one epoch, which may be resumed for more."""
    return [*tiny_training(store, disk.folder / "run"), *SCHEDULES["paper"], "trainer.max_epochs=1"]


def test_training(disk: SmallDisk, command, darcy_store) -> None:
    command("train", *first_epoch(darcy_store, disk))
    more = [f"resume={disk.folder / 'run'}", "trainer.max_epochs=2"]
    before = disk.content()
    disk.fill(left=1 << 16)  # for logs and records
    with pytest.raises(OSError, match=r"checkpoints/\w+\.ckpt") as caught:
        command("train", *more)
    assert caught.value.errno == errno.ENOSPC
    after = disk.content()
    assert {name: after[name] for name in before if name != "run/config.yaml"} == {
        name: content for name, content in before.items() if name != "run/config.yaml"
    }
    assert not [name for name in after if name.endswith(".partial")]
    disk.clear()
    result = command("train", *more)
    assert load(result.last).epoch == 1


def test_logs_of_a_training(disk: SmallDisk, command, darcy_store) -> None:
    command("train", *first_epoch(darcy_store, disk))
    assert_told(
        disk,
        "run",
        lambda: command("train", f"resume={disk.folder / 'run'}", "trainer.max_epochs=2"),
    )


@pytest.mark.parametrize("name", ["evaluate", "visualize"])
def test_evaluation_and_pictures(name: str, disk: SmallDisk, command, darcy_run) -> None:
    options = [f"checkpoint={darcy_run}", f"run_dir={disk.folder}", "device=cpu"]
    options += ["dpi=30", "samples=[0]"] if name == "visualize" else []
    command(name, *options)
    file = {"evaluate": "metrics.json", "visualize": "test_0000.png"}[name]
    assert_told(disk, file, lambda: command(name, *options))


@pytest.mark.parametrize("left", [0, 6000])
@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5", ".mat"])
def test_prediction(suffix: str, left: int, disk: SmallDisk, command, darcy_run, tmp_path) -> None:
    """Also where the disk has some space left, but too little."""
    command("predict", f"checkpoint={darcy_run}", f"template={tmp_path / 'inputs.npz'}")
    with np.load(tmp_path / "inputs.npz") as template:
        repeated = {name: np.repeat(template[name], 20, axis=0) for name in template if name != "provenance"}
    np.savez(tmp_path / "inputs.npz", **repeated)
    target = disk.folder / f"out{suffix}"
    options = [f"checkpoint={darcy_run}", f"input={tmp_path / 'inputs.npz'}", f"output={target}", "overwrite=true"]
    command("predict", *options)
    assert_told(disk, target.name, lambda: command("predict", *options), left)


@pytest.mark.parametrize(
    ("format", "file"),
    [
        ("safetensors", "model.safetensors"),
        pytest.param("torch_export", "model.pt2", marks=pytest.mark.slow),
        pytest.param("onnx", "model.onnx", marks=pytest.mark.slow),
    ],
)
def test_export(format: str, file: str, disk: SmallDisk, command, darcy_run) -> None:
    """The same command does it once there is space: no half-filled folder is left."""
    folder = disk.folder / "out"
    assert_told(
        disk, file, lambda: command("export", f"checkpoint={darcy_run}", f"output={folder}", f"format={format}")
    )
    assert (folder / file).exists()


def test_prediction_at_the_points_of_a_vtk_file(disk: SmallDisk, tmp_path) -> None:
    meshio = pytest.importorskip("meshio")
    fields = FieldSpec("points", (2000,), ("point",), (Channel("x"), Channel("y")), (Channel("stress"),))
    solver = build_solver({"model": {"name": "transolver", "width": 8, "heads": 1, "num_layers": 1}}, fields)
    points = np.random.default_rng(0).random((2000, 3))
    meshio.write(tmp_path / "in.vtu", meshio.Mesh(points, [("vertex", np.arange(2000)[:, None])]))
    assert_told(disk, "out.vtu", lambda: predict_file(solver, tmp_path / "in.vtu", disk.folder / "out.vtu", {}))
