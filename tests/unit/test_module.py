"""The training module: what a step computes, when a loss that is not finite stops it, and what the optimiser receives."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from tiny import batch, make_solver, moving, spec
from torch.utils.data import DataLoader

from lsm.checkpoint import SCHEMA, load, write
from lsm.data.augment import AUGMENTATIONS
from lsm.data.symmetry import Symmetry
from lsm.errors import InputError
from lsm.evaluation import measure
from lsm.fields import FieldBatch
from lsm.losses import LOSSES
from lsm.metrics import METRICS
from lsm.solver import build_solver
from lsm.training.callbacks import BestCheckpoint
from lsm.training.module import CHECK_INTERVAL, SolverModule
from lsm.training.recompute import recompute_cheap_results
from lsm.training.unrolling import UNROLLINGS

FIELDS = spec(sites=(6, 6))
CPU = torch.device("cpu")
SQUARE = [Symmetry(swap=["x", "y"]), Symmetry(flip=["x"]), Symmetry(flip=["y"])]


def make(kind=SolverModule, fields=FIELDS, **options):
    solver = make_solver(fields)
    solver.fit_normalizers(lambda: [batch(fields)])
    defaults = {
        "loss": LOSSES.make({"name": "weighted_sum", "terms": {"relative_l2": 1.0}}),
        "make_optimizer": partial(torch.optim.Adam, lr=1e-3),
        "make_scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=5),
    }
    module = kind(solver, **defaults | options)
    module.log = lambda name, value, **_: logged(module).update({name: value})
    return module


def logged(module):
    """What was logged so far."""
    return module.__dict__.setdefault("_seen", {})


def at(epoch, rank=0):
    """A module in this epoch, on this rank."""
    return type("At", (SolverModule,), {"current_epoch": epoch, "global_rank": rank})


def test_a_step_returns_the_loss_and_logs_every_metric():
    module, samples = make(metrics=["rmse", "relative_h1"]), batch(FIELDS)
    loss = module.training_step(samples, 0)
    prediction = module.solver(samples)
    torch.testing.assert_close(loss, METRICS["relative_l2"](prediction, samples, FIELDS).sum())
    assert loss.requires_grad
    assert list(logged(module)) == ["train/rmse", "train/relative_h1"]
    torch.testing.assert_close(logged(module)["train/rmse"], METRICS["rmse"](prediction, samples, FIELDS).mean())
    assert module.monitor == "rmse"


def test_a_loss_that_is_no_single_number_is_refused():
    with pytest.raises(InputError, match=r"^the loss gave numbers of shape \(3,\), expected a single one"):
        make(loss=lambda prediction, *_: prediction.flatten(1).mean(dim=1)).training_step(batch(FIELDS), 0)


def test_normalisers_that_know_no_data_are_told():
    module = make()
    module.solver.ranges = {}
    with pytest.warns(UserWarning, match="normalisers were not fitted"):
        module.on_fit_start()


def test_a_checkpoint_of_a_plain_trainer_can_be_loaded(tmp_path):
    module = make()
    content = {"state_dict": module.state_dict(), "epoch": 0}
    module.on_save_checkpoint(content)
    write(content, tmp_path / "a.ckpt")
    torch.testing.assert_close(load(tmp_path / "a.ckpt").solver(batch(FIELDS)), module.solver.eval()(batch(FIELDS)))


def test_coarser_scales_add_to_the_loss_with_the_weight_of_the_model():
    module, samples = make(), batch(FIELDS)
    module.solver = build_solver({"model": {"name": "lsm2", "width": 8, "num_scales": 2, "supervision": 0.25}}, FIELDS)
    fine, coarse = module.solver.at_scales(samples)
    half = FieldBatch(samples.inputs[:, ::2, ::2], samples.targets[:, ::2, ::2])
    error = METRICS["relative_l2"]
    expected = error(fine, samples, FIELDS).sum() + 0.25 * error(coarse, half, spec(sites=(3, 3))).sum()
    torch.testing.assert_close(module.training_step(samples, 0), expected)
    torch.testing.assert_close(logged(module)["train/relative_l2"], error(fine, samples, FIELDS).mean())


EQUAL = {
    "at rest": spec(sites=(6, 5), targets=2),
    "roll-out": moving(fields=2),
    "mask": spec(sites=(6, 5), inputs=2, targets=2, mask=0),
    "ragged": spec("points", (9,), inputs=2, targets=2, ragged=True),
}


@pytest.mark.parametrize("fields", EQUAL.values(), ids=EQUAL)
def test_equal_fields_count_in_units_of_their_deviation(fields):
    """A field that is 10^6 times as large as the other one counts no more in the loss, which ignores what does not exist."""
    samples = batch(fields)
    factors = torch.tensor([1e6, 1.0]).repeat(samples.targets.shape[-1] // 2)
    samples = replace(samples, targets=samples.targets * factors)
    inputs = (
        samples.inputs
        if fields.frames is None
        else samples.inputs * torch.tensor([1e6, 1.0]).repeat(fields.frames.inputs)
    )
    samples = replace(samples, inputs=inputs)
    fno = {"name": "fno", "width": 4, "modes": 2, "num_layers": 1}
    model = {"name": "lsm2", "width": 8} if fields.geometry == "points" else fno
    solver = build_solver({"model": model}, fields)
    solver.fit_normalizers(lambda: [samples])
    module = make(equal_fields=True)
    module.solver = solver
    prediction = solver(samples)
    mean, units = (values.repeat(len(factors) // 2) for values in solver.target_normalizer.of_channels())
    exists = torch.ones_like(samples.targets) if (mask := samples.exists(fields)) is None else mask
    inside = [(field - mean) / units * exists for field in (prediction, samples.targets)]
    scaled = METRICS["relative_l2"](inside[0], replace(samples, targets=inside[1]), fields)
    torch.testing.assert_close(module.training_step(samples, 0), scaled.sum())
    physical = METRICS["relative_l2"](prediction, samples, fields).mean()
    torch.testing.assert_close(logged(module)["train/relative_l2"], physical)


def test_a_constant_field_takes_nothing_from_the_others():
    """In units of its deviation alone, which is next to nothing, it would make every relative error vanish."""
    fields = spec(sites=(6, 5), targets=2)
    samples = batch(fields)
    samples = replace(samples, targets=torch.stack([samples.targets[..., 0], torch.full((3, 6, 5), 1e5)], dim=-1))
    solver = build_solver({"model": {"name": "fno", "width": 4, "modes": 2, "num_layers": 1}}, fields)
    solver.fit_normalizers(lambda: [samples])
    module = make(equal_fields=True)
    module.solver = solver
    assert module.training_step(samples, 0) / len(samples) > 0.5, "untrained, it knows nothing of the first field"


@pytest.mark.parametrize(
    ("epochs", "steps", "done"),
    [(None, -1, 0.0), (-1, -1, 0.0), (8, -1, 0.375), (-1, 12, 0.75), (8, 12, 0.75), (8, 5, 1.0)],
)
def test_an_unrolling_is_told_how_much_of_the_training_is_done_when_the_epoch_ends(epochs, steps, done):
    """An epoch has three steps of up to two batches."""
    received = []

    def unroll(solver, samples, share, random):
        received.append(share)
        return [solver(samples)]

    module = make(at(2), unroll=unroll)
    module.__dict__["_trainer"] = SimpleNamespace(
        max_epochs=epochs, max_steps=steps, num_training_batches=5, accumulate_grad_batches=2
    )
    module.training_step(batch(FIELDS), 0)
    assert received == [done]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("fused", [False, True])
def test_gradients_are_clipped_in_every_precision(precision, fused):
    """A fused optimiser with clipped gradients: Lightning itself refuses both together in bfloat16."""
    module = make(make_optimizer=lambda named: torch.optim.SGD((value for _, value in named), lr=1.0, fused=fused))
    before = [value.detach().clone() for value in module.solver.parameters()]
    trainer = pl.Trainer(
        accelerator="cpu",
        precision=precision,
        gradient_clip_val=1e-3,
        max_steps=1,
        barebones=True,
    )
    trainer.fit(module, DataLoader([batch(FIELDS)], batch_size=None))
    moved = torch.cat([(new - old).flatten() for new, old in zip(module.solver.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_gradients_of_complex_weights_cannot_be_scaled():
    """Neither on a GPU nor here; a point cloud's Fourier projection has complex weights."""
    module = make()
    module.solver.model.register_parameter("waves", torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64)))
    module.__dict__["_trainer"] = SimpleNamespace(precision_plugin=MixedPrecision("16-mixed", "cpu"))
    with pytest.raises(InputError, match="precision is 16-mixed.*choose bf16-mixed or 32-true") as caught:
        module.configure_optimizers()
    assert caught.value.options == ("precision",)
    module.__dict__["_trainer"] = SimpleNamespace(precision_plugin=MixedPrecision("bf16-mixed", "cpu"))
    assert "optimizer" in module.configure_optimizers()


class Recording:
    """An augmentation that keeps the random numbers that it drew."""

    def __init__(self):
        self.drawn = []

    def __call__(self, samples, spec, random):
        self.drawn.append(torch.rand(3, generator=random).tolist())
        return FieldBatch(samples.inputs, 2 * samples.targets)


def random_numbers(epoch=2, index=5, seed=3, rank=0):
    augment = Recording()
    make(at(epoch, rank), augment=augment, seed=seed).training_step(batch(FIELDS), index)
    return augment.drawn[0]


def test_augmentations_repeat_with_seed_epoch_and_batch():
    torch.manual_seed(1)
    first = random_numbers()
    torch.manual_seed(2)
    assert random_numbers() == first
    others = [random_numbers(epoch=3), random_numbers(index=6), random_numbers(seed=4), random_numbers(rank=1)]
    assert all(other != first for other in others)


def test_the_same_seed_epoch_and_batch_draw_the_same_element():
    """As a resumed training does; over many batches, most of the eight elements occur."""

    def images(seed):
        seen, samples = [], batch(FIELDS)

        def augment(*arguments):
            seen.append(tuple(AUGMENTATIONS.make("symmetry", SQUARE)(*arguments).inputs.flatten().tolist()))
            return samples

        module = make(at(4), augment=augment, seed=seed)
        for index in range(24):
            module.training_step(samples, index)
        return seen

    first = images(0)
    assert images(0) == first
    assert images(1) != first
    assert len(set(first)) >= 6


def test_the_loss_is_that_of_the_augmented_samples():
    module, samples = make(augment=Recording()), batch(FIELDS)
    found = module.training_step(samples, 0)
    twice = FieldBatch(samples.inputs, 2 * samples.targets)
    torch.testing.assert_close(found, METRICS["relative_l2"](module.solver(samples), twice, FIELDS).sum())


def broken(where):
    """Samples that give no finite loss."""
    samples = batch(FIELDS)
    if where == "zero":
        samples.targets[1] = 0
    else:
        getattr(samples, where)[1, 0, 0] = torch.nan
    return samples


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("inputs", "sample 1 of the batch: a field is not finite, so the data are damaged"),
        ("targets", "sample 1 of the batch: a field is not finite, so the data are damaged"),
        ("zero", "sample 1 of the batch: a true field is zero everywhere"),
    ],
)
def test_a_loss_that_is_not_finite_stops_at_once_on_a_cpu(where, fault):
    module = make(at(0))
    module.training_step(batch(FIELDS), 0)
    with pytest.raises(InputError, match=rf"became infinite or NaN in epoch 1, batch 1: {fault}") as caught:
        module.training_step(broken(where), 1)
    assert caught.value.options == (), "the learning rate is no remedy"
    assert "checkpoints" not in str(caught.value)


def test_a_constant_field_is_no_reason_to_lower_the_learning_rate():
    """It has no relative error of the gradient; nor has one that is constant at the sites of a coarse scale alone."""
    samples = batch(FIELDS)
    samples.targets[2] = 20.0
    fault = r"sample 2 of the batch: a true field is constant.*; leave that sample out, or choose another loss$"
    with pytest.raises(InputError, match=fault):
        make(loss=LOSSES.make({"name": "sobolev"})).training_step(samples, 0)
    samples.targets[2, 1::2] = 21.0
    module = make(loss=LOSSES.make({"name": "sobolev"}))
    with pytest.raises(InputError, match="sample 2 of the batch: the norm of a true field or of its gradient is zero"):
        module._check_loss(torch.tensor(torch.inf), samples, 0, num_scales=2)


def test_a_model_that_diverged_stops_at_once_and_earlier_checkpoints_are_named():
    module = make(at(3))
    with torch.no_grad():
        module.solver.model.head[-1].bias.fill_(torch.inf)
    told = "epoch 4, batch 7: the model diverged; lower the learning rate; checkpoints of earlier epochs are kept"
    with pytest.raises(InputError, match=told):
        module.training_step(batch(FIELDS), 7)


class Elsewhere(torch.Tensor):
    """A number that says that it lies on a GPU."""

    device = property(lambda self: torch.device("cuda"))


def check(module, index, loss):
    module._check_loss(torch.tensor(loss).as_subclass(Elsewhere), batch(FIELDS), index)


def test_on_a_gpu_the_first_bad_batch_is_named_when_the_device_is_asked_next():
    """Reading a number waits for the device: it happens after every fiftieth batch and at the end of an epoch."""
    module = make(at(1))
    for index in range(CHECK_INTERVAL - 1):
        check(module, index, torch.nan if index in (3, 4, 20) else 1.0)
    told = "batch 3: a field is not finite, or zero or constant everywhere, or the model diverged; check the data, or lower"
    with pytest.raises(InputError, match=told) as caught:
        check(module, CHECK_INTERVAL - 1, 1.0)
    assert caught.value.options == ("learning_rate",)
    with pytest.raises(InputError, match="epoch 2, batch 3"):
        module.on_train_epoch_end()


def test_on_a_gpu_the_device_is_asked_at_the_end_of_an_epoch():
    module = make(at(0))
    for index in range(CHECK_INTERVAL):
        check(module, index, 1.0)
    module.on_train_epoch_end()
    check(module, 0, torch.inf)
    with pytest.raises(InputError, match="epoch 1, batch 0"):
        module.on_train_epoch_end()


def test_a_parameter_that_is_not_finite_ends_the_epoch():
    module = make(at(2))
    module.on_train_epoch_end()
    with torch.no_grad():
        module.solver.model.trunk.mix.bias[0] = torch.nan
    told = "model.trunk.mix.bias is no longer finite after epoch 3; lower the learning rate; checkpoints of earlier"
    with pytest.raises(InputError, match=told) as caught:
        module.on_train_epoch_end()
    assert caught.value.options == ("learning_rate",)


def test_the_optimiser_receives_parameters_with_their_names():
    module = make()
    optimizer = module.configure_optimizers()["optimizer"]
    (group,) = optimizer.param_groups
    assert group["param_names"] == [name for name, _ in module.named_parameters()]
    assert "solver.model.head.0.weight" in group["param_names"]


def test_parameters_can_be_grouped_by_their_names():
    """Such as no weight decay for what only shifts."""

    def make_optimizer(named):
        named = list(named)
        decayed, kept = ([pair for pair in named if ("bias" in pair[0]) == shifts] for shifts in (False, True))
        return torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.1}, {"params": kept, "weight_decay": 0.0}], lr=1e-2
        )

    module = make(make_optimizer=make_optimizer)
    optimizer = module.configure_optimizers()["optimizer"]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    parameters = dict(module.named_parameters())
    for group in optimizer.param_groups:
        assert all(parameters[name] is value for name, value in zip(group["param_names"], group["params"], strict=True))
    counts = [len(group["params"]) for group in optimizer.param_groups]
    assert sum(counts) == len(parameters)
    assert min(counts) > 0
    before = {name: value.detach().clone() for name, value in parameters.items()}
    for value in parameters.values():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    for name, value in parameters.items():
        torch.testing.assert_close(value, before[name] * (1.0 if "bias" in name else 1 - 1e-2 * 0.1))


@pytest.mark.parametrize("options", [{"lr": -1.0}, {"momentum": 0.9}])
def test_options_that_the_optimiser_refuses_are_a_mistake_of_the_user(options):
    with pytest.raises(InputError, match="the optimiser or the schedule refuses an option"):
        make(make_optimizer=partial(torch.optim.Adam, **options)).configure_optimizers()


def test_the_schedule_advances_as_configured():
    settings = make(schedule_interval="step").configure_optimizers()["lr_scheduler"]
    assert (settings["interval"], settings["scheduler"].step_size) == ("step", 5)


def test_a_checkpoint_holds_what_rebuilds_the_solver(tmp_path):
    run = {"config": {"seed": 3}, "overrides": [], "choices": {}}
    module = make(run=run, data={"num_samples": 5, "provenance": {}})
    content = {"state_dict": module.state_dict(), "epoch": 4}
    module.on_save_checkpoint(content)
    assert content["lsm"]["schema"] == SCHEMA
    write(content, tmp_path / "last.ckpt")
    loaded = load(tmp_path / "last.ckpt")
    assert (loaded.run, loaded.data, loaded.epoch) == (run, {"num_samples": 5, "provenance": {}}, 4)
    samples = batch(FIELDS)
    torch.testing.assert_close(loaded.solver(samples), module.solver.eval()(samples))


def fit(module, train, validation, folder, **options):
    loaders = (
        DataLoader(samples, batch_size=2, collate_fn=FieldBatch.stack) for samples in (train, validation) if samples
    )
    defaults = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    trainer = pl.Trainer(**defaults | options)
    del module.log  # the trainer's own
    trainer.fit(module, *loaders)
    return trainer.callback_metrics


def best_checkpoint(folder):
    options = {"enable_version_counter": False, "save_on_train_epoch_end": True}
    return BestCheckpoint(dirpath=folder, filename="best", monitor="train/relative_l2", **options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrapped", [lambda unroll: unroll, recompute_cheap_results])
def test_without_validation_the_best_epoch_is_one_with_errors_of_roll_outs(wrapped, tmp_path):
    """Those of single steps, in the first two of these four epochs, are lower but not comparable."""
    moving_fields = moving(3, 4)
    samples = [batch(moving_fields).sample(index) for index in range(2)]
    unroll = wrapped(UNROLLINGS.make({"name": "teacher_forcing", "finish": 0.5}))
    module = make(fields=moving_fields, unroll=unroll)
    module.metrics = {"relative_l2": lambda *_: torch.tensor([0.2, 0.1, 0.5, 0.6][module.current_epoch])}
    options = {"max_epochs": 4, "enable_checkpointing": True, "callbacks": [best_checkpoint(tmp_path)]}
    fit(module, samples, None, tmp_path, **options)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.filterwarnings("ignore")
def test_a_schedule_may_follow_the_error_that_chooses_the_best_checkpoint(tmp_path):
    samples = [batch(FIELDS).sample(index) for index in range(2)]
    follow = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5)
    module = make(make_scheduler=follow)
    module.metrics = {"relative_l2": lambda *_: torch.tensor([0.1, 0.2, 0.1][module.current_epoch])}
    options = {"max_epochs": 3, "enable_checkpointing": True, "callbacks": [best_checkpoint(tmp_path)]}
    fit(module, samples, None, tmp_path, **options)
    assert module.optimizers().param_groups[0]["lr"] == pytest.approx(1e-3 / 4)


@pytest.mark.filterwarnings("ignore")
def test_validation_errors_are_means_over_samples_not_over_batches(tmp_path):
    """Three samples in batches of two."""
    samples = batch(FIELDS)
    parts = [samples.sample(index) for index in range(3)]
    module = make(metrics=["relative_l2", "max_error"])
    found = fit(module, parts, parts, tmp_path)
    expected = measure(module.solver, [samples], CPU, ["relative_l2", "max_error"])
    assert set(found) == {f"{split}/{name}" for split in ("train", "val") for name in ("relative_l2", "max_error")}
    for name, errors in expected.errors.items():
        assert found[f"val/{name}"].item() == pytest.approx(np.mean(errors), rel=1e-4)


def test_validation_errors_are_those_of_float32_in_mixed_precision():
    module, samples = make().eval(), batch(FIELDS)
    with torch.no_grad():
        exact = METRICS["relative_l2"](module.solver(samples), samples, FIELDS)
        with torch.autocast("cpu", torch.bfloat16):
            module.validation_step(samples, 0)
            rounded = METRICS["relative_l2"](module.solver(samples), samples, FIELDS)
    assert torch.equal(module._errors[0]["relative_l2"], exact)
    assert not torch.equal(rounded, exact)


@pytest.mark.filterwarnings("ignore")
def test_a_validation_sample_without_a_finite_error_is_named(tmp_path):
    samples = batch(FIELDS)
    zero = broken("zero")
    train, validation = ([part.sample(index) for index in range(3)] for part in (samples, zero))
    told = "relative_l2 of validation sample 1 is inf after epoch 1: its true field is zero everywhere"
    with pytest.raises(InputError, match=told) as caught:
        fit(make(), train, validation, tmp_path)
    assert caught.value.options == ("learning_rate",)
