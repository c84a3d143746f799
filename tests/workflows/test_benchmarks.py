"""Every benchmark in conf/benchmark/ with every family of models: published files -> store -> two steps of training; of the
Latent Spectral Model also evaluation and pictures.

A benchmark or a family added later is covered without a change here. Data are synthetic (see ``synthetic.py``), in the layout
that the benchmark's generator declares; where solving is quick, real data go the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from conftest import BENCHMARKS, TINY_DARCY
from omegaconf import OmegaConf
from PIL import Image
from synthetic import write_synthetic_store

from experiments.app import plain
from experiments.convert import layout as layout_of
from experiments.train import TrainingResult
from lsm.checkpoint import load
from lsm.data.readers.base import make_reader
from lsm.data.store import Store
from lsm.errors import InputError
from lsm.model import MODELS
from lsm.solver import build_solver

#: Training, validation and test samples.
SPLITS = {"train": (0, 4), "validation": (4, 6), "test": (6, 9)}
NUM_SAMPLES = 9

#: Options that make a benchmark's own generator a matter of seconds.
REAL = {"darcy": TINY_DARCY}
TRAINED_ON_REAL = {"darcy": ("benchmark.sets.quick.resolution=13",)}


def train_options(benchmark: str, store: Path, folder: Path) -> list[str]:
    """Two steps of a model of width 8."""
    splits = ",".join(f"{name}:[{first},{end}]" for name, (first, end) in SPLITS.items())
    return [
        *(f"benchmark={benchmark}", "preset=quick", f"data.path={store}", f"run_dir={folder}", "model.width=8"),
        *(f"data.splits={{{splits}}}", "data.batch_size=2", "trainer.accelerator=cpu"),
        *("trainer.max_epochs=1", "+trainer.limit_train_batches=2"),
    ]


def is_picture(path: Path) -> bool:
    """Whether a PNG shows colours of a field; synthetic positions lie on narrow strips, so a fiftieth of it is enough."""
    pixels = matplotlib.image.imread(path)[..., :3]
    coloured = np.ptp(pixels, axis=-1) > 0.1
    return coloured.mean() > 0.02 and len(np.unique(pixels[coloured].round(2), axis=0)) > 20


def assert_trained(result: TrainingResult) -> None:
    """Two steps changed most parameters, the checkpoint holds them, and all numbers are finite."""
    saved = torch.load(result.last, weights_only=True)
    assert saved["global_step"] == 2
    assert np.isfinite(list(result.metrics.values())).all()
    checkpoint = load(result.last)
    torch.manual_seed(checkpoint.run["config"]["seed"])
    untrained = dict(build_solver(checkpoint.solver.config, checkpoint.solver.spec).model.named_parameters())
    trained = dict(checkpoint.solver.model.named_parameters())
    assert trained.keys() == untrained.keys()
    assert all(value.isfinite().all() for value in trained.values())
    moved = [name for name, value in untrained.items() if not torch.equal(trained[name], value)]
    assert len(moved) > len(trained) / 2


def assert_whole_way(command, options: list[str], folder: Path) -> None:
    """Train, evaluate, visualise."""
    result = command("train", *options)
    assert_trained(result)
    checkpoint = load(result.last)
    metrics = command("evaluate", f"checkpoint={folder}", "device=cpu", "batch_size=2")
    assert metrics["relative_l2"]["num_samples"] == 3
    assert 0 < metrics["relative_l2"]["mean"] < np.inf
    written = json.loads((folder / "evaluation/test/metrics.json").read_text())
    assert written["benchmark"] == checkpoint.run["config"]["benchmark"]["name"]

    pictures = command("visualize", f"checkpoint={folder}", "samples=[0,2]", "device=cpu", "dpi=60")
    assert [path.name for path in pictures] == ["test_0000.png", "test_0002.png", "learning_curve.png"]
    assert all(map(is_picture, pictures[:-1]))
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


@pytest.fixture(scope="module")
def store_of(compose, tmp_path_factory) -> Callable[[str], Path]:
    """``store_of(benchmark)``: nine synthetic samples; not to be written to."""
    stores: dict[str, Path] = {}

    def write(benchmark: str) -> Path:
        if benchmark not in stores:
            stores[benchmark] = tmp_path_factory.mktemp(benchmark) / "store.h5"
            layout = layout_of(compose("convert", f"benchmark={benchmark}", "preset=quick"))
            write_synthetic_store(
                stores[benchmark], benchmark, layout.fields, NUM_SAMPLES, layout.ranges, layout.display
            )
        return stores[benchmark]

    return write


def serves(family: str, benchmark: str, compose, store: Path) -> bool:
    """Whether a family of models takes the sites of a benchmark."""
    reader = make_reader(plain(compose("train", f"benchmark={benchmark}", "preset=quick").benchmark.reader))
    with Store(store) as opened:
        return reader.spec(opened).geometry in MODELS[family].geometries


#: One benchmark of every reader; the others have the same kind of fields.
KINDS = ("airfoil", "elasticity_p", "navier_stokes", "plasticity")


@pytest.mark.parametrize(
    "benchmark", [pytest.param(name, marks=[] if name in KINDS else pytest.mark.slow) for name in BENCHMARKS]
)
def test_synthetic_data_go_the_whole_way(benchmark, command, store_of, tmp_path):
    assert_whole_way(command, train_options(benchmark, store_of(benchmark), tmp_path / "run"), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_a_field_in_motion_becomes_a_gif_and_one_at_rest_a_clear_refusal(benchmark, command, store_of, tmp_path):
    folder = tmp_path / "run"
    spec = load(command("train", *train_options(benchmark, store_of(benchmark), folder)).last).solver.spec
    options = (f"checkpoint={folder}", "samples=[1]", "device=cpu", "dpi=40", "curve=false")
    options += ("animate=true", "animation_dpi=30")
    if not (spec.frames or "time" in spec.axes):
        with pytest.raises(InputError, match="field at rest"):
            command("visualize", *options)
        assert not (folder / "figures/test_0001.png").exists()
        return
    picture, animation = command("visualize", *options)
    assert (picture.name, animation.name) == ("test_0001.png", "test_0001.gif")
    with Image.open(animation) as frames:
        assert frames.n_frames == (spec.frames.targets if spec.frames else spec.sites[-1])


def pairs() -> list:
    """Every family with every benchmark. By default each meets a cloud, and a roll-out on a grid if it refuses the cloud."""
    found = []
    for family in (name for name in MODELS.names() if name != "lsm"):
        quick = {"elasticity_p"} | (set() if "points" in MODELS[family].geometries else {"navier_stokes"})
        found += [pytest.param(family, name, marks=[] if name in quick else pytest.mark.slow) for name in BENCHMARKS]
    return found


@pytest.mark.parametrize(("family", "benchmark"), pairs())
def test_every_family_trains_on_the_sites_that_it_serves(family, benchmark, command, compose, store_of, tmp_path):
    store = store_of(benchmark)
    options = [*train_options(benchmark, store, tmp_path / "run"), f"model={family}"]
    if serves(family, benchmark, compose, store):
        result = command("train", *options)
        assert_trained(result)
        assert load(result.last).solver.config["model"]["name"] == family
    else:
        with pytest.raises(InputError, match=f"model {family} does not support .* sites; models that do: "):
            command("train", *options)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_published_files_lose_nothing(benchmark, version, command, compose, tmp_path):
    """Every benchmark's published layout, written by us and read back."""
    layout = layout_of(compose("convert", f"benchmark={benchmark}", "preset=quick"))
    if version == "5" and all(file.name.endswith(".npy") for file in layout.files):
        pytest.skip("publishes no .mat file")
    original, folder, converted = tmp_path / "original.h5", tmp_path / "published", tmp_path / "converted.h5"
    arrays = write_synthetic_store(original, benchmark, layout.fields, 4, layout.ranges)
    options = [f"benchmark={benchmark}", "preset=quick"]
    command("convert", *options, f"store={original}", f"export={folder}", f"mat_version={version}")
    command("convert", *options, f"store={converted}", f"source={folder}", "strict=false")
    published = {name for file in layout.files for name in file.fields}
    assert layout.required <= published
    with Store(converted) as store:
        assert set(store.fields) == published
        for name in published:
            np.testing.assert_array_equal(store.field(name)[:], arrays[name], err_msg=name)
            assert store.field(name).dtype == arrays[name].dtype


@pytest.mark.parametrize("benchmark", REAL)
def test_solved_data_go_the_whole_way(benchmark, command, tmp_path):
    store = tmp_path / "store.h5"
    options = [f"store={store}", f"num_samples={NUM_SAMPLES}", "workers=1"]
    assert command("generate", *REAL[benchmark], *options).merged
    with Store(store) as solved:
        assert solved.bookkeeping()["residual"].max() <= 1e-10
    options = train_options(benchmark, store, tmp_path / "run")
    assert_whole_way(command, [*options, *TRAINED_ON_REAL[benchmark]], tmp_path / "run")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("preset", ["paper", "quick", "night", "best"])
def test_presets_are_complete_and_fit_the_published_set(benchmark, preset, compose):
    """Nothing is left open, the splits fit the samples, and what the reader needs is generated and published."""
    cfg = compose("train", f"benchmark={benchmark}", f"preset={preset}")
    num_samples = cfg.benchmark.sets[cfg.set].num_samples
    splits = [tuple(cfg.data.splits[name]) for name in ("train", "validation", "test")]
    assert all(first <= end for first, end in splits)
    assert splits[0][1] > splits[0][0]
    assert splits[2][1] > splits[2][0]
    ordered = sorted(splits)
    assert all(before[1] <= after[0] for before, after in pairwise(ordered)), "no shared samples"
    assert max(end for _, end in splits) <= num_samples
    assert not OmegaConf.missing_keys(cfg) - {"scheduler.make.total_steps"}
    layout = layout_of(compose("convert", f"benchmark={benchmark}", f"preset={preset}"))
    assert layout.required <= set(layout.fields)
    assert layout.required <= {name for file in layout.files for name in file.fields}
    assert set(layout.ranges) <= set(layout.fields)
    if preset != "quick":
        assert num_samples <= max(file.samples[1] for file in layout.files)
    assert cfg.benchmark.name == benchmark
