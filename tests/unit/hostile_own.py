"""Hostile files of a user's own arrays and of bands, for ``test_hostile_files.py``."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import meshio
import numpy as np
import scipy.io
import torch
from hostile_inputs import ANY
from hostile_stores import nested
from safetensors.numpy import load_file, save_file
from tiny import make_solver, spec

from lsm.band_files import read_bands, write_bands
from lsm.conformal import Bands
from lsm.data.layout import Roles
from lsm.data.own_file import open_own_file, write_store
from lsm.data.store import Store

Write = Callable[[Path], None]


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Twelve samples on 6 x 5 sites."""
    random = np.random.default_rng(0)
    return {name: random.random((12, 6, 5)) for name in ("inputs", "targets")} | changes


def write_own(path: Path, **changes: Any) -> None:
    """A good file of the format that the suffix says."""
    named = arrays(**changes)
    if path.suffix == ".npz":
        np.savez(path, **named)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in named.items():
                file.create_dataset(name, data=values, fletcher32=values.ndim > 0)
    else:
        scipy.io.savemat(path, named)


def read_own(path: Path) -> list[np.ndarray]:
    """What training does first: find the layout, make a store, read it."""
    store = path.with_name("own_store.h5")
    with open_own_file(path, Roles()) as file:
        write_store(file, store, list(range(file.layout.num_samples)), {})
    with Store(store) as made:
        return [made.field(name)[:] for name in sorted(made.fields)]


#: Arrays that do not fit together or are no fields.
WRONG = {
    "values that are not finite": {"targets": np.full((12, 6, 5), np.nan)},
    "complex values": {"inputs": np.ones((12, 6, 5), dtype=complex)},
    "texts": {"inputs": np.full((12, 6, 5), "a")},
    "other numbers of samples": {"inputs": np.ones((11, 6, 5))},
    "other sites": {"inputs": np.ones((12, 7, 5))},
    "no samples": {"inputs": np.ones((0, 6, 5)), "targets": np.ones((0, 6, 5))},
    "a single number": {"inputs": np.float64(3), "targets": np.float64(3)},
    "values beyond single precision": {"targets": np.full((12, 6, 5), 1e300)},
}


#: Names and units that are none.
LABELS = {
    "names without characters": {"inputs_names": np.array([""])},
    "more names than channels": {"inputs_names": np.array(["a", "b"])},
    "10^6 names": {"inputs_names": np.full(10**6, "a")},
    "a name of 10^6 characters": {"inputs_names": np.array("a" * 10**6)},
    "a name that is no text": {"inputs_names": np.array([0x7FFFFFFF], dtype="<i4").view("<U1")},
    "a name of several lines": {"inputs_names": np.array(["a\nb"])},
    "names of two fields alike": {"inputs_names": np.array(["T"]), "targets_names": np.array(["T"])},
    "names by objects": {"inputs_names": np.array([{}], dtype=object)},
    "more units than channels": {"targets_units": np.array(["K", "K", "K"])},
}


#: Of these, the ones that are taken for no label: the file says nothing, and is read as without them.
UNSAID = {"names without characters", "10^6 names", "a name of 10^6 characters", "a name of several lines"}


def own_files() -> dict[str, tuple[str, Write]]:
    """File and writer of each case, by its label."""
    found: dict[str, tuple[str, Write]] = {
        label: ("own.npz", lambda path, changes=changes: write_own(path, **changes))
        for label, changes in LABELS.items()
    }
    for suffix in (".npz", ".h5", ".mat"):
        for label, changes in WRONG.items():
            if (label, suffix) in (("texts", ".h5"), ("a single number", ".mat")):
                continue  # h5py cannot write these texts; a number in MATLAB is an array with two axes
            found[f"{label}, {suffix}"] = f"own{suffix}", lambda path, changes=changes: write_own(path, **changes)
        found |= {f"{label}, {suffix}": (f"own{suffix}", write) for label, write in ANY.items()}
    return found


#: Points of the samples of ragged clouds.
COUNTS = np.array([3, 1, 5, 4])


def clouds(in_rows: bool, **changes: Any) -> dict[str, np.ndarray]:
    """Four clouds, one after the other or padded to six points."""
    random = np.random.default_rng(0)
    axes = (int(COUNTS.sum()),) if in_rows else (4, 6)
    return {"coords": random.random((*axes, 2)), "targets": random.random(axes), "num_points": COUNTS} | changes


def holed(*samples_and_points: Any) -> np.ndarray:
    """Padded coordinates with NaN in places."""
    coords = clouds(False)["coords"]
    coords[samples_and_points] = np.nan
    return coords


#: Numbers of points that fit clouds in no form.
COUNTS_OF_POINTS = {
    "negative": np.array([3, -1, 5, 4]),
    "negative, of the right sum": np.array([3, -1, 7, 4]),
    "zero": np.array([3, 0, 5, 4]),
    "zero, of the right sum": np.array([4, 0, 5, 4]),
    "fractional": np.array([3.5, 1, 4.5, 4]),
    "NaN": np.array([3, np.nan, 5, 4]),
    "infinite": np.array([3, np.inf, 5, 4]),
    "1e300": np.array([3, 1e300, 5, 4]),
    "2^62": np.array([3, 1 << 62, 5, 4]),
    "four times 2^62, of sum 0": np.full(4, 1 << 62),
    "beyond int64, of the right sum": np.array([2**63 - 1, 2**63 - 1, 7, 8]),
    "unsigned": np.array([2**64 - 1, 2**64 - 1, 7, 8], dtype=np.uint64),
    "complex": COUNTS.astype(complex),
    "text": COUNTS.astype("U1"),
    "of too few samples": COUNTS[:3],
    "of too many samples": np.append(COUNTS, 1),
    "of no sample": np.zeros(0),
    "a single number": np.array(13),
    "with two axes": COUNTS.reshape(2, 2),
    "with three axes": COUNTS.reshape(4, 1, 1),
    "more than there are": COUNTS + 2,
}

#: Clouds that fit no form.
WRONG_CLOUDS = {
    "NaN between points": {"coords": holed(2, 1), "num_points": None},
    "NaN at the first point": {"coords": holed(0, 0), "num_points": None},
    "NaN at all points of a sample": {"coords": holed(3), "num_points": None},
    "NaN at all points": {"coords": holed(), "num_points": None},
    "NaN before the stated number": {"coords": holed(2, 4)},
    "NaN in a field": {"targets": np.full((4, 6), np.nan)},
    "numbers of points of a lattice": {"coords": np.ones((4, 6, 5, 2)), "targets": np.ones((4, 6, 5))},
    "numbers of points without an axis of coordinates": {"coords": np.ones((4, 6))},
    "fields of fewer points": {"targets": np.ones((4, 5))},
    "no coordinate": {"coords": np.ones((4, 6, 0)), "num_points": None},
    "no points": {"coords": np.ones((4, 0, 2)), "targets": np.ones((4, 0)), "num_points": None},
}


def write_clouds(path: Path, **arrays: np.ndarray | None) -> None:
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})


def many_counts(path: Path) -> None:
    """Two gigabytes of zeros as numbers of points, in an archive of 10 MB."""
    write_clouds(path, **clouds(True, num_points=None))
    header = {"descr": "<i8", "fortran_order": False, "shape": (250_000_000,)}
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("num_points.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(200):
            file.write(bytes(10_000_000))


def one_large_cloud(path: Path) -> None:
    """10^6 clouds of one point and one of 10^6, which would be terabytes if they were padded."""
    counts = np.append(np.ones(1_000_000, dtype=int), 1_000_000)
    rows = int(counts.sum())
    write_clouds(path, coords=np.ones((rows, 2), np.float32), targets=np.ones(rows, np.float32), num_points=counts)


def cloud_files() -> dict[str, Write]:
    """Writer of each ragged file ``.npz``, by its label."""
    found: dict[str, Write] = {"long numbers": many_counts, "one large cloud among many": one_large_cloud}
    for label, counts in COUNTS_OF_POINTS.items():
        for form, in_rows in (("rows", True), ("padded", False)):
            changed = clouds(in_rows, num_points=counts)
            found[f"numbers of points {label}, {form}"] = lambda path, changed=changed: write_clouds(path, **changed)
    for label, changes in WRONG_CLOUDS.items():
        changed = clouds(False, **changes)
        found[label] = lambda path, changed=changed: write_clouds(path, **changed)
    return found


def write_mesh(path: Path, count: int = 4, **changes: Any) -> None:
    """A good VTK file."""
    random = np.random.default_rng(count)
    data = {"inputs": random.random(count), "targets": random.random((count, 3))} | changes
    data = {name: values for name, values in data.items() if values is not None}
    cells = [("vertex", [[index] for index in range(count)])]
    meshio.write(path, meshio.Mesh(random.random((count, 3)), cells, point_data=data))


def write_meshes(folder: Path) -> None:
    """Three good files, of different numbers of points."""
    folder.mkdir()
    for number, suffix in enumerate(("vtu", "vtk", "vtu")):
        write_mesh(folder / f"{number}.{suffix}", 4 + number)


def replaced(old: str, new: str) -> Write:
    """A good file with another text in it."""

    def write(path: Path) -> None:
        write_mesh(path)
        text = path.read_bytes()
        assert old.encode() in text
        path.write_bytes(text.replace(old.encode(), new.encode()))

    return write


#: The file ``1.vtu`` beside good ones.
MESHES: dict[str, Write] = {
    **ANY,
    "no field": lambda path: write_mesh(path, inputs=None, targets=None),
    "a field less": lambda path: write_mesh(path, targets=None),
    "another shape": lambda path: write_mesh(path, targets=np.ones(4)),
    "NaN in a field": lambda path: write_mesh(path, inputs=np.full(4, np.nan)),
    "values beyond single precision": lambda path: write_mesh(path, inputs=np.full(4, 1e300)),
    "no points": replaced('NumberOfPoints="4"', 'NumberOfPoints="0"'),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to a pipe": lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")),
    "another number of points": replaced('NumberOfPoints="4"', 'NumberOfPoints="9"'),
    "a huge number of points": replaced('NumberOfPoints="4"', f'NumberOfPoints="{10**15}"'),
    "fields of text": replaced('type="Float64" Name="targets"', 'type="String" Name="targets"'),
    "another type": replaced('type="Float64" Name="targets"', 'type="Nothing" Name="targets"'),
    "a field of an unprintable name": replaced('Name="targets"', 'Name="&#10;targets"'),
}


def mesh_folders() -> dict[str, Write]:
    """Writer of each folder, by its label."""

    def writing(write: Write) -> Write:
        def folder_with(path: Path) -> None:
            write_meshes(path)
            (path / "1.vtk").unlink()
            write(path / "1.vtu")

        return folder_with

    def itself(path: Path) -> None:
        path.symlink_to(path)

    return {"no file": Path.mkdir, "a link to itself": itself, **{f"with {k}": writing(w) for k, w in MESHES.items()}}


def band_solver() -> Any:
    """The solver to which the bands belong."""
    torch.manual_seed(0)
    return make_solver(spec()).eval()


def write_good_bands(path: Path) -> None:
    """Bands of two levels."""
    random = np.random.default_rng(0)
    bands = Bands(spec(), (0.5, 0.9), 20, random.random((2, 6, 5, 1)), random.random((2, 1)), random.random((6, 5, 1)))
    write_bands(path, bands, [band_solver()], {"split": "validation"})


def read_good_bands(path: Path) -> list[np.ndarray]:
    """Every band of a file."""
    bands = read_bands(path, [band_solver()])
    return [bands.at(level, kind).half_width for level in bands.levels for kind in ("site", "field")]


def changed_bands(**changes: Any) -> Write:
    """Bands with another record."""

    def write(path: Path) -> None:
        write_good_bands(path)
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        record = json.loads(header["__metadata__"]["lsm"]) | changes
        save_file(load_file(path), path, {"lsm": json.dumps(record)})

    return write


def without_record(path: Path) -> None:
    """Arrays alone."""
    write_good_bands(path)
    save_file(load_file(path), path)


def with_record(text: str) -> Write:
    """Bands whose record is another text."""

    def write(path: Path) -> None:
        write_good_bands(path)
        save_file(load_file(path), path, {"lsm": text})

    return write


BANDS: dict[str, Write] = {
    **ANY,
    "no record": without_record,
    "a nested record": with_record(nested(100_000)),
    "no JSON": with_record("{"),
    "a list": with_record("[1]"),
    "levels of texts": changed_bands(levels=["a", "b"]),
    "levels beyond 1": changed_bands(levels=[0.5, 9.0]),
    "10^6 levels": changed_bands(levels=[0.5] * 1_000_000),
    "no samples": changed_bands(num_samples=0),
    "other weights": changed_bands(solvers=["0" * 64]),
    "huge sites": changed_bands(spec=spec(sites=(10**9, 10**9)).to_dict()),
    "another checksum": changed_bands(sha256="0" * 64),
}
