"""Nothing that a training does in every step waits for a GPU; a CPU shows which calls would."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision
from tiny import batch, moving, spec
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lsm.data.datamodule import FieldDataModule
from lsm.data.symmetry import Symmetry
from lsm.device import generator_on, numbers_on
from lsm.fields import FieldBatch
from lsm.solver import build_solver
from lsm.training.averaging import ExponentialAverage
from lsm.training.progress import TrainingProgress

GRID, CLOUD = spec(sites=(9, 8)), spec("points", sites=(20,), inputs=2)
SMALL = {"width": 8, "num_layers": 1, "heads": 2}

#: Calls that wait until a GPU has finished all earlier work.
WAITING = {Tensor.new_tensor, Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__, Tensor.__int__}


class NoWaiting(TorchFunctionMode):
    """Within this context no call waits for a device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in WAITING
        assert function is not torch.tensor or (kwargs or {}).get("device") is None
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        (GRID, {"name": "lsm", "width": 8, "num_scales": 2}),
        (CLOUD, {"name": "lsm", "width": 8, "num_scales": 1, "projection": {"resolution": 8, "modes": 3}}),
        (GRID, {"name": "lsm2", "width": 8, "modes": 2, "periodic": True}),
        (CLOUD, {"name": "lsm2", "width": 8}),
        (GRID, {"name": "fno", "width": 8, "modes": 6, "padding": 0}),
        (GRID, {"name": "ffno", "width": 8, "modes": 3, "num_layers": 1}),
        (moving(), {"name": "unet", "width": 8, "num_scales": 2}),
        (CLOUD, {"name": "vit", **SMALL}),
        (CLOUD, {"name": "transolver", **SMALL}),
        (CLOUD, {"name": "flare", "width": 8, "num_blocks": 1, "heads": 2}),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else value.geometry,
)
def test_predictions_and_gradients_wait_for_nothing(fields, model):
    solver, samples = build_solver({"model": model}, fields), batch(fields)
    with NoWaiting():
        sum(prediction.sum() for prediction in solver.at_scales(samples)).backward()


def test_symmetries_wait_for_nothing():
    with NoWaiting():
        Symmetry(flip=["x"], reflect={"out0": 1.0}).apply(batch(GRID), GRID)


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_numbers_are_those_of_a_tensor(dtype):
    for numbers in ([1, 2, 3], [0.1, 0.7]):
        found, expected = numbers_on(torch.device("cpu"), numbers, dtype), torch.tensor(numbers, dtype=dtype)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    assert numbers_on(torch.device("meta"), [1.0]).is_meta


def test_random_numbers_of_a_gpu_follow_from_those_of_the_cpu(monkeypatch):
    made, seeds = torch.Generator, []

    def elsewhere(device):
        assert device == torch.device("cuda", 1)
        return SimpleNamespace(manual_seed=lambda seed: seeds.append(seed) or device)

    for seed in (0, 0, 1):
        random = made().manual_seed(seed)
        assert generator_on(torch.device("cpu"), random) is random
        monkeypatch.setattr(torch, "Generator", elsewhere)
        assert generator_on(torch.device("cuda", 1), random) == torch.device("cuda", 1)
        monkeypatch.undo()
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize(("device", "expected"), [("cuda", True), ("cpu", False), ("mps", False)])
def test_batches_move_to_a_gpu_while_it_computes(device, expected, monkeypatch):
    """Lightning would wait for the copy of whatever is no tensor."""
    moves = []
    monkeypatch.setattr(FieldBatch, "to", lambda self, *where, **how: moves.append((*where, how)))
    FieldDataModule.transfer_batch_to_device(None, batch(GRID), torch.device(device), 0)
    assert moves == [(torch.device(device), {"non_blocking": expected})]


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (DoublePrecision(), torch.float64),
        (MixedPrecision("bf16-mixed", "cpu"), torch.float32),
        (HalfPrecision("bf16-true"), torch.bfloat16),
    ],
)
def test_the_average_has_device_and_precision_of_the_training(precision, dtype):
    """Lightning makes it before the module has either."""
    average = ExponentialAverage()
    strategy = SimpleNamespace(root_device=torch.device("meta"))
    trainer = SimpleNamespace(strategy=strategy, precision_plugin=precision)
    module = pl.LightningModule()
    module.line = torch.nn.Linear(1, 1)
    average.setup(trainer, module, "fit")
    averaged = average._average_model.module.line.weight
    assert (averaged.device.type, averaged.dtype) == ("meta", dtype)
    assert module.line.weight.dtype == torch.float32


def test_the_bar_reads_errors_once_in_an_epoch():
    reads = []

    class Trainer(SimpleNamespace):
        @property
        def callback_metrics(self):
            reads.append("callback_metrics")
            return {"val/rmse": torch.tensor(0.5)}

    module = SimpleNamespace(monitor="rmse")
    trainer = Trainer(
        max_epochs=2, current_epoch=1, num_training_batches=5, is_global_zero=True, lightning_module=module
    )
    bar = TrainingProgress()
    bar.on_train_start(trainer, module)
    bar.on_train_epoch_start(trainer, module)
    so_far = len(reads)
    for _ in range(5):
        bar.on_train_batch_end(trainer)
    assert len(reads) == so_far
    (task,) = bar._bar.tasks
    assert (task.completed, task.description) == (10, "epoch 2/2  val 0.5")
