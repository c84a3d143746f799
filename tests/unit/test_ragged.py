"""Clouds with different numbers of points: padding has no influence on predictions, losses, gradients and statistics."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import lively, spec

from lsm.errors import InputError, OptionError
from lsm.fields import FieldBatch, FieldSpec
from lsm.losses import LOSSES
from lsm.metrics import METRICS, parts_of
from lsm.model import MODELS
from lsm.solver import build_solver

pytestmark = pytest.mark.numerics

COUNTS = (5, 9, 7)

SMALL = {
    "lsm": {"width": 8, "num_scales": 1, "patch": [4, 4], "projection": {"resolution": 8, "modes": 3}},
    "lsm2": {"width": 8, "depth": 2},
    "transolver": {"width": 8, "num_layers": 2, "heads": 2, "num_slices": 3},
    "flare": {"width": 8, "num_blocks": 2, "heads": 2, "num_latents": 3},
    "vit": {"width": 8, "num_layers": 2, "heads": 2},
}

FIELDS = spec("points", sites=(9,), inputs=3, targets=2, ragged=True)


def cloud(count, seed):
    generator = torch.Generator().manual_seed(seed)
    coords = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    waves = torch.stack([(3 * coords[:, 0]).sin(), coords.prod(dim=-1), 2 + coords[:, 1]], dim=-1)
    inputs = torch.cat([coords, waves[:, :1]], dim=-1)
    return FieldBatch(inputs, waves[:, 1:], coords, mask=torch.ones(count, dtype=torch.bool))


def clouds():
    return [cloud(count, seed) for seed, count in enumerate(COUNTS)]


def longer(batch, factor=2):
    """The batch with more padding, which holds numbers that must not matter."""
    count = factor * batch.inputs.shape[1]
    wide = FieldBatch.stack([sample.padded(count) for sample in map(batch.sample, range(len(batch)))])
    noise = torch.rand(wide.inputs.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    padding = ~wide.mask.unsqueeze(-1)
    return replace(wide, inputs=wide.inputs + padding * noise, coords=wide.coords + padding * noise[..., :2])


def make(name, fields=FIELDS):
    torch.manual_seed(0)
    solver = build_solver({"model": {"name": name, **SMALL[name]}}, fields)
    solver.fit_normalizers(lambda: [FieldBatch.stack(clouds()).to(torch.float32)])
    # No part of lsm is zero at the start, and its deformation with weights of order one multiplies rounding errors by 1e4.
    if name != "lsm":
        lively(solver.model)
    return solver.double().eval()


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_stacked_samples_come_back():
    batch = FieldBatch.stack(clouds())
    assert batch.mask.sum(dim=1).tolist() == list(COUNTS)
    assert not batch.inputs[~batch.mask].any()
    assert not batch.targets[~batch.mask].any()
    for index, sample in enumerate(clouds()):
        for name, value in vars(batch.sample(index)).items():
            assert value is getattr(sample, name) or torch.equal(value, getattr(sample, name))
    assert batch.to(torch.float32).mask.dtype == torch.bool
    assert batch.every_site(2).mask.sum(dim=1).tolist() == [3, 5, 4]


def test_every_family_that_takes_clouds_takes_ragged_ones():
    assert set(SMALL) == {name for name in MODELS.names() if "points" in MODELS[name].geometries}


@pytest.mark.parametrize("name", SMALL)
def test_padding_does_not_change_predictions(name):
    solver, batch = make(name), FieldBatch.stack(clouds())
    padded, more = solver(batch), solver(longer(batch))
    for index, sample in enumerate(clouds()):
        alone = solver(replace(FieldBatch.stack([sample]), mask=None))[0]
        close(padded[index, : len(alone)], alone)
        close(more[index, : len(alone)], alone)
        assert not padded[index, len(alone) :].any()
        assert not more[index, len(alone) :].any()
        found = solver.predict(sample.inputs, sample.coords)
        close(torch.as_tensor(found), alone.detach())
    assert np.array_equal(solver.predict(batch.inputs, batch.coords, mask=batch.mask), padded.detach().numpy())


@pytest.mark.parametrize("name", SMALL)
def test_padding_does_not_change_loss_and_gradients(name):
    found = []
    for batch in (FieldBatch.stack(clouds()), longer(FieldBatch.stack(clouds()))):
        solver = make(name)
        loss = LOSSES.make({"name": "weighted_sum", "terms": {"relative_l2": 1.0, "rmse": 1.0}})
        value = loss(solver.at_scales(batch)[0], batch, FIELDS)
        value.backward()
        found.append((value, {k: p.grad for k, p in solver.named_parameters() if p.grad is not None}))
    (value, gradients), (same, others) = found
    close(value, same)
    largest = max(gradient.abs().max().item() for gradient in gradients.values())
    assert len(gradients) > 5
    assert largest > 0
    for key, gradient in gradients.items():
        torch.testing.assert_close(others[key], gradient, rtol=0, atol=1e-10 * largest)


def test_errors_are_those_of_each_sample_alone():
    batch = FieldBatch.stack(clouds())
    prediction = 1.1 * batch.targets + batch.mask.unsqueeze(-1) * 0.1
    measured = 0
    for name in METRICS.names():
        if parts_of(METRICS[name], FIELDS) == () or name == "relative_h1":
            continue
        alone = [METRICS[name](prediction[i : i + 1, :n], _only(i), FIELDS) for i, n in enumerate(COUNTS)]
        close(METRICS[name](prediction, batch, FIELDS), torch.cat(alone))
        measured += 1
    assert measured >= 5


def _only(index):
    return replace(FieldBatch.stack([clouds()[index]]), mask=None)


def test_statistics_count_each_point_once():
    solver = make("vit")
    points = torch.cat([sample.inputs for sample in clouds()])
    targets = torch.cat([sample.targets for sample in clouds()])
    for normalizer, values in ((solver.input_normalizer, points), (solver.target_normalizer, targets)):
        torch.testing.assert_close(normalizer.mean, values.mean(dim=0), rtol=1e-6, atol=0)
        torch.testing.assert_close(normalizer.deviation, values.std(dim=0), rtol=1e-4, atol=0)
    close(solver.coordinate_normalizer.low, points[:, :2].amin(dim=0).float().double())
    expected = torch.stack([points.amin(dim=0), points.amax(dim=0)], dim=-1)
    torch.testing.assert_close(torch.tensor(solver.ranges["inputs"], dtype=torch.float64), expected, rtol=1e-6, atol=0)


class Rigid(torch.nn.Module):
    """A family without a mask."""

    def __init__(self, fields):
        super().__init__()
        self.map = torch.nn.Linear(fields.in_channels, fields.out_channels)

    def forward(self, inputs, coords=None, code=None):
        return self.map(inputs)


def test_what_does_not_fit_ragged_clouds_is_named(monkeypatch):
    with pytest.raises(InputError, match="families that take different numbers: flare, lsm, lsm2, transolver, vit"):
        monkeypatch.setitem(MODELS._parts, "rigid", Rigid)
        build_solver({"model": {"name": "rigid"}}, FIELDS)
    with pytest.raises(InputError, match="no site in common; normalise by channel"):
        build_solver({"model": {"name": "vit"}, "normalization": {"targets": "site"}}, FIELDS)
    with pytest.raises(OptionError, match="block.name is identity, which needs the same number of points"):
        build_solver({"model": {"name": "lsm2", "block": {"name": "identity"}}}, FIELDS)
    with pytest.raises(InputError, match="mask: expected"):
        make("vit").predict(torch.zeros(2, 9, 3), torch.zeros(2, 9, 2), mask=torch.ones(2, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="only point clouds can be ragged"):
        spec("grid", ragged=True)


def test_specifications_of_older_checkpoints_are_read():
    plain = FIELDS.to_dict()
    assert FieldSpec.from_dict(plain) == FIELDS
    del plain["ragged"]
    assert FieldSpec.from_dict(plain) == replace(FIELDS, ragged=False)
