"""Own data that single precision cannot hold are refused, with a remedy, before a training takes them."""

import h5py
import numpy as np
import pytest

from lsm.data.layout import Roles
from lsm.data.own_file import open_own_file, write_store
from lsm.data.store import Store
from lsm.errors import InputError

FIELD = np.random.default_rng(0).random((4, 6, 5))
POINTS = np.random.default_rng(1).random((4, 9, 2))


def store_of(tmp_path, **arrays):
    np.savez(tmp_path / "my.npz", **arrays)
    with open_own_file(tmp_path / "my.npz", Roles()) as file:
        write_store(file, tmp_path / "store.h5", range(4), {})
    return Store(tmp_path / "store.h5")


REFUSED = {
    "a small change of a large number": (
        {"inputs": FIELD, "targets": 101325 + 1e-3 * FIELD},
        r"target in .* lies between 101325\S* and 101325\S*, which single precision rounds by up to 0.00\S*; "
        r"subtract a constant from it, such as 101325\S*, or change its unit",
    ),
    "coordinates far from the origin": (
        {"coords": [5, 5.4e6] + POINTS * 20, "targets": POINTS},
        "points in .* lies between 54000.* and 54000.*, which single precision rounds by up to 0.2",
    ),
    "whole numbers": (
        {"inputs": FIELD, "targets": FIELD, "parameters": 2**40 + np.arange(4)},
        "parameter in .* lies between",
    ),
    "densities": (
        {"inputs": FIELD, "targets": 1e19 * FIELD},
        r"target in .* has magnitudes of up to 9.9\S*e\+18, whose squares single precision cannot hold; "
        r"give it in a unit in which they lie between 1e-15 and 1e\+15",
    ),
    "cross sections": ({"inputs": FIELD, "targets": 1e-28 * FIELD}, "magnitudes of up to 9.9.*e-29"),
    "beyond single precision": (
        {"inputs": 1e200 * (FIELD + 1), "targets": FIELD},
        r"input in .* exceeds 3.4e\+38, the greatest number of single precision, in sample 0; give it in another unit",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_single_precision_cannot_hold_is_refused(name, tmp_path):
    arrays, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        store_of(tmp_path, **arrays)
    assert not (tmp_path / "store.h5").exists()


@pytest.mark.parametrize(
    "arrays",
    [
        {"inputs": 1e19 * FIELD, "targets": 101325 + 10 * FIELD},  # inputs are normalised
        {"inputs": 0.3 + 1e-16 * FIELD, "targets": 2 + 0 * FIELD},  # constant up to noise; constant
        {"coords": [5, 5.4e6] + POINTS * 2e4, "targets": POINTS[..., 0]},
    ],
)
def test_other_data_are_kept_to_single_precision(arrays, tmp_path):
    with store_of(tmp_path, **arrays) as store:
        for name, values in zip(store.fields, arrays.values(), strict=True):
            np.testing.assert_array_equal(store.field(name)[0:4].squeeze(), np.asarray(values, np.float32).squeeze())


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_truth_values_are_zeros_and_ones(suffix, tmp_path):
    path, mask = tmp_path / f"my{suffix}", FIELD > 0.5
    if suffix == ".npz":
        np.savez(path, inputs=mask, targets=FIELD)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("inputs", data=mask, chunks=(1, 6, 5), compression="gzip", shuffle=True)
            file["targets"] = FIELD
    with open_own_file(path, Roles()) as file:
        write_store(file, tmp_path / "store.h5", range(4), {})
    with Store(tmp_path / "store.h5") as store:
        assert store.field("input").dtype == np.float32
        np.testing.assert_array_equal(store.field("input")[:], mask.astype("f4"))


def test_a_group_is_named(tmp_path):
    with h5py.File(tmp_path / "my.h5", "w") as file:
        file["train/inputs"] = FIELD
    with (
        pytest.raises(
            InputError, match="train in .*my.h5 is a group .*; give its arrays names of their own, outside groups"
        ),
        open_own_file(tmp_path / "my.h5", Roles()),
    ):
        pass
