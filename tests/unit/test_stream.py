"""Transolver, FLARE and the vision transformer: their mixers against the equations written out, and published sizes."""

import pytest
import torch
from tiny import batch, lively, moving, scalars, spec
from torch import nn

from lsm.errors import OptionError
from lsm.model import MODELS
from lsm.model.flare import LatentRouting
from lsm.model.positions import append_waves
from lsm.model.stream import attention, join_heads, split_heads
from lsm.model.transolver import PhysicsAttention, describe_positions
from lsm.model.vit import SelfAttention

pytestmark = pytest.mark.numerics

SMALL = {
    "transolver": {"width": 8, "num_layers": 2, "heads": 2, "num_slices": 3},
    "flare": {"width": 8, "num_blocks": 2, "heads": 2, "num_latents": 3},
    "vit": {"width": 8, "num_layers": 2, "heads": 2},
}


def make(name, fields, **options):
    torch.manual_seed(0)
    return lively(MODELS.make({"name": name, **SMALL[name], **options}, fields))


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "fields",
    [
        spec(sites=(9,), targets=2),
        spec(sites=(7, 6), inputs=2, targets=3),
        spec(sites=(5, 6, 4), parameters=scalars("mach")),
        spec("mesh", sites=(7, 6), inputs=2),
        spec("points", sites=(11,), inputs=3, space=3),
        moving(sites=(6, 5), fields=2),
    ],
    ids=["line", "plane", "space", "mesh", "cloud", "roll-out"],
)
def test_fields_of_every_kind(name, fields):
    inputs = torch.randn(3, *fields.sites, fields.in_channels)
    found = make(name, fields)(inputs)
    assert found.shape == (3, *fields.sites, fields.out_channels)
    found.square().sum().backward()


@pytest.mark.parametrize("name", SMALL)
def test_points_have_no_order(name):
    model = make(name, spec("points", sites=(11,), inputs=2)).double()
    inputs, order = draw(2, 11, 2), torch.randperm(11, generator=torch.Generator().manual_seed(2))
    close(model(inputs[:, order]), model(inputs)[:, order])


@pytest.mark.parametrize("name", SMALL)
def test_a_site_hears_of_every_other(name):
    """Also where the number of sites is no multiple of a patch."""
    fields = spec(sites=(7, 6))
    model = make(name, fields).double()
    inputs = batch(fields, size=1).inputs.double().requires_grad_()
    model(inputs)[0, 0, 0, 0].backward()
    assert (inputs.grad != 0).all()


@pytest.mark.parametrize("name", SMALL)
def test_another_lattice_than_in_training(name):
    model = make(name, spec(sites=(8, 8)))
    assert model(torch.randn(2, 11, 5, 1)).shape == (2, 11, 5, 1)


def test_heads_split_the_channels():
    field = draw(2, 3, 4, 6)
    tokens, sites = split_heads(field, 2)
    assert tokens.shape == (2, 2, 12, 3)
    assert torch.equal(tokens[1, 1, 5], field[1, 1, 1, 3:])
    assert torch.equal(join_heads(tokens, sites), field)


def test_attention_on_a_processor_computes_in_single_precision():
    queries, keys, values = (draw(2, 3, size, 4).float() for size in (5, 7, 7))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 3:] = False
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(queries, keys, values, mask)
        assert attention(queries, keys, values.bfloat16(), mask).dtype == torch.bfloat16
    scores = (queries @ keys.mT / 2).masked_fill(~mask[:, None, None], -torch.inf)
    torch.testing.assert_close(found, scores.softmax(dim=-1) @ values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_heads_that_do_not_divide_the_width(name):
    with pytest.raises(OptionError, match="heads is 3, which does not divide 8 channels; give a width that it divides"):
        make(name, spec(), heads=3)


def test_physics_attention_is_its_equation():
    layer = lively(PhysicsAttention(6, heads=2, num_slices=3, rank=0)).double()
    layer.temperature.data = torch.tensor([[[0.7]], [[0.01]]], dtype=torch.float64)
    field = draw(1, 5, 6)
    features, values = layer.features(field)[0], layer.values(field)[0]
    query, key, value = (token_map.weight.T for token_map in layer.token_maps)
    heads = []
    for head, temperature in enumerate((0.7, 0.1)):  # the second one is limited
        own = slice(3 * head, 3 * head + 3)
        weights = (layer.slices(features[:, own]) / temperature).softmax(dim=-1)
        tokens = torch.stack([weights[:, s] @ values[:, own] / (weights[:, s].sum() + 1e-5) for s in range(3)])
        scores = (tokens @ query) @ (tokens @ key).T / 3**0.5
        heads.append(weights @ scores.softmax(dim=-1) @ (tokens @ value))
    close(layer(field)[0], layer.out(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_on_a_lattice_neighbours_decide_the_slices(rank):
    layer = PhysicsAttention(4, heads=2, num_slices=2, rank=rank).double()
    field = draw(1, *[6] * rank, 4).requires_grad_()
    layer.features(field)[(0, *[2] * rank)].sum().backward()
    reached = (field.grad[0] != 0).any(dim=-1).nonzero()
    assert len(reached) == 3**rank
    assert {int(reached.min()), int(reached.max())} == {1, 3}


def test_latent_routing_is_its_equation():
    layer = lively(LatentRouting(6, heads=2, num_latents=4, depth=1)).double()
    field = draw(1, 5, 6)
    keys, values = layer.keys(field)[0], layer.values(field)[0]
    heads = []
    for head in range(2):
        own = slice(3 * head, 3 * head + 3)
        scores = layer.queries[head] @ keys[:, own].T
        heads.append(scores.T.softmax(dim=-1) @ (scores.softmax(dim=-1) @ values[:, own]))
    close(layer(field)[0], layer.out(torch.cat(heads, dim=-1)))


def test_a_residual_layer_adds_its_update():
    mlp = lively(LatentRouting(6, heads=2, num_latents=4, depth=1)).double().keys
    field, gelu = draw(5, 6), nn.GELU(approximate="tanh")
    first = field + gelu(mlp.first(field))
    second = first + gelu(mlp.inside[0](first))
    close(mlp(field), second + mlp.last(second))


def test_the_transformer_is_the_one_of_the_library():
    """A whole block, with the weights of torch's pre-norm encoder layer."""
    block = make("vit", spec("points", sites=(5,), inputs=2), num_layers=1).blocks[0].double()
    layer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
    names = {
        "norm1": "mixer_norm",
        "norm2": "feedforward_norm",
        "linear1": "feedforward.0",
        "linear2": "feedforward.2",
        "self_attn.in_proj_": "mixer.maps.",
        "self_attn.out_proj": "mixer.out",
    }
    state = {}
    for name, weights in layer.state_dict().items():
        theirs = next(theirs for theirs in names if name.startswith(theirs))
        state[name.replace(theirs, names[theirs])] = weights
    block.load_state_dict(state)
    tokens = draw(2, 5, 8)
    close(block(tokens), layer(tokens))


def test_attention_weighs_every_token():
    layer = lively(SelfAttention(4, 2)).double()
    tokens = draw(1, 6, 4).requires_grad_()
    layer(tokens)[0, 0].sum().backward()
    assert (tokens.grad != 0).all()


def test_positions_are_distances_to_a_coarse_lattice():
    like = torch.zeros((), dtype=torch.float64)
    found = describe_positions((3, 5), 2, like)
    assert found.shape == (3, 5, 4)
    x, y = 0.5, 0.25
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    close(found[1, 1], torch.tensor([((x - a) ** 2 + (y - b) ** 2) ** 0.5 for a, b in corners], dtype=torch.float64))
    assert describe_positions((3, 5), 0, like).shape == (3, 5, 2)


@pytest.mark.parametrize("name", ["transolver", "flare"])
def test_sites_of_a_mesh_know_their_place_on_the_lattice(name):
    """Positions normalised by site can be equal at all sites; inside a mesh nothing else tells these apart."""
    fields, inputs = spec("mesh", sites=(7, 6), inputs=2), torch.ones(1, 7, 6, 2)
    informed, published = (
        make(name, fields, lattice_coordinates=known)(inputs)[0, 2:5, 2:4] for known in (True, False)
    )
    assert informed.std() > 1e-3
    assert published.std() < 1e-6


def test_waves_of_a_lattice_are_those_of_its_sites():
    """At 0, 1/2 and 1 of the axis: sines and cosines of pi and 2 pi times that."""
    fields, inputs = spec(sites=(3,)), draw(1, 3, 1)
    expected = torch.tensor([[0, 0, 1, 1], [1, 0, 0, -1], [0, 0, -1, 1]], dtype=torch.float64)
    close(append_waves(inputs, inputs, None, fields, 2), torch.cat([inputs, expected[None]], dim=-1))
    assert append_waves(inputs, inputs, None, fields, 0) is inputs


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(
    "fields",
    [
        spec(sites=(9, 8), inputs=2),
        spec("mesh", sites=(9, 8), inputs=2),
        spec("points", sites=(11,), inputs=3, space=3),
    ],
    ids=lambda fields: fields.geometry,
)
def test_waves_of_positions_are_further_inputs(name, fields):
    """Those of a cloud are of its coordinates in the unit cube, or else of its first inputs; of a lattice those of its sites."""
    model, inputs = make(name, fields, position_waves=2).double(), draw(3, *fields.sites, fields.in_channels)
    on_points = fields.geometry == "points"
    sites_at_once = 16 if name == "vit" and not on_points else 1
    first, published = (next(iter(made.parameters())) for made in (model, make(name, fields)))
    assert first.shape[-1] - published.shape[-1] == sites_at_once * 2 * 2 * (3 if on_points else 2)
    if on_points:
        found = model(inputs)
        close(model(inputs, coords=inputs[..., :3]), found)
        assert (model(inputs, coords=inputs[..., :3] + 0.3) - found).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "fields", "options", "published"),
    [
        # Transolver's public code has one more vector of the model's width, which nothing needs besides the lift's bias.
        ("transolver", spec("points", sites=(972,), inputs=2), {}, 713_665 - 128),
        (
            "transolver",
            spec("mesh", sites=(129, 129), inputs=2),
            {"mlp_ratio": 2, "lattice_coordinates": False},
            3_073_985 - 128,
        ),
        ("transolver", spec(sites=(85, 85)), {"reference": 8}, 2_826_945 - 128),
        ("transolver", moving(10, sites=(64, 64)), {"reference": 8, "width": 256, "num_slices": 32}, 11_232_321 - 256),
        ("flare", spec("points", sites=(972,), inputs=2), {}, 592_641),
    ],
)
def test_published_sizes(name, fields, options, published):
    model = MODELS.make({"name": name, **options}, fields)
    assert sum(parameter.numel() for parameter in model.parameters()) == published
