"""Symmetries: each kind of step on arrays by hand, and the groups of all benchmarks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import BENCHMARKS
from scipy.interpolate import LinearNDInterpolator
from synthetic import write_synthetic_store
from tiny import batch, moving, spec

from data_prep.airfoil.generator import AirfoilGenerator
from data_prep.darcy import solver as darcy
from data_prep.elasticity.generator import ElasticityGenerator
from data_prep.navier_stokes import solver as navier_stokes
from data_prep.pipe.generator import PipeGenerator
from data_prep.plasticity.generator import PlasticityGenerator
from experiments.app import plain
from experiments.convert import layout
from lsm.data.readers.base import make_reader
from lsm.data.store import Store, StoreWriter
from lsm.data.symmetry import Symmetry, apply, draw, elements, symmetries_of, undo
from lsm.errors import InputError, OptionError
from lsm.fields import Channel, FieldBatch, FieldSpec

#: Small sites of each benchmark's rank: equal where axes change places, a multiple of four on the torus.
SITES = {
    "airfoil": (6, 5),
    "darcy": (5, 5),
    "elasticity_g": (4, 5),
    "elasticity_p": (7,),
    "navier_stokes": (8, 8),
    "pipe": (6, 5),
    "plasticity": (6, 3, 2),
}

ORDER = {
    "airfoil": 2,
    "darcy": 8,
    "elasticity_g": 2,
    "elasticity_p": 2,
    "navier_stokes": 2 * 8 * 2,
    "pipe": 2,
    "plasticity": 2,
}


@pytest.fixture(scope="module", params=BENCHMARKS)
def group(request, compose, tmp_path_factory):
    """Name, fields on a few sites, and generators of a benchmark."""
    name, path = request.param, tmp_path_factory.mktemp("store") / "store.h5"
    cfg = compose("convert", f"benchmark={name}", "preset=quick")
    write_synthetic_store(path, name, layout(cfg).fields, 1)
    benchmark = plain(cfg.benchmark)
    with Store(path) as store:
        fields = make_reader(benchmark["reader"]).spec(store)
    return name, replace(fields, sites=SITES[name]), symmetries_of(benchmark["symmetries"])


def random_samples(fields):
    """Random samples; the coordinates of a mesh are its first inputs."""
    samples = batch(fields, size=2).to(torch.float64)
    if samples.coords is not None:
        samples = replace(samples, coords=samples.inputs[..., : fields.space_dim].clone())
    return samples


def test_each_element_is_undone(group):
    _, fields, generators = group
    samples = random_samples(fields)
    for element in elements(generators, fields):
        image = apply(element, samples, fields)
        torch.testing.assert_close(undo(element, image.targets, fields), samples.targets, rtol=0, atol=1e-12)
        if fields.geometry != "grid":
            assert torch.equal(image.coords, image.inputs[..., : fields.space_dim])


def test_elements_are_different_and_form_a_group(group):
    """As many images of a random sample as elements; the image of an image is one of them."""
    name, fields, generators = group
    samples = random_samples(fields)

    def key(image):
        values = torch.cat([image.inputs.flatten(), image.targets.flatten()])
        return tuple(values.mul(1e6).round().tolist())

    group = elements(generators, fields)
    assert len(group) == ORDER[name]
    images = [apply(element, samples, fields) for element in group]
    known = {key(image) for image in images}
    assert len(known) == len(group)
    assert key(images[0]) == key(samples)
    assert {key(generator.apply(image, fields)) for generator in generators for image in images} <= known


def test_number_of_elements_at_the_published_sizes(compose):
    for name, sites, count in (("navier_stokes", (64, 64), 2 * 64 * 2), ("darcy", (85, 85), 8)):
        config = plain(compose("train", f"benchmark={name}"))["benchmark"]
        fields = moving(sites=sites) if name == "navier_stokes" else spec(sites=sites)
        assert len(elements(symmetries_of(config["symmetries"]), fields)) == count


def test_the_square_of_darcy_commutes_with_the_solver(compose):
    """Pressure of the image is the image of the pressure."""
    fields = FieldSpec("grid", (16, 16), ("x", "y"), (Channel("permeability"),), (Channel("pressure"),))
    generator = torch.Generator().manual_seed(0)
    permeability = 3.0 + 9.0 * (torch.rand(2, 16, 16, generator=generator) > 0.5).double()
    samples = FieldBatch(permeability[..., None], darcy.solve(permeability).pressure[..., None])
    generators = symmetries_of(plain(compose("train", "benchmark=darcy"))["benchmark"]["symmetries"])
    for element in elements(generators, fields):
        image = apply(element, samples, fields)
        found = darcy.solve(image.inputs[..., 0]).pressure[..., None]
        # The iteration stops at a relative residual of 2e-11; the condition number on 16 x 16 cells is below
        # 1e3, which allows 2e-8; found are 1e-15.
        assert (found - image.targets).norm() < 1e-8 * found.norm()
    assert (samples.targets - samples.targets.transpose(1, 2)).norm() > 1e-3 * samples.targets.norm()


def test_the_symmetries_of_navier_stokes_commute_with_the_solver(compose):
    """Frames of the image are the image of the frames, for a flow that the forcing and advection have changed."""
    size, frames = 16, 3
    vorticity = (Channel("vorticity"),)
    fields = replace(moving(1, frames, sites=(size, size)), inputs=vorticity, targets=vorticity)
    generator = torch.Generator().manual_seed(0)
    initial = torch.randn(1, size, size, dtype=torch.float64, generator=generator)
    initial -= initial.mean()
    diagonal = 2 * math.pi * (torch.arange(size)[:, None] + torch.arange(size)).double() / size
    forcing = 0.1 * (diagonal.sin() + diagonal.cos())
    options = navier_stokes.FlowOptions(viscosity=1e-2, time_step=0.05, num_frames=frames)

    def solved(vorticity):
        (trajectory,) = navier_stokes.solve(vorticity, forcing, options)
        return trajectory.frames.movedim(0, -1)[None]

    samples = FieldBatch(initial[..., None], solved(initial))
    assert (samples.targets[..., 2] - samples.targets[..., 0]).norm() > 0.1 * samples.targets[..., 0].norm()
    generators = symmetries_of(plain(compose("train", "benchmark=navier_stokes"))["benchmark"]["symmetries"])
    # If the generators commute with the solver, so do all their products; the last element is one of them.
    for element in [*([generator] for generator in generators), elements(generators, fields)[-1]]:
        image = apply(element, samples, fields)
        # The scheme commutes exactly; rounding errors of 1e-16 grow for three time units, to 1e-15 as found.
        found = solved(image.inputs[..., 0])
        assert (found - image.targets).norm() < 1e-11 * found.norm()


class Drawn:
    """Random numbers that are given, in the places where a generator draws them."""

    def __init__(self, **values):
        self._values = {name: np.asarray(value) for name, value in values.items()}

    def uniform(self, low, high, size):
        return low + (high - low) * self._values["uniform"].reshape(-1)[:size]

    def normal(self, mean, std, size):
        return mean + std * self._values["normal"]

    def integers(self, high):
        return int(self._values["integers"])


def mirrored_section():
    """Displacements whose first and last corner are fixed, and those of the section reflected in the chord."""
    shares = np.array([0.9, 0.2, 0.6, 0.8, 0.1, 0.3, 0.5])
    mirrored = np.array([*(1.0 - shares[-2::-1]), 0.5])
    return Drawn(uniform=shares), Drawn(uniform=mirrored)


def mirrored_pipe():
    shares = np.random.default_rng(0).random(9)
    return Drawn(uniform=shares), Drawn(uniform=1.0 - shares)


def mirrored_die():
    shares = np.random.default_rng(0).random(7)
    return Drawn(uniform=shares, integers=1), Drawn(uniform=shares[::-1], integers=5)


def mirrored_void():
    """``r(phi)`` and ``r(pi - phi)``: signs of the coefficients of ``cos k phi`` and ``sin k phi``."""
    modes = np.random.default_rng(0).standard_normal(10)
    orders = np.arange(1, 6)
    signs = np.stack([(-1.0) ** orders, -((-1.0) ** orders)], axis=1).ravel()
    return Drawn(normal=modes), Drawn(normal=signs * modes)


#: Generator, parameters and mirrored ones, and the largest relative difference of the targets.
MIRRORS = {
    # The flow has converged to 1e-6 of the free-stream residual.
    "airfoil": (AirfoilGenerator(coarsening=2, tolerance=1e-6), mirrored_section, 1e-4),
    # Stored in single precision.
    "pipe": (PipeGenerator(resolution=17), mirrored_pipe, 1e-6),
    "plasticity": (PlasticityGenerator(columns=20, frames=2), mirrored_die, 1e-6),
    # The mesh of the cell is not symmetric: found are TOLERANCE.
    "elasticity_g": (ElasticityGenerator(), mirrored_void, 0.1),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "elasticity_g" else pytest.mark.slow) for name in MIRRORS]
)
def test_the_mirror_image_of_a_sample_is_the_sample_of_the_mirrored_parameters(name, compose, tmp_path):
    """Inputs, coordinates and the solver's fields; a sample is not its own image."""
    generator, parameters, tolerance = MIRRORS[name]
    solved = [generator.solve(drawn).fields for drawn in parameters()]
    config = plain(compose("train", f"benchmark={name}"))["benchmark"]
    reader, (symmetry,) = make_reader(config["reader"]), symmetries_of(config["symmetries"])
    with StoreWriter(tmp_path / "store.h5", name, generator.fields, 2, {"source": "test"}) as writer:
        writer.write(slice(0, 2), {key: np.stack([fields[key] for fields in solved]) for key in solved[0]})
    with Store(tmp_path / "store.h5") as store:
        fields = reader.spec(store)
    sample, expected = (FieldBatch.stack([reader.decode(arrays)]) for arrays in solved)
    image = symmetry.apply(sample, fields)

    def difference(one, other):
        return ((one - other).norm() / other.norm()).item()

    assert difference(image.inputs, expected.inputs) < 1e-6
    assert difference(image.targets, expected.targets) < tolerance
    assert difference(sample.targets, expected.targets) > 3 * tolerance


def test_the_mirror_image_of_a_cloud_is_the_cloud_of_the_mirrored_void(compose):
    """The two have different points: their stresses are compared by linear interpolation, their codes number by number."""
    config = plain(compose("train", "benchmark=elasticity_p"))["benchmark"]
    reader, (symmetry,) = make_reader(config["reader"]), symmetries_of(config["symmetries"])
    solved = [ElasticityGenerator().solve(drawn).fields for drawn in mirrored_void()]
    sample, expected = (FieldBatch.stack([reader.decode(arrays)]) for arrays in solved)
    fields = FieldSpec("points", (972,), ("point",), (Channel("x"), Channel("y")), (Channel("stress"),), code=42)
    image = symmetry.apply(sample, fields)
    # Radii are between 0.2 and 0.4: found are 7e-5, and 0.06 without the mirror.
    assert (image.code - expected.code).abs().max() < 1e-3
    assert (sample.code - expected.code).abs().max() > 1e-2
    stress = LinearNDInterpolator(expected.inputs[0].numpy(), expected.targets[0, :, 0].numpy())

    def difference(cloud):
        between, found = stress(cloud.inputs[0].numpy()), cloud.targets[0, :, 0].numpy()
        inside = np.isfinite(between)
        assert inside.mean() > 0.9
        return np.linalg.norm((found - between)[inside]) / np.linalg.norm(between[inside])

    # Found are 0.035, the error of the interpolation, and 0.39 without the mirror.
    assert difference(image) < 0.07
    assert difference(sample) > 0.2


@pytest.mark.parametrize(
    ("name", "provenance", "count"),
    [
        ("airfoil", {"source": "generated", "generator": {"angle": 0.0, "mach": 0.8}}, 1),
        ("airfoil", {"source": "generated", "generator": {"angle": 1.25, "mach": 0.8}}, 0),
        ("airfoil", {"source": "published"}, 1),
        ("pipe", {"source": "generated", "generator": {}}, 1),
        ("pipe", {"source": "published"}, 0),
    ],
)
def test_data_have_the_symmetries_that_their_provenance_allows(name, provenance, count, compose):
    """A flow at an angle has no mirror image in the data; the outlet of the published pipes is not symmetric."""
    described = plain(compose("train", f"benchmark={name}"))["benchmark"]["symmetries"]
    assert len(symmetries_of(described, provenance)) == count


def test_a_symmetry_without_a_roll_has_an_order():
    with pytest.raises(OptionError, match="order is null"):
        symmetries_of([{"flip": ["x"], "order": None}])


SQUARE = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
GRID = spec(sites=(3, 3))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"swap": ["x", "y"]}, [[1, 4, 7], [2, 5, 8], [3, 6, 9]]),
        ({"flip": ["x"]}, [[7, 8, 9], [4, 5, 6], [1, 2, 3]]),
        ({"flip": ["y"]}, [[3, 2, 1], [6, 5, 4], [9, 8, 7]]),
        ({"flip": ["x", "y"]}, [[9, 8, 7], [6, 5, 4], [3, 2, 1]]),
        # On a torus the site at the origin stays.
        ({"flip": ["x"], "periodic": True}, [[1, 2, 3], [7, 8, 9], [4, 5, 6]]),
        ({"flip": ["x", "y"], "periodic": True}, [[1, 3, 2], [7, 9, 8], [4, 6, 5]]),
        # new(x) = old(x + shift)
        ({"roll": {"x": 1}}, [[4, 5, 6], [7, 8, 9], [1, 2, 3]]),
        ({"roll": {"x": 1, "y": -1}}, [[6, 4, 5], [9, 7, 8], [3, 1, 2]]),
        ({"shift": {"y": 2 / 3}}, [[3, 1, 2], [6, 4, 5], [9, 7, 8]]),
        ({"roll": {"y": 1}, "shift": {"y": 1 / 3}}, [[3, 1, 2], [6, 4, 5], [9, 7, 8]]),
        # First the swap, then the flip, then the shift.
        ({"swap": ["x", "y"], "flip": ["x"]}, [[3, 6, 9], [2, 5, 8], [1, 4, 7]]),
        ({"flip": ["x"], "shift": {"x": 1 / 3}, "periodic": True}, [[7, 8, 9], [4, 5, 6], [1, 2, 3]]),
    ],
)
def test_steps_move_sites(step, expected):
    samples = FieldBatch(SQUARE[None, ..., None], -SQUARE[None, ..., None])
    symmetry = Symmetry(**step)
    image = symmetry.apply(samples, GRID)
    assert image.inputs[0, ..., 0].tolist() == expected
    assert torch.equal(image.targets, -image.inputs)
    assert torch.equal(symmetry.undo(image.targets, GRID), samples.targets)


def test_steps_reflect_values_by_name():
    """``c - v`` for a named field, in every frame; other fields stay."""
    fields = moving(num_inputs=2, num_targets=1, fields=2, sites=(2,))
    samples = FieldBatch(
        torch.tensor([[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    )
    image = Symmetry(reflect={"out1": 10.0}).apply(samples, fields)
    assert image.inputs.tolist() == [[[1.0, 8.0, 3.0, 6.0], [5.0, 4.0, 7.0, 2.0]]]
    assert image.targets.tolist() == [[[1.0, 8.0], [3.0, 6.0]]]
    both = Symmetry(reflect={"out0": 0.0, "out1": 1.0}, flip=["x"]).apply(samples, fields)
    assert both.targets.tolist() == [[[-3.0, -3.0], [-1.0, -1.0]]]


def test_coordinates_of_a_mesh_are_reflected_with_their_inputs():
    channels = (Channel("x"), Channel("y"), Channel("wall"))
    fields = FieldSpec("mesh", (2, 1), ("i", "j"), channels, (Channel("u"),))
    inputs = torch.tensor([[[[1.0, 2.0, 0.0]], [[3.0, 4.0, 1.0]]]])
    samples = FieldBatch(inputs, inputs[..., :1], inputs[..., :2], parameters=torch.ones(1, 2))
    image = Symmetry(flip=["i"], reflect={"y": 1.0}).apply(samples, fields)
    assert image.inputs.tolist() == [[[[3.0, -3.0, 1.0]], [[1.0, -1.0, 0.0]]]]
    assert image.coords.tolist() == [[[[3.0, -3.0]], [[1.0, -1.0]]]]
    assert image.targets.tolist() == [[[[3.0]], [[1.0]]]]
    assert torch.equal(image.parameters, samples.parameters)


def test_powers_and_products():
    """Rolls of any number of sites; the first generator is applied first, the identity is the first element."""
    roll = Symmetry(roll={"x": 1}, order=None)
    assert roll.count(GRID) == 3
    assert [step.roll for step in roll.power(2)] == [{"x": 2}]
    flip = Symmetry(flip=["x"])
    assert (flip.count(GRID), flip.power(0), flip.power(1)) == (2, [], [flip])
    samples = FieldBatch(SQUARE[None, ..., None], SQUARE[None, ..., None])
    columns = [apply(element, samples, GRID).targets[0, :, 0, 0].tolist() for element in elements([roll, flip], GRID)]
    assert columns == [[1, 4, 7], [7, 4, 1], [4, 7, 1], [1, 7, 4], [7, 1, 4], [4, 1, 7]]


def test_elements_are_drawn_uniformly_and_repeat_with_the_generator():
    symmetries = [Symmetry(roll={"x": 1}, order=None), Symmetry(flip=["y"])]

    def drawn(seed):
        random = torch.Generator().manual_seed(seed)
        return [str(draw(symmetries, GRID, random)) for _ in range(300)]

    assert drawn(0) == drawn(0) != drawn(1)
    counts = [drawn(0).count(str(element)) for element in elements(symmetries, GRID)]
    # Six elements, 50 draws each in the mean with a deviation of 6.5.
    assert all(25 <= count <= 75 for count in counts)
    assert sum(counts) == 300


@pytest.mark.parametrize(
    ("step", "fields", "named"),
    [
        ({"flip": ["z"]}, GRID, "names the axis 'z'; the axes are x, y"),
        ({"swap": ["x", "y"]}, spec(sites=(3, 4)), "swaps x, y, expected two axes with equally many sites"),
        ({"swap": ["x"]}, GRID, "swaps x, expected two axes"),
        ({"shift": {"x": 0.5}}, GRID, "shifts x by 0.5 of 3 sites, which is no whole number of sites"),
        ({"reflect": {"u": 0.0}}, GRID, "reflects u; the fields are in0, out0"),
    ],
)
def test_steps_that_do_not_fit_the_fields_are_named(step, fields, named):
    with pytest.raises(InputError, match=named):
        Symmetry(**step).apply(batch(fields), fields)


@pytest.mark.parametrize(
    ("step", "named"),
    [
        ({"order": 0}, "order is 0, expected a whole number of at least 1"),
        ({"flip": "x"}, "flip is x, expected a list, each item a text"),
        ({"shift": {"x": "a"}}, "shift is {'x': 'a'}, expected a group of options, each a finite number"),
        ({"roll": {"x": 0.5}}, "roll is {'x': 0.5}, expected a group of options, each a whole number"),
    ],
)
def test_steps_of_another_kind_are_named(step, named):
    with pytest.raises(OptionError, match=named):
        Symmetry(**step)
