"""From a checkpoint to a solver that predicts in physical units.

The file may come from anybody: no code from it is run, a damaged file is refused, and no more memory is taken than its weights
need.

A checkpoint is a Lightning ``.ckpt`` with one more entry, ``lsm``: plain numbers and names from which the solver is rebuilt.

Schema 2 of this entry::

    schema   2
    solver   {model: {name, options}, normalization: {inputs, targets}}
    spec     the fields, see :meth:`lsm.fields.FieldSpec.to_dict`
    run      {config, overrides, choices}: the run's resolved configuration, the options typed by the user, the groups chosen
    data     which data it was trained on, see :meth:`lsm.data.datamodule.FieldDataModule.describe`
    ranges   of its inputs and parameters, see :class:`lsm.solver.NeuralSolver`; empty or absent if unknown

A folder that :func:`lsm.export.export` wrote is read alike.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor, nn

from lsm.data.normalize import Ranges
from lsm.errors import InputError
from lsm.fields import FieldSpec
from lsm.files import remove_leftovers, require_regular, whole_file
from lsm.memory import AllocationLimit
from lsm.migration import migrate
from lsm.model_folder import read_folder
from lsm.plain import require_plain, walk
from lsm.registry import Config, Index, check_value
from lsm.solver import NeuralSolver, build_solver

SCHEMA = 2

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
    return {**described, "run": dict(run), "data": dict(data or {})}


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
    described = content.get("lsm") if isinstance(content, dict) else None
    if not isinstance(described, dict) or "state_dict" not in content:
        raise InputError(
            f"{path} is no checkpoint of lsm; weights of the public reference code have to be imported first"
        )
    require_plain(described, f"the description in {path}")
    if described.get("schema") not in range(1, SCHEMA + 1):
        raise InputError(
            f"{path} has checkpoint schema {described.get('schema')}, this version reads schemas 1 to {SCHEMA}; "
            "use the version of lsm that wrote it"
        )
    with _misfits_reported(path):
        content["lsm"] = migrate(described)
        _check_structure(content)
    return content


def _check_structure(content: Mapping[str, Any]) -> None:
    """Check the kinds of all entries; what a run's configuration holds is checked by those who use it."""
    for name, annotation in _ENTRIES.items():
        check_value(name, content["lsm"].get(name), annotation)
    for name, annotation in _RUN.items():
        check_value(f"run.{name}", content["lsm"]["run"].get(name), annotation)
    if content["lsm"]["data"]:
        check_value("data.provenance", content["lsm"]["data"].get("provenance"), Config)
    check_value("epoch", content.get("epoch"), Index | None)
    state = content["state_dict"]
    named = isinstance(state, Mapping) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError("state_dict contains other than tensors by name")


@contextmanager
def _misfits_reported(path: Path) -> Iterator[None]:
    """Say in which file a description is that no solver can be built from."""
    try:
        yield
    except _MISFITS as error:
        what = repr(error) if isinstance(error, KeyError) else error  # of a missing key only the name
        raise InputError(f"{path} does not describe a solver of this version: {what}") from error


def load_plain(path: Path) -> Any:
    """Tensors and plain data from a file of :func:`torch.save`.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: the file is damaged, or would have to run code to be read.
    """
    require_regular(path)
    try:
        _require_intact(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # torch and zipfile raise errors of many kinds
        if isinstance(error, pickle.UnpicklingError) or _starts_as_pickle(path):
            raise InputError(
                f"{path} holds pickled objects, not only tensors and plain data as torch.save writes them since version 1.6; "
                "it is refused, since reading it would run code from the file"
            ) from error
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is damaged or no checkpoint ({reason}); a run keeps its checkpoints as checkpoints/best.ckpt and "
            "checkpoints/last.ckpt"
        ) from error
    for item in walk(content, f"the content of {path}"):
        if isinstance(item, Tensor):
            _require_dense(path, item)
    return content


def _starts_as_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in _PICKLES


def _require_intact(path: Path) -> None:
    """Check the checksums, which torch does not look at, and that nothing grows when it is read."""
    with ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != ZIP_STORED for entry in entries):
            raise ValueError("it is compressed, which torch.save never does")
        if len({entry.filename for entry in entries}) < len(entries):
            raise ValueError("it has two entries of one name")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries overlap")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")


def _require_dense(path: Path, tensor: Tensor) -> None:
    """Refuse tensors that are no plain arrays, or of more numbers than the file holds for them."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.is_quantized or tensor.nbytes > tensor.untyped_storage().nbytes():
        raise InputError(f"{path} holds a tensor of {tuple(tensor.shape)} that is no plain array")


def load(path: str | Path) -> Checkpoint:
    """Rebuild a solver from its checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: see :func:`read`; or the weights do not fit the description, or are not finite.
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
    state = {name.removeprefix(PREFIX): value for name, value in content["state_dict"].items()}
    require_finite(path, state)
    with _misfits_reported(Path(path)):
        spec = FieldSpec.from_dict(described["spec"])
        # Temporary arrays double the weights; the rest is for constants.
        with AllocationLimit(4 * sum(value.numel() for value in state.values()) + _MOST_CONSTANTS):
            solver = build_solver(described["solver"], spec)
        _require_same_shapes(solver.state_dict(), state)
        solver.load_state_dict(state)
        solver.ranges = _checked_ranges(described.get("ranges") or {}, spec)
    return Checkpoint(solver.eval(), described["run"], described["data"], content.get("epoch"), Path(path))


def _require_same_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for name in {**expected, **found}:
        described, stored = (_shape_and_kind(state[name]) if name in state else "none" for state in (expected, found))
        if described != stored:
            raise InputError(f"shape of the weights {name}: the description says {described}, the file {stored}")


def _shape_and_kind(tensor: Tensor) -> str:
    """Any precision serves, but no other kind of numbers."""
    kind = "" if tensor.is_floating_point() else " of complex numbers" if tensor.is_complex() else f" of {tensor.dtype}"
    return f"{tuple(tensor.shape)}{kind}"


def require_finite(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Check the weights of a solver.

    Raises:
        InputError: one is NaN or infinite.
    """
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise InputError(
                f"{path} holds weights {name} that are not finite; it is damaged, or its training diverged"
            )


def _checked_ranges(ranges: Mapping[str, Any], spec: FieldSpec) -> Ranges:
    """Ranges that fit the fields; none for a checkpoint that does not record them."""
    channels = {"inputs": spec.input_channels, "parameters": len(spec.parameters)}
    for name, pairs in ranges.items():
        check_value(f"ranges.{name}", pairs, Sequence[Sequence[float]])
        if [len(pair) for pair in pairs] != [2] * channels[name]:
            raise InputError(f"ranges.{name} are {len(pairs)}, expected {channels[name]} pairs of numbers")
    return dict(ranges)
