"""Files of somebody else that are handed to a solver for prediction, and model folders of somebody else."""

from __future__ import annotations

import base64
import json
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hostile_checkpoints
import hostile_published
import hostile_stores
import numpy as np
import scipy.io
import torch
from safetensors.torch import load_file, save_file

from lsm.data.store import SCHEMA
from lsm.data.structured_vtk import write_structured
from lsm.model_folder import CONFIG, WEIGHTS, write_folder
from lsm.solver import NeuralSolver, build_solver

NUM_SAMPLES, SITES = 3, hostile_checkpoints.SPEC.sites

Write = Callable[[Path], Any]


def solver() -> NeuralSolver:
    """A small solver on a lattice."""
    torch.manual_seed(0)
    return build_solver({"model": hostile_checkpoints.MODELS["unet"]}, hostile_checkpoints.SPEC).eval()


def values(shape: tuple[int, ...] = (NUM_SAMPLES, *SITES)) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype("f4")


# ---- good files


def write_npz(path: Path, **changes: Any) -> None:
    np.savez(path, **{"inner": values(), **changes})


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("inner", data=values(), chunks=(1, *SITES), compression="gzip", shuffle=True)


def write_mat5(path: Path) -> None:
    scipy.io.savemat(path, {"inner": values()})


def write_mat73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("inner", data=values().T)


def write_npy(path: Path) -> None:
    np.save(path, values()[..., None])


def write_vtk(path: Path, **options: Any) -> None:
    import meshio

    sites = np.stack([*np.meshgrid(*map(np.arange, SITES), indexing="ij"), np.zeros(SITES)], axis=-1)
    points = sites.transpose(1, 0, 2).reshape(-1, 3).astype("f4")
    cells = [("quad", np.array([[0, 1, 7, 6], [1, 2, 8, 7]]))]
    mesh = meshio.Mesh(points, cells, point_data={"inner": values(SITES).flatten(order="F")})
    meshio.write(path, mesh, **options)


def write_vtu(path: Path) -> None:
    write_vtk(path, compression="zlib")


# ---- hostile ones


def _raw(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


#: What none of the formats is.
ANY: dict[str, Write] = {
    "nothing": _raw(b""),
    "text": _raw(b"no file of this kind\n" * 20),
    "zeros": _raw(bytes(1000)),
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
}


def _member(header: dict[str, Any], data: bytes = b"", compression: int = zipfile.ZIP_STORED) -> Write:
    """An archive whose only member has a header of our own."""

    def write(path: Path) -> None:
        text = repr(header).encode().ljust(117) + b"\n"
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("inner.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)

    return write


def _header(shape: Any, kind: str = "<f4", fortran: Any = False) -> dict[str, Any]:
    return {"descr": kind, "fortran_order": fortran, "shape": shape}


def _bomb_npz(path: Path) -> None:
    """A sample of 400 MB of zeros, as the header says, in an archive of 2 MB; a network would need gigabytes for it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        text = repr(_header((1, 10_000, 10_000))).encode().ljust(117) + b"\n"
        with archive.open("inner.npy", "w", force_zip64=True) as file:
            file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
            for _ in range(40):
                file.write(bytes(10_000_000))


def _many_members(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(5000):
            archive.writestr(f"a{index}.npy", b"")


def _twice(path: Path) -> None:
    write_npz(path)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("inner.npy", archive.read("inner.npy"))


def _trap_npz(path: Path) -> None:
    write_npz(path, inner=np.array([hostile_published.Trap(path.with_name("canary"))], dtype=object))


NPZ: dict[str, Write] = {
    "10^12 samples": _member(_header((10**12, *SITES))),
    "negative shape": _member(_header((-1, *SITES)), bytes(500)),
    "negative sites": _member(_header((3, -6, -5)), bytes(500)),
    "no samples": _member(_header((0, *SITES))),
    "no sites": _member(_header((3, 0, 0))),
    "texts in the shape": _member(_header(("3", 6, 5)), bytes(500)),
    "fewer bytes": _member(_header((3, *SITES)), bytes(100)),
    "strange type": _member(_header((3, *SITES), "<f3"), bytes(500)),
    "compound": _member(_header((3, *SITES), "<f4,<f4"), bytes(900)),
    "fortran": _member(_header((3, *SITES), fortran=True), bytes(360)),
    "bomb": _bomb_npz,
    "many members": _many_members,
    "twice": _twice,
    "trap": _trap_npz,
    "nan": lambda path: write_npz(path, inner=np.full((NUM_SAMPLES, *SITES), np.nan)),
    "beyond single precision": lambda path: write_npz(path, inner=np.full((NUM_SAMPLES, *SITES), 1e300)),
    "complex": lambda path: write_npz(path, inner=values().astype("c8")),
    "texts": lambda path: write_npz(path, inner=np.full((NUM_SAMPLES, *SITES), "1")),
    "times": lambda path: write_npz(path, inner=np.zeros((NUM_SAMPLES, *SITES), "m8[s]")),
    "scalar": lambda path: write_npz(path, inner=1.0),
    "another rank": lambda path: write_npz(path, inner=np.ones((1, 2, 3, 4, 5))),
    "without": lambda path: np.savez(path, other=values()),
    "name with escapes": lambda path: np.savez(path, **{"in\x1b[2J\nner": values()}),
    "code in the header": lambda path: zipfile.ZipFile(path, "w").writestr(
        "inner.npy",
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 60) + b"__import__('os').mkdir('canary')".ljust(59) + b"\n",
    ),
}


def _npy(header: dict[str, Any], size: int) -> Write:
    def write(path: Path) -> None:
        text = repr(header).encode().ljust(117) + b"\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)
        os.truncate(path, size)

    return write


NPY: dict[str, Write] = {
    "10^12 samples": _npy(_header((10**12, *SITES, 1)), 1000),
    "a sample of 3 GB": _npy(_header((1, 28_000, 28_000, 1)), 3_136_000_128),
    "negative": _npy(_header((-3, -6, 5, 1)), 1000),
    "trap": lambda path: np.save(
        path, np.array([hostile_published.Trap(path.with_name("canary"))], dtype=object), allow_pickle=True
    ),
    "pickle": lambda path: path.write_bytes(
        __import__("pickle").dumps(hostile_published.Trap(path.with_name("canary")))
    ),
    "complex": lambda path: np.save(path, values().astype("c8")[..., None]),
    "nan": lambda path: np.save(path, np.full((1, *SITES, 1), np.nan)),
    "scalar": lambda path: np.save(path, 1.0),
    "no channels": lambda path: np.save(path, values()[..., None][..., :0]),
}


def _h5(change: Callable[[h5py.File], Any]) -> Write:
    def write(path: Path) -> None:
        write_h5(path)
        with h5py.File(path, "a") as file:
            change(file)

    return write


def _h5_replaced(**options: Any) -> Write:
    def change(file: h5py.File) -> None:
        del file["inner"]
        file.create_dataset("inner", **options)

    return _h5(change)


def _h5_linked(link: Callable[[Path], Any]) -> Write:
    def change(file: h5py.File) -> None:
        del file["inner"]
        file["inner"] = link(Path(file.filename))

    return _h5(change)


def _h5_as_store(fields: Callable[[Path], Any]) -> Write:
    """A file that says that it is a store, with other things than a group as its fields."""

    def change(file: h5py.File) -> None:
        file.attrs["schema"] = SCHEMA
        file["fields"] = fields(Path(file.filename))

    return _h5(change)


def _other(path: Path) -> str:
    other = path.with_name("other.h5")
    write_h5(other)
    return str(other)


def _bomb_h5(file: h5py.File) -> None:
    del file["inner"]
    dataset = file.create_dataset("inner", (1, *SITES), "f4", chunks=(1, *SITES), compression="gzip")
    dataset.id.write_direct_chunk((0, 0, 0), hostile_stores.compressed_zeros())


H5: dict[str, Write] = {
    "soft link": _h5_linked(lambda path: h5py.SoftLink("/nothing")),
    "external link": _h5_linked(lambda path: h5py.ExternalLink(_other(path), "/inner")),
    "group of fields elsewhere": _h5_as_store(lambda path: h5py.ExternalLink(_other(path), "/")),
    "fields is an array": _h5_as_store(lambda path: [1.0]),
    "store without fields": _h5(lambda file: file.attrs.update(schema=SCHEMA)),
    "external storage": _h5_replaced(shape=(1, *SITES), dtype="u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
    "never written": _h5_replaced(shape=(9, *SITES), dtype="f4", chunks=(1, *SITES)),
    "10^9 samples": _h5_replaced(shape=(10**9, *SITES), dtype="f4", chunks=(1, *SITES)),
    "bomb": _h5(_bomb_h5),
    "nan": _h5_replaced(data=np.full((1, *SITES), np.nan)),
    "complex": _h5_replaced(data=values().astype("c8")),
    "texts": _h5_replaced(data=np.full((3, *SITES), b"a")),
    "scalar": _h5_replaced(data=1.0),
    "name with escapes": _h5(lambda file: file.__setitem__("a\x1b[2J", np.ones(3))),
    "strange filter": _h5_replaced(data=values(), chunks=(1, *SITES), scaleoffset=3),
}

#: Whole files with a variable ``inner``, of MATLAB; those of published data that are no arrays for a solver.
MAT: dict[str, Write] = {
    label: hostile_published.MAT5[label]
    for label in (
        *("cells 5000 deep", "bomb", "10^9 cells", "10^9 numbers", "more numbers than bytes", "negative size"),
        *("overflowing size", "zero size", "twice", "struct", "cell", "text", "complex", "sparse", "nan", "infinity"),
        *("without", "version 4"),
    )
} | {f"v7.3 {label}": _h5 for label, _h5 in H5.items()}


def _vtk(kind: str, body: str, data_type: str = "ASCII") -> Write:
    return _raw(f"# vtk DataFile Version 3.0\ntitle\n{data_type}\nDATASET {kind}\n{body}\n".encode())


_LATTICE = "DIMENSIONS {}\nORIGIN 0 0 0\nSPACING 1 1 1"

VTK: dict[str, Write] = {
    "10^15 points": _vtk("STRUCTURED_POINTS", _LATTICE.format("100000 100000 100000")),
    "10^9 points": _vtk("structured_points", _LATTICE.format("1000 1000 1000").lower()),
    "10^9 points in other digits": _vtk("STRUCTURED_POINTS", _LATTICE.format("1_000 \u0661\u0660\u0660\u0660 1000")),
    "10^10 points after a word of metadata": _vtk(
        "STRUCTURED_POINTS", "METADATA\ndimensions\n\n" + _LATTICE.format("2000 2000 2000")
    ),
    "negative points": _vtk("STRUCTURED_POINTS", _LATTICE.format("-10 -10 1")),
    "rectilinear": _vtk(
        "RECTILINEAR_GRID", "".join(f"{axis}_COORDINATES 1000 float\n{'1 ' * 1000}\n" for axis in "XYZ")
    ),
    "structured": _vtk("STRUCTURED_GRID", "DIMENSIONS 30000 30000 2\nPOINTS 1 float\n0 0 0"),
    "10^12 numbers": _vtk("UNSTRUCTURED_GRID", "POINTS 1000000000000 float\n0 0 0"),
    "10^12 numbers, binary": _vtk("UNSTRUCTURED_GRID", "POINTS 1000000000000 float\n0 0 0", "BINARY"),
    "digits": _vtk("UNSTRUCTURED_GRID", f"POINTS {'7' * 5000} float\n0 0 0"),
    "no cells": _vtk("UNSTRUCTURED_GRID", "POINTS 1 float\n0 0 0"),
    "metadata without end": _vtk("UNSTRUCTURED_GRID", "METADATA\nINFORMATION"),
    "unknown kind": _vtk("POLYDATA", "POINTS 1 float\n0 0 0"),
    "version 5.1 of nothing": _raw(b"# vtk DataFile Version 5.1\n"),
}


def _vtu(arrays: str, more: str = "", points: int = 30) -> bytes:
    return (
        f'<?xml version="1.0"?>{more}<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" '
        f'header_type="UInt32" compressor="vtkZLibDataCompressor"><UnstructuredGrid>'
        f'<Piece NumberOfPoints="{points}" NumberOfCells="0">{arrays}</Piece></UnstructuredGrid></VTKFile>'
    ).encode()


def _data_array(blocks: list[bytes], name: str = "inner") -> str:
    header = struct.pack(f"<{3 + len(blocks)}I", len(blocks), 1 << 15, 0, *map(len, blocks))
    text = base64.b64encode(header).decode() + base64.b64encode(b"".join(blocks)).decode()
    return f'<DataArray type="Float32" Name="{name}" format="binary" NumberOfComponents="3">{text}</DataArray>'


def _bomb_vtu(path: Path) -> None:
    path.write_bytes(_vtu(f"<Points>{_data_array([hostile_stores.compressed_zeros()])}</Points>"))


def _bomb_of_many_blocks(path: Path) -> None:
    block = zlib.compress(bytes(10_000_000), 9)
    path.write_bytes(_vtu(f"<Points>{_data_array([block] * 250)}</Points>"))


_LAUGHS = "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(12))

VTU: dict[str, Write] = {
    "bomb": _bomb_vtu,
    "bomb of many blocks": _bomb_of_many_blocks,
    "exponential entities": _raw(_vtu("&a12;", f'<!DOCTYPE V [<!ENTITY a0 "ha">{_LAUGHS}]>')),
    "external entity": _raw(_vtu("&e;", '<!DOCTYPE V [<!ENTITY e SYSTEM "file:///etc/passwd">]>')),
    "nested": _raw(_vtu("<a>" * 100_000 + "</a>" * 100_000)),
    "no points": _raw(_vtu("")),
    "negative points": _raw(_vtu(f"<Points>{_data_array([zlib.compress(bytes(12))])}</Points>", points=-1)),
    "10^12 blocks": _raw(
        _vtu(
            '<Points><DataArray type="Float32" NumberOfComponents="3" format="binary">'
            f"{base64.b64encode(struct.pack('<I', 4_000_000_000)).decode()}</DataArray></Points>"
        )
    ),
    "unknown type": _raw(_vtu('<Points><DataArray type="Float99" format="ascii">1 2</DataArray></Points>')),
    "another grid": _raw(b'<VTKFile type="ImageData"></VTKFile>'),
}


def write_vts(path: Path) -> None:
    sites = np.stack([*np.meshgrid(*map(np.arange, SITES), indexing="ij"), np.zeros(SITES)], axis=-1)
    points = sites.transpose(1, 0, 2).reshape(-1, 3).astype("f4")
    write_structured(path, SITES, points, {"inner": values(SITES).flatten(order="F")})


def _vts(body: str, extent: str = "0 5 0 4 0 0", more: str = "") -> bytes:
    return (
        f'<?xml version="1.0"?>{more}<VTKFile type="StructuredGrid" version="1.0" header_type="UInt32">'
        f'<StructuredGrid WholeExtent="{extent}"><Piece Extent="{extent}">{body}</Piece></StructuredGrid></VTKFile>'
    ).encode()


_POINTS = '<Points><DataArray type="Float32" NumberOfComponents="3" format="ascii">{}</DataArray></Points>'

VTS: dict[str, Write] = {
    "exponential entities": _raw(_vts("&a12;", more=f'<!DOCTYPE V [<!ENTITY a0 "ha">{_LAUGHS}]>')),
    "nested": _raw(_vts("<a>" * 100_000 + "</a>" * 100_000)),
    "no points": _raw(_vts("")),
    "fewer points": _raw(_vts(_POINTS.format("0 0 0 " * 29))),
    "10^15 points": _raw(_vts(_POINTS.format("0 0 0"), "0 99999 0 99999 0 99999")),
    "negative points": _raw(_vts(_POINTS.format("0 0 0"), "0 -5 0 4 0 0")),
    "digits": _raw(_vts(_POINTS.format("0 0 0"), f"0 {'7' * 5000} 0 4 0 0")),
    "two axes": _raw(_vts(_POINTS.format("0 0 0 " * 30), "0 5 0 4")),
    "transposed": _raw(_vts(_POINTS.format("0 0 0 " * 30), "0 4 0 5 0 0")),
    "two pieces": _raw(_vts("").replace(b"</Piece>", b'</Piece><Piece Extent="0 5 4 5 0 0"></Piece>')),
    "nothing appended": _raw(_vts("").replace(b"</VTKFile>", b'<AppendedData encoding="raw">_')),
    "another grid": _raw(b'<VTKFile type="ImageData"></VTKFile>'),
}

#: Kind of file, its name, a good one, hostile ones, and whether every changed value must be found.
KINDS: dict[str, tuple[str, Write, dict[str, Write], bool]] = {
    "input npz": ("inputs.npz", write_npz, NPZ, True),
    "input npy": ("inputs.npy", write_npy, NPY, False),
    "input h5": ("inputs.h5", write_h5, H5, False),
    "input mat5": ("inputs.mat", write_mat5, MAT, False),
    "input mat73": ("inputs.mat", write_mat73, {}, False),
    "input vtk": ("inputs.vtk", write_vtk, VTK, False),
    "input vtu": ("inputs.vtu", write_vtu, VTU, False),
    "input vts": ("inputs.vts", write_vts, VTS, False),
}


# ---- model folders


def write_model_folder(folder: Path, model: str = "fno") -> None:
    """A folder that is all right."""
    content = hostile_checkpoints.content_of(Path("store.h5"), model)
    state = {name.removeprefix("solver."): value for name, value in content["state_dict"].items()}
    write_folder(folder, content["lsm"], 3, state)


def _config(change: Callable[[dict[str, Any]], Any]) -> Write:
    def write(folder: Path) -> None:
        write_model_folder(folder)
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(change(config) or config))

    return write


def _config_text(content: bytes) -> Write:
    def write(folder: Path) -> None:
        write_model_folder(folder)
        (folder / CONFIG).write_bytes(content)

    return write


def _weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Write:
    """Weights of another kind, whose checksum is the right one."""

    def write(folder: Path) -> None:
        write_model_folder(folder)
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file({name: value.contiguous() for name, value in state.items()}, folder / WEIGHTS)
        _trust(folder)

    return write


def _weights_bytes(content: Callable[[bytes], bytes]) -> Write:
    def write(folder: Path) -> None:
        write_model_folder(folder)
        (folder / WEIGHTS).write_bytes(content((folder / WEIGHTS).read_bytes()))
        _trust(folder)

    return write


def _trust(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config.pop("sha256", None)
    (folder / CONFIG).write_text(json.dumps(config))


def _instead(name: str, make: Callable[[Path], Any]) -> Write:
    def write(folder: Path) -> None:
        write_model_folder(folder)
        (folder / name).unlink()
        make(folder / name)

    return write


def _described(text: str) -> Callable[[bytes], bytes]:
    return lambda raw: struct.pack("<Q", len(text)) + text.encode() + bytes(100)


def _first(state: dict[str, torch.Tensor]) -> str:
    return next(name for name, value in state.items() if value.is_floating_point() and value.dim() > 1)


def _complex_of(value: Any) -> Write:
    return _config(lambda config: config.update(complex=value))


FOLDERS: dict[str, Write] = {
    **{f"config {label}": _config_text(text.encode()) for label, text in hostile_stores.BAD_JSON.items()},
    "config nothing": _config_text(b""),
    "config bytes": _config_text(bytes(range(256)) * 10),
    "config pipe": _instead(CONFIG, os.mkfifo),
    "config folder": _instead(CONFIG, Path.mkdir),
    "config other file": _instead(CONFIG, lambda path: path.symlink_to("/etc/passwd")),
    **{
        f"{key} {label}": _config(lambda config, key=key, value=value: config.__setitem__(key, value))
        for key in ("lsm", "epoch", "complex", "sha256")
        for label, value in hostile_checkpoints.BAD_VALUES.items()
        if not isinstance(value, torch.Tensor) and label not in ("nan", "10^400")
    },
    "complex missing": _config(lambda config: config.__delitem__("complex") or config),
    "complex unknown": _complex_of(["nothing"]),
    "complex all": _config(lambda config: config.update(complex=list(config["lsm"]["spec"]))),
    "weights nothing": _weights_bytes(lambda raw: b""),
    "weights text": _weights_bytes(lambda raw: b"text" * 100),
    "weights pickle": _weights_bytes(lambda raw: hostile_checkpoints.saved({"a": torch.ones(3)})),
    "weights header of 10^18 bytes": _weights_bytes(lambda raw: struct.pack("<Q", 10**18) + raw[8:]),
    "weights header of 10^8 bytes": _weights_bytes(lambda raw: struct.pack("<Q", 10**8) + raw[8:]),
    "weights beyond the file": _weights_bytes(
        _described('{"a": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4000000000]}}')
    ),
    "weights overlapping": _weights_bytes(
        _described(
            '{"a": {"dtype": "F32", "shape": [25], "data_offsets": [0, 100]}, '
            '"b": {"dtype": "F32", "shape": [25], "data_offsets": [0, 100]}}'
        )
    ),
    "weights of nested header": _weights_bytes(_described(hostile_stores.nested(100_000))),
    "weights pipe": _instead(WEIGHTS, os.mkfifo),
    "weights folder": _instead(WEIGHTS, Path.mkdir),
    "weights missing": _instead(WEIGHTS, lambda path: None),
    "weights other file": _instead(WEIGHTS, lambda path: path.symlink_to("/etc/passwd")),
    "nan": _weights(lambda state: state[_first(state)].fill_(float("nan"))),
    "infinity": _weights(lambda state: state[_first(state)].fill_(float("inf"))),
    "another shape": _weights(lambda state: state.update({_first(state): torch.ones(3)})),
    "another precision": _weights(lambda state: state.update({_first(state): state[_first(state)].half()})),
    "truth": _weights(lambda state: state.update({_first(state): state[_first(state)] > 0})),
    "fewer weights": _weights(lambda state: state.pop(_first(state))),
    "more weights": _weights(lambda state: state.update(more=torch.ones(3))),
}

#: Folders of which nobody can know that something is wrong; an epoch is any number, and a checksum may be missing.
FOLDERS_MAY_BE_TAKEN = {
    *("epoch nothing", "epoch 0", "epoch 10^6", "epoch 10^18", "sha256 nothing", "another precision"),
}


def description_cases() -> Iterator[tuple[str, Write]]:
    """Some entries of the description, of other values; checkpoints are tried with all of them."""
    like = hostile_checkpoints.content_of(Path("store.h5"), "fno")
    for path in hostile_checkpoints.paths_of(like["lsm"]):
        if path[0] not in ("solver", "spec"):
            continue
        for label in ("nothing", "text", "10^6", "list"):

            def change(config: dict[str, Any], path: tuple[Any, ...] = path, label: str = label) -> dict[str, Any]:
                value = hostile_checkpoints.BAD_VALUES[label]
                return {**config, "lsm": hostile_checkpoints.changed(config, path, value)["lsm"]}

            yield f"{'.'.join(map(str, path))}: {label}", _config(change)
