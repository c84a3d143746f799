"""Hand a solver on: a folder with weights, description and model card, and the solver as a program for other tools.

A format is a function registered in :data:`FORMATS` that adds its files to the folder::

    @FORMATS.register("mine")
    def write_mine(solver: NeuralSolver, folder: Path) -> None: ...
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lsm
from lsm.checkpoint import Checkpoint, describe, plugins_of
from lsm.errors import InputError, explained
from lsm.evaluation import summaries_in
from lsm.extras import require
from lsm.fields import given_channels, shapes
from lsm.files import whole_folder, write_whole
from lsm.model_folder import write_folder
from lsm.plain import without_places
from lsm.registry import Registry
from lsm.solver import NeuralSolver

#: Formats by name; each takes the solver and the folder.
FORMATS: Registry[Any] = Registry("format")

#: Parts of a run's configuration that say what was trained and how. Folders, devices and loggers of the run are left out.
_PUBLISHED = (
    *("benchmark", "set", "preset", "seed", "data", "metrics", "model", "loss", "equal_fields", "augmentation"),
    *("unrolling", "optimizer", "scheduler", "trainer", "callbacks", "batch_norm_batches", "compile", "recompute"),
    "plugins",
)

#: Bytes of weights beyond which an ONNX file cannot hold them itself.
_LARGE = 1_500_000_000


class _Program(nn.Module):
    """A solver as a function of arrays alone, in the order of :attr:`names`; one of ragged clouds takes a mask, too."""

    def __init__(self, solver: NeuralSolver) -> None:
        super().__init__()
        self.solver = solver
        self.names = [name for name, shape in shapes(solver.spec).items() if shape is not None]
        self.names += ["mask"] if solver.spec.ragged else []

    def forward(self, *arrays: Tensor) -> Tensor:
        given: dict[str, Tensor | None] = dict.fromkeys((*shapes(self.solver.spec), "mask"))
        given.update(zip(self.names, arrays, strict=True))
        inputs = given.pop("inputs")
        assert inputs is not None
        return self.solver.solve(inputs, *given.values())


@FORMATS.register("safetensors")
def write_safetensors(solver: NeuralSolver, folder: Path) -> None:
    """Nothing more than what every folder holds."""


@FORMATS.register("torch_export")
def write_torch_export(solver: NeuralSolver, folder: Path) -> None:
    """``model.pt2``, for ``torch.export.load``; inputs ``(b, *sites, c)`` with any number of samples."""
    memory = io.BytesIO()  # torch reports a full disk as an unnamed RuntimeError
    torch.export.save(_export(solver), memory)
    write_whole(folder / "model.pt2", memory.getvalue())


@FORMATS.register("onnx")
def write_onnx(solver: NeuralSolver, folder: Path) -> None:
    """``model.onnx``; inputs ``(b, *sites, c)`` with any number of samples.

    Raises:
        InputError: a package is missing.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "export", "format onnx")
    names = _Program(solver).names
    with _quiet():
        program = torch.onnx.export(
            _export(solver), dynamo=True, input_names=names, output_names=["prediction"], verbose=False
        )
    assert program is not None
    size = sum(value.nbytes for value in solver.state_dict().values())
    if size > _LARGE:
        program.save(folder / "model.onnx", external_data=True)
    else:
        write_whole(folder / "model.onnx", program.model_proto.SerializeToString())


def _export(solver: NeuralSolver) -> torch.export.ExportedProgram:
    solver = copy.deepcopy(solver).cpu().eval()
    like = next(parameter for parameter in solver.parameters() if parameter.is_floating_point())
    # Two samples: a size of one would be taken for a constant.
    arrays = tuple(like.new_zeros(2, *shape) for shape in shapes(solver.spec).values() if shape is not None)
    if solver.spec.ragged:
        arrays = (*arrays, torch.ones(2, *solver.spec.sites, dtype=torch.bool))
    # Without a limit torch 2.6 finds that the largest whole number is no number of samples, and refuses.
    samples = torch.export.Dim("samples", min=1, max=1 << 31)
    with torch.no_grad(), _quiet():
        return torch.export.export(_Program(solver), arrays, dynamic_shapes=(tuple({0: samples} for _ in arrays),))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on optional packages and on its own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def export(
    checkpoint: Checkpoint,
    folder: Path,
    format: str = "safetensors",
    metrics: Mapping[str, Any] | None = None,
    license: str | None = None,
) -> None:
    """Write a folder that can be uploaded to a model hub as it is, and that :func:`lsm.load` reads.

    Args:
        checkpoint: the solver and what is known of its training.
        folder: must be absent or empty.
        format: a name of :data:`FORMATS`; all folders hold the weights as safetensors.
        metrics: errors on the test split, as an evaluation summarises them, see :mod:`lsm.evaluation`.
        license: of the weights, as hubs abbreviate it.
    Raises:
        InputError: the folder holds files, the format is unknown, or a package is missing.
    """
    write = FORMATS[format]
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files already; choose another folder", options=("output",))
    solver = checkpoint.solver
    run = {"config": _published(checkpoint.run.get("config", {})), "overrides": None, "choices": {}}
    described = describe(solver, run, without_places(checkpoint.data))
    card = _model_card(checkpoint, folder.resolve().name, format, metrics or {}, license)
    failed, remedy = (
        f"torch {torch.__version__} cannot write this solver as {format}",
        "choose another format, or version",
    )
    with whole_folder(folder) as partial:
        with explained(failed, Exception, remedy, passing=(InputError, OSError)):
            write(solver, partial)
        write_folder(partial, described, checkpoint.epoch, solver.state_dict())
        write_whole(partial / "README.md", card)


def _published(config: Mapping[str, Any]) -> dict[str, Any]:
    return without_places({name: config[name] for name in _PUBLISHED if name in config})


def _model_card(
    checkpoint: Checkpoint, name: str, format: str, metrics: Mapping[str, Any], license: str | None = None
) -> str:
    """The text of a model card; arguments as in :func:`export`, and the model's name."""
    from jinja2 import Environment, StrictUndefined

    solver, run = checkpoint.solver, checkpoint.run.get("config", {})
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = environment.from_string(files(lsm).joinpath("model_card.md.jinja").read_text("utf-8"))
    return template.render(
        name=name,
        format=format,
        license=license,
        version=lsm.__version__,
        spec=solver.spec,
        arrays={key: shape for key, shape in shapes(solver.spec).items() if shape is not None},
        solver=solver.config,
        parameters=sum(parameter.numel() for parameter in solver.parameters()),
        ranges=_named_ranges(solver),
        run=without_places(run),
        plugins=plugins_of(checkpoint.run),
        epoch=checkpoint.epoch,
        data=without_places(checkpoint.data),
        metrics=metrics,
        summaries=summaries_in(metrics),
    )


def _named_ranges(solver: NeuralSolver) -> list[tuple[str, str, float, float]]:
    """Name, unit, smallest and largest value of each field, parameter and code in the training data; empty if not known."""
    channels = given_channels(solver.spec)
    found = []
    for kind, pairs in solver.ranges.items():
        for index, channel in enumerate(channels[kind]):
            # The frames of a roll-out follow one another; each holds all fields.
            lows, highs = zip(*pairs[index :: len(channels[kind])], strict=True)
            found.append((channel.name, channel.unit, min(lows), max(highs)))
    return found
