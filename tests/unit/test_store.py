import h5py
import numpy as np
import pytest

from lsm.data.store import SCHEMA, VERSION, Store, StoredField, StoreWriter, require_fields
from lsm.errors import InputError

FIELDS = {
    "pressure": StoredField((4, 3), "Pa", "pressure at the sites"),
    "code": StoredField((2,), "1", "a vector", "float64"),
}


def write(path, num_samples=3, **options):
    rng = np.random.default_rng(0)
    arrays = {"pressure": rng.random((num_samples, 4, 3)).astype("f4"), "code": rng.random((num_samples, 2))}
    with StoreWriter(path, "darcy", FIELDS, num_samples, {"seed": 7, "options": [1, 2]}, **options) as writer:
        for index in range(num_samples):
            records = {"residual": 10.0**-index} if "bookkeeping" in options else None
            writer.write(index, {name: values[index] for name, values in arrays.items()}, records)
    return arrays


def test_everything_written_is_read(tmp_path):
    path = tmp_path / "new" / "folder" / "store.h5"
    arrays = write(path, bookkeeping={"residual": "float64"})
    with Store(path) as store:
        assert (store.num_samples, store.benchmark, store.provenance) == (3, "darcy", {"seed": 7, "options": [1, 2]})
        assert store.fields == FIELDS
        for name, values in arrays.items():
            np.testing.assert_array_equal(store.field(name)[:], values)
            np.testing.assert_array_equal(store.field(name)[1], values[1])
        np.testing.assert_array_equal(store.bookkeeping()["residual"], [1.0, 0.1, 0.01])
        require_fields(store, ["code", "pressure"])
    assert [file.name for file in path.parent.iterdir()] == ["store.h5"]


def test_what_pictures_need_is_stored_beside_the_fields(tmp_path):
    display = {"positions": ["x", "y"], "window": [[-1.0, 2.0], [0.0, 1.0]]}
    write(tmp_path / "drawn.h5", display=display)
    write(tmp_path / "plain.h5")
    with Store(tmp_path / "drawn.h5") as drawn, Store(tmp_path / "plain.h5") as plain:
        assert drawn.display == display
        assert plain.display == {}


def test_a_store_from_before_there_was_a_display(tmp_path):
    write(tmp_path / "store.h5")
    with h5py.File(tmp_path / "store.h5", "a") as file:
        del file.attrs["display"]
    with Store(tmp_path / "store.h5") as store:
        assert store.display == {}


def test_samples_are_stored_one_a_chunk(tmp_path):
    """A sample is read without its neighbours: that is what makes lazy training possible."""
    write(tmp_path / "store.h5")
    with h5py.File(tmp_path / "store.h5") as file:
        assert file["fields/pressure"].chunks == (1, 4, 3)
    with Store(tmp_path / "store.h5") as store:
        assert store.bookkeeping() == {}


def test_a_slice_of_samples_is_written_at_once(tmp_path):
    values = np.arange(36.0, dtype="f4").reshape(3, 4, 3)
    with StoreWriter(tmp_path / "store.h5", "darcy", {"pressure": FIELDS["pressure"]}, 3, {}) as writer:
        writer.write(slice(0, 2), {"pressure": values[:2]})
        writer.write(slice(2, 3), {"pressure": values[2:]})
    with Store(tmp_path / "store.h5") as store:
        np.testing.assert_array_equal(store.field("pressure")[:], values)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_an_error_leaves_no_file_and_the_old_one_whole(error, tmp_path):
    path = tmp_path / "store.h5"
    for existing in (False, True):
        if existing:
            arrays = write(path)
        with pytest.raises(error), StoreWriter(path, "darcy", FIELDS, 3, {}) as writer:
            writer.write(0, {"code": np.ones(2)})
            assert path.exists() == existing
            raise error
        assert [file.name for file in tmp_path.iterdir()] == (["store.h5"] if existing else [])
    with Store(path) as store:
        np.testing.assert_array_equal(store.field("code")[:], arrays["code"])


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.9])
def test_a_truncated_file_is_named_with_its_remedy(keep, tmp_path):
    path = tmp_path / "store.h5"
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(InputError, match=r"store\.h5.*truncated.*generate or convert again"):
        Store(path)


@pytest.mark.parametrize(("attribute", "value"), [("schema", "someone-else"), ("version", VERSION + 1)])
def test_another_schema_is_named(attribute, value, tmp_path):
    path = tmp_path / "store.h5"
    write(path)
    with h5py.File(path, "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(InputError, match=rf"{value}.*expected {SCHEMA} version {VERSION}"):
        Store(path)
    h5py.File(path, "a").close()  # the refused file is not left open


def test_any_other_hdf5_file_is_refused(tmp_path):
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(InputError, match="schema None"):
        Store(tmp_path / "other.h5")


def test_a_missing_file_and_a_missing_field_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5"):
        Store(tmp_path / "none.h5")
    write(tmp_path / "store.h5")
    with Store(tmp_path / "store.h5") as store, pytest.raises(InputError, match="'velocity', only code, pressure"):
        store.field("velocity")
    with (
        Store(tmp_path / "store.h5") as store,
        pytest.raises(InputError, match=r"lacks a, b \(it holds code, pressure"),
    ):
        require_fields(store, ["a", "code", "b"])


def test_a_writer_that_cannot_be_made_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        StoreWriter(tmp_path / "store.h5", "darcy", FIELDS, 3, {"not for json": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("index", "name", "values", "told"),
    [
        (
            0,
            "presure",
            np.ones((4, 3)),
            r"store\.h5 cannot take presure: the store only has the fields pressure, code$",
        ),
        (3, "code", np.ones(2), r"the store has samples 0 to 2, not 3"),
        (-1, "code", np.ones(2), r"the store has samples 0 to 2, not -1"),
        (0, "pressure", np.ones((3, 4)), r"cannot take pressure: it has shape \(3, 4\), expected \(4, 3\)"),
        (slice(0, 2), "code", np.ones(2), r"has shape \(2,\), expected \(2, 2\)"),
        (
            slice(1, 3),
            "code",
            np.array([[1, 2], [3, np.nan]]),
            "cannot take code: its values of sample 2 are not finite",
        ),
        (1, "code", np.array([1, np.inf]), "cannot take code: its values of sample 1 are not finite"),
    ],
)
def test_what_does_not_fit_is_named_and_not_written(index, name, values, told, tmp_path):
    with pytest.raises(InputError, match=told), StoreWriter(tmp_path / "store.h5", "darcy", FIELDS, 3, {}) as writer:
        writer.write(index, {name: values})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"pressure": slice(0, 3)}, "was not created: code is missing for 3 samples, the first of them 0"),
        (
            {"pressure": slice(0, 3), "code": slice(0, 2)},
            "was not created: code is missing for 1 samples, the first of them 2",
        ),
    ],
)
def test_a_store_with_gaps_is_not_made(written, told, tmp_path):
    """HDF5 reads what was never written as zeros."""
    with pytest.raises(InputError, match=told), StoreWriter(tmp_path / "store.h5", "darcy", FIELDS, 3, {}) as writer:
        for name, samples in written.items():
            writer.write(samples, {name: np.ones((samples.stop, *FIELDS[name].shape))})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "num_samples", "told"), [(FIELDS, 0, "num_samples is 0"), ({}, 3, "would have no field")]
)
def test_a_store_of_nothing_is_refused(fields, num_samples, told, tmp_path):
    with pytest.raises(InputError, match=told):
        StoreWriter(tmp_path / "store.h5", "darcy", fields, num_samples, {})
