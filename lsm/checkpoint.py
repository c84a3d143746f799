"""From a checkpoint to a solver that predicts in physical units. Runs no code from the file, whoever sent it.

A checkpoint is a Lightning ``.ckpt`` with one more entry, ``lsm``: plain numbers and names from which the solver is rebuilt.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lsm.errors import InputError
from lsm.fields import FieldSpec
from lsm.files import whole_file
from lsm.solver import NeuralSolver

SCHEMA = 1

#: First bytes of what :func:`torch.save` and pickle write.
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

#: Where a solver's parameters live in the state dict of the training module.
PREFIX = "solver."


@dataclass(frozen=True)
class Checkpoint:
    """A solver as it was saved.

    Args:
        solver: in evaluation mode, on the CPU.
        run: the configuration of the run that trained it, plain data.
        data: which data it was trained on, see :meth:`lsm.data.datamodule.FieldDataModule.describe`; empty if not known.
        epoch: index of the last epoch that it was trained in, from 0; None if that is not known, as of imported weights.
        path: where it came from.
    """

    solver: NeuralSolver
    run: dict[str, Any]
    data: dict[str, Any]
    epoch: int | None
    path: Path


def describe(solver: NeuralSolver, run: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plain entry from which :func:`load` rebuilds ``solver``; ``run`` and ``data`` as in :class:`Checkpoint`."""
    spec = solver.spec.to_dict()
    return {"schema": SCHEMA, "config": solver.config, "spec": spec, "run": dict(run), "data": dict(data or {})}


def save(solver: NeuralSolver, run: Mapping[str, Any], path: str | Path) -> None:
    """Write a solver without any training state, for :func:`load`."""
    state = {PREFIX + name: value for name, value in solver.state_dict().items()}
    write({"lsm": describe(solver, run), "state_dict": state, "epoch": None}, path)


def write(content: Mapping[str, Any], path: str | Path) -> None:
    """Write the content of a checkpoint; the file appears whole or not at all, and an old one stays until then."""
    memory = io.BytesIO()  # torch cannot tell a full disk
    torch.save(content, memory)
    with whole_file(Path(path)) as file:
        file.write(memory.getbuffer())


def read(path: str | Path) -> dict[str, Any]:
    """The raw content of a checkpoint, by weights-only loading.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is no checkpoint of this project and schema, or holds more than tensors and plain data.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the checkpoint in it, such as checkpoints/best.ckpt of a run")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    content = load_plain(path)
    described = content.get("lsm") if isinstance(content, dict) else None
    if not isinstance(described, dict) or "state_dict" not in content:
        raise InputError(f"{path} is no checkpoint of lsm; import weights of the reference code with lsm-import")
    if described.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has checkpoint schema {described.get('schema')}, this version reads schema {SCHEMA}; "
            "use the version of lsm that wrote it"
        )
    return content


def load_plain(path: Path) -> Any:
    """Tensors and plain data from a file of :func:`torch.save`.

    Raises:
        InputError: the file is damaged, or would have to run code to be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch raises errors of many kinds on files of another kind
        if isinstance(error, pickle.UnpicklingError) and path.read_bytes()[:2] in _PICKLES:
            raise InputError(
                f"{path} holds pickled objects, not only tensors and plain data; "
                "it is refused, since reading it would run code from the file"
            ) from error
        raise InputError(
            f"{path} is damaged or no checkpoint; a run keeps its checkpoints as checkpoints/best.ckpt and checkpoints/last.ckpt"
        ) from error


def load(path: str | Path) -> Checkpoint:
    """Rebuild a solver from its checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: see :func:`read`; or the weights do not fit the description.
    """
    content = read(path)
    described = content["lsm"]
    try:
        solver = NeuralSolver(described["config"], FieldSpec.from_dict(described["spec"]))
        state = content["state_dict"]
        solver.load_state_dict({name.removeprefix(PREFIX): value for name, value in state.items()})
        return Checkpoint(solver.eval(), described["run"], described.get("data", {}), content["epoch"], Path(path))
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} does not describe a solver of this version: {error}") from error
