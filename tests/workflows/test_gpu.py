"""Training, evaluation and generation on a CUDA device against the CPU.

Without a device all are skipped; LSM_TEST_DEVICE=cpu runs them on the CPU instead, to check the tests themselves.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import BENCHMARKS
from hydra.utils import get_class, instantiate
from synthetic import write_synthetic_store

from experiments.app import compose_config
from lsm.checkpoint import load
from lsm.data.datamodule import FieldDataModule
from lsm.data.readers.base import make_reader
from lsm.evaluation import measure

DEVICE = os.environ.get("LSM_TEST_DEVICE", "cuda")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device"),
]

SPLITS = {"train": (0, 4), "validation": (4, 6), "test": (6, 9)}


@pytest.fixture(autouse=True)
def _exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32, in which cuDNN convolves by default, keeps ten bits: too few to compare with the CPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(params=BENCHMARKS)
def store(request, tmp_path) -> tuple[str, Path]:
    """A benchmark's name and nine synthetic samples of it."""
    cfg = compose_config("train", f"benchmark={request.param}", "preset=quick")
    try:
        generator = get_class(cfg.benchmark.generator["_target_"])
    except ImportError as error:  # machines with a GPU may lack the libraries of some solvers
        pytest.skip(str(error))
    path = tmp_path / "store.h5"
    write_synthetic_store(path, request.param, generator().fields, 9)
    return request.param, path


def train_options(store: tuple[str, Path], folder: Path, *more: str) -> list[str]:
    """Two steps, with data on the device."""
    splits = ",".join(f"{name}:[{first},{end}]" for name, (first, end) in SPLITS.items())
    return [
        *(f"benchmark={store[0]}", "preset=quick", f"data.path={store[1]}", f"run_dir={folder}", "model.width=8"),
        *(f"data.splits={{{splits}}}", "data.batch_size=2", "data.on_device=true", "trainer.max_epochs=1"),
        *(f"trainer.accelerator={'gpu' if DEVICE == 'cuda' else DEVICE}", *more),
    ]


def test_two_steps_and_an_evaluation_that_agrees_with_the_cpu(store, command, tmp_path):
    """Errors of a trained model, sample by sample, to 1e-4 relative."""
    result = command("train", *train_options(store, tmp_path / "run"))
    assert np.isfinite(list(result.metrics.values())).all()
    assert torch.load(result.last, weights_only=True)["global_step"] == 2
    checkpoint = load(result.last)
    data = FieldDataModule(
        store[1], make_reader(checkpoint.run["config"]["benchmark"]["reader"]), SPLITS, batch_size=2, in_memory=True
    )
    there, here = (
        measure(checkpoint.solver, data.batches("test"), torch.device(device)).errors["relative_l2"]
        for device in (DEVICE, "cpu")
    )
    assert np.isfinite(here).all()
    np.testing.assert_allclose(there, here, rtol=1e-4)


@pytest.mark.parametrize("model", [(), ("model=lsm2", "recipe=modern", "augmentation=none")])
def test_two_steps_in_mixed_precision(store, model, command, tmp_path):
    """The second step's error shows that the first did no harm; bfloat16 keeps eight bits."""
    exact, mixed = (
        command("train", *train_options(store, tmp_path / precision, *model, f"trainer.precision={precision}")).metrics
        for precision in ("32-true", "bf16-mixed")
    )
    assert mixed["train/relative_l2"] == pytest.approx(exact["train/relative_l2"], rel=0.1)


def test_data_on_the_device_train_as_data_from_a_loader(command, darcy_store, tmp_path):
    """The same batches: the errors differ by the order of sums on the device alone."""
    store = ("darcy", darcy_store)
    small = ("benchmark.sets.quick.resolution=13", "trainer.precision=32-true")
    losses = [
        command("train", *train_options(store, tmp_path / name, *small, f"data.on_device={name}")).metrics
        for name in ("true", "false")
    ]
    assert losses[0]["train/relative_l2"] == pytest.approx(losses[1]["train/relative_l2"], rel=1e-4)


def solved(benchmark: str, device: str, *options: str) -> dict[str, np.ndarray]:
    """Three samples, solved together."""
    overrides = [f"benchmark={benchmark}", "preset=quick", f"device={device}", "batch_size=3", *options]
    generator = instantiate(compose_config("generate", *overrides).benchmark.generator)
    samples = generator.solve_batch([np.random.default_rng((7, index)) for index in range(3)])
    return {name: np.stack([sample.fields[name] for sample in samples]) for name in generator.fields}


def test_darcy_solved_on_the_device():
    """Double precision to a residual of 1e-10: the stored single precision is what limits the agreement."""
    options = ("benchmark.sets.quick.solver_resolution=85",)
    there, here = (solved("darcy", device, *options) for device in (DEVICE, "cpu"))
    np.testing.assert_array_equal(there["permeability"], here["permeability"])
    scale = np.abs(here["pressure"]).max()
    np.testing.assert_allclose(there["pressure"], here["pressure"], rtol=0, atol=1e-6 * scale)


def test_navier_stokes_solved_on_the_device():
    """Single precision, and a flow that doubles its differences in about a time unit: agreement is loose at the end."""
    there, here = (solved("navier_stokes", device) for device in (DEVICE, "cpu"))
    np.testing.assert_array_equal(there["initial_vorticity"], here["initial_vorticity"])
    difference = np.abs(there["vorticity"] - here["vorticity"]).max(axis=(0, 1, 2))
    scale = np.abs(here["vorticity"]).max()
    assert difference[0] < 1e-4 * scale
    assert difference.max() < 1e-2 * scale
