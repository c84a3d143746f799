"""From a checkpoint to a solver that predicts in physical units. No code from the file is run, whoever sent it.

A checkpoint is a Lightning ``.ckpt`` with one more entry, ``lsm``: plain numbers and names from which the solver is rebuilt.

Schema 2 of this entry::

    schema   2
    solver   {model: {name, options}, normalization: {inputs, targets}}
    spec     the fields, see :meth:`lsm.fields.FieldSpec.to_dict`
    run      {config, overrides, choices}: the run's resolved configuration, the options typed by the user, the groups chosen
    data     which data it was trained on, see :meth:`lsm.data.datamodule.FieldDataModule.describe`
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
from lsm.migration import migrate
from lsm.solver import NeuralSolver, build_solver

SCHEMA = 2

#: First bytes of what :func:`torch.save` and pickle write.
_PICKLES = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

#: Where a solver's parameters live in the state dict of the training module.
PREFIX = "solver."


@dataclass(frozen=True)
class Checkpoint:
    """A solver as it was saved.

    Args:
        solver: in evaluation mode, on the CPU.
        run: ``config``, the resolved configuration of the run that trained it; ``overrides``, the options typed by the user;
            ``choices``, the chosen configuration groups. Plain data.
        data: which data it was trained on, see :meth:`lsm.data.datamodule.FieldDataModule.describe`; empty if unknown.
        epoch: index of the last epoch of its training, from 0; None if unknown, as for imported weights.
        path: the file.
    """

    solver: NeuralSolver
    run: dict[str, Any]
    data: dict[str, Any]
    epoch: int | None
    path: Path


def describe(solver: NeuralSolver, run: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The plain entry from which :func:`load` rebuilds ``solver``; ``run`` and ``data`` as in :class:`Checkpoint`."""
    spec = solver.spec.to_dict()
    return {"schema": SCHEMA, "solver": solver.config, "spec": spec, "run": dict(run), "data": dict(data or {})}


def save(solver: NeuralSolver, run: Mapping[str, Any], path: str | Path) -> None:
    """Write a solver without any training state, for :func:`load`."""
    state = {PREFIX + name: value for name, value in solver.state_dict().items()}
    write({"lsm": describe(solver, run), "state_dict": state, "epoch": None}, path)


def write(content: Mapping[str, Any], path: str | Path) -> None:
    """Write the content of a checkpoint; the file appears whole or not at all, and an old one stays until then."""
    memory = io.BytesIO()  # torch reports a full disk as an unnamed RuntimeError
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
        raise InputError(
            f"{path} is no checkpoint of lsm; weights of the public reference code have to be imported first"
        )
    if described.get("schema") not in range(1, SCHEMA + 1):
        raise InputError(
            f"{path} has checkpoint schema {described.get('schema')}, this version reads schemas 1 to {SCHEMA}; "
            "use the version of lsm that wrote it"
        )
    try:
        content["lsm"] = migrate(described)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path} does not describe a solver of this version: {error!r}") from error
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
    return rebuild(read(path), path)


def rebuild(content: Mapping[str, Any], path: str | Path) -> Checkpoint:
    """The solver of a checkpoint that was read.

    Args:
        content: see :func:`read`.
        path: where it was read, for messages.
    Raises:
        InputError: the weights do not fit the description.
    """
    described = content["lsm"]
    try:
        solver = build_solver(described["solver"], FieldSpec.from_dict(described["spec"]))
        state = content["state_dict"]
        solver.load_state_dict({name.removeprefix(PREFIX): value for name, value in state.items()})
        return Checkpoint(solver.eval(), described["run"], described.get("data", {}), content["epoch"], Path(path))
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} does not describe a solver of this version: {error}") from error
