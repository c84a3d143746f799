"""Small specifications, batches and solvers that tests share."""

import torch

from lsm.fields import Channel, FieldBatch, FieldSpec


def spec(geometry="grid", sites=(6, 5), inputs=1, targets=1, **more):
    """A specification with channels ``in0, in1, ...`` and ``out0, out1, ...``; in a roll-out, ``out0, ...`` only."""
    given = ("out", targets) if more.get("frames") else ("in", inputs)
    return FieldSpec(
        geometry=geometry,
        sites=tuple(sites),
        axes=more.pop("axes", ("point",) if geometry == "points" else ("x", "y", "z")[: len(sites)]),
        inputs=tuple(Channel(f"{given[0]}{i}") for i in range(given[1])),
        targets=tuple(Channel(f"out{i}") for i in range(targets)),
        **more,
    )


def batch(fields, size=3, seed=0):
    """Random samples that fit a specification."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(size, *shape, generator=generator)

    return FieldBatch(
        inputs=draw(*fields.sites, fields.input_channels),
        targets=draw(*fields.sites, fields.target_channels),
        coords=None
        if fields.geometry == "grid"
        else torch.rand(size, *fields.sites, fields.space_dim, generator=generator),
        code=draw(fields.code) if fields.code else None,
        parameters=draw(len(fields.parameters)) if fields.parameters else None,
    )


def model_config(patch=(1, 1), width=8, projection=None, block=None, num_scales=2):
    """The model's part of a configuration, small."""
    return {
        "width": width,
        "patch": list(patch),
        "projection": projection or {"name": "grid"},
        "trunk": {"name": "multiscale", "num_scales": num_scales},
        "block": {"name": "neural_spectral", "heads": 4, "num_tokens": 2, "num_basis": 3} | (block or {}),
    }


def solver_config(inputs="channel", targets="channel", **model):
    """A whole solver's configuration, small."""
    return {"model": model_config(**model), "normalization": {"inputs": inputs, "targets": targets}}


def lively(module):
    """The module with parameters of order one, so that no part of it is negligible."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module
