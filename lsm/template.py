"""A file of inputs that shows what a solver expects, see :mod:`lsm.data.input_file`."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from lsm.data import vtk_files
from lsm.data.array_files import require_format, write_arrays
from lsm.data.input_file import expected_arrays
from lsm.errors import InputError
from lsm.fields import FieldSpec
from lsm.solver import NeuralSolver


def write_template(solver: NeuralSolver, path: Path, num_samples: int = 2) -> dict[str, tuple[int, ...]]:
    """Write a file of inputs that shows what is expected: names, shapes, and values in the range of the training data.

    Args:
        solver: the solver that shall read it.
        path: a ``.npz``, ``.h5`` or ``.mat`` file.
        num_samples: how many samples.
    Returns:
        The shape of each array.
    Raises:
        InputError: the format does not hold arrays by name.
    """
    require_format(path)
    if path.suffix in (*vtk_files.SUFFIXES, ".npy"):
        raise InputError(f"{path}: a template is a .npz, .h5 or .mat file, which holds arrays by name")
    spec = solver.spec
    made = {name: (num_samples, *shape) for name, shape in expected_arrays(spec).items()}
    units = {channel.name: channel.unit for channel in (*spec.inputs, *spec.parameters)} | {"code": "1"}
    record = {"fields": {name: units[name] for name in made}}
    with write_arrays(path, made, units, record) as arrays:
        for name, values in _drawn(solver, num_samples).items():
            arrays[name][:] = values
    return made


def _drawn(solver: NeuralSolver, num_samples: int) -> dict[str, np.ndarray]:
    """Random values with the mean and deviation of the training data, within their ranges; a mesh is a regular lattice."""
    spec, generator = solver.spec, torch.Generator().manual_seed(0)
    normal = torch.randn(num_samples, *spec.sites, spec.input_channels, generator=generator)
    inputs = deepcopy(solver.input_normalizer).cpu().decode(normal).numpy()
    limits = _limits(solver.ranges.get("inputs"), inputs)
    inputs = inputs.clip(*limits)
    if spec.geometry != "grid":
        inputs[..., : spec.space_dim] = _places(spec, limits[:, : spec.space_dim], num_samples, generator)
    inputs = inputs.reshape(num_samples, *spec.sites, -1, len(spec.inputs))
    drawn = {channel.name: inputs[..., index] for index, channel in enumerate(spec.inputs)}
    drawn = drawn if spec.frames else {name: values[..., 0] for name, values in drawn.items()}
    if spec.code:
        code = torch.randn(num_samples, spec.code, generator=generator)
        statistics = deepcopy(solver.code_normalizer)
        codes = (code if statistics is None else statistics.cpu().decode(code)).numpy()
        drawn["code"] = codes.clip(*_limits(solver.ranges.get("code"), codes))
    if solver.parameter_normalizer is not None:
        normal = torch.randn(num_samples, len(spec.parameters), generator=generator)
        scalars = deepcopy(solver.parameter_normalizer).cpu().decode(normal).numpy()
        scalars = scalars.clip(*_limits(solver.ranges.get("parameters"), scalars))
        drawn |= {channel.name: scalars[:, index] for index, channel in enumerate(spec.parameters)}
    return drawn


def _limits(ranges: list[list[float]] | None, values: np.ndarray) -> np.ndarray:
    """Smallest and largest value of each channel, ``(2, c)``: in the training data if known, else in ``values`` ``(..., c)``."""
    if ranges:
        return np.array(ranges, dtype=np.float32).T
    flat = values.reshape(-1, values.shape[-1])
    return np.stack([flat.min(axis=0), flat.max(axis=0)])


def _places(spec: FieldSpec, limits: np.ndarray, num_samples: int, generator: torch.Generator) -> np.ndarray:
    """Coordinates within limits ``(2, d)``: a mesh ``(*sites, d)`` for all samples, or clouds ``(samples, n, d)``."""
    if spec.geometry == "points":
        low, high = limits
        return low + (high - low) * torch.rand(num_samples, *spec.sites, spec.space_dim, generator=generator).numpy()
    axes = [np.linspace(low, high, size) for (low, high), size in zip(limits.T, spec.sites, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
