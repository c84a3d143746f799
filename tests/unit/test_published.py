"""Published files: read as distributed, converted without loss, and refused with a clear word when something is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from data_prep.published.convert import Layout, PublishedArray, PublishedFile, export_files, import_files
from experiments.convert import layout as layout_of
from lsm.data.matlab5 import Mat5File
from lsm.data.store import Store, StoredField, StoreWriter
from lsm.errors import InputError
from lsm.files import sha256

NUM_SAMPLES = 6
FILES = ("piececonst_r421_N1024_smooth1.mat", "piececonst_r421_N1024_smooth2.mat")
VERSIONS = ("5", "7.3")


def ignore(count: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def layout(compose) -> Layout:
    """Darcy's files, small: 3 + 3 samples on 7 x 7 cells."""
    published = layout_of(compose("convert", "benchmark=darcy", "benchmark.sets.full.solver_resolution=7"))
    files = tuple(
        replace(file, samples=samples) for file, samples in zip(published.files, [(0, 3), (3, 6)], strict=True)
    )
    return replace(published, files=files)


@pytest.fixture
def store(layout: Layout, tmp_path: Path) -> Path:
    """Arrays without any symmetry, so that exchanged axes or samples show."""
    rng = np.random.default_rng(0)
    arrays = {
        "permeability": rng.choice([3.0, 12.0], (NUM_SAMPLES, 7, 7)).astype("f4"),
        "pressure": rng.uniform(0, 0.09, (NUM_SAMPLES, 7, 7)).astype("f4"),
    }
    with StoreWriter(tmp_path / "original.h5", "darcy", layout.fields, NUM_SAMPLES, {}) as writer:
        writer.write(slice(0, NUM_SAMPLES), arrays)
    return tmp_path / "original.h5"


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with Store(path) as store:
        return {name: store.field(name)[:] for name in store.fields}


def publish(layout: Layout, store: Path, folder: Path, version: str, strict=True, overwrite=False) -> list[str]:
    return export_files(layout, store, folder, version, strict, overwrite, ignore, ignore)


def convert(layout: Layout, folder: Path, strict: bool = True) -> list[str]:
    return import_files(layout, folder, folder / "converted.h5", strict, ignore, ignore)


def assert_refused(error: type[Exception], named: str, layout: Layout, folder: Path, strict: bool = True) -> None:
    """The right words, in one line, and no trace of a store."""
    before = sorted(file.name for file in folder.iterdir())
    with pytest.raises(error, match=named) as caught:
        convert(layout, folder, strict)
    assert type(caught.value) is error
    assert len(str(caught.value).splitlines()) == 1, str(caught.value)
    assert sorted(file.name for file in folder.iterdir()) == before


@pytest.mark.parametrize("version", VERSIONS)
def test_store_to_published_files_and_back_loses_nothing(version, layout, store, tmp_path):
    folder = tmp_path / "published"
    lines = publish(layout, store, folder, version)
    assert [line.rpartition("/")[2] for line in lines] == [f"{name}: 3 samples" for name in FILES]
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    found = convert(layout, folder)
    original, converted = arrays_of(store), arrays_of(folder / "converted.h5")
    assert converted.keys() == original.keys()
    for name, values in original.items():
        assert converted[name].dtype == values.dtype
        np.testing.assert_array_equal(converted[name], values)
    with Store(folder / "converted.h5") as copy:
        assert copy.fields == dict(layout.fields)
        assert copy.benchmark == "darcy"
        assert copy.provenance["files"] == {name: sha256(folder / name) for name in FILES}
    told = "\n".join(found)
    for expected in (
        "6 x (7, 7) float32, finite, 3 to 12",
        sha256(folder / FILES[0]),
        "no published checksum is known",
    ):
        assert expected in told


def test_a_file_of_version_5_is_what_matlab_writes(layout, store, tmp_path):
    publish(layout, store, tmp_path, "5")
    original = arrays_of(store)
    for name, rows in zip(FILES, (slice(0, 3), slice(3, 6)), strict=True):
        assert (tmp_path / name).read_bytes().startswith(b"MATLAB 5.0 MAT-file")
        assert [entry[0] for entry in scipy.io.whosmat(tmp_path / name)] == ["coeff", "sol"]
        content = scipy.io.loadmat(tmp_path / name)
        np.testing.assert_array_equal(content["coeff"], original["permeability"][rows])
        np.testing.assert_array_equal(content["sol"], original["pressure"][rows])
        assert content["sol"].dtype == np.float32


def test_a_file_of_version_7_3_is_hdf5_with_reversed_axes(layout, store, tmp_path):
    publish(layout, store, tmp_path, "7.3")
    original = arrays_of(store)
    raw = (tmp_path / FILES[1]).read_bytes()
    assert raw.startswith(b"MATLAB 7.3 MAT-file")
    assert raw[124:128] == b"\x00\x02IM"
    assert raw[512:516] == b"\x89HDF"
    with h5py.File(tmp_path / FILES[1]) as file:
        assert sorted(file) == ["coeff", "sol"]
        assert file["coeff"].shape == (7, 7, 3)
        np.testing.assert_array_equal(file["sol"][:].transpose(), original["pressure"][3:])
        assert file["sol"].attrs["MATLAB_class"] == b"single"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "uint8"])
def test_files_of_somebody_else_keep_their_type(dtype, version, layout, tmp_path):
    """Written here by other means, with the types that are found in published files."""
    rng = np.random.default_rng(1)
    arrays = [{"coeff": rng.integers(3, 13, (3, 7, 7)).astype(dtype), "sol": rng.random((3, 7, 7)) / 11} for _ in FILES]
    for name, content in zip(FILES, arrays, strict=True):
        if version == "5":
            scipy.io.savemat(tmp_path / name, {**content, "Kcoeff": np.ones(3)}, do_compression=True)
        else:
            with h5py.File(tmp_path / name, "w") as file:
                for variable, values in content.items():
                    file.create_dataset(variable, data=values.T, compression="gzip")
    convert(layout, tmp_path)
    found = arrays_of(tmp_path / "converted.h5")
    for field, variable in (("permeability", "coeff"), ("pressure", "sol")):
        expected = np.concatenate([content[variable] for content in arrays])
        assert found[field].dtype == expected.dtype
        np.testing.assert_array_equal(found[field], expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_another_size_is_refused_unless_it_is_allowed(version, layout, store, tmp_path):
    folder = tmp_path / "published"
    publish(layout, store, folder, version)
    for samples, shape in (((0, 4), (7, 7)), ((0, 3), (8, 7))):
        fields = {name: replace(field, shape=shape) for name, field in layout.fields.items()}
        files = (replace(layout.files[0], samples=samples), layout.files[1])
        other = replace(layout, fields=fields, files=files)
        named = r"smooth1.mat \(coeff\) holds permeability of shape \(3, 7, 7\).*strict=false"
        assert_refused(InputError, named, other, folder)
        convert(other, folder, strict=False)
        converted = arrays_of(folder / "converted.h5")
        np.testing.assert_array_equal(converted["pressure"], arrays_of(store)["pressure"])
        (folder / "converted.h5").unlink()


def rewrite(path: Path, version: str, **arrays: np.ndarray) -> None:
    """A MATLAB file with these variables, by no code of ours."""
    if version == "5":
        scipy.io.savemat(path, arrays)
        return
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values.T


def good(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {"coeff": np.full((3, 7, 7), 3.0), "sol": np.full((3, 7, 7), 0.01), **changes}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"sol": np.full((3, 7, 7), 0.01)}, r"smooth2.mat has no variable 'coeff', only sol"),
        (good(coeff=np.full((3, 7), 3.0)), r"smooth2.mat \(coeff\) has shape .*, expected 3 axes"),
        (good(sol=np.full((2, 7, 7), 0.01)), r"smooth2.mat.*(2, 7, 7|different numbers of samples: \[2, 3\])"),
        (good(coeff=np.full((3, 9, 9), 3.0)), r"smooth2.mat \(coeff\)"),
        (good(sol=np.where(np.arange(147).reshape(3, 7, 7) == 99, np.nan, 0.01)), "pressure of sample 2 is not finite"),
        (good(sol=np.where(np.arange(147).reshape(3, 7, 7) == 50, -np.inf, 0.01)), "pressure of sample 1 is not fin"),
        (
            good(coeff=np.full((3, 7, 7), 1.0)),
            r"smooth2.mat \(coeff\): permeability runs from 1 to 1, plausible is 2.999",
        ),
        (good(sol=np.full((3, 7, 7), 9.0)), r"pressure runs from 9 to 9, plausible is -0.001 to 0.1"),
    ],
    ids=["variable", "axes", "samples", "grid", "nan", "inf", "low", "high"],
)
def test_content_that_cannot_be_right_is_refused(content, named, strict, version, layout, tmp_path):
    rewrite(tmp_path / FILES[0], version, **good())
    rewrite(tmp_path / FILES[1], version, **content)
    assert_refused(InputError, named, layout, tmp_path, strict)
    rewrite(tmp_path / FILES[1], version, **good())
    convert(layout, tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_bad_sample_beyond_the_first_block_is_named(version, layout, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.published.convert.BLOCK", 2)
    values = np.full((3, 7, 7), 0.01)
    rewrite(tmp_path / FILES[0], version, **good())
    values[2, 3, 4] = np.nan
    rewrite(tmp_path / FILES[1], version, **good(sol=values))
    assert_refused(InputError, r"smooth2.mat \(sol\): pressure of sample 2 is not finite", layout, tmp_path)


def test_a_missing_file_is_named_with_both_remedies(layout, store, tmp_path):
    folder = tmp_path / "published"
    publish(layout, store, folder, "5")
    (folder / FILES[1]).unlink()
    named = rf"published lacks {FILES[1]}; put the published files .*lsm-generate benchmark=darcy"
    assert_refused(FileNotFoundError, named, layout, folder)
    (folder / FILES[0]).unlink()
    assert_refused(FileNotFoundError, f"{FILES[0]}, {FILES[1]}", layout, folder)


@pytest.mark.parametrize("keep", [0, 60, 128, 200, 515, 600, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_truncated_file_is_refused(version, keep, layout, store, tmp_path):
    folder = tmp_path / "published"
    publish(layout, store, folder, version)
    whole = (folder / FILES[0]).read_bytes()
    (folder / FILES[0]).write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    assert_refused(InputError, r"smooth1\.mat", layout, folder)


def test_a_file_of_something_else_is_refused(layout, store, tmp_path):
    folder = tmp_path / "published"
    publish(layout, store, folder, "5")
    (folder / FILES[0]).write_bytes(b"<html>quota exceeded</html>" * 40)
    assert_refused(InputError, r"smooth1\.mat cannot be read as a MATLAB file", layout, folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_interrupted_export_leaves_no_half_file(version, layout, store, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lsm.files.os.replace", fail)
    with pytest.raises(OSError, match="space"):
        publish(layout, store, tmp_path / "published", version)
    assert list((tmp_path / "published").iterdir()) == []


def test_a_store_of_other_fields_cannot_be_published(layout, tmp_path):
    fields = {"pressure": layout.fields["pressure"]}
    with StoreWriter(tmp_path / "store.h5", "darcy", fields, 1, {}) as writer:
        writer.write(0, {"pressure": np.zeros((7, 7))})
    with pytest.raises(InputError, match="only pressure, required are permeability, pressure"):
        publish(layout, tmp_path / "store.h5", tmp_path / "published", "5")


def test_a_store_with_too_few_samples_for_the_files_is_not_published(layout, tmp_path):
    with StoreWriter(tmp_path / "store.h5", "darcy", layout.fields, 1, {}) as writer:
        writer.write(0, {name: np.ones((7, 7)) for name in layout.fields})
    with pytest.raises(InputError, match=r"store\.h5 holds 1 sample\(s\), too few .*smooth1.*smooth2.*at least 2"):
        publish(layout, tmp_path / "store.h5", tmp_path / "published", "5")
    assert not (tmp_path / "published").exists()


def test_a_larger_store_is_spread_in_the_published_proportion(compose, store, tmp_path):
    published = layout_of(compose("convert", "benchmark=darcy", "benchmark.sets.full.solver_resolution=7"))
    lines = publish(published, store, tmp_path / "published", "5")
    assert [line.rpartition(": ")[2] for line in lines] == ["3 samples", "3 samples"]


@pytest.fixture
def flow() -> Layout:
    """A made-up benchmark: samples last, samples first with fields along an axis ``c``, and an optional file."""
    fields = {
        "depth": StoredField((4, 3), "m", "depth", "float64"),
        "speed": StoredField((4, 3), "m/s", "speed"),
        "heat": StoredField((4, 3), "K", "heat"),
        "note": StoredField((2,), "1", "an extra", "uint8"),
    }
    samples = (0, 5)
    return Layout(
        benchmark="flow",
        files=(
            PublishedFile("a/depth.npy", samples, (PublishedArray(("depth",), ("x", "y", "n")),)),
            PublishedFile("a/state.npy", samples, (PublishedArray(("speed", "heat"), ("n", "c", "x", "y")),)),
            PublishedFile("note.npy", samples, (PublishedArray(("note",), ("k", "n")),)),
        ),
        fields=fields,
        required=frozenset({"depth", "speed", "heat"}),
        ranges={},
    )


@pytest.fixture
def flow_folder(flow: Layout, tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/depth.npy", rng.random((4, 3, 5)))
    np.save(tmp_path / "a/state.npy", rng.random((5, 2, 4, 3)).astype("f4"))
    np.save(tmp_path / "note.npy", rng.integers(0, 9, (2, 5)).astype("u1"))
    return tmp_path


def test_a_system_that_tells_no_gaps_reads_npy_files_all_the_same(flow, flow_folder, monkeypatch):
    monkeypatch.delattr("os.SEEK_HOLE")
    convert(flow, flow_folder)
    assert arrays_of(flow_folder / "converted.h5")["depth"].shape == (5, 4, 3)


def test_a_matlab_array_is_held_until_it_is_released(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"depth": np.ones((5, 4))})
    array = Mat5File(tmp_path / "a.mat").array("depth")
    assert array.dtype == np.float64
    assert "_values" not in vars(array)
    assert array[2:].sum() == 12
    assert "_values" in vars(array)
    array.release()
    assert "_values" not in vars(array)
    array.release()


def test_axes_are_put_in_order_and_fields_apart(flow, flow_folder):
    convert(flow, flow_folder)
    found = arrays_of(flow_folder / "converted.h5")
    depth, state = np.load(flow_folder / "a/depth.npy"), np.load(flow_folder / "a/state.npy")
    for sample in range(5):
        np.testing.assert_array_equal(found["depth"][sample], depth[:, :, sample])
        np.testing.assert_array_equal(found["speed"][sample], state[sample, 0])
        np.testing.assert_array_equal(found["heat"][sample], state[sample, 1])
    np.testing.assert_array_equal(found["note"], np.load(flow_folder / "note.npy").T)
    assert found["depth"].dtype == np.float64
    publish(flow, flow_folder / "converted.h5", flow_folder / "again", "5")
    for name in ("a/depth.npy", "a/state.npy", "note.npy"):
        assert (flow_folder / "again" / name).read_bytes() == (flow_folder / name).read_bytes()


def test_files_without_a_needed_field_are_optional(flow, flow_folder):
    (flow_folder / "note.npy").unlink()
    convert(flow, flow_folder)
    assert set(arrays_of(flow_folder / "converted.h5")) == {"depth", "speed", "heat"}
    publish(flow, flow_folder / "converted.h5", flow_folder / "again", "5")
    assert not (flow_folder / "again/note.npy").exists()


@pytest.mark.parametrize("block", [1, 2, 5, 64])
def test_blocks_of_any_size_give_one_store(block, flow, flow_folder, monkeypatch):
    monkeypatch.setattr("data_prep.published.convert.BLOCK", block)
    convert(flow, flow_folder)
    found = arrays_of(flow_folder / "converted.h5")
    np.testing.assert_array_equal(found["heat"], np.load(flow_folder / "a/state.npy")[:, 1])
    np.testing.assert_array_equal(found["depth"], np.moveaxis(np.load(flow_folder / "a/depth.npy"), -1, 0))


def test_a_wrong_number_of_fields_is_refused(flow, flow_folder):
    np.save(flow_folder / "a/state.npy", np.zeros((5, 3, 4, 3), "f4"))
    assert_refused(
        InputError,
        r"state.npy has shape \(5, 3, 4, 3\), expected 2 fields along axis c",
        flow,
        flow_folder,
        strict=False,
    )


@pytest.mark.parametrize("keep", [0, 4, 20, 100, 130, 0.5])
def test_a_truncated_npy_file_is_refused(keep, flow, flow_folder):
    whole = (flow_folder / "a/depth.npy").read_bytes()
    (flow_folder / "a/depth.npy").write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    assert_refused(InputError, r"depth\.npy cannot be read as \.npy", flow, flow_folder)


def test_a_damaged_npy_header_never_gives_a_traceback(flow, flow_folder):
    """Every byte of the header in turn: refused as damaged, or as of another shape, or harmless (a space)."""
    path = flow_folder / "a/depth.npy"
    whole = path.read_bytes()
    refused = 0
    for position in range(128):
        spoilt = bytearray(whole)
        spoilt[position] = ord("(") if spoilt[position] != ord("(") else ord("7")
        path.write_bytes(bytes(spoilt))
        try:
            convert(flow, flow_folder)
            (flow_folder / "converted.h5").unlink()
        except InputError as error:
            assert "depth.npy" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 60


def test_pickled_and_zipped_arrays_are_refused(flow, flow_folder, tmp_path):
    path = flow_folder / "a/depth.npy"
    np.save(path, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    assert_refused(InputError, r"depth\.npy", flow, flow_folder)
    with path.open("wb") as file:
        np.savez(file, depth=np.zeros((4, 3, 5)))
    assert_refused(InputError, r"depth\.npy", flow, flow_folder)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (np.zeros((4, 3, 5), complex), "type complex128, expected real numbers"),
        (np.full((4, 3, 5), "1"), "type <U1, expected real numbers"),
        (np.zeros((4, 3, 0), "f4"), r"has shape \(4, 3, 0\), expected at least one value"),
    ],
)
def test_arrays_of_a_wrong_kind_are_refused(content, named, flow, flow_folder):
    np.save(flow_folder / "a/depth.npy", content)
    assert_refused(InputError, named, flow, flow_folder, strict=False)


def test_what_is_no_full_array_in_a_matlab_file_is_refused(layout, tmp_path):
    cells = np.empty((3, 7, 7), object)
    cells[:] = 1.0
    scipy.io.savemat(tmp_path / FILES[0], {"coeff": cells, "sol": np.zeros((3, 7, 7))})
    with h5py.File(tmp_path / FILES[1], "w", userblock_size=512) as file:
        file.create_group("coeff")
        file["sol"] = np.zeros((7, 7, 3))
    assert_refused(InputError, r"\(coeff\) is of MATLAB class cell, expected a dense array", layout, tmp_path)
    scipy.io.savemat(tmp_path / FILES[0], {"coeff": np.ones((3, 7, 7)), "sol": np.zeros((3, 7, 7))})
    assert_refused(InputError, r"coeff is of another kind \(a cell, a struct or sparse", layout, tmp_path)


def test_whole_numbers_come_back_as_they_were(layout, tmp_path):
    for name in FILES:
        scipy.io.savemat(tmp_path / name, {"coeff": np.full((3, 7, 7), 12), "sol": np.full((3, 7, 7), 0.1)})
    convert(layout, tmp_path)
    for version in VERSIONS:
        publish(layout, tmp_path / "converted.h5", tmp_path / version, version)
        convert(layout, tmp_path / version)
        assert arrays_of(tmp_path / version / "converted.h5")["permeability"].dtype == np.int64


@pytest.mark.parametrize("version", VERSIONS)
def test_files_that_are_there_are_not_replaced(version, layout, store, tmp_path):
    (tmp_path / FILES[1]).write_bytes(b"hard to come by")
    with pytest.raises(InputError, match=rf"{FILES[1]} exists already; add overwrite=true"):
        publish(layout, store, tmp_path, version)
    assert (tmp_path / FILES[1]).read_bytes() == b"hard to come by"
    assert not (tmp_path / FILES[0]).exists()
    publish(layout, store, tmp_path, version, overwrite=True)
    convert(layout, tmp_path)


def test_a_store_of_other_sizes_is_published_only_on_demand(layout, store, tmp_path):
    """It may be the store of another benchmark whose fields have the same names."""
    shape = replace(layout.fields["pressure"], shape=(9, 9))
    larger = replace(layout, fields={**layout.fields, "pressure": shape})
    with pytest.raises(
        InputError, match=r"original\.h5 holds pressure of shape \(7, 7\), expected \(9, 9\).*strict=false"
    ):
        publish(larger, store, tmp_path, "5")
    assert not (tmp_path / FILES[0]).exists()
    assert len(publish(larger, store, tmp_path, "5", strict=False)) == 2


def test_checksums_are_compared_where_they_are_known(flow, flow_folder):
    known = sha256(flow_folder / "note.npy")
    for checksum, verdict in ((known, "as published"), ("0" * 64, "NOT the published one")):
        files = (*flow.files[:2], replace(flow.files[2], sha256=checksum))
        lines = convert(replace(flow, files=files), flow_folder)
        assert [line for line in lines if line.startswith("note.npy")] == [
            f"note.npy: SHA-256 {known} ({verdict}{'' if checksum == known else ', ' + checksum})"
        ]


def test_direction_and_options_of_the_command(command, store, tmp_path, darcy_store):
    small = ["benchmark=darcy", "preset=quick", "benchmark.sets.quick.solver_resolution=25"]
    with pytest.raises(InputError, match=r"either source=FOLDER .* or export=FOLDER"):
        command("convert", *small)
    with pytest.raises(InputError, match="mat_version is 6, expected one of 5, 7.3"):
        command("convert", *small, f"export={tmp_path / 'published'}", "mat_version=6", f"store={darcy_store}")
    with pytest.raises(InputError, match="overwrite=true"):
        command("convert", *small, f"source={tmp_path}", f"store={store}")
    for version in VERSIONS:
        folder, copy = tmp_path / version, tmp_path / f"{version}.h5"
        command("convert", *small, f"export={folder}", f"store={darcy_store}", f"mat_version={version}")
        with pytest.raises(InputError, match="strict=false"):
            command("convert", *small, f"source={folder}", f"store={copy}")
        for overwrite in ("false", "true"):
            options = [f"source={folder}", f"store={copy}", "strict=false", f"overwrite={overwrite}"]
            lines = command("convert", *small, *options)
            assert lines[-2] == f"wrote {copy}"
            call = f"lsm-generate benchmark=darcy preset=quick benchmark.sets.quick.solver_resolution=25 store={copy} check=true"
            assert lines[-1].endswith(call)
        original, converted = arrays_of(darcy_store), arrays_of(copy)
        for name in ("permeability", "pressure"):
            np.testing.assert_array_equal(converted[name], original[name])
