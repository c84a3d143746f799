"""When a training will end, and batch norm's running statistics: callbacks without a training."""

from itertools import count
from math import inf
from types import SimpleNamespace

import pytest
import torch
from tiny import batch, lively, make_solver, spec

from lsm.model.batch_norm import batch_statistics
from lsm.training import callbacks, progress


def trainer_of(max_epochs=10, train=20, validation=(6,)):
    return SimpleNamespace(
        max_epochs=max_epochs,
        current_epoch=2,
        num_training_batches=train,
        num_val_batches=list(validation),
        fit_loop=SimpleNamespace(batch_idx=11),
        is_global_zero=True,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (100, "expected end: Thu 00:01, in 1.7 minutes"),
        (3 * 3600, "expected end: Thu 03:00, in 3 hours; be quick"),
        (10 * 86400, "expected end: 1970-01-11 00:00, in 10 days; be quick"),
    ],
)
def test_a_forecast_names_day_and_hour(seconds, words, monkeypatch):
    monkeypatch.setattr(progress.time, "localtime", progress.time.gmtime)
    assert progress.describe_forecast(seconds, 0.0, "be quick") == words


def test_steps_left_count_validation_and_end():
    assert progress._steps_left(trainer_of()) == (20 + 6 / 3) * 8 - 11
    assert progress._steps_left(trainer_of(validation=())) == 20 * 8 - 11
    assert progress._steps_left(trainer_of(max_epochs=-1)) == 0
    assert progress._steps_left(trainer_of(train=inf)) == 0


@pytest.mark.parametrize(("epochs", "total", "words"), [(10, 200, "epoch 3/10"), (-1, None, "epoch 3")])
def test_the_bar_counts_batches_of_trainings_with_and_without_an_end(epochs, total, words):
    """Batches, not steps of the optimiser, which may take several."""
    trainer = trainer_of(max_epochs=epochs)
    trainer.global_step, trainer.callback_metrics = 7, {}
    trainer.lightning_module = SimpleNamespace(monitor="relative_l2")
    bar = progress.TrainingProgress()
    bar.on_train_start(trainer, None)
    bar.on_train_epoch_start(trainer, None)
    for _ in range(3):
        bar.on_train_batch_end(trainer)
    (task,) = bar._bar.tasks
    assert (task.completed, task.total, task.description) == (2 * 20 + 3, total, words)


@pytest.mark.parametrize(("step", "lines"), [(10.0, 1), (0.1, 0)])
def test_a_long_training_is_told_once(step, lines, monkeypatch, capsys):
    """The first steps, which are slow, do not count."""
    times = count(0.0, 10 * step)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(times))
    forecast = progress.Forecast("be quick")
    for _ in range(100):
        forecast.on_train_batch_end(trainer_of())
    told = capsys.readouterr().out.splitlines()
    assert len(told) == lines
    assert all("in 28 minutes" in line for line in told)


def test_running_statistics_become_those_of_the_model_as_it_is():
    fields = spec(sites=(8, 8))
    solver, batches = lively(make_solver(fields)).eval(), [batch(fields, 16, seed=seed) for seed in range(3)]
    data = SimpleNamespace(batches=lambda split: iter(batches), has_validation=True)
    trainer = SimpleNamespace(datamodule=data)
    module = SimpleNamespace(solver=solver, device=torch.device("cpu"))
    with torch.no_grad(), batch_statistics(solver):
        expected = solver(batches[0])

    def lag():
        with torch.no_grad():
            return float((solver(batches[0]) - expected).norm() / expected.norm())

    before = lag()
    callback = callbacks.BatchNormStatistics(num_batches=1)
    callback.on_train_epoch_end(trainer, module)
    assert lag() == before, "the validation has done it"
    callback.on_validation_epoch_start(trainer, module)
    assert not solver.training
    assert lag() < 0.2 * before
    norms = [layer for layer in solver.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert norms
    assert all(layer.num_batches_tracked == 1 for layer in norms)
    reached = lag()
    for layer in norms:
        layer.running_mean += 1
    fixed = lag()
    callback.on_train_batch_end(trainer, solver)
    callback.on_validation_epoch_start(trainer, module)
    assert lag() == fixed, "norms in evaluation mode have learned no statistics"
    callback.on_train_batch_end(trainer, solver.train())
    callback.on_validation_epoch_start(trainer, module)
    assert solver.training
    solver.eval()
    assert lag() == reached
