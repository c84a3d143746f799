"""The point-cloud model with imported weights against direct sums: deformation, both transforms, outputs, gradients."""

import pytest
import torch
from compare import close, compare_state, imported_names, make_model, make_spec
from oracle import (
    cloud_model,
    cloud_shapes,
    deformation,
    deformation_shapes,
    differentiable,
    grid_to_points,
    part,
    points_to_grid,
    random_state,
)

from lsm.model.latent_spectral.point_cloud import Deformation, FourierProjection
from lsm.model.latent_spectral.reference import import_state

WIDTH, CODE = 8, 5


@pytest.fixture
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def weights(modes, code, seed=0):
    """Both state dicts of the reference, and a cloud that reaches over the whole square and beyond."""
    generator = torch.Generator().manual_seed(seed)
    state = random_state(cloud_shapes(WIDTH, 2, 1, modes), generator)
    deform = random_state(deformation_shapes(CODE), generator)
    if not code:
        deform = {name: value for name, value in deform.items() if not name.startswith("fc_code")}
    coords = 1.4 * torch.rand(2, 9, 2, generator=generator, dtype=torch.float64) - 0.2
    shape = torch.randn(2, CODE, generator=generator, dtype=torch.float64) if code else None
    return state, deform, coords, shape


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("code", [False, True], ids=["without-code", "with-code"])
def test_deformation_equals_loops(code):
    _, state, coords, shape = weights(4, code)
    module = Deformation(CODE if code else 0)
    names = {"fc0": "position", "fc_code": "code", "fc_no_code": "no_code", "fc4": "out"}
    names |= {f"fc{i}": f"hidden.{i - 1}" for i in (1, 2, 3)}
    renamed = {names[name.split(".")[0]] + "." + name.split(".")[1]: value for name, value in state.items()}
    module.load_state_dict({name: value for name, value in renamed.items() if not (code and "no_code" in name)})
    ours, theirs = coords.clone().requires_grad_(), coords.clone().requires_grad_()
    found, expected = module(ours, shape), deformation(theirs, shape, state)
    assert (expected - coords).abs().max() > 0.01
    close(found, expected, 1e-10)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    close(ours.grad, theirs.grad, 1e-9)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("rows", ["symmetric", "reference"])
@pytest.mark.parametrize(("modes", "resolution"), [(3, 8), (3, 6), (12, 96)], ids=["small", "all-rows", "published"])
def test_transforms_equal_direct_sums(modes, resolution, rows):
    """Without bias, activation and deformation: the truncated series alone, to the grid and back."""
    state, _, coords, _ = weights(modes, False)
    fields = make_spec("points", 2, 2, 1)
    projection = FourierProjection(fields, WIDTH, modes=modes, resolution=resolution, rows=rows)
    with torch.no_grad():
        projection.deformation.out.weight.zero_()
        projection.deformation.out.bias.zero_()
        projection.lift.weight.copy_(state["fc0.weight"])
        projection.lift.bias.copy_(state["fc0.bias"])
        for way in ("in", "out"):
            getattr(projection, f"weights_{way}").nonnegative.copy_(state[f"fftproject_{way}.weights1"])
            getattr(projection, f"weights_{way}").negative.copy_(state[f"fftproject_{way}.weights2"])
        for bias in (projection.grid_bias, projection.point_bias):
            bias.weight.zero_()
            bias.bias.zero_()
        values = coords @ state["fc0.weight"].T + state["fc0.bias"]
        grid = points_to_grid(values, coords, part(state, "fftproject_in"), modes, resolution)
        found, sites = projection.project(coords, coords, None)
        close(found, torch.nn.functional.gelu(grid), 1e-10)
        field = torch.randn(2, WIDTH, resolution, resolution, generator=torch.Generator().manual_seed(2))
        expected = grid_to_points(field, coords, part(state, "fftproject_out"), modes, rows)
        close(projection.unproject(field, sites), expected, 1e-10)


def make(code, rows, modes=4, resolution=12, patch=(1, 2)):
    return make_model(
        "points", 2, WIDTH, patch, 2, 1, code=CODE if code else 0, rows=rows, modes=modes, resolution=resolution
    )


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("code", "rows"), [(True, "reference"), (False, "symmetric"), (True, "symmetric")])
def test_cloud_model_equals_loops(code, rows, training):
    state, deform, coords, shape = weights(4, code)
    model = make(code, rows).train(training)
    import_state(model, state, deform)
    reference, reference_deform = differentiable(state), differentiable(deform)
    ours, theirs = coords.clone().requires_grad_(), coords.clone().requires_grad_()
    found = model(ours, ours, shape)
    expected = cloud_model(theirs, theirs, shape, reference, reference_deform, (1, 2), training, rows, 4, 12)
    close(found, expected, 1e-8)
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    # Sines of up to 128 pi x make gradients large and stiff.
    close(ours.grad, theirs.grad, 1e-7)
    names = imported_names(lambda: make(code, rows), state, deform)
    both = reference | {f"deform:{name}": value for name, value in reference_deform.items()}
    compare_state(model, names, both, 1e-7, floor=1e-3)


@pytest.mark.usefixtures("_double")
def test_settings_of_rows_differ():
    """The switch does something: the reference's rows are not the right ones."""
    state, deform, coords, shape = weights(4, True)
    outputs = []
    for rows in ("symmetric", "reference"):
        model = make(True, rows).eval()
        import_state(model, state, deform)
        outputs.append(model(coords, coords, shape))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3 * outputs[0].abs().max()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_cloud_model_of_published_sizes_in_single_precision(training):
    """96 x 96 grid, 12 modes, patch 6, the reference's rows; the oracle computes in double precision."""
    state, deform, coords, shape = weights(12, True)

    def rounded(values):
        return {
            name: value.to(torch.complex64 if value.is_complex() else torch.float32) if value.dim() else value
            for name, value in values.items()
        }

    # Small steps of the highest octave, 128 pi x, are lost in single precision: they would hide everything else.
    deform = {name: 0.1 * value if name.startswith("fc4") else value for name, value in deform.items()}
    coords, shape = coords.float(), shape.float()
    model = make(True, "reference", 12, 96, (6, 6)).train(training)
    import_state(model, rounded(state), rounded(deform))
    exact = {name: value.to(state[name].dtype) for name, value in rounded(state).items()}
    exact_deform = {name: value.double() for name, value in rounded(deform).items()}
    points = coords.double()
    with torch.no_grad():
        expected = cloud_model(points, points, shape.double(), exact, exact_deform, (6, 6), training, "reference")
        close(model(coords, coords, shape), expected, 1e-5)
