"""Fields on another number of sites: linear ones are kept, waves turn with their period."""

from dataclasses import replace

import pytest
import torch
from tiny import moving, spec

from lsm.resize import resize, through_training_grid


@pytest.mark.parametrize(("given", "wanted"), [((5,), (9,)), ((5, 4), (3, 11)), ((3, 4, 5), (5, 4, 2))])
def test_linear_fields_are_kept(given, wanted):
    def linear(sizes):
        axes = torch.meshgrid(*(torch.linspace(0, 1, size).double() for size in sizes), indexing="ij")
        return torch.stack([sum((axis + 1) * values for axis, values in enumerate(axes)), axes[0]], dim=-1)[None]

    torch.testing.assert_close(resize(linear(given), wanted, spec(sites=given)), linear(wanted))


def test_a_field_in_motion_is_not_periodic_unless_it_is_said():
    line = torch.linspace(0, 1, 5).reshape(1, 5, 1)
    assert resize(line, (9,), moving(sites=(5,))).flatten().tolist() == torch.linspace(0, 1, 9).tolist()


def test_a_periodic_field():
    """Halfway between the last site and the first one lies their mean."""
    field = torch.tensor([[0.0, 4.0], [8.0, 4.0]]).reshape(1, 2, 2, 1)
    fields = moving(sites=(2, 2), periodic=True)
    found = resize(field, (4, 2), fields)
    assert found[0, ..., 0].tolist() == [[0, 4], [4, 4], [8, 4], [4, 4]]
    assert resize(found, (2, 2), fields).equal(field)


def test_a_mask_keeps_its_sites_when_the_prediction_comes_from_another_grid():
    """A constant prediction, which the solver multiplies by the mask, is constant inside the mask of the fields and 0 outside."""
    fields = replace(spec(sites=(5,)), mask=0)
    inside = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1, 1]).reshape(1, 9, 1)
    found = through_training_grid(lambda inputs: 3 * inputs, inside, [], fields)
    torch.testing.assert_close(found, 3 * inside)
