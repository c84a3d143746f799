import json
from dataclasses import replace

import pytest
import torch
from tiny import batch, moving, scalars, spec

from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec, Frames

FULL = FieldSpec(
    geometry="mesh",
    sites=(5, 4, 3),
    axes=("x", "y", "time"),
    inputs=(Channel("die", "mm"),),
    targets=(Channel("x", "mm"), Channel("y", "mm"), Channel("u")),
    code=7,
    parameters=(Channel("speed", "mm/s"), Channel("friction")),
    mask=0,
)
SPACE = spec("points", (9,), inputs=3, space=3)
FLOW = moving(num_inputs=2, num_targets=3, fields=2, parameters=scalars("viscosity"))
CASES = [FULL, spec(), spec("points", (9,), code=3), SPACE, moving(), FLOW]


@pytest.mark.parametrize("fields", CASES)
def test_round_trip_through_json(fields):
    plain = json.loads(json.dumps(fields.to_dict()))
    assert plain == fields.to_dict()
    assert FieldSpec.from_dict(plain) == fields


@pytest.mark.parametrize("fields", [FULL, FLOW])
def test_a_checkpoint_holds_only_lists_and_plain_values(fields):
    def check(value):
        assert isinstance(value, (dict, list, str, int, float, bool, type(None)))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(item)

    check(fields.to_dict())


def test_channels_of_a_map():
    """Parameters become channels of the model, not of the stored inputs."""
    assert (FULL.input_channels, FULL.in_channels) == (1, 3)
    assert (FULL.target_channels, FULL.out_channels) == (3, 3)
    assert FULL.target_names == ("x", "y", "u")


def test_channels_of_a_roll_out():
    """Two fields, two frames in, three out, one parameter."""
    assert (FLOW.input_channels, FLOW.in_channels) == (4, 5)
    assert (FLOW.target_channels, FLOW.out_channels) == (6, 2)
    assert (moving(10, 10).in_channels, moving(10, 10).out_channels) == (10, 1)


def test_names_of_frames_are_ordered_by_frame_and_then_by_field():
    """Counted from the first input: the first two frames are given."""
    expected = [(field, frame) for frame in (3, 4, 5) for field in ("out0", "out1")]
    assert FLOW.target_names == tuple(f"{field} at frame {frame}" for field, frame in expected)
    assert len(FLOW.target_names) == FLOW.target_channels


def test_dimension_of_the_space():
    assert (FULL.space_dim, moving().space_dim) == (3, 2)
    assert (spec("points", (972,)).space_dim, SPACE.space_dim) == (2, 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"geometry": "cloud"}, "'cloud'"),
        ({"axes": ("x",)}, "1 axis names"),
        ({"inputs": ()}, "at least one input"),
        ({"targets": ()}, "at least one input and one target"),
        ({"frames": Frames(2, 3)}, "inputs and targets must be equal"),
    ],
)
def test_a_specification_that_makes_no_sense(change, named):
    with pytest.raises(ValueError, match=named):
        replace(FULL, **change)


@pytest.mark.parametrize("fields", CASES)
def test_samples_and_stack_are_inverse(fields):
    samples = batch(fields)
    assert len(samples) == 3
    again = FieldBatch.stack([samples.sample(index) for index in range(3)])
    for name, value in vars(samples).items():
        other = getattr(again, name)
        assert other is None if value is None else torch.equal(other, value)


def test_selected_samples_in_the_wanted_order():
    samples = batch(FLOW)
    found = samples.select(torch.tensor([2, 0]))
    assert torch.equal(found.parameters, samples.parameters[[2, 0]])
    assert torch.equal(found.targets, samples.targets[[2, 0]])
    assert found.code is None


def test_every_tensor_moves():
    fields = spec("points", (9,), code=3, parameters=scalars("mach"))
    samples = batch(fields).to(torch.float64)
    assert [value.dtype for value in vars(samples).values() if value is not None] == [torch.float64] * 5
    assert batch(spec()).to("cpu").coords is None


@pytest.mark.parametrize("name", ["inputs", "targets", "coords", "code", "parameters"])
def test_a_wrong_or_missing_shape_is_named(name):
    fields = spec("points", (9,), inputs=2, code=3, parameters=scalars("mach", "angle"))
    sample = batch(fields).sample(0)
    sample.check(fields)
    value = getattr(sample, name)
    with pytest.raises(InputError, match=rf"^{name} of a sample"):
        replace(sample, **{name: value[..., :-1]}).check(fields)
    if name in ("coords", "code", "parameters"):
        with pytest.raises(InputError, match=rf"^{name} of a sample have shape None"):
            replace(sample, **{name: None}).check(fields)


def test_frames_of_several_fields_have_their_shape():
    sample = batch(FLOW).sample(0)
    assert (sample.inputs.shape, sample.targets.shape, sample.parameters.shape) == ((6, 5, 4), (6, 5, 6), (1,))
    sample.check(FLOW)
    with pytest.raises(InputError, match=r"targets of a sample have shape \(6, 5, 3\), expected \(6, 5, 6\)"):
        replace(sample, targets=sample.targets[..., :3]).check(FLOW)


def test_a_grid_needs_no_coordinates_and_a_mesh_does():
    batch(spec()).sample(0).check(spec())
    with pytest.raises(InputError, match="coords"):
        batch(spec()).sample(0).check(spec("mesh"))
