"""LSM-2: the global spectral block against its equations, the pyramid's geometry, and predictions of every scale."""

import pytest
import torch
from tiny import batch, lively, moving, scalars, spec
from torch import nn

from lsm.errors import InputError, OptionError
from lsm.fields import every_site
from lsm.model import MODELS, MultiscaleModel
from lsm.model.grid import unit_coordinates
from lsm.model.latent_spectral.global_block import GainedResidual, GlobalSpectralBlock
from lsm.model.latent_spectral.spectral_sum import LearnedSpectralSum, SpectralSum
from lsm.model.lsm2.cloud import OnPoints, corners
from lsm.model.lsm2.pyramid import Pyramid, ResidualConvolution, convolution, refine

pytestmark = pytest.mark.numerics

SMALL = {"name": "lsm2", "width": 8, "head_width": 10, "block": {"heads": 2, "num_tokens": 3, "num_basis": 4}}
KINDS = {
    "line": spec(sites=(9,), targets=2),
    "plane": spec(sites=(7, 6), inputs=2, targets=3),
    "space": spec(sites=(5, 6, 7), parameters=scalars("mach")),
    "mesh": spec("mesh", sites=(7, 6), inputs=2),
    "cloud": spec("points", sites=(11,), inputs=3, space=3),
    "plane in time": spec(sites=(7, 6, 4), axes=("x", "y", "time"), targets=2),
    "mesh in time": spec("mesh", sites=(7, 6, 4), axes=("x", "y", "time"), inputs=3),
    "roll-out": moving(sites=(8, 8), fields=2),
}


def make(fields, **options):
    torch.manual_seed(0)
    return MODELS.make({**SMALL, **options}, fields)


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_every_kind(kind):
    fields = KINDS[kind]
    model, inputs = make(fields, supervision=0.5), torch.randn(3, *fields.sites, fields.in_channels)
    scales = model.at_scales(inputs)
    assert isinstance(model, MultiscaleModel)
    assert len(scales) == (1 if kind == "cloud" else 2)
    for scale, prediction in enumerate(scales):
        assert prediction.shape == (*every_site(inputs, 2**scale).shape[:-1], fields.out_channels)
    assert torch.equal(scales[0], model(inputs))
    sum(prediction.square().sum() for prediction in scales).backward()
    used = [name for name, value in model.named_parameters() if value.grad is not None]
    assert len(used) == len(list(model.parameters()))


def test_the_times_of_a_site_are_its_channels():
    """The lattice has the axes of space, and the prediction at every time depends on the inputs at every time."""
    fields = KINDS["mesh in time"]
    model = make(fields, position_waves=1)
    inputs = torch.randn(2, *fields.sites, fields.in_channels)
    assert len(model.body.up[0][0].update[0].weight.shape) == 4, "convolutions of the plane"
    changed = inputs.clone()
    changed[:, :, :, 2] += 1
    difference = (model(changed) - model(inputs)).abs().amax(dim=(0, 1, 2, 4))
    assert (difference > 0).all()
    with pytest.raises(InputError, match="takes fields at 4 times, not 3; without time_as_channels"):
        model(inputs[..., :3, :])
    as_an_axis = make(fields, time_as_channels=False)
    assert as_an_axis(inputs[..., :3, :]).shape == (2, 7, 6, 3, 1)


def test_a_prediction_does_not_compute_the_coarse_ones():
    fields = spec(sites=(12, 12))
    model, called = make(fields, num_scales=3, supervision=0.5), []
    for scale, head in enumerate(model.heads):
        head.register_forward_hook(lambda *_, scale=scale: called.append(scale))
    model(batch(fields).inputs)
    assert called == [0]
    model.at_scales(batch(fields).inputs)
    assert called == [0, 0, 1, 2]
    assert len(make(fields, num_scales=3).heads) == 1


@pytest.mark.parametrize(
    ("fields", "sites"),
    [
        (spec(sites=(16, 16)), [(16, 16), (11, 7), (5, 4), (1, 2)]),
        (spec("points", sites=(11,), inputs=2), [(7,), (1,)]),
    ],
    ids=["lattice", "cloud"],
)
def test_other_sites_than_in_training(fields, sites):
    model = make(fields)
    for other in sites:
        assert model(torch.randn(2, *other, fields.in_channels)).shape == (2, *other, 1)


@pytest.mark.parametrize(
    "fields", [spec(sites=(7, 6)), spec("points", sites=(11,), inputs=2)], ids=["lattice", "cloud"]
)
def test_a_site_hears_of_every_other(fields):
    model = make(fields).double()
    inputs = batch(fields, size=1).inputs.double().requires_grad_()
    model(inputs).flatten()[0].backward()
    assert (inputs.grad != 0).all()


def test_points_have_no_order():
    model = make(spec("points", sites=(11,), inputs=2)).double()
    inputs, order = draw(2, 11, 2), torch.randperm(11, generator=torch.Generator().manual_seed(2))
    close(model(inputs[:, order]), model(inputs)[:, order])


def attention(queries, keys, values):
    return (queries @ keys.T / keys.shape[-1] ** 0.5).softmax(dim=-1) @ values


def test_the_block_is_its_equations():
    block = lively(GlobalSpectralBlock(6, heads=2, num_tokens=4, num_basis=3)).double()
    points = draw(1, 5, 6)
    keys, values, queries = block.maps(block.norm(points[0])).chunk(3, dim=-1)
    heads = [slice(0, 3), slice(3, 6)]
    read = []
    for head, own in enumerate(heads):
        tokens = block.tokens[head]
        asking = tokens + block.token_gain[head] * attention(tokens, keys[:, own], values[:, own])
        read.append(attention(asking, keys[:, own], values[:, own]))
    series, channels, tokens = block.solve
    solved = channels(series(torch.cat(read, dim=-1)))
    mixed = tokens.layer(tokens.norm(solved)[None])[0]
    solved = solved + tokens.gain * mixed
    write_keys = block.write_keys(solved)
    written = [attention(queries[:, own], write_keys[:, own], solved[:, own]) for own in heads]
    close(block(points)[0], points[0] + block.out(torch.cat(written, dim=-1)))


def test_gained_layers_are_the_identity_at_the_start():
    """So a block begins as one whose tokens neither see the field nor mix."""
    tokens = draw(2, 5, 8)
    layer = GainedResidual(8, nn.Linear(8, 8)).double()
    assert torch.equal(layer(tokens), tokens)
    layer(tokens).sum().backward()
    assert (layer.gain.grad != 0).all()
    torch.manual_seed(0)
    whole = GlobalSpectralBlock(8, heads=2).double()
    plain = GlobalSpectralBlock(8, heads=2, field_tokens=False, mix_channels=False, mix_tokens=False).double()
    plain.load_state_dict(whole.state_dict(), strict=False)
    close(whole(tokens), plain(tokens))


@pytest.mark.parametrize(
    ("option", "missing"),
    [
        ("spectral", ["sines", "cosines", "frequencies"]),
        ("field_tokens", ["token_gain"]),
        ("mix_channels", ["layer.2"]),
        ("mix_tokens", ["layer.maps"]),
    ],
)
def test_an_ablation_leaves_out_its_part(option, missing):
    names = str(list(GlobalSpectralBlock(8).state_dict()))
    without = str(list(GlobalSpectralBlock(8, **{option: False}).state_dict()))
    assert all(name in names for name in missing)
    assert not any(name in without for name in missing)


def test_learned_frequencies_begin_as_the_published_ones():
    learned, published = LearnedSpectralSum(5, 4).double(), SpectralSum(5, 5).double()
    with torch.no_grad():
        published.weights.zero_()
        learned.frequencies.copy_(torch.arange(1, 5).double() * torch.pi / 5)
        published.weights[:, 1:5], published.weights[:, 6:] = learned.sines, learned.cosines
    tokens = draw(3, 5)
    close(learned(tokens), published(tokens))
    assert learned.frequencies.requires_grad
    assert not LearnedSpectralSum(5, 4, learned=False).frequencies.requires_grad


@pytest.mark.parametrize("sites", [(9,), (9, 5), (5, 9, 3)])
def test_refining_keeps_fields_that_are_linear(sites):
    """Also shows that a coarse site is every second fine one."""
    field = sum(
        (axis + 1) * torch.arange(size).double().reshape([-1 if other == axis else 1 for other in range(len(sites))])
        for axis, size in enumerate(sites)
    )[None, ..., None]
    coarse = every_site(field, 2).movedim(-1, 1)
    close(refine(coarse, torch.Size(sites), periodic=False), field.movedim(-1, 1))


def test_refining_an_even_number_of_sites():
    coarse = torch.tensor([[[1.0, 3.0]]])
    assert refine(coarse, torch.Size([4]), periodic=False).tolist() == [[[1.0, 2.0, 3.0, 3.0]]]
    assert refine(coarse, torch.Size([4]), periodic=True).tolist() == [[[1.0, 2.0, 3.0, 2.0]]]


@pytest.mark.parametrize("sites", [(9, 7), (8, 6)])
@pytest.mark.parametrize("periodic", [False, True])
def test_channels_stay_last_in_memory(sites, periodic):
    """Else interpolation and its gradient take up to six times as long on a CPU."""
    coarse = (
        torch.randn(2, 3, *(-(-size // 2) for size in sites)).to(memory_format=torch.channels_last).requires_grad_()
    )
    fine = refine(coarse, torch.Size(sites), periodic)
    (gradient,) = torch.autograd.grad(fine.square().sum(), coarse)
    weights = convolution(3, 3, 2, periodic).weight
    assert fine.stride(1) == gradient.stride(1) == weights.stride(1) == 1


@pytest.mark.parametrize("sites", [(9,), (4, 5), (5, 2, 3), (1, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_periodic_convolution_is_that_of_pytorch(sites, stride):
    layer = convolution(2, 3, len(sites), periodic=True, stride=stride).double()
    circular = type(layer)(2, 3, kernel_size=3, padding=1, stride=stride, padding_mode="circular").double()
    circular.load_state_dict(layer.state_dict())
    field = draw(2, 2, *sites)
    close(layer(field), circular(field))


def test_a_shifted_periodic_field_gives_the_shifted_output():
    """By as many sites as lie between those of the coarsest scale, and without the positions that tell sites apart."""
    fields = spec(sites=(8, 12), inputs=2)
    inputs, shift = batch(fields).inputs.double(), {"shifts": (4, -4), "dims": (1, 2)}

    def without_positions(**options):
        model = make(fields, num_scales=3, **options)
        with torch.no_grad():
            model.lift.weight[:, 2:] = 0
        return model.double()

    model = without_positions(periodic=True, modes=2)
    close(model(inputs.roll(**shift)), model(inputs).roll(**shift))
    bounded = without_positions()
    assert (bounded(inputs.roll(**shift)) - bounded(inputs).roll(**shift)).abs().max() > 1e-3


def test_periodic_positions_are_those_of_a_circle():
    model = make(spec(sites=(4, 2)), periodic=True)
    found = model._lattice_positions(torch.zeros(1, 4, 2, 1, dtype=torch.float64))
    assert found.shape == (4, 2, 4)
    torch.testing.assert_close(found[1, 1], torch.tensor([1.0, 0.0, 0.0, -1.0], dtype=torch.float64))


def test_a_residual_convolution_by_hand():
    layer = lively(ResidualConvolution(2, 1, periodic=False, modes=2)).double()
    field = draw(3, 2, 7)
    normed = (field - field.mean(dim=(1, 2), keepdim=True)) / (field.var(dim=(1, 2), correction=0) + 1e-5)[
        :, None, None
    ].sqrt()
    normed = normed * layer.norm.weight[:, None] + layer.norm.bias[:, None]
    first, _, second = layer.update
    expected = field + second(nn.functional.gelu(first(normed))) + layer.gain * layer.waves(normed)
    close(layer(field), expected)


@pytest.mark.parametrize("change", [False, True])
def test_a_roll_out_predicts_the_next_frame_or_its_change_from_the_last_one(change):
    fields = moving(3, fields=2, sites=(8, 8), parameters=scalars("viscosity"))
    model = make(fields, predict_change=change, supervision=0.5)
    with torch.no_grad():
        for head in model.heads:
            last = head[-1] if isinstance(head, nn.Sequential) else head
            last.weight.zero_(), last.bias.zero_()
    inputs = torch.randn(2, 8, 8, fields.in_channels)
    for scale, prediction in enumerate(model.at_scales(inputs)):
        assert torch.equal(prediction, change * every_site(inputs[..., 4:6], 2**scale))


@pytest.mark.parametrize(
    ("fields", "num_inputs"),
    [
        (spec(sites=(16, 16)), 1 + 2),
        (spec("mesh", sites=(16, 16), inputs=3), 3 + 2),
        (spec("points", (9,), inputs=3, space=3, parameters=scalars("mach")), 3 + 1 + 4 * 2 * 3),
    ],
    ids=["lattice", "mesh", "cloud"],
)
def test_positions_are_among_the_inputs(fields, num_inputs):
    assert make(fields).lift.in_features == num_inputs


def test_number_of_parameters_on_a_lattice():
    """Two scales of 8 and 16 channels, one block at the coarser one, one convolution at each."""
    model = make(spec(sites=(8, 8), inputs=2, targets=3), num_scales=2, latent_scales=1, supervision=0.5)
    convolutions = [2 * (9 * c * c + c) + 2 * c for c in (8, 16)]
    between = (9 * 8 * 16 + 16) + (16 * 8 + 8)
    heads = (8 * 10 + 10) + (10 * 3 + 3) + (16 * 3 + 3)
    expected = (4 + 1) * 8 + sum(convolutions) + between + block_parameters(16) + heads
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_number_of_parameters_on_a_cloud():
    """Without a lattice; with one of a single scale, one convolution and one block of 4 channels; and blocks on the points."""

    def count(**options):
        model = make(spec("points", (9,), inputs=2), depth=2, **options)
        return sum(parameter.numel() for parameter in model.parameters())

    feedforward = 2 * 8 + (8 * 16 + 16) + (16 * 8 + 8)
    stream = (2 + 12 + 1) * 8 + 2 * feedforward + (8 * 10 + 10) + (10 + 1)
    on_points = 2 * block_parameters(8)
    assert count(lattice=0, position_waves=3) == stream + on_points
    on_lattice = 2 * (9 * 4 * 4 + 4) + 2 * 4 + block_parameters(4) + (9 * 4 + 4) + (4 * 8 + 8)
    small = {"lattice": 4, "num_scales": 1, "position_waves": 3}
    assert count(**small) == stream + on_lattice
    assert count(**small, point_blocks=True) == stream + on_lattice + on_points
    with pytest.raises(OptionError, match="point_blocks is false, but without a lattice points exchange nothing"):
        count(lattice=0, point_blocks=False)


@pytest.mark.parametrize("sizes", [(5,), (4, 6), (3, 4, 5)])
def test_a_linear_field_is_interpolated_exactly(sizes):
    """At points anywhere in the unit cube, its boundary included; the weights of a point add up to one."""
    torch.manual_seed(2)
    positions = torch.rand(2, 9, len(sizes), dtype=torch.float64)
    positions[:, 0], positions[:, 1] = 0.0, 1.0
    indices, weights = corners(positions, sizes)
    sites = unit_coordinates(sizes, positions).flatten(0, -2)
    close((sites[indices] * weights.unsqueeze(-1)).sum(dim=2), positions)
    close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))
    outside = corners(positions + 3.0, sizes)
    assert all(map(torch.equal, outside, corners(torch.ones_like(positions), sizes)))


@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        ((300, 300, 300), torch.float32),
        ((39, 39), torch.bfloat16),
        ((1000,), torch.bfloat16),
        ((100, 100), torch.float16),
    ],
)
def test_sites_of_large_lattices_have_exact_numbers(sizes, dtype):
    """A floating-point number holds only some of the numbers of so many sites."""
    indices, weights = corners(torch.full((1, 1, len(sizes)), 0.999, dtype=dtype), sizes)
    assert weights.dtype == dtype
    along = torch.stack(torch.unravel_index(indices.flatten(), sizes))
    last = torch.tensor(sizes)[:, None] - 1
    assert (along >= last - 1).all()
    assert (along <= last).all()
    assert len(indices.unique()) == 2 ** len(sizes)


def test_a_lattice_sees_the_mean_of_the_points_around_each_site():
    """Three points at one site and one halfway between two sites."""
    part = OnPoints(1, (3,), Pyramid(1, 2, 1, 1, nn.Identity, 0, False, 0)).double()
    seen = []
    part.enter.register_forward_hook(lambda module, arguments, _: seen.append(arguments[0]))
    points = torch.tensor([1.0, 2.0, 6.0, 5.0], dtype=torch.float64).reshape(1, 4, 1)
    part(points, torch.tensor([0.0, 0.0, 0.0, 0.75], dtype=torch.float64).reshape(1, 4, 1))
    # A hundredth of a point is added to each number of points.
    expected = [[9.0 / 3.01, 3.0], [2.5 / 0.51, 0.5], [2.5 / 0.51, 0.5]]
    close(seen[0], torch.tensor([expected], dtype=torch.float64))


def test_points_lie_where_the_coordinates_say():
    """The first inputs are normalised for the lift; they place the points only where no coordinates are given."""
    fields = spec("points", sites=(11,), inputs=2)
    model, inputs = make(fields).double(), torch.rand(2, 11, 2, dtype=torch.float64)
    assert torch.equal(model(inputs), model(inputs, inputs))
    assert not torch.allclose(model(inputs), model(inputs, 1.0 - inputs))


def block_parameters(c):
    """Of two heads, three tokens and four basis functions."""
    maps = 2 * c + (c * 3 * c + 3 * c) + 2 * (c * c + c)
    tokens, gain, series = 3 * c, c, 3 * 4 * c
    mixed_channels = 3 * c + (c * 2 * c + 2 * c) + (2 * c * c + c)
    mixed_tokens = 3 * c + (c * 3 * c + 3 * c) + (c * c + c)
    return maps + tokens + gain + series + mixed_channels + mixed_tokens


def test_sizes_that_are_not_given_follow_from_the_data():
    def sizes(fields):
        model = MODELS.make("lsm2", fields)
        return model.lift.out_features, len(getattr(model.body, "down", model.body.channels))

    assert sizes(spec(sites=(43, 43))) == (32, 5)
    assert sizes(spec(sites=(41, 13, 10))) == (16, 5)
    assert sizes(spec(sites=(41, 13, 10), axes=("x", "y", "time"))) == (32, 5)
    assert sizes(spec("points", (20,), inputs=2)) == (64, 1)
    assert MODELS.make("lsm2", spec("points", (972,), inputs=2)).body.lattice.sizes == (39, 39)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_scales": 0}, "num_scales is 0, expected a whole number from 1 to 16"),
        ({"supervision": 2.0}, "supervision is 2.0, expected a finite number from 0 to 1"),
        ({"block": {"heads": 3}}, "block.heads is 3, which does not divide 16 channels; give a width that it divides"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(OptionError) as caught:
        make(spec(), **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_trains_every_kind(kind):
    """As in single precision, up to the eight bits of bfloat16, whose rounding such large weights multiply."""
    fields = KINDS[kind]
    model, inputs = lively(make(fields)), torch.rand(3, *fields.sites, fields.in_channels)
    expected = model(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(inputs).float()
        found.square().sum().backward()
    assert (found - expected).norm() < 0.2 * expected.norm()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters() if value.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_does_not_round_the_inputs(kind):
    """A training on rounded inputs fits another function than that of the inputs."""
    fields = KINDS[kind]
    model, inputs = lively(make(fields)), torch.rand(3, *fields.sites, fields.in_channels).bfloat16().float()
    close_by = inputs * (1 + 2**-10)
    assert torch.equal(close_by.bfloat16().float(), inputs)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal(model(inputs), model(close_by))


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_does_not_round_the_predictions(kind):
    """Neighbouring values differ by less than a bfloat16 number resolves."""
    fields = KINDS[kind]
    model, inputs = lively(make(fields, supervision=0.5)), torch.rand(3, *fields.sites, fields.in_channels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predictions = model.at_scales(inputs)
    assert {found.dtype for found in predictions} == {torch.float32}
    assert not any(torch.equal(found, found.bfloat16().float()) for found in predictions)


def test_a_lattice_has_two_sites_or_more():
    with pytest.raises(OptionError, match="lattice is 1, expected at least 2 sites"):
        make(spec("points", (9,), inputs=2), lattice=1)


@pytest.mark.slow
def test_a_compiled_model_trains_compiled():
    """Training calls :meth:`at_scales`, which is not what torch compiles of a module."""
    fields = spec(sites=(8, 8))
    model, called = make(fields, supervision=0.5), []

    def backend(graph, _):
        called.append(graph)
        return graph.forward

    inputs = batch(fields).inputs
    expected = model.at_scales(inputs)
    model.compile(backend=backend)
    found = model.at_scales(inputs)
    assert called
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
