"""A file of inputs that shows what a solver expects, see :mod:`lsm.data.input_file`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lsm.data import vtk_files
from lsm.data.array_files import require_format, write_arrays
from lsm.data.input_file import expected_arrays
from lsm.errors import InputError
from lsm.solver import NeuralSolver


def write_template(solver: NeuralSolver, path: Path, num_samples: int = 2) -> dict[str, tuple[int, ...]]:
    """Write a file of inputs that shows what is expected: names, shapes, and values of the magnitude of the training data.

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
    """Random values with the mean and deviation of the training data."""
    spec, generator = solver.spec, torch.Generator().manual_seed(0)
    normal = torch.randn(num_samples, *spec.sites, spec.input_channels, generator=generator)
    inputs = solver.input_normalizer.cpu().decode(normal).numpy()
    inputs = inputs.reshape(num_samples, *spec.sites, -1, len(spec.inputs))
    drawn = {channel.name: inputs[..., index] for index, channel in enumerate(spec.inputs)}
    drawn = drawn if spec.frames else {name: values[..., 0] for name, values in drawn.items()}
    if spec.code:
        drawn["code"] = torch.randn(num_samples, spec.code, generator=generator).numpy()
    if solver.parameter_normalizer is not None:
        normal = torch.randn(num_samples, len(spec.parameters), generator=generator)
        scalars = solver.parameter_normalizer.cpu().decode(normal).numpy()
        drawn |= {channel.name: scalars[:, index] for index, channel in enumerate(spec.parameters)}
    return drawn
