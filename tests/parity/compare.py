"""How the library is compared with the oracle: outputs, running statistics and every gradient."""

import torch

from lsm.fields import Channel, FieldSpec
from lsm.model import MODELS
from lsm.model.latent_spectral.reference import import_state


def make_spec(geometry, rank, in_channels, out_channels, code=0):
    """Fields with as many channels."""
    return FieldSpec(
        geometry=geometry,
        sites=(7,) if geometry == "points" else (5,) * rank,
        axes=("site",) if geometry == "points" else ("x", "y", "z")[:rank],
        inputs=tuple(Channel(f"in{i}") for i in range(in_channels)),
        targets=tuple(Channel(f"out{i}") for i in range(out_channels)),
        code=code,
    )


def make_model(geometry, rank, width, patch, in_channels, out_channels, code=0, num_scales=5, **projection):
    """A model as a configuration describes it; ``projection`` holds options of the projection."""
    config = {
        "name": "lsm",
        "width": width,
        "patch": list(patch),
        "num_scales": num_scales,
        "projection": projection,
        "block": {"name": "neural_spectral", "heads": 8, "num_tokens": 4, "num_basis": 12},
    }
    return MODELS.make(config, make_spec(geometry, rank, in_channels, out_channels, code))


def close(found, expected, relative):
    """Largest difference, relative to the largest value of the field."""
    error = (found.to(expected.dtype) - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    assert error < relative, f"relative difference {error.item():.2e}, allowed {relative:.0e}"


def imported_names(make, state, deform=None):
    """Which entry of the model each reference entry becomes, found by importing a number that is its own."""
    marks = {name: float(number) for number, name in enumerate([*state, *(f"deform:{name}" for name in deform or {})])}
    model = make()
    import_state(
        model,
        {name: torch.full_like(value, int(marks[name])) for name, value in state.items()},
        deform and {name: torch.full_like(value, marks[f"deform:{name}"]) for name, value in deform.items()},
    )
    by_mark = {mark: name for name, mark in marks.items()}
    return {by_mark[value.flatten()[0].real.item()]: name for name, value in model.state_dict().items()}


def compare_state(model, names, reference, relative, floor):
    """Gradients of all parameters, and running statistics, against those of the oracle's state dict."""
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    compared = 0
    scale = max(value.grad.abs().max() for value in reference.values() if value.grad is not None)
    for ours, theirs in ((names[name], value) for name, value in reference.items() if name in names):
        if ours in parameters:
            grad = parameters[ours].grad
            assert grad is not None, ours
            # A bias before a batch norm of the batch's own statistics has a gradient of zero: hence a floor.
            error = (grad.reshape(theirs.shape) - theirs.grad).abs().max()
            allowed = relative * torch.maximum(theirs.grad.abs().max(), floor * scale)
            assert error <= allowed, f"gradient of {ours} is off by {error.item():.2e}"
            compared += 1
        elif ours.endswith(("running_mean", "running_var")):
            close(buffers[ours], theirs, relative)
    assert compared == len(parameters)
