"""``lsm-generate check=true``: figures of a store, generated or converted, beside the published ones; and shared data."""

from __future__ import annotations

import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import BENCHMARKS, TINY_DARCY
from hydra.utils import instantiate
from synthetic import write_synthetic_store

from data_prep.generation.generator import Statistic
from experiments.app import plain
from experiments.check import spread
from experiments.convert import layout as layout_of
from lsm.data.datamodule import FieldDataModule
from lsm.data.readers.base import make_reader
from lsm.data.store import Store, StoreWriter
from lsm.errors import InputError

DARCY = (*TINY_DARCY, "check=true")
ELASTICITY = ("benchmark=elasticity_p", "preset=quick")
ELASTICITY_G = ("benchmark=elasticity_g", "preset=quick")


def darcy_figures(compose, store: Path, samples: list[int]) -> list[Statistic]:
    generator = instantiate(compose("generate", *DARCY).benchmark.generator)
    with Store(store) as opened:
        return generator.statistics({name: opened.field(name)[:][samples] for name in opened.fields})


def told(capsys) -> str:
    return capsys.readouterr().out


def test_figures_of_generated_data(command, compose, darcy_store, capsys):
    figures = command("generate", *DARCY, f"store={darcy_store}")
    assert figures == darcy_figures(compose, darcy_store, list(range(9)))
    output = told(capsys)
    assert "9 of 9 samples" in output
    assert all(f"{figure.value:.5g}" in output and f"{figure.high:.5g}" in output for figure in figures)


def test_few_samples_are_read_and_evenly_spread(command, compose, darcy_store, capsys):
    figures = command("generate", *DARCY, f"store={darcy_store}", "check_samples=3")
    assert figures == darcy_figures(compose, darcy_store, [0, 4, 8])
    assert "3 of 9 samples" in told(capsys)
    with pytest.raises(InputError, match="check_samples is 0"):
        command("generate", *DARCY, f"store={darcy_store}", "check_samples=0")


@pytest.mark.parametrize(
    ("total", "wanted", "chosen"),
    [(5, 9, [0, 1, 2, 3, 4]), (5, 5, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (2000, 1, [0]), (7, 2, [0, 6])],
)
def test_spread(total, wanted, chosen):
    assert spread(total, wanted) == chosen


def test_figures_outside_the_published_range_are_marked_and_counted(command, darcy_store, tmp_path, capsys):
    store = tmp_path / "store.h5"
    store.write_bytes(darcy_store.read_bytes())
    with h5py.File(store, "a") as file:
        file["fields/pressure"][:] = file["fields/pressure"][:] + 1
    figures = command("generate", *DARCY, f"store={store}")
    assert [figure.expected for figure in figures] == [True, False, False, False, False]
    lines = told(capsys).splitlines()
    marked = [any(figure.name[:20] in line and "outside" in line for line in lines) for figure in figures]
    assert marked == [False, True, True, True, True]
    assert lines[-1].startswith("4 of 5 figures outside the expected range; ")


def write_converted(path: Path, benchmark: str, compose, files: str = "") -> set[str]:
    """A store as conversion makes it of the published files whose names contain ``files``; the names of its fields."""
    layout = layout_of(compose("convert", f"benchmark={benchmark}", "preset=quick"))
    published = {name for file in layout.files if files in file.name for name in file.fields}
    described = {name: field for name, field in layout.fields.items() if name in published}
    arrays = write_synthetic_store(path, benchmark, described, 4, layout.ranges)
    with StoreWriter(path, benchmark, described, 4, {"source": "published", "files": {}}) as writer:
        writer.write(slice(0, 4), arrays)
    return published


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_published_fields_suffice(benchmark, command, compose, tmp_path):
    write_converted(tmp_path / "store.h5", benchmark, compose)
    figures = command(
        "generate", f"benchmark={benchmark}", "preset=quick", f"store={tmp_path / 'store.h5'}", "check=true"
    )
    assert len(figures) >= 3
    assert np.isfinite([figure.value for figure in figures]).all()


@pytest.mark.parametrize("benchmark", [name for name in BENCHMARKS if name != "elasticity_g"])
def test_fields_that_training_needs_suffice(benchmark, command, compose, tmp_path):
    """Published files that hold nothing else are optional in conversion."""
    layout = layout_of(compose("convert", f"benchmark={benchmark}", "preset=quick"))
    needed = {name: field for name, field in layout.fields.items() if name in layout.required}
    write_synthetic_store(tmp_path / "store.h5", benchmark, needed, 4, layout.ranges)
    options = [f"benchmark={benchmark}", "preset=quick", f"store={tmp_path / 'store.h5'}", "check=true"]
    assert len(command("generate", *options)) >= (2 if benchmark == "navier_stokes" else 3)


def test_a_store_without_any_known_figure_is_told(command, compose, tmp_path):
    store = tmp_path / "store.h5"
    write_converted(store, "elasticity_g", compose, files="Interp")
    with pytest.raises(InputError, match="holds only grid_mask, grid_stress, .*convert again with overwrite=true"):
        command("generate", *ELASTICITY_G, f"store={store}", "check=true")


def test_a_missing_store_is_told_with_both_remedies_and_nothing_is_made(command, tmp_path):
    store = tmp_path / "gone/store.h5"
    remedies = r"lsm-generate benchmark=darcy preset=quick`.*lsm-convert benchmark=darcy preset=quick source="
    with pytest.raises(FileNotFoundError, match=rf"gone/store\.h5 does not exist.*{remedies}"):
        command("generate", *DARCY, f"store={store}")
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_another_size_is_told(command, darcy_store):
    with pytest.raises(InputError, match=r"permeability of shape \(25, 25\), with preset=paper it is \(421, 421\)"):
        command("generate", "benchmark=darcy", f"store={darcy_store}", "check=true")


def test_the_comparison_that_a_conversion_names_takes_its_options(command, compose, tmp_path):
    typed = [*TINY_DARCY, "benchmark.generator={low: 2.5, high: 12.0}"]
    only_converted = ["benchmark.published.ranges.pressure=[-1,1]", f"store={tmp_path / 'a store.h5'}"]
    layout = layout_of(compose("convert", *typed))
    write_synthetic_store(tmp_path / "original.h5", "darcy", layout.fields, 4, layout.ranges)
    command("convert", *typed, f"store={tmp_path / 'original.h5'}", f"export={tmp_path / 'published'}")
    lines = command("convert", *typed, *only_converted, f"source={tmp_path / 'published'}", "strict=false")
    name, *options = shlex.split(lines[-1].partition(": ")[2])
    assert name == "lsm-generate"
    assert len(command("generate", *options)) >= 3


class TestOneDataSetOfTwoBenchmarks:
    def test_generated_for_one_it_is_complete_for_the_other(self, command, tmp_path):
        options = [f"data_dir={tmp_path}", "num_samples=2", "workers=1"]
        assert command("generate", *ELASTICITY, *options).computed == 2
        report = command("generate", *ELASTICITY_G, *options)
        assert (report.computed, report.found, report.merged) == (0, 2, True)

    @pytest.mark.parametrize("by", [ELASTICITY, ELASTICITY_G])
    def test_converted_by_one_it_serves_both(self, by, command, compose, tmp_path):
        layout = layout_of(compose("convert", *by))
        write_synthetic_store(tmp_path / "original.h5", "elasticity_p", layout.fields, 4, layout.ranges)
        command("convert", *by, f"store={tmp_path / 'original.h5'}", f"export={tmp_path / 'published'}")
        store = tmp_path / "store.h5"
        lines = command("convert", *by, f"store={store}", f"source={tmp_path / 'published'}", "strict=false")
        assert lines[-1].endswith(f"lsm-generate {' '.join(by)} store={store} check=true")
        for benchmark in (ELASTICITY, ELASTICITY_G):
            assert len(read(compose, benchmark, store).dataset("train")) == 2

    def test_a_store_without_the_files_of_the_other_is_told_with_the_remedy(self, compose, tmp_path):
        write_converted(tmp_path / "store.h5", "elasticity_g", compose, files="Interp")
        with pytest.raises(
            InputError, match=r"store\.h5 lacks points, stress, radius .*convert again with overwrite=true"
        ):
            read(compose, ELASTICITY, tmp_path / "store.h5")


def read(compose, options: tuple[str, ...], store: Path) -> FieldDataModule:
    """A data module on a store of four samples."""
    reader = make_reader(plain(compose("train", *options).benchmark.reader))
    return FieldDataModule(store, reader, {"train": (0, 2), "validation": (2, 3), "test": (3, 4)})
