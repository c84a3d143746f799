import math

import pytest
import torch
from tiny import batch, model_config, spec

from lsm.errors import InputError
from lsm.model import MODELS
from lsm.model.latent_spectral.point_cloud import Deformation, FourierProjection

pytestmark = pytest.mark.numerics


def plain(width=2, modes=4, resolution=16, rows="symmetric"):
    """Both transforms with unit weights, neither deformation nor bias."""
    projection = FourierProjection(
        spec("points", (9,), inputs=2), width, modes=modes, resolution=resolution, rows=rows
    ).double()
    projection.deformation.out.weight.data.zero_()
    projection.deformation.out.bias.data.zero_()
    unit = torch.eye(width, dtype=torch.complex128)[:, :, None, None].expand(-1, -1, modes, modes)
    for weights in (projection.weights_in, projection.weights_out):
        weights.nonnegative = torch.nn.Parameter(unit.clone())
        weights.negative = torch.nn.Parameter(unit.clone())
    for bias in (projection.grid_bias, projection.point_bias):
        bias.weight.data.zero_()
        bias.bias.data.zero_()
    return projection


def lattice(resolution):
    """Sites ``j / r`` of a periodic unit square, ``(r, r, 2)``."""
    axis = torch.arange(resolution, dtype=torch.float64) / resolution
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)


def few_waves(where):
    """A real field of a few waves below wave number 4, with a mean, along both axes and both diagonals; ``(..., 2)``."""
    x, y = 2 * math.pi * where[..., 0], 2 * math.pi * where[..., 1]
    first = 0.7 + torch.cos(x) - 0.5 * torch.sin(2 * x + 3 * y) + 0.3 * torch.cos(3 * x - y) + torch.sin(2 * y)
    return torch.stack([first, torch.sin(3 * x) + 2 * torch.cos(x - 2 * y)], dim=-1)


def test_a_field_of_few_waves_is_reproduced_at_any_point():
    projection = plain()
    points = torch.rand(1, 20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = few_waves(lattice(16)).movedim(-1, 0)[None]
    values = projection.unproject(grid, (points, points)) / 16**2
    torch.testing.assert_close(values, few_waves(points), rtol=0, atol=1e-12)


def test_the_reference_rows_do_not_reproduce_it():
    """What the named switch costs: the partner of a wave is one row off."""
    points = torch.rand(1, 20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = few_waves(lattice(16)).movedim(-1, 0)[None]
    values = plain(rows="reference").unproject(grid, (points, points)) / 16**2
    assert (values - few_waves(points)).abs().max() > 0.1


@pytest.mark.parametrize("rows", ["symmetric", "reference"])
def test_a_constant_field_is_reproduced(rows):
    projection = plain(rows=rows)
    points = torch.rand(2, 7, 2, dtype=torch.float64)
    grid = torch.tensor([3.0, -2.0], dtype=torch.float64)[None, :, None, None].expand(2, 2, 16, 16)
    values = projection.unproject(grid, (points, points)) / 16**2
    torch.testing.assert_close(values, torch.tensor([3.0, -2.0], dtype=torch.float64).expand(2, 7, 2))


def test_a_field_on_the_lattice_comes_to_the_grid_as_it_is():
    """Points on the grid's own sites: sums over points are its Fourier coefficients."""
    projection = plain()
    where = lattice(16).reshape(1, -1, 2)
    projection.lift = torch.nn.Identity()
    grid, _ = projection.project(few_waves(where), where, None)
    expected = torch.nn.functional.gelu(few_waves(lattice(16)).movedim(-1, 0))
    torch.testing.assert_close(grid[0], expected, rtol=0, atol=1e-12)


def cloud_model(code=3, **options):
    projection = {"modes": 3, "resolution": 8, **options}
    fields = spec("points", (9,), inputs=2, code=code)
    torch.manual_seed(0)
    return MODELS.make(model_config(projection=projection), fields).double().eval(), fields


def doubled(model):
    """Complex parameters keep single precision in ``Module.double``."""
    for weights in (model.projection.weights_in, model.projection.weights_out):
        for name in ("nonnegative", "negative"):
            setattr(weights, name, torch.nn.Parameter(getattr(weights, name).to(torch.complex128)))
    return model


def test_permuted_points_give_permuted_output():
    model, fields = cloud_model()
    doubled(model)
    samples = batch(fields).to(torch.float64)
    order = torch.tensor([4, 0, 8, 2, 1, 7, 3, 6, 5])
    found = model(samples.inputs[:, order], samples.coords[:, order], samples.code)
    expected = model(samples.inputs, samples.coords, samples.code)
    torch.testing.assert_close(found, expected[:, order], rtol=0, atol=1e-10)
    assert not torch.allclose(expected[:, order], expected)


def test_every_point_influences_every_other_and_samples_none():
    model, fields = cloud_model()
    doubled(model)
    samples = batch(fields).to(torch.float64)
    changed = samples.inputs.clone()
    changed[1, 0] += 1
    before, after = (model(inputs, samples.coords, samples.code) for inputs in (samples.inputs, changed))
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert ((after[1] - before[1]).abs() > 1e-12).all()


def test_the_shape_code_moves_the_points():
    torch.manual_seed(0)
    deformation = Deformation(3)
    coords = torch.rand(1, 5, 2)
    moved = [deformation(coords, code) for code in (torch.zeros(1, 3), torch.ones(1, 3))]
    assert (moved[0] - moved[1]).abs().max() > 1e-3


def test_the_origin_stays_and_gradients_are_finite_there():
    coords = torch.zeros(1, 1, 2, requires_grad=True)
    moved = Deformation()(coords)
    assert torch.equal(moved, torch.zeros(1, 1, 2))
    moved.sum().backward()
    assert torch.isfinite(coords.grad).all()


def test_a_model_in_double_precision_computes():
    """``Module.double`` leaves complex parameters alone; the model must still run."""
    model, fields = cloud_model()
    samples = batch(fields).to(torch.float64)
    assert model(samples.inputs, samples.coords, samples.code).dtype == torch.float64


def test_mixed_precision_leaves_the_transforms_exact():
    """Points, phases and transforms are those of full precision; only what enters them is rounded."""
    torch.manual_seed(0)
    projection = FourierProjection(spec("points", (40,), inputs=2, code=3), 8, modes=12, resolution=32)
    coords, code = torch.rand(2, 40, 2), torch.rand(2, 3)
    grid, sites = projection.project(coords, coords, code)
    values = projection.unproject(grid, sites)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, mixed_sites = projection.project(coords, coords, code)
        rounded = projection.unproject(grid.bfloat16(), mixed_sites)
    assert torch.equal(mixed_sites[0], sites[0])
    assert torch.equal(mixed, grid)
    assert rounded.dtype == torch.float32
    # bfloat16 keeps 8 bits: relative 2^-9 of the grid's values, which the sums average further.
    assert (rounded - values).norm() < 2**-8 * values.norm()


def test_a_model_in_half_precision_is_refused():
    model, fields = cloud_model()
    samples = batch(fields).to(torch.bfloat16)
    with pytest.raises(InputError, match=r"bfloat16; choose float32 or mixed precision") as caught:
        model.bfloat16()(samples.inputs, samples.coords, samples.code)
    assert caught.value.options == ("precision",)


def test_a_model_in_mixed_precision_trains():
    projection = {"modes": 3, "resolution": 8}
    fields = spec("points", (9,), inputs=2, code=3)
    torch.manual_seed(0)
    model = MODELS.make(model_config(projection=projection), fields)
    samples = batch(fields)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(samples.inputs, samples.coords, samples.code).float().square().mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    assert gradients["projection.weights_in.nonnegative"].abs().max() > 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"modes": 5}, "projection.modes is 5, expected 1 to half the resolution, 4"),
        ({"modes": 0}, "projection.modes is 0, expected a whole number of at least 1"),
        ({"rows": "both"}, "projection.rows is both, expected one of symmetric, reference"),
    ],
)
def test_options_that_do_not_fit_are_named(options, named):
    with pytest.raises(InputError, match=named):
        cloud_model(**options)


def test_clouds_lie_in_the_plane():
    with pytest.raises(InputError, match="clouds in the plane, not in 3 dimensions"):
        FourierProjection(spec("points", (9,), inputs=3, space=3), 4)


def test_a_projection_fits_its_geometry():
    for name, fields, families in (
        ("fourier", spec(sites=(4, 4)), "ffno, flare, fno, lsm, lsm2, transolver, unet, vit"),
        ("grid", cloud_model()[1], "flare, lsm, lsm2, transolver, vit"),
    ):
        told = f"projection {name} does not support '{fields.geometry}' sites; models that do: {families}$"
        with pytest.raises(InputError, match=told):
            MODELS.make(model_config(projection={"name": name}), fields)
