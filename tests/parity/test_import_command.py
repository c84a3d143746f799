"""``lsm-import``: weights in the reference's format become a checkpoint that computes the reference's function."""

from __future__ import annotations

import pytest
import torch
from oracle import cloud_model, cloud_shapes, deformation_shapes, grid_model, grid_shapes, random_state
from synthetic import write_synthetic_store

from experiments.app import plain
from experiments.convert import layout as layout_of
from lsm.checkpoint import load
from lsm.data.datamodule import FieldDataModule
from lsm.data.readers.base import make_reader
from lsm.errors import InputError

WIDTH = 8

#: Benchmark, channels of its input and its target, patch.
GRIDS = {"darcy": (1, 1, (6, 6)), "elasticity_g": (1, 1, (3, 3)), "navier_stokes": (10, 1, (4, 4))}


@pytest.fixture
def benchmark(request, compose, tmp_path):
    """Name, options of the import, and the first test sample."""
    name = request.param
    layout = layout_of(compose("convert", f"benchmark={name}", "preset=quick"))
    store = tmp_path / "store.h5"
    write_synthetic_store(store, name, layout.fields, 4, layout.ranges)
    splits = {"train": [0, 3], "validation": [3, 3], "test": [3, 4]}
    options = [
        *(
            f"benchmark={name}",
            "preset=quick",
            f"data.path={store}",
            f"model.width={WIDTH}",
            "model.num_scales=5",
        ),
        *(f"data.splits.{split}={limits}" for split, limits in splits.items()),
        *("data.normalization.inputs=none", "data.normalization.targets=none"),
    ]
    reader = make_reader(plain(compose("import", *options, "checkpoint=x").benchmark.reader))
    return name, options, FieldDataModule(store, reader, splits).dataset("test")[0]


def shapes_of(name):
    in_channels, out_channels, _ = GRIDS[name]
    return grid_shapes(2, WIDTH, in_channels, out_channels)


def write(state, path):
    """As the reference is told to save its weights: in single precision."""
    torch.save({key: value.float() if value.is_floating_point() else value for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("benchmark", ["darcy", "elasticity_g"], indirect=True)
def test_imported_grid_model_is_the_reference(benchmark, command, tmp_path):
    name, options, sample = benchmark
    state = random_state(shapes_of(name), torch.Generator().manual_seed(1))
    patch = GRIDS[name][2]
    path = write(state, tmp_path / "weights.pt")
    output = command("import", *options, f"checkpoint={path}", f"model.patch=[{','.join(map(str, patch))}]")
    assert output == tmp_path / "weights.ckpt"
    expected = grid_model(sample.inputs[None].double(), state, patch, training=False)
    expected = expected * sample.inputs[None].double() if name == "elasticity_g" else expected
    with torch.no_grad():
        found = load(output).solver(sample.__class__.stack([sample]))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    metrics = command("evaluate", f"checkpoint={output}", "device=cpu")
    error = (expected - sample.targets).norm() / sample.targets.norm()
    assert metrics["relative_l2"]["mean"] == pytest.approx(float(error), rel=1e-4)


@pytest.mark.parametrize("benchmark", ["elasticity_p"], indirect=True)
def test_imported_cloud_model_is_the_reference_with_its_rows(benchmark, command, tmp_path):
    _, options, sample = benchmark
    generator = torch.Generator().manual_seed(2)
    state, deform = random_state(cloud_shapes(WIDTH, 2, 1), generator), random_state(deformation_shapes(), generator)
    files = write(state, tmp_path / "weights.pt"), write(deform, tmp_path / "deformation.pt")
    options = [*options, f"checkpoint={files[0]}", f"output={tmp_path / 'made/cloud.ckpt'}", "model.patch=[6,6]"]
    options += ["model.projection.resolution=96"]
    with pytest.raises(InputError, match="needs its deformation network") as caught:
        command("import", *options)
    assert caught.value.options == ("deformation",)
    output = command("import", *options, f"deformation={files[1]}")
    checkpoint = load(output)
    assert checkpoint.solver.model.projection.rows == "reference"
    inputs, code = sample.coords[None].double(), sample.code[None].double()
    with torch.no_grad():
        expected = cloud_model(inputs, inputs, code, state, deform, (6, 6), training=False, rows="reference")
        found = checkpoint.solver(sample.__class__.stack([sample]))
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert command("evaluate", f"checkpoint={output}", "device=cpu")["relative_l2"]["mean"] > 0


@pytest.mark.parametrize("benchmark", ["navier_stokes"], indirect=True)
def test_what_an_import_refuses(benchmark, command, tmp_path):
    name, options, _ = benchmark
    with pytest.raises(FileNotFoundError, match=r"gone\.pt does not exist"):
        command("import", *options, f"checkpoint={tmp_path / 'gone.pt'}")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "module.pt")
    with pytest.raises(InputError, match="pickled objects"):
        command("import", *options, f"checkpoint={tmp_path / 'module.pt'}")
    path = write(random_state(shapes_of(name), torch.Generator()), tmp_path / "weights.pt")
    with pytest.raises(InputError, match="check width and patch"):
        command("import", *options, f"checkpoint={path}", "model.width=16")
    with pytest.raises(InputError, match="model=lsm2 is not in the reference code"):
        command("import", *options, f"checkpoint={path}", "model=lsm2")
    assert not path.with_suffix(".ckpt").exists()
    command("import", *options, f"checkpoint={path}")
    before = path.with_suffix(".ckpt").read_bytes()
    with pytest.raises(InputError, match=r"weights\.ckpt exists already"):
        command("import", *options, f"checkpoint={path}")
    assert path.with_suffix(".ckpt").read_bytes() == before
