import pytest
import torch
from tiny import model_config, scalars, spec

from lsm.model import MODELS
from lsm.model.grid import unit_coordinates
from lsm.model.latent_spectral.grid_projection import GridProjection


def test_unit_coordinates_by_hand():
    found = unit_coordinates((3, 2), torch.zeros(1, dtype=torch.float64))
    expected = [[[0.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.5, 1.0]], [[1.0, 0.0], [1.0, 1.0]]]
    assert found.tolist() == expected
    assert found.dtype == torch.float64


def test_lift_sees_the_field_first_and_then_the_coordinates():
    projection = GridProjection(spec(), 3)
    with torch.no_grad():
        projection.lift.weight.copy_(torch.eye(3))
        projection.lift.bias.zero_()
    field = torch.arange(6.0).reshape(1, 3, 2, 1)
    features, sites = projection.project(field, None, None)
    assert torch.equal(features[0, 0], field[0, ..., 0])
    assert torch.equal(features[0, 1:].movedim(0, -1), unit_coordinates((3, 2), field))
    assert torch.equal(projection.unproject(features, sites)[..., :1], field)


def test_without_weights_on_coordinates_a_shifted_index_shifts_the_features():
    """The lift acts on each site alone: the same field one site further gives the same features one site further."""
    projection = GridProjection(spec(inputs=2), 5)
    with torch.no_grad():
        projection.lift.weight[:, 2:] = 0
    field = torch.randn(2, 6, 4, 2)
    features, _ = projection.project(field, None, None)
    shifted, _ = projection.project(field.roll((2, 1), dims=(1, 2)), None, None)
    torch.testing.assert_close(shifted, features.roll((2, 1), dims=(2, 3)))


def test_coordinates_do_not_depend_on_padding():
    """The last true site is at 1, whatever the trunk pads: sites are told apart by their place in the field."""
    projection = GridProjection(spec(sites=(5,)), 1)
    with torch.no_grad():
        projection.lift.weight.copy_(torch.tensor([[0.0, 1.0]]))
        projection.lift.bias.zero_()
    features, _ = projection.project(torch.randn(1, 5, 1), None, None)
    assert features.flatten().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_scalar_parameters_are_channels_too():
    fields = spec(inputs=2, parameters=scalars("mach", "angle", "chord"))
    assert GridProjection(fields, 4).lift.in_features == 2 + 3 + 2


@pytest.mark.parametrize("sites", [(6, 5), (13, 9)])
def test_one_model_takes_grids_of_several_sizes(sites):
    model = MODELS.make(model_config(), spec(sites=(6, 5), targets=2)).eval()
    assert model(torch.randn(2, *sites, 1)).shape == (2, *sites, 2)
