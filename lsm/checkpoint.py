"""From a checkpoint to a solver that predicts in physical units.

The file may come from anybody: no code from it is run, a damaged file is refused, and no more memory is taken than its weights
need.

A checkpoint is a Lightning ``.ckpt`` with one more entry, ``lsm``: plain numbers and names from which the solver is rebuilt.

This entry::

    schema   :data:`SCHEMA`, which grows when the meaning of an entry changes
    solver   {model: {name, options}, normalization: {inputs, targets}}
    spec     the fields, see :meth:`lsm.fields.FieldSpec.to_dict`
    run      {config, overrides, choices}: the run's resolved configuration, the options typed by the user, the groups chosen
    data     which data it was trained on, see :meth:`lsm.data.datamodule.FieldDataModule.describe`
    ranges   of its inputs, parameters and code, see :class:`lsm.solver.NeuralSolver`; empty or absent if unknown

A folder that :func:`lsm.export.export` wrote is read alike.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor, nn

from lsm.data.normalize import Ranges
from lsm.errors import InputError, UnknownNameError, explained
from lsm.fields import FieldSpec
from lsm.files import remove_leftovers, require_regular, whole_file
from lsm.memory import AllocationLimit
from lsm.migration import migrate
from lsm.model_folder import read_folder
from lsm.plain import require_plain, walk
from lsm.registry import Config, Index, check_value
from lsm.run_folder import best_checkpoint
from lsm.solver import NeuralSolver, build_solver

SCHEMA = 8

#: First bytes of what pickle writes, and :func:`torch.save` before version 1.6.
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")

#: Where a solver's parameters live in the state dict of the training module.
PREFIX = "solver."

#: Kinds of the entries of the description, and of what it records of the run.
_ENTRIES: dict[str, Any] = {"solver": Config, "spec": Config, "run": Config, "data": Config}
_RUN: dict[str, Any] = {"config": Config, "overrides": list[str] | None, "choices": Mapping[str, str | None]}

#: What a description that does not fit raises somewhere in its use.
_MISFITS = (
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)

#: Numbers that a solver may need besides its weights.
_MOST_CONSTANTS = 1 << 24


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
    described = {"schema": SCHEMA, "solver": solver.config, "spec": solver.spec.to_dict(), "ranges": solver.ranges}
    return {**described, "run": {"config": {}, "overrides": None, "choices": {}, **run}, "data": dict(data or {})}


def save(solver: NeuralSolver, run: Mapping[str, Any], path: str | Path) -> None:
    """Write a solver without any training state, for :func:`load`."""
    state = {PREFIX + name: value for name, value in solver.state_dict().items()}
    write({"lsm": describe(solver, run), "state_dict": state, "epoch": None}, path)


def write(content: Mapping[str, Any], path: str | Path) -> None:
    """Write the content of a checkpoint; the file appears whole or not at all, and an old one stays until then."""
    memory = io.BytesIO()  # torch reports a full disk as an unnamed RuntimeError
    torch.save(content, memory)
    remove_leftovers(Path(path))
    with whole_file(Path(path)) as file:
        file.write(memory.getbuffer())


def read(path: str | Path) -> dict[str, Any]:
    """The raw content of a checkpoint, by weights-only loading.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is damaged, no checkpoint of this project and schema, or holds more than tensors and plain data.
    """
    path = Path(path)
    content = read_folder(path) if path.is_dir() else load_plain(path)
    if problem := _find_problem(content, path):
        raise InputError(f"{path} {problem}")
    with _misfits_reported(path):
        content["lsm"] = migrate(content["lsm"])
        _check_structure(content)
    return content


def _find_problem(content: Any, path: Path) -> str | None:
    """Why a file's content is no checkpoint that this version reads, in words; None if it may be one."""
    described = content.get("lsm") if isinstance(content, dict) else None
    if not isinstance(described, dict) or "state_dict" not in content:
        return "is no checkpoint of lsm; weights of the public reference code have to be imported first"
    require_plain(described, f"the description in {path}")
    if not _is_state(content["state_dict"]):
        return "has a state_dict that contains something other than named tensors"
    schema = described.get("schema")
    if schema not in range(1, SCHEMA + 1):
        readable = f"this version reads schemas 1 to {SCHEMA}; use the version of lsm that wrote it"
        return f"has checkpoint schema {schema}, {readable}"
    return None


def _is_state(value: Any) -> bool:
    named = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    return named and all(isinstance(item, Tensor) for item in value.values())


def _check_structure(content: Mapping[str, Any]) -> None:
    """Check the kinds of all entries; what a run's configuration holds is checked by those who use it."""
    for name, annotation in _ENTRIES.items():
        check_value(name, content["lsm"].get(name), annotation)
    for name, annotation in _RUN.items():
        check_value(f"run.{name}", content["lsm"]["run"].get(name), annotation)
    if content["lsm"]["data"]:
        check_value("data.provenance", content["lsm"]["data"].get("provenance"), Config)
    check_value("epoch", content.get("epoch"), Index | None)


def _misfits_reported(path: Path) -> AbstractContextManager[None]:
    """Say in which file a description is that no solver can be built from."""
    return explained(f"{path} does not describe a solver of this version", _MISFITS, passing=())


def load_plain(path: Path) -> Any:
    """Tensors and plain data from a file of :func:`torch.save`.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is damaged, or would have to run code to be read.
    """
    require_regular(path)
    try:
        content = _load_intact(path)
    except PermissionError:
        raise
    except Exception as error:  # torch and zipfile raise errors of many kinds
        raise InputError(f"{path} {_explain(error, path)}") from error
    for item in walk(content, f"the content of {path}"):
        if isinstance(item, Tensor) and not _is_plain_array(item):
            raise InputError(
                f"{path} contains a tensor of shape {tuple(item.shape)} that is not an ordinary dense array"
            )
    return content


def _load_intact(path: Path) -> Any:
    if damage := _find_damage(path):
        raise ValueError(damage)
    return torch.load(path, map_location="cpu", weights_only=True)


def _find_damage(path: Path) -> str | None:
    """What is wrong with the checksums, which torch does not look at, or would let an entry grow when it is read."""
    with ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != ZIP_STORED for entry in entries):
            return "it is compressed, which torch.save never does"
        if len({entry.filename for entry in entries}) < len(entries):
            return "it has two entries of one name"
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            return "its entries overlap"
        damaged = archive.testzip()
        return None if damaged is None else f"the checksum of {damaged} is wrong"


def _explain(error: Exception, path: Path) -> str:
    """What an error in reading a file says about it."""
    if isinstance(error, pickle.UnpicklingError) or _starts_as_pickle(path):
        return (
            "holds pickled objects, not only tensors and plain data as torch.save writes them since version 1.6; "
            "it is refused, since reading it would run code from the file"
        )
    reason = " ".join(str(error).split())
    remedy = "a run keeps its checkpoints as checkpoints/best.ckpt and checkpoints/last.ckpt"
    return f"is damaged or no checkpoint ({reason}); {remedy}"


def _starts_as_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in _PICKLES


def _is_plain_array(tensor: Tensor) -> bool:
    """Whether a tensor is dense, on the CPU, and of no more numbers than the file holds for it."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and tensor.device.type == "cpu"
    return plain and not tensor.is_quantized and tensor.nbytes <= tensor.untyped_storage().nbytes()


def load(path: str | Path) -> Checkpoint:
    """Rebuild a solver from its checkpoint.

    Args:
        path: a checkpoint, a run's folder (its best checkpoint is taken), or an exported folder.
    Raises:
        FileNotFoundError: there is no such file, or the run has no best checkpoint.
        InputError: see :func:`read`; or the weights do not fit the description, or are not finite; or the solver needs a plug-in
            that was not imported.
    """
    path = best_checkpoint(path)
    content = read(path)
    try:
        return rebuild(content, path)
    except InputError as error:
        plugins = plugins_of(content["lsm"]["run"])
        if not plugins or not isinstance(error.__cause__, UnknownNameError):
            raise
        told = f"import the plug-ins of its training first, if you trust them: {', '.join(plugins)}"
        raise InputError(f"{error}; {told}") from error


def plugins_of(run: Mapping[str, Any]) -> list[str]:
    """The modules of a run's plug-ins, of those names that can be imported; ``run`` as in :class:`Checkpoint`."""
    recorded = (run.get("config") or {}).get("plugins")
    names = [name for name in recorded if isinstance(name, str)] if isinstance(recorded, list) else []
    return [name for name in names if all(map(str.isidentifier, name.split(".")))]


def rebuild(content: Mapping[str, Any], path: str | Path) -> Checkpoint:
    """The solver of a checkpoint that was read.

    Args:
        content: see :func:`read`.
        path: where it was read, for messages.
    Raises:
        InputError: the weights do not fit the description, or are not finite.
    """
    described = content["lsm"]
    state = {name.removeprefix(PREFIX): value for name, value in content["state_dict"].items()}
    bad = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if bad:
        raise InputError(f"{path} holds weights {bad[0]} that are not finite; it is damaged, or its training diverged")
    with _misfits_reported(Path(path)):
        solver = _rebuild_solver(described, state)
    return Checkpoint(solver.eval(), described["run"], described["data"], content.get("epoch"), Path(path))


def _rebuild_solver(described: Mapping[str, Any], state: Mapping[str, Tensor]) -> NeuralSolver:
    spec, ranges = FieldSpec.from_dict(described["spec"]), described.get("ranges") or {}
    check_value("ranges", ranges, Mapping[str, Sequence[Sequence[float]]])
    # Temporary arrays double the weights; the rest is for constants.
    with AllocationLimit(4 * sum(value.numel() for value in state.values()) + _MOST_CONSTANTS):
        solver = build_solver(described["solver"], spec)
    if misfit := _find_other_shape(solver.state_dict(), state) or _find_other_ranges(spec, ranges):
        raise InputError(misfit)
    solver.load_state_dict(state)
    solver.ranges = dict(ranges)
    return solver


def _find_other_shape(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    for name in {**expected, **found}:
        described, stored = (_shape_and_kind(state[name]) if name in state else "none" for state in (expected, found))
        if described != stored:
            return f"shape of the weights {name}: the description says {described}, the file {stored}"
    return None


def _shape_and_kind(tensor: Tensor) -> str:
    """Any precision serves, but no other kind of numbers."""
    kind = "" if tensor.is_floating_point() else " of complex numbers" if tensor.is_complex() else f" of {tensor.dtype}"
    return f"{tuple(tensor.shape)}{kind}"


def _find_other_ranges(spec: FieldSpec, ranges: Ranges) -> str | None:
    channels = {"inputs": spec.input_channels, "parameters": len(spec.parameters), "code": spec.code}
    for name, pairs in ranges.items():
        if [len(pair) for pair in pairs] != [2] * channels[name]:
            return f"ranges.{name} has {len(pairs)} entries, expected {channels[name]} pairs [low, high]"
    return None
