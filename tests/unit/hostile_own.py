"""Hostile files of a user's own arrays and of bands, for ``test_hostile_files.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
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


def own_files() -> dict[str, tuple[str, Write]]:
    """File and writer of each case, by its label."""
    found: dict[str, tuple[str, Write]] = {}
    for suffix in (".npz", ".h5", ".mat"):
        for label, changes in WRONG.items():
            if (label, suffix) in (("texts", ".h5"), ("a single number", ".mat")):
                continue  # h5py cannot write these texts; a number in MATLAB is an array with two axes
            found[f"{label}, {suffix}"] = f"own{suffix}", lambda path, changes=changes: write_own(path, **changes)
        found |= {f"{label}, {suffix}": (f"own{suffix}", write) for label, write in ANY.items()}
    return found


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
