import math
from dataclasses import replace

import pytest
import torch
from tiny import batch, moving, spec

from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.metrics import METRICS, find_fault, gradient, parts_of, relative_l2

pytestmark = pytest.mark.numerics

TRUTH = torch.tensor([[[3.0, 1.0], [4.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]]])  # two samples, two sites, two channels
PREDICTION = torch.tensor([[[3.0, 1.0], [4.0, 2.0]], [[1.0, 2.0], [2.0, 4.0]]])
LINE = spec(sites=(2,), inputs=2, targets=2)


def error(name, prediction, truth, fields, coords=None):
    """A metric of a prediction; the metrics read no inputs."""
    return METRICS[name](prediction, FieldBatch(torch.empty(len(truth), 0), truth, coords), fields)


def test_values_by_hand():
    expected = torch.tensor([2 / 26**0.5, (17 / 8) ** 0.5])
    torch.testing.assert_close(relative_l2(PREDICTION, TRUTH), expected)
    torch.testing.assert_close(error("relative_l2", PREDICTION, TRUTH, LINE), expected)
    per_channel = torch.tensor([[0.0, 2.0], [0.5, 2.0]])
    torch.testing.assert_close(error("relative_l2_per_channel", PREDICTION, TRUTH, LINE), per_channel)
    torch.testing.assert_close(error("relative_l2_by_field", PREDICTION, TRUTH, LINE), torch.tensor([1.0, 1.25]))
    without = TRUTH * torch.tensor([1.0, 0.0])
    torch.testing.assert_close(error("relative_l2_by_field", PREDICTION, without, LINE), per_channel[:, 0])
    assert error("relative_l2_by_field", PREDICTION * torch.tensor([torch.nan, 1.0]), TRUTH, LINE).isnan().all()
    torch.testing.assert_close(error("rmse", PREDICTION, TRUTH, LINE), torch.tensor([1.0, (17 / 4) ** 0.5]))
    assert error("max_error", PREDICTION, TRUTH, LINE).tolist() == [2.0, 4.0]


def test_a_field_that_is_zero_everywhere_has_no_gradient():
    """And leaves those of the other field, and of other samples, finite."""
    truth = TRUTH.clone()
    truth[0, :, 1] = 0
    prediction = PREDICTION.clone().requires_grad_()
    error("relative_l2_by_field", prediction, truth, LINE).sum().backward()
    gradient = prediction.grad
    assert gradient[0, :, 1].tolist() == [0.0] * LINE.sites[0]
    assert gradient.isfinite().all()
    assert gradient[1].any(dim=0).all()


@pytest.mark.parametrize("name", ["relative_l2", "relative_l2_per_channel"])
def test_scale_of_each_sample_does_not_matter(name):
    scale = torch.tensor([1e-3, -50.0])[:, None, None]
    expected = error(name, PREDICTION, TRUTH, LINE)
    torch.testing.assert_close(error(name, scale * PREDICTION, scale * TRUTH, LINE), expected)
    assert torch.equal(error(name, TRUTH, TRUTH, LINE), torch.zeros_like(expected))
    torch.testing.assert_close(error(name, 0 * TRUTH, TRUTH, LINE), torch.ones_like(expected))


@pytest.mark.parametrize("name", ["rmse", "max_error"])
def test_errors_in_the_unit_of_the_field_scale_with_it(name):
    scaled = error(name, -50 * PREDICTION, -50 * TRUTH, LINE)
    torch.testing.assert_close(scaled, 50 * error(name, PREDICTION, TRUTH, LINE))


@pytest.mark.parametrize("name", ["rmse", "max_error"])
def test_each_field_has_its_own_error_in_its_unit(name):
    samples = batch(spec("points", (9,), targets=2, ragged=True))
    fields, wrong = spec("points", (9,), targets=2, ragged=True), samples.targets * 1.5
    found = METRICS[f"{name}_per_channel"](wrong, samples, fields)
    for index in range(2):
        alone = replace(samples, targets=samples.targets[..., [index]])
        expected = METRICS[name](wrong[..., [index]], alone, spec("points", (9,), ragged=True))
        torch.testing.assert_close(found[:, index], expected)


def test_channels_keep_their_own_scale():
    scale = torch.tensor([1e6, 1.0])
    found = error("relative_l2_per_channel", scale * PREDICTION, scale * TRUTH, LINE)
    torch.testing.assert_close(found, error("relative_l2_per_channel", PREDICTION, TRUTH, LINE))


@pytest.mark.parametrize("sites", [(5,), (3, 2), (2, 3, 2)])
def test_sites_of_any_rank(sites):
    prediction, truth = torch.randn(2, *sites, 3), torch.randn(2, *sites, 3)
    flat = relative_l2(prediction.reshape(2, -1, 3), truth.reshape(2, -1, 3))
    torch.testing.assert_close(relative_l2(prediction, truth), flat)
    expected = torch.stack([relative_l2(prediction[..., [c]], truth[..., [c]]) for c in range(3)], dim=1)
    found = error("relative_l2_per_channel", prediction, truth, spec(sites=sites, targets=3))
    torch.testing.assert_close(found, expected)


def test_frames_of_one_field_are_summed():
    """The published loss of a roll-out: each frame's relative error, summed over the frames."""
    fields = moving(num_targets=4)
    prediction, truth = batch(fields, seed=1).targets, batch(fields).targets
    expected = sum(relative_l2(prediction[..., [t]], truth[..., [t]]) for t in range(4))
    torch.testing.assert_close(error("relative_l2_by_frame", prediction, truth, fields), expected)


def test_fields_of_one_frame_share_one_error():
    """Two frames of two fields: channels are ordered by frame, then by field."""
    fields = moving(num_targets=2, fields=2, sites=(2,))
    truth = torch.tensor([[[3.0, 0.0, 1.0, 1.0], [0.0, 4.0, 1.0, 1.0]]])
    prediction = torch.tensor([[[3.0, 3.0, 1.0, 1.0], [0.0, 0.0, 1.0, 2.0]]])
    # First frame: a difference of 3 and 4 beside 3 and 4; second frame: of 1 beside four ones.
    assert error("relative_l2_by_frame", prediction, truth, fields).tolist() == [1.0 + 0.5]


def test_without_frames_all_channels_share_one_error():
    fields = spec(targets=3)
    prediction, truth = batch(fields, seed=1).targets, batch(fields).targets
    expected = error("relative_l2", prediction, truth, fields)
    torch.testing.assert_close(error("relative_l2_by_frame", prediction, truth, fields), expected)


#: Fields for which every metric is defined: two on a grid of two axes of space and one of time.
FILM = FieldSpec("grid", (24, 28, 3), ("x", "y", "time"), (Channel("a"),), (Channel("u"), Channel("v")))


@pytest.mark.parametrize("name", METRICS.names())
def test_shapes_that_would_broadcast_are_refused(name):
    truth = batch(FILM).targets
    with pytest.raises(ValueError, match=r"\(3, 24, 28, 3, 1\).*\(3, 24, 28, 3, 2\)"):
        error(name, truth[..., :1], truth, FILM)


@pytest.mark.parametrize("name", METRICS.names())
@pytest.mark.parametrize("fields", [FILM, moving(3, 4, fields=2, sites=(26, 27))], ids=["time axis", "roll-out"])
def test_every_metric_has_a_number_per_sample_or_part(name, fields):
    truth, prediction = batch(fields, seed=1).targets, batch(fields).targets
    parts = parts_of(METRICS[name], fields)
    found = error(name, prediction, truth, fields)
    assert found.shape == ((3,) if parts is None else (3, len(parts)))
    assert found.isfinite().all()
    one = error(name, prediction[1:2], truth[1:2], fields)
    torch.testing.assert_close(found[1:2], one, rtol=1e-4, atol=0)


def test_errors_of_frames_and_fields_of_a_roll_out():
    """Channels are ordered by frame, then by field."""
    fields = moving(num_inputs=3, num_targets=2, fields=2, sites=(2,))
    truth = torch.tensor([[[3.0, 0.0, 1.0, 1.0], [0.0, 4.0, 1.0, 1.0]]])
    prediction = torch.tensor([[[3.0, 3.0, 1.0, 1.0], [0.0, 0.0, 1.0, 2.0]]])
    assert parts_of(METRICS["relative_l2_per_frame"], fields) == ("frame 4", "frame 5")
    assert error("relative_l2_per_frame", prediction, truth, fields).tolist() == [[1.0, 0.5]]
    assert parts_of(METRICS["relative_l2_per_channel"], fields) == ("out0", "out1")
    expected = torch.tensor([[0.0, (26 / 18) ** 0.5]])
    torch.testing.assert_close(error("relative_l2_per_channel", prediction, truth, fields), expected)


def test_frames_of_a_time_axis_are_its_sites():
    truth = batch(FILM).targets
    prediction = truth * torch.tensor([1.0, 2.0, -1.0])[:, None]
    assert parts_of(METRICS["relative_l2_per_frame"], FILM) == ("frame 0", "frame 1", "frame 2")
    found = error("relative_l2_per_frame", prediction, truth, FILM)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 2.0]).expand(3, 3))


def waves(sites, *numbers):
    """``sum_j cos(2 pi k_j . x)`` on a periodic grid, ``(1, *sites, 1)``."""
    axes = [torch.arange(size, dtype=torch.float64) / size for size in sites]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    total = sum((2 * math.pi * (where * torch.tensor(k, dtype=torch.float64)).sum(-1)).cos() for k in numbers)
    return total[None, ..., None]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ((0, 0), [2**0.5, 0, 0]),
        ((4, 0), [1, 0, 0]),
        ((3, 3), [0, 1, 0]),  # |k| = 4.24
        ((0, -5), [0, 1, 0]),
        ((12, 0), [0, 1, 0]),
        ((9, 8), [0, 0, 1]),  # |k| = 12.04
        ((2, 15), [0, 0, 1]),
    ],
)
def test_the_error_of_a_wave_lies_in_its_band(number, expected):
    """Beside a truth of unit amplitude, whose own band does not matter, on axes of different lengths in sites."""
    fields = spec(sites=(32, 40))
    truth = waves(fields.sites, (1, 0))
    found = error("relative_l2_per_band", truth + waves(fields.sites, number), truth, fields)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), rtol=0, atol=1e-12)


def test_squares_of_the_bands_sum_to_that_of_the_error():
    for fields in (spec(sites=(30, 29), targets=2), FILM, spec(sites=(40,)), moving(sites=(30, 30))):
        prediction, truth = batch(fields, seed=1).targets, batch(fields).targets
        squares = error("relative_l2_per_band", prediction, truth, fields).square().sum(dim=1)
        torch.testing.assert_close(squares, error("relative_l2", prediction, truth, fields).square())


def test_a_coarse_grid_has_no_high_band():
    for sites, names in (((8,), ("low",)), ((9, 9), ("low", "middle")), ((24,), ("low", "middle"))):
        assert parts_of(METRICS["relative_l2_per_band"], spec(sites=sites)) == names
    assert parts_of(METRICS["relative_l2_per_band"], spec(sites=(26,))) == ("low", "middle", "high")
    assert parts_of(METRICS["relative_l2_per_band"], spec("mesh", sites=(40, 40))) == ()


def test_boundary_and_interior_by_hand():
    """Three by four sites: two inside. The error is 3 at the rim and 1 inside, the truth 2 everywhere, then 0 at the rim."""
    fields, truth = spec("mesh", sites=(3, 4)), torch.full((1, 3, 4, 1), 2.0)
    prediction = truth + 3
    prediction[:, 1, 1:3] = 3.0
    assert parts_of(METRICS["relative_l2_per_region"], fields) == ("boundary", "interior")
    assert error("relative_l2_per_region", prediction, truth, fields).tolist() == [[1.5, 0.5]]
    inside = torch.zeros(1, 3, 4, 1)
    inside[:, 1, 1:3] = 2.0
    found = error("relative_l2_per_region", torch.zeros_like(inside), inside, fields)
    torch.testing.assert_close(found, torch.tensor([[0.0, 6**0.5]]))


def test_the_rim_has_no_end_in_time():
    truth = torch.ones(1, *FILM.sites, 2)
    prediction = truth.clone()
    prediction[:, 1:-1, 1:-1, 0] = 3.0
    assert error("relative_l2_per_region", prediction, truth, FILM)[0, 0] == 0


@pytest.mark.parametrize("name", ["relative_l2_per_band", "relative_l2_per_region"])
def test_a_cloud_has_neither_bands_nor_regions(name):
    fields = spec("points", (9,))
    assert parts_of(METRICS[name], fields) == ()
    with pytest.raises(InputError, match=f"choose another error than {name}"):
        error(name, batch(fields).targets, batch(fields).targets, fields)


def test_a_cell_without_an_area_gives_no_finite_gradient():
    """Not an error of the linear algebra, which would name no sample."""
    fields, samples = spec("mesh", sites=(4, 4)), batch(spec("mesh", sites=(4, 4)))
    samples.coords[1] = 0.0
    found = error("relative_h1", samples.targets + 1, samples.targets, fields, samples.coords)
    assert found.isfinite().tolist() == [True, False, True]


def test_the_gradient_at_the_centre_of_a_polar_mesh_does_not_count():
    radius, angle = (axis[0] for axis in lattice(9, 17).split(1, dim=-1))
    coords = torch.cat([radius * (6 * angle).cos(), radius * (6 * angle).sin()], dim=-1)[None]
    fields = spec("mesh", sites=(9, 17))
    found = gradient(coords[..., :1], coords, fields)[0, :, :, 0]
    assert not found[0].any()
    torch.testing.assert_close(found[1:, 1:-1, 0], torch.ones(8, 15, dtype=torch.float64), rtol=0, atol=0.05)
    other = coords[..., :1].clone().requires_grad_()
    error("relative_h1", 2 * other, coords[..., :1], fields, coords).sum().backward()
    assert other.grad.isfinite().all()


def test_a_periodic_gradient_does_not_depend_on_where_the_period_begins():
    fields = replace(spec(sites=(16, 12)), periodic=True)
    x, y = lattice(17, 13)[:, :-1, :-1].split(1, dim=-1)
    wave = (2 * torch.pi * x).sin() + (2 * torch.pi * y).cos()
    slope = 2 * torch.pi * torch.stack([(2 * torch.pi * x).cos(), -(2 * torch.pi * y).sin()], dim=-1)
    torch.testing.assert_close(gradient(wave, None, fields), slope, rtol=0, atol=0.3)
    wrong = wave.clone()
    wrong[:, 0] += 1
    found = [
        error("relative_h1", wrong.roll(shift, dims=(1, 2)), wave.roll(shift, dims=(1, 2)), fields).item()
        for shift in ((0, 0), (5, 0), (8, 7))
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)
    assert parts_of(METRICS["relative_l2_per_region"], fields) == ()


def lattice(*sites):
    """The unit square's index coordinates, ``(1, *sites, d)``."""
    axes = [torch.linspace(0, 1, size, dtype=torch.float64) for size in sites]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)[None]


#: Rows: coefficients of a quadratic form of three coordinates, which has the gradient ``(A + A^T) x``.
FORM = torch.tensor([[2.0, -1.0, 0.5], [3.0, 1.0, 0.0], [-2.0, 1.5, 4.0]], dtype=torch.float64)


def quadratic(where, form=FORM):
    """``x A x`` and its gradient, ``(..., 1)`` and ``(..., 1, d)``."""
    form = form[: where.shape[-1], : where.shape[-1]]
    return (where @ form * where).sum(-1, keepdim=True), (where @ (form + form.T)).unsqueeze(-2)


@pytest.mark.parametrize("sites", [(7,), (5, 9), (4, 3, 6)])
def test_gradient_of_a_quadratic_on_a_grid_is_exact(sites):
    """To the rim, where one-sided differences of second order are exact for quadratics too."""
    fields = spec(sites=sites)
    field, slope = quadratic(lattice(*sites))
    torch.testing.assert_close(gradient(field, None, fields), slope, rtol=0, atol=1e-12)
    other, other_slope = quadratic(lattice(*sites), FORM.flip(0))
    expected = (slope - other_slope).norm() / slope.norm()
    assert error("relative_h1", other, field, fields).item() == pytest.approx(expected.item(), rel=1e-12)


def test_gradient_has_channels_before_directions():
    where = lattice(4, 5)
    found = gradient(torch.cat([2 * where[..., :1], 3 * where[..., 1:]], dim=-1), None, spec(sites=(4, 5), targets=2))
    expected = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64).expand(1, 4, 5, 2, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


#: A map of the unit square that stretches, rotates and shears.
MAP = torch.tensor([[3.0, -0.5], [1.0, 0.25]], dtype=torch.float64)


def test_gradient_on_a_linearly_mapped_mesh_is_that_in_space():
    fields, coords = spec("mesh", sites=(6, 5)), lattice(6, 5) @ MAP.T - 1
    field, slope = quadratic(coords)
    torch.testing.assert_close(gradient(field, coords, fields), slope, rtol=0, atol=1e-9)
    other, other_slope = quadratic(coords, FORM.flip(0))
    other = other + coords[..., :1]
    other_slope = other_slope + torch.tensor([1.0, 0.0], dtype=torch.float64)
    expected = (other_slope - slope).norm() / slope.norm()
    found = error("relative_h1", other, field, fields, coords)
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    flat = error("relative_h1", other, field, spec(sites=(6, 5)))
    assert flat.item() != pytest.approx(expected.item(), rel=0.1), "the mesh does not matter"


def test_gradient_on_a_mesh_in_half_precision():
    """A field and a mesh whose differences half precision has exactly."""
    u, v = torch.meshgrid(torch.arange(5.0), torch.arange(4.0), indexing="ij")
    coords, fields = torch.stack([2 * u, 4 * v], dim=-1)[None], torch.stack([u + v], dim=-1)[None]
    found = gradient(fields.bfloat16(), coords.bfloat16(), spec("mesh", sites=(5, 4), inputs=2))
    assert torch.equal(found, torch.tensor([0.5, 0.25], dtype=torch.bfloat16).expand(1, 5, 4, 1, 2))


def test_gradient_of_a_linear_field_on_a_curved_mesh_is_constant():
    """Differences of the coordinates are those of the field: exact on any mesh whose cells have an area."""
    index = lattice(9, 7)
    radius, angle = 1 + index[..., 0], math.pi * index[..., 1]
    coords = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    field = coords @ torch.tensor([[2.0], [-5.0]], dtype=torch.float64)
    found = gradient(field, coords, spec("mesh", sites=(9, 7)))
    expected = torch.tensor([[2.0, -5.0]], dtype=torch.float64).expand(1, 9, 7, 1, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_a_constant_offset_has_no_gradient_and_samples_are_apart():
    fields = spec(sites=(5, 4))
    truth = batch(fields, size=2).targets
    prediction = torch.stack([truth[0] + 3, 2 * truth[1]])
    found = error("relative_h1", prediction, truth, fields)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0]), rtol=0, atol=1e-5)


def test_a_cloud_has_no_gradient():
    fields = spec("points", (9,))
    with pytest.raises(InputError, match="a point cloud has no axes .* choose another error than relative_h1"):
        error("relative_h1", batch(fields).targets, batch(fields).targets, fields)
    thin = spec(sites=(5, 2))
    with pytest.raises(
        InputError, match=r"needs three sites along each axis, this lattice has \(5, 2\); .* loss=sobolev"
    ):
        error("relative_h1", batch(thin).targets, batch(thin).targets, thin)


def test_an_unknown_metric_lists_the_known_ones():
    known = (
        "max_error, max_error_per_channel, relative_h1, relative_l2, relative_l2_by_field, .*, rmse, rmse_per_channel"
    )
    with pytest.raises(InputError, match=f"metric 'mse' is unknown; choose one of: {known}"):
        METRICS["mse"]


def truth_with(values):
    """A true field of three samples on 4 x 4 sites, the second of which has these values."""
    fields = spec(sites=(4, 4))
    truth = batch(fields, size=3).targets
    truth[1] = torch.as_tensor(values, dtype=truth.dtype).expand_as(truth[1])
    return fields, truth


@pytest.mark.parametrize(
    ("name", "values", "named"),
    [
        ("relative_l2", math.nan, "a field is not finite"),
        ("relative_l2", 0.0, "a true field is zero everywhere"),
        ("relative_h1", 20.0, "a true field is constant, so its gradient has no relative error"),
        (
            "relative_l2",
            1e-30 * torch.arange(1.0, 17.0).reshape(4, 4, 1),
            "the norm of a true field or of its gradient is zero or infinite",
        ),
    ],
)
def test_the_sample_for_which_an_error_is_undefined_is_named(name, values, named):
    fields, truth = truth_with(values)
    index, why = find_fault(FieldBatch(truth, truth), lambda one: METRICS[name](one.targets, one, fields))
    assert index == 1
    assert named in why


def test_a_frame_that_is_at_rest_is_named():
    fields = moving()
    samples = batch(fields, size=3)
    samples.targets[2, ..., : len(fields.targets)] = 0.0
    found = find_fault(samples, lambda one: METRICS["relative_l2_by_frame"](one.targets, one, fields))
    assert found[0] == 2
    assert "one true field or frame is zero everywhere" in found[1]


def test_data_for_which_an_error_is_defined_are_no_fault():
    fields, truth = truth_with(20.0)
    samples = FieldBatch(truth, truth)
    assert find_fault(samples, lambda one: METRICS["relative_l2"](one.targets, one, fields)) is None
    samples.inputs[0, 0, 0] = math.inf
    assert find_fault(samples, lambda one: METRICS["relative_l2"](one.targets, one, fields))[0] == 0
