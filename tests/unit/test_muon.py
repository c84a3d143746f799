"""Muon: orthogonal steps for matrices, Adam's for the rest."""

import pytest
import torch
from torch import nn

from lsm.training.muon import Muon, orthogonalise


def named(**shapes):
    generator = torch.Generator().manual_seed(0)
    return {
        name.replace("_", "."): nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_singular_values_become_about_one_and_vectors_stay(shape):
    matrix = 30 * named(a=shape)["a"].detach()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    assert values.max() / values.min() > 1.5
    (found,) = orthogonalise([matrix])
    on_vectors = left.T @ found @ right.T
    assert (on_vectors - on_vectors.diag().diag()).abs().max() < 1e-8
    assert 0.6 < on_vectors.diag().min() <= on_vectors.diag().max() < 1.3


def test_matrices_of_many_sizes_are_as_if_each_were_alone():
    """Wide and tall ones with as many rows are one product."""
    shapes = {"a": (4, 9), "b": (3, 5), "c": (9, 4), "d": (4, 4), "e": (4, 9), "f": (1, 6)}
    matrices = [matrix.detach() for matrix in named(**shapes).values()]
    for matrix, found in zip(matrices, orthogonalise(matrices), strict=True):
        torch.testing.assert_close(found, orthogonalise([matrix])[0])


def test_a_kernel_is_a_matrix_and_its_step_has_adams_size():
    parameters = named(conv_weight=(6, 4, 3, 3))
    weight, before = parameters["conv.weight"], parameters["conv.weight"].detach().clone()
    weight.grad = torch.randn(weight.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    Muon(parameters.items(), lr=0.5, weight_decay=0.1).step()
    update = (before * (1 - 0.5 * 0.1) - weight.detach()) / 0.5
    torch.testing.assert_close(update.flatten(1), 0.2 * 36**0.5 * orthogonalise([weight.grad.flatten(1)])[0])
    assert 0.1 < update.square().mean().sqrt() < 0.3


def test_other_parameters_follow_adam():
    """Also those of two axes that are no weights of a layer."""
    ours, theirs = named(bias=(5,), tokens=(3, 4)), named(bias=(5,), tokens=(3, 4))
    options = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.02}
    optimizers = [(ours, Muon(ours.items(), **options)), (theirs, torch.optim.AdamW(theirs.values(), **options))]
    for step in range(4):
        for parameters, optimizer in optimizers:
            for parameter in parameters.values():
                parameter.grad = (parameter.detach() * (step - 1.3)).sin()
            optimizer.step()
    for name, parameter in ours.items():
        torch.testing.assert_close(parameter, theirs[name])


def test_complex_parameters_follow_adam():
    """As two real numbers each; those of a point cloud's Fourier projection are complex."""
    generator = torch.Generator().manual_seed(0)
    start, aim = (torch.randn(4, 3, dtype=torch.complex128, generator=generator) for _ in range(2))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.02}
    for parameter, optimizer in (
        (ours, Muon([("projection.weight", ours)], **options)),
        (theirs, torch.optim.AdamW([theirs], **options)),
    ):
        for _ in range(4):
            parameter.grad = parameter.detach() - aim
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_momentum_is_carried_by_the_state():
    first, second = named(a_weight=(3, 4)), named(a_weight=(3, 4))
    one, other = Muon(first.items()), Muon(second.items())
    gradients = torch.randn(4, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for index, gradient in enumerate(gradients):
        first["a.weight"].grad = second["a.weight"].grad = gradient
        one.step()
        if index == 2:
            fresh = Muon(second.items())
            fresh.load_state_dict(other.state_dict())
            other = fresh
        other.step()
    assert torch.equal(first["a.weight"], second["a.weight"])
