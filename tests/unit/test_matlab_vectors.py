"""MATLAB has no vectors: rows and columns of its files are read as the vectors that other files hold."""

import h5py
import numpy as np
import pytest
import scipy.io

from lsm.data.array_files import mark_as_matlab
from lsm.data.layout import Roles
from lsm.data.own_file import open_own_file, write_store
from lsm.data.store import Store
from lsm.errors import InputError
from lsm.fields import Channel, FieldSpec
from lsm.prediction import open_inputs

RANDOM = np.random.default_rng(0)
COUNTS = np.array([3, 1, 5, 4])
ROWS = RANDOM.random((3, 13))

#: Arrays with vectors, and what the user says of them.
FILES = {
    "scalars of samples": (
        {"inputs": RANDOM.random((20, 6, 5)), "targets": RANDOM.random((20, 6, 5)), "parameters": RANDOM.random(20)},
        Roles(),
    ),
    "scalars of other names": (
        {"u": RANDOM.random((20, 6, 5)), "a": RANDOM.random(20), "b": RANDOM.random((20, 2))},
        Roles(inputs=["u"], targets=["u"], parameters=["a", "b"]),
    ),
    "coordinates of all samples": (
        {
            "x": RANDOM.random(7),
            "y": RANDOM.random(7),
            "targets": RANDOM.random((20, 7)),
            "parameters": RANDOM.random(20),
        },
        Roles(coords=["x", "y"]),
    ),
    "the only coordinate of all samples": (
        {"s": RANDOM.random(7), "targets": RANDOM.random((20, 7))},
        Roles(coords=["s"]),
    ),
    "samples on a line, one after the other": (
        {"s": ROWS[0], "targets": ROWS[2], "num_points": COUNTS},
        Roles(coords=["s"]),
    ),
    "samples one after the other": (
        {"x": ROWS[0], "y": ROWS[1], "targets": ROWS[2], "num_points": COUNTS, "parameters": np.arange(4.0)},
        Roles(coords=["x", "y"]),
    ),
    "samples one after the other, with one array of coordinates": (
        {"coords": ROWS[:2].T.copy(), "targets": ROWS[2], "inputs": ROWS[2] ** 2, "num_points": COUNTS},
        Roles(),
    ),
}


def write_mat73(path, arrays):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = values.T
            file[name].attrs["MATLAB_class"], file[name].attrs["unit"] = np.bytes_("double"), "m"
    mark_as_matlab(path)


WRITERS = {"v5": scipy.io.savemat, "v7.3": write_mat73}


def as_matrices(arrays, shape):
    """As MATLAB holds them; vectors as rows or columns."""
    return {name: np.asarray(values).reshape(shape) if values.ndim == 1 else values for name, values in arrays.items()}


def stored(path, roles):
    """Units and values of the store of a file, by name."""
    with open_own_file(path, roles) as file:
        write_store(file, path.with_suffix(".store.h5"), list(range(file.layout.num_samples)), {})
        told = file.layout.describe().replace(" (m)", "")
    with Store(path.with_suffix(".store.h5")) as store:
        return (
            told,
            {name: field.unit for name, field in store.fields.items()},
            {n: store.field(n)[:] for n in store.fields},
        )


@pytest.mark.parametrize("shape", [(1, -1), (-1, 1)], ids=["rows", "columns"])
@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("name", FILES)
def test_a_matlab_file_becomes_the_store_of_the_same_vectors(name, version, shape, tmp_path, monkeypatch):
    monkeypatch.setattr("lsm.data.own_file._BLOCK_BYTES", 3 * 8 * 40)  # a few samples at a time
    arrays, roles = FILES[name]
    np.savez(tmp_path / "my.npz", **arrays)
    WRITERS[version](tmp_path / "my.mat", as_matrices(arrays, shape))
    expected, _, values = stored(tmp_path / "my.npz", roles)
    told, units, found = stored(tmp_path / "my.mat", roles)
    assert told == expected
    assert found.keys() == values.keys()
    for field, numbers in values.items():
        np.testing.assert_array_equal(found[field], numbers)
    if version == "v7.3":
        assert {unit for field, unit in units.items() if field != "num_points"} == {"m"}


@pytest.mark.parametrize("shape", [(1, -1), (-1, 1)], ids=["rows", "columns"])
@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize("num_samples", [1, 4])
def test_predictions_take_the_same_vectors(num_samples, version, shape, tmp_path):
    """Coordinates of all samples, and samples one after the other."""
    load = RANDOM.random((num_samples, 13))
    shared = {"x": ROWS[0], "y": ROWS[1], "load": load}
    in_rows = {"x": ROWS[0], "y": ROWS[1], "load": ROWS[2], "num_points": COUNTS}
    for arrays, width, ragged in ((shared, 13, False), (in_rows, 5, True)):
        inputs = tuple(Channel(name) for name in ("x", "y", "load"))
        spec = FieldSpec("points", (width,), ("point",), inputs, (Channel("u"),), ragged=ragged)
        np.savez(tmp_path / "new.npz", **arrays)
        WRITERS[version](tmp_path / "new.mat", as_matrices(arrays, shape))
        blocks = []
        for path in (tmp_path / "new.npz", tmp_path / "new.mat"):
            with open_inputs(path, spec, Roles(coords=["x", "y"])) as opened:
                blocks.append(opened.block(0, opened.num_samples))
        assert blocks[0].keys() == blocks[1].keys()
        for name, values in blocks[0].items():
            np.testing.assert_array_equal(blocks[1][name], values)


def test_the_only_sample_may_have_several_scalars(tmp_path):
    field = RANDOM.random((1, 6, 5))
    scipy.io.savemat(tmp_path / "my.mat", {"inputs": field, "targets": field, "parameters": [[1.0, 2.0, 3.0]]})
    with open_own_file(tmp_path / "my.mat", Roles()) as file:
        assert file.layout.reader["parameters"] == ["parameter_1", "parameter_2", "parameter_3"]


def test_another_number_of_scalars_than_samples_is_named(tmp_path):
    field = RANDOM.random((20, 6, 5))
    scipy.io.savemat(tmp_path / "my.mat", {"inputs": field, "targets": field, "parameters": np.arange(19.0)})
    words = r"parameters \(1, 19\), targets \(20, 6, 5\): the first axis counts the samples"
    with pytest.raises(InputError, match=words), open_own_file(tmp_path / "my.mat", Roles()):
        pass
