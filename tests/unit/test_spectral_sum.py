import math

import pytest
import torch
from tiny import lively

from lsm.model.latent_spectral.spectral_sum import SpectralSum


@pytest.mark.numerics
def test_spectral_sum_by_hand():
    """Two basis functions: frequencies 0 and pi/2. At t = 1: sin 0, sin pi/2, cos 0, cos pi/2 = 0, 1, 1, 0."""
    layer = SpectralSum(2, 2)
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([[9.0, 2.0, 3.0, 5.0], [9.0, 7.0, 11.0, 13.0]]))
    # channel 0 at t = 1: 1 + 2 + 3; channel 1 at t = 2: 2 + 7 sin pi + 11 + 13 cos pi
    torch.testing.assert_close(layer(torch.tensor([1.0, 2.0])), torch.tensor([6.0, 0.0]), atol=1e-5, rtol=0)
    half = layer(torch.tensor([0.5, 0.5]))
    root = math.sqrt(0.5)
    torch.testing.assert_close(half, torch.tensor([3.5 + 7 * root, 11.5 + 20 * root]))


@pytest.mark.numerics
def test_zero_weights_are_the_identity():
    layer = SpectralSum(3, 4)
    torch.nn.init.zeros_(layer.weights)
    tokens = torch.randn(2, 5, 3)
    assert torch.equal(layer(tokens), tokens)


@pytest.mark.numerics
def test_first_sine_has_no_effect_and_others_have():
    layer = lively(SpectralSum(3, 4))
    tokens = torch.randn(2, 5, 3)
    before = layer(tokens)
    with torch.no_grad():
        layer.weights[:, 0] += 10
    assert torch.equal(layer(tokens), before)
    for column in range(1, 8):
        with torch.no_grad():
            layer.weights[:, column] += 1
        assert not torch.allclose(layer(tokens), before)
        with torch.no_grad():
            layer.weights[:, column] -= 1


def written_out(tokens, weights):
    """The series term by term, one sine and one cosine for each."""
    sines, cosines = weights.chunk(2, dim=-1)
    total = tokens
    for k in range(sines.shape[-1]):
        phase = k * math.pi * tokens / sines.shape[-1]
        total = total + sines[:, k] * phase.sin() + cosines[:, k] * phase.cos()
    return total


def sum_and_gradients(function, tokens, weights):
    tokens, weights = (value.clone().requires_grad_() for value in (tokens, weights))
    result = function(tokens, weights)
    return result, *torch.autograd.grad((result**2).sum(), (tokens, weights))


def layer_with(weights):
    layer = SpectralSum(weights.shape[0], weights.shape[1] // 2)
    return layer.to(weights.dtype), lambda tokens, given: torch.func.functional_call(layer, {"weights": given}, tokens)


@pytest.mark.numerics
@pytest.mark.parametrize("num_basis", [1, 2, 12])
@pytest.mark.parametrize("shape", [(3,), (7, 3), (4, 5, 3), (0, 3)])
def test_sum_and_gradients_are_those_of_the_series_written_out(num_basis, shape):
    tokens, weights = torch.randn(shape, dtype=torch.float64), torch.randn(3, 2 * num_basis, dtype=torch.float64)
    _, layer = layer_with(weights)
    for found, expected in zip(
        sum_and_gradients(layer, tokens, weights), sum_and_gradients(written_out, tokens, weights), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.numerics
def test_gradients_can_be_differentiated_again():
    tokens = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    _, layer = layer_with(weights)
    assert torch.autograd.gradcheck(layer, (tokens, weights))
    assert torch.autograd.gradgradcheck(layer, (tokens, weights))


@pytest.mark.numerics
@pytest.mark.parametrize("size", [1.0, 30.0, 1000.0])
def test_single_precision_loses_no_more_than_the_series_written_out(size):
    """Rounding of the phase, which grows with the tokens, is all that is to be seen."""
    tokens, weights = size * torch.randn(1000, 3, dtype=torch.float64), torch.randn(3, 24, dtype=torch.float64)
    exact = written_out(tokens, weights) - tokens
    single = tokens.float(), weights.float()
    _, layer = layer_with(weights.float())

    def error(function):
        return (
            (function(*single).double() - tokens.float().double() - exact).square().mean() / exact.square().mean()
        ).sqrt()

    assert error(layer) < 2 * error(written_out) + 1e-6


@pytest.mark.numerics
def test_only_tokens_and_weights_are_kept_for_the_gradients():
    tokens, kept = torch.randn(50, 4, 8, requires_grad=True), []
    layer = SpectralSum(8, 12)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda saved: kept.append(saved.numel()) or saved, lambda saved: saved
    ):
        layer(tokens).sum().backward()
    assert sum(kept) == tokens.numel() + layer.weights.numel()


@pytest.mark.numerics
def test_half_precision_tokens_are_summed_in_the_precision_of_the_weights():
    layer, tokens = lively(SpectralSum(3, 12)), torch.randn(5, 3, dtype=torch.bfloat16, requires_grad=True)
    result = layer(tokens)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, layer(tokens.float()))
    result.sum().backward()
    assert tokens.grad.dtype == torch.bfloat16


def test_samples_can_be_mapped():
    """``torch.func``: a gradient for every sample."""
    layer, tokens = lively(SpectralSum(3, 4)), torch.randn(6, 5, 3)
    slopes = torch.func.vmap(torch.func.grad(lambda sample: layer(sample).sum()))(tokens)
    given = tokens.clone().requires_grad_()
    torch.testing.assert_close(slopes, torch.autograd.grad(layer(given).sum(), given)[0])
