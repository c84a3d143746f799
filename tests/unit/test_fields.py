import json
from dataclasses import replace

import pytest
import torch
from tiny import batch, spec

from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec, Tool

FULL = FieldSpec(
    geometry="mesh",
    sites=(5, 4, 3),
    axes=("x", "y", "time"),
    inputs=(Channel("die", "mm"),),
    targets=(Channel("x", "mm"), Channel("y", "mm"), Channel("u")),
    code=7,
    autoregressive=False,
    positions=(0, 1),
    window=((0.0, 1.0), (-2.0, 3.0)),
    mask=0,
    tool=Tool(channel=0, span=(-1.0, 1.0), travel=0.5),
)


@pytest.mark.parametrize("fields", [FULL, spec(), spec("points", (9,), code=3), spec(targets=4, autoregressive=True)])
def test_round_trip_through_json(fields):
    plain = json.loads(json.dumps(fields.to_dict()))
    assert plain == fields.to_dict()
    assert FieldSpec.from_dict(plain) == fields


def test_a_checkpoint_from_before_there_were_tools():
    plain = {name: value for name, value in FULL.to_dict().items() if name != "tool"}
    assert FieldSpec.from_dict(plain) == replace(FULL, tool=None)


def test_a_checkpoint_holds_only_lists_and_plain_values():
    def check(value):
        assert isinstance(value, (dict, list, str, int, float, bool, type(None)))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(item)

    check(FULL.to_dict())


def test_what_the_model_has_to_know():
    assert (FULL.in_channels, FULL.out_channels, FULL.space_dim) == (1, 3, 3)
    moving = spec(inputs=10, targets=10, autoregressive=True)
    assert (moving.in_channels, moving.out_channels, moving.space_dim) == (10, 1, 2)
    assert spec("points", (972,)).space_dim == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"geometry": "cloud"}, "'cloud'"),
        ({"axes": ("x",)}, "1 axis names"),
        ({"inputs": ()}, "at least one input"),
        ({"positions": None}, "a tool needs"),
    ],
)
def test_a_specification_that_makes_no_sense(change, named):
    with pytest.raises(ValueError, match=named):
        replace(FULL, **change)


@pytest.mark.parametrize("fields", [FULL, spec(), spec("points", (9,), code=3)])
def test_samples_and_stack_are_inverse(fields):
    samples = batch(fields)
    assert len(samples) == 3
    again = FieldBatch.stack([samples.sample(index) for index in range(3)])
    for name, value in vars(samples).items():
        other = getattr(again, name)
        assert other is None if value is None else torch.equal(other, value)


def test_every_tensor_moves():
    samples = batch(spec("points", (9,), code=3)).to(torch.float64)
    assert all(value.dtype == torch.float64 for value in vars(samples).values())
    assert batch(spec()).to("cpu").coords is None


@pytest.mark.parametrize("name", ["inputs", "targets", "coords", "code"])
def test_a_wrong_or_missing_shape_is_named(name):
    fields = spec("points", (9,), inputs=2, code=3)
    sample = batch(fields).sample(0)
    sample.check(fields)
    value = getattr(sample, name)
    with pytest.raises(InputError, match=rf"^{name} of a sample"):
        replace(sample, **{name: value[..., :-1]}).check(fields)
    if name in ("coords", "code"):
        with pytest.raises(InputError, match=rf"^{name} of a sample have shape None"):
            replace(sample, **{name: None}).check(fields)


def test_a_grid_needs_no_coordinates_and_a_mesh_does():
    batch(spec()).sample(0).check(spec())
    with pytest.raises(InputError, match="coords"):
        batch(spec()).sample(0).check(spec("mesh"))
