"""Published files of somebody else: MATLAB v5 and v7.3, and .npy."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from hostile_stores import compressed_zeros

from data_prep.published.convert import Layout, PublishedArray, PublishedFile
from lsm.data.store import StoredField

SHAPE = (4, 3)
NUM_SAMPLES = 5

_FIELDS = {name: StoredField(SHAPE, "1", name) for name in ("inner", "outer")}


def layout_of(suffix: str) -> Layout:
    """Two arrays: in one ``.mat`` file, or in two ``.npy`` files."""
    axes, samples = ("n", "x", "y"), (0, NUM_SAMPLES)
    if suffix == ".mat":
        arrays = tuple(PublishedArray((name,), axes, name) for name in _FIELDS)
        files: tuple[PublishedFile, ...] = (PublishedFile("both.mat", samples, arrays),)
    else:
        files = tuple(PublishedFile(f"{name}.npy", samples, (PublishedArray((name,), axes),)) for name in _FIELDS)
    return Layout("toy", files, _FIELDS, frozenset(_FIELDS), {})


def arrays(shape: tuple[int, ...] = (NUM_SAMPLES, *SHAPE)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.random(shape).astype("f4") for name in _FIELDS}


def write_mat5(path: Path, compressed: bool = False, **changes: Any) -> None:
    scipy.io.savemat(path, arrays() | changes, do_compression=compressed)


def write_mat73(path: Path, **changes: np.ndarray) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in (arrays() | changes).items():
            file.create_dataset(name, data=values.T, compression="gzip")


def write_npy(folder: Path) -> None:
    for name, values in arrays().items():
        np.save(folder / f"{name}.npy", values)


def _nested_cells(depth: int) -> bytes:
    """A v5 variable ``inner``: cells in cells."""
    name = struct.pack("<II", 1, 5) + b"inner\0\0\0"
    content = b""
    for _ in range(depth):
        head = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0)
        content = struct.pack("<II", 14, len(head + content)) + head + content
    head = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + name
    return struct.pack("<II", 14, len(head + content)) + head + content


def _numbers(dims: tuple[int, ...], kind: int, size: int, data: bytes, name: bytes = b"inner") -> bytes:
    """A v5 variable of MATLAB class ``kind`` whose data element claims ``size`` bytes of doubles."""
    padded = len(dims) + len(dims) % 2
    shape = struct.pack("<II", 5, 4 * len(dims)) + struct.pack(f"<{padded}i", *dims, *[0] * (padded - len(dims)))
    head = struct.pack("<IIII", 6, 8, kind, 0) + shape + struct.pack("<II", 1, len(name)) + name.ljust(8, b"\0")
    body = head + struct.pack("<II", 9, size) + data
    return struct.pack("<II", 14, len(body)) + body


def _compressed(variable: bytes, zeros: int = 0) -> bytes:
    """A compressed v5 variable, followed by zeros that belong to it."""
    compressor = zlib.compressobj(9)
    raw = compressor.compress(variable)
    piece = bytes(10_000_000)
    raw += b"".join(compressor.compress(piece) for _ in range(zeros // len(piece))) + compressor.flush()
    return struct.pack("<II", 15, len(raw)) + raw


def appended(*variables: bytes, only: bool = True) -> Callable[[Path], None]:
    """A v5 file that begins with these variables; the others follow."""

    def write(path: Path) -> None:
        write_mat5(path)
        whole = path.read_bytes()
        if only:
            content = arrays()
            del content["inner"]
            scipy.io.savemat(path, content)
            whole = path.read_bytes()
        path.write_bytes(whole[:128] + b"".join(variables) + whole[128:])

    return write


def _bomb_mat5(path: Path) -> None:
    """Data of 2.5 GB under the header of 60 numbers."""
    size = 2_500_000_000
    variable = _numbers((NUM_SAMPLES, *SHAPE), 6, size, b"")
    appended(_compressed(variable, zeros=size))(path)


def _struct(fields: int) -> dict[str, Any]:
    return {f"f{index}": 1 for index in range(fields)}


MAT5: dict[str, Callable[[Path], None]] = {
    "cells 5000 deep": appended(_nested_cells(5000)),
    "cells 5000 deep beside": appended(_nested_cells(5000).replace(b"inner", b"other"), only=False),
    "bomb": _bomb_mat5,
    "10^9 cells": appended(_numbers((1000, 1000, 1000), 1, 0, b"")),
    "10^9 numbers": appended(_numbers((1000, 1000, 1000), 6, 0, b"")),
    "more numbers than bytes": appended(_numbers((NUM_SAMPLES, *SHAPE), 6, 480, bytes(8))),
    "negative size": appended(_numbers((NUM_SAMPLES, -4, -3), 6, 480, bytes(480))),
    "overflowing size": appended(_numbers((2**31 - 1, 2**31 - 1, 2**31 - 1), 6, 480, bytes(480))),
    "zero size": appended(_numbers((NUM_SAMPLES, 0, 3), 6, 0, b"")),
    "twice": appended(_numbers((NUM_SAMPLES, *SHAPE), 6, 480, bytes(480)), only=False),
    "struct": lambda path: write_mat5(path, inner=_struct(1000)),
    "cell": lambda path: write_mat5(path, inner=np.array([[1, "a"]], dtype=object)),
    "text": lambda path: write_mat5(path, inner="text"),
    "complex": lambda path: write_mat5(path, inner=np.ones((NUM_SAMPLES, *SHAPE), "c8")),
    "sparse": lambda path: write_mat5(path, inner=scipy.sparse.eye(5, format="csc")),
    "nan": lambda path: write_mat5(path, inner=np.full((NUM_SAMPLES, *SHAPE), np.nan)),
    "infinity": lambda path: write_mat5(path, inner=np.full((NUM_SAMPLES, *SHAPE), np.inf)),
    "infinity in single precision": lambda path: write_mat5(path, inner=np.full((NUM_SAMPLES, *SHAPE), 1e300)),
    "another shape": lambda path: write_mat5(path, inner=np.ones((NUM_SAMPLES, 5, 3))),
    "another rank": lambda path: write_mat5(path, inner=np.ones((NUM_SAMPLES, 4))),
    "another number": lambda path: write_mat5(path, inner=np.ones((NUM_SAMPLES + 1, *SHAPE))),
    "without": lambda path: scipy.io.savemat(path, {"outer": arrays()["outer"]}),
    "nothing": lambda path: path.write_bytes(b""),
    "version 4": lambda path: scipy.io.savemat(path, {"inner": np.ones((5, 4)), "outer": np.ones((5, 4))}, format="4"),
    "pipe": lambda path: os.mkfifo(path),
    "folder": lambda path: path.mkdir(),
}


def changed_mat73(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_mat73(path)
        with h5py.File(path, "a") as file:
            change(file)

    return write


def replaced(**options: Any) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file["inner"]
        file.create_dataset("inner", **options)

    return changed_mat73(change)


def linked(link: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        del file["inner"]
        file["inner"] = link(Path(file.filename))

    return changed_mat73(change)


_REVERSED = (*SHAPE[::-1], NUM_SAMPLES)


def _other(path: Path) -> str:
    write_mat73(path.with_name("other.mat"))
    return str(path.with_name("other.mat"))


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(_REVERSED, "f4")
    layout[...] = h5py.VirtualSource(_other(Path(file.filename)), "inner", _REVERSED)
    del file["inner"]
    file.create_virtual_dataset("inner", layout)


def _bomb_mat73(file: h5py.File) -> None:
    del file["inner"]
    dataset = file.create_dataset("inner", _REVERSED, "f4", chunks=_REVERSED, compression="gzip")
    dataset.id.write_direct_chunk((0, 0, 0), compressed_zeros())


MAT73: dict[str, Callable[[Path], None]] = {
    "soft link": linked(lambda path: h5py.SoftLink("/outer")),
    "link loop": linked(lambda path: h5py.SoftLink("/inner")),
    "external link": linked(lambda path: h5py.ExternalLink(_other(path), "/inner")),
    "virtual": changed_mat73(_virtual),
    "external storage": replaced(shape=_REVERSED, dtype="u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
    "bomb": changed_mat73(_bomb_mat73),
    "never written": replaced(shape=_REVERSED, dtype="f4", chunks=(1, 4, 5)),
    "group": changed_mat73(lambda file: (file.__delitem__("inner"), file.create_group("inner"))[0]),
    "10^12 numbers": replaced(shape=(10_000, 10_000, 10_000), dtype="f4", chunks=(1, 100, 100)),
    "complex": replaced(data=np.ones(_REVERSED, "c8")),
    "texts": replaced(data=np.full(_REVERSED, b"a")),
    "truth": replaced(data=np.ones(_REVERSED, bool)),
    "nan": replaced(data=np.full(_REVERSED, np.nan)),
    "scalar": replaced(data=1.0),
    "another shape": replaced(data=np.ones((3, 5, NUM_SAMPLES))),
    "name with escapes": changed_mat73(lambda file: file.__setitem__("a\x1b[2J", np.ones(3))),
    "without": changed_mat73(lambda file: file.__delitem__("inner")),
    "strange filter": replaced(data=np.ones(_REVERSED, "f4"), chunks=_REVERSED, scaleoffset=3),
}


def _sparse_npy(path: Path) -> None:
    """The first bytes of 19 GB that were never written."""
    shape = (NUM_SAMPLES, *SHAPE)
    _write_header(path, shape)
    os.truncate(path, 19_000_000_000)


def _write_header(path: Path, shape: tuple[int, ...], kind: str = "<f4", data: int = 0) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        file.write(bytes(data))


def _sparse_of_true_size(path: Path) -> None:
    _write_header(path, (NUM_SAMPLES, 500_000, 1000))
    os.truncate(path, path.stat().st_size + NUM_SAMPLES * 4 * 500_000_000)


def _saved(values: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, values, allow_pickle=True)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


NPY: dict[str, Callable[[Path], None]] = {
    "sparse": _sparse_npy,
    "sparse of its true size": _sparse_of_true_size,
    "trap": lambda path: _saved(np.array([Trap(path.with_name("canary"))], dtype=object))(path),
    "pickle": lambda path: path.write_bytes(__import__("pickle").dumps(Trap(path.with_name("canary")))),
    "complex": _saved(np.ones((NUM_SAMPLES, *SHAPE), "c8")),
    "texts": _saved(np.full((NUM_SAMPLES, *SHAPE), "a")),
    "truth": _saved(np.ones((NUM_SAMPLES, *SHAPE), bool)),
    "times": _saved(np.zeros((NUM_SAMPLES, *SHAPE), "m8[s]")),
    "compound": _saved(np.zeros((NUM_SAMPLES, *SHAPE), "f4,f4")),
    "nan": _saved(np.full((NUM_SAMPLES, *SHAPE), np.nan)),
    "another shape": _saved(np.ones((NUM_SAMPLES, 5, 3), "f4")),
    "another rank": _saved(np.ones(NUM_SAMPLES, "f4")),
    "more than there is": lambda path: _write_header(path, (10**12, *SHAPE), data=100),
    "negative": lambda path: _write_header(path, (-5, -4, 3), data=240),
    "code in the header": lambda path: path.write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 60) + b"__import__('os').mkdir('canary')".ljust(59) + b"\n"
    ),
    "archive": lambda path: np.savez(path.open("wb"), a=np.ones(3)),
    "nothing": lambda path: path.write_bytes(b""),
    "pipe": lambda path: os.mkfifo(path),
}

#: Files that differ in what nobody can know to be wrong.
MAY_BE_TAKEN = {"mat5: cells 5000 deep beside"}
