"""Small specifications, batches and solvers that tests share."""

import torch

from lsm.fields import Channel, FieldBatch, FieldSpec, Frames
from lsm.solver import build_solver


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


def moving(num_inputs=3, num_targets=4, fields=1, **more):
    """A roll-out of the fields ``out0, out1, ...``."""
    return spec(targets=fields, frames=Frames(num_inputs, num_targets), **more)


def scalars(*names):
    """Channels of scalar parameters."""
    return tuple(Channel(name) for name in names)


def batch(fields, size=3, seed=0):
    """Random samples that fit a specification."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(size, *shape, generator=generator)

    inputs, targets = draw(*fields.sites, fields.input_channels), draw(*fields.sites, fields.target_channels)
    coords = None
    if fields.geometry != "grid":
        coords = torch.rand(size, *fields.sites, fields.space_dim, generator=generator)
    mask = None
    if fields.ragged:
        mask = torch.arange(fields.sites[0]) <= torch.arange(size)[:, None] % fields.sites[0]
        inputs, targets, coords = (mask[..., None] * field for field in (inputs, targets, coords))
    return FieldBatch(
        inputs,
        targets,
        coords,
        code=draw(fields.code) if fields.code else None,
        parameters=draw(len(fields.parameters)) if fields.parameters else None,
        mask=mask,
    )


def model_config(patch=(1, 1), block=None, **options):
    """The configuration of a small Latent Spectral Model."""
    small = {"heads": 4, "num_tokens": 2, "num_basis": 3}
    defaults = {"name": "lsm", "width": 8, "patch": list(patch), "num_scales": 2}
    return defaults | {"block": {"name": "neural_spectral", **small, **(block or {})}} | options


def solver_config(inputs="channel", targets="channel", **options):
    """A whole solver's configuration, small; further options are those of :func:`model_config`."""
    return {"model": model_config(**options), "normalization": {"inputs": inputs, "targets": targets}}


def make_solver(fields, **options):
    """A small solver, the same one in each call; options of :func:`solver_config`."""
    torch.manual_seed(0)
    return build_solver(solver_config(**options), fields)


def lively(module):
    """The module with parameters of order one, so that no part of it is negligible."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module
