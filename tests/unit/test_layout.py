"""What arrays are, found from their names and shapes."""

import re

import numpy as np
import pytest

from lsm.data.layout import Column, Part, Roles
from lsm.data.layout_search import find_layout
from lsm.errors import InputError

N = 20


def layout(roles=None, **shapes):
    return find_layout(shapes, Roles(**(roles or {})))


#: Shapes, roles, and the kind, sites and sentence that follow.
CASES = {
    "two fields on a plane": (
        {"inputs": (N, 16, 12), "targets": (N, 16, 12)},
        {},
        ("grid", (16, 12), "a grid of 16 x 12 sites: input -> target"),
    ),
    "channels on the last axis": (
        {"inputs": (N, 16, 12, 3), "targets": (N, 16, 12)},
        {},
        ("grid", (16, 12), "a grid of 16 x 12 sites: input_1, input_2, input_3 -> target"),
    ),
    "many channels, of which inputs and targets have different numbers": (
        {"inputs": (N, 16, 10), "targets": (N, 16, 12)},
        {},
        ("grid", (16,), None),
    ),
    "a volume": ({"inputs": (N, 8, 9, 10), "targets": (N, 8, 9, 10)}, {}, ("grid", (8, 9, 10), None)),
    "the same as channels": (
        {"inputs": (N, 8, 9, 10), "targets": (N, 8, 9, 10)},
        {"channels_last": True},
        ("grid", (8, 9), None),
    ),
    "points that all samples share, with as many channels as points": (
        {"x": (9,), "y": (9,), "targets": (N, 9, 9)},
        {"coords": ["x", "y"], "channels_last": True},
        ("points", (9,), None),
    ),
    "a grid in spite of coordinates": (
        {"inputs": (N, 9, 8), "targets": (N, 9, 8), "coords": (9, 8, 2)},
        {"coords": []},
        ("grid", (9, 8), None),
    ),
    "an input of the first axis": (
        {"die": (N, 11), "u": (N, 11, 7, 5)},
        {"inputs": ["die"], "targets": ["u"]},
        ("grid", (11, 7, 5), "a grid of 11 x 7 x 5 sites: die -> u"),
    ),
    "other names, a scalar and a unit": (
        {"k": (N, 16), "T": (N, 16), "heat": (N,)},
        {"inputs": ["k"], "targets": ["T"], "parameters": ["heat"], "units": {"T": "K"}},
        ("grid", (16,), "a grid of 16 sites: k -> T (K); with the scalar heat"),
    ),
    "a cloud with a code": (
        {"coords": (N, 30, 2), "targets": (N, 30), "code": (N, 5)},
        {},
        ("points", (30,), "clouds of 30 points in 2 dimensions: points -> target; with a code of 5 numbers"),
    ),
    "a cloud on a line, by the name of its coordinate": (
        {"x": (N, 40), "T": (N, 40)},
        {"coords": ["x"], "targets": ["T"]},
        ("points", (40,), "clouds of 40 points in 1 dimension: points -> T"),
    ),
    "a cloud on a line that all samples share": (
        {"s": (40,), "T": (N, 40, 2), "load": (N, 40)},
        {"coords": ["s"], "targets": ["T"], "inputs": ["load"]},
        ("points", (40,), "clouds of 40 points in 1 dimension: points, load -> T_1, T_2"),
    ),
    "a cloud on a line of as many points as samples": (
        {"coords": (N, N), "targets": (N, N)},
        {},
        ("points", (N,), "clouds of 20 points in 1 dimension: points -> target"),
    ),
    "a cloud of three points on a line": ({"coords": (N, 3), "targets": (N, 3)}, {}, ("points", (3,), None)),
    "a cloud on a line, with an axis of coordinates": (
        {"coords": (40, 1), "targets": (N, 40)},
        {},
        ("points", (40,), None),
    ),
    "a cloud in space that all samples share": (
        {"coords": (30, 3), "inputs": (N, 30), "targets": (N, 30, 2)},
        {"names": {"targets": ["u", "v"]}},
        ("points", (30,), "clouds of 30 points in 3 dimensions: points, input -> u, v"),
    ),
    "channels of a mesh, as said": (
        {"coords": (9, 7, 2), "targets": (N, 9, 7, 3)},
        {"channels_last": True},
        ("mesh", (9, 7), None),
    ),
    "a mesh": (
        {"coords": (N, 9, 7, 2), "targets": (N, 9, 7)},
        {},
        ("mesh", (9, 7), "a structured mesh of 9 x 7 sites: x, y -> target"),
    ),
    "a mesh, each coordinate an array": (
        {"X": (N, 9, 7), "Y": (N, 9, 7), "targets": (N, 9, 7)},
        {"coords": ["X", "Y"]},
        ("mesh", (9, 7), None),
    ),
    "the sites of a mesh as a cloud": (
        {"coords": (N, 9, 7, 2), "targets": (N, 9, 7)},
        {"kind": "points"},
        ("points", (63,), None),
    ),
    "inputs that are scalars": (
        {"coords": (N, 9, 7, 2), "targets": (N, 9, 7), "inputs": (N, 2)},
        {"parameters": ["inputs"], "units": {"input_2": "K", "coords": "mm"}},
        (
            "mesh",
            (9, 7),
            "a structured mesh of 9 x 7 sites: x (mm), y (mm) -> target; with the scalar input_1, the scalar input_2 (K)",
        ),
    ),
    "an array called code that has another role": (
        {"inputs": (N, 16), "targets": (N, 16), "code": (N, 2)},
        {"parameters": ["code"]},
        ("grid", (16,), "a grid of 16 sites: input -> target; with the scalar code_1, the scalar code_2"),
    ),
    "parameters of a cloud that are called code": (
        {"coords": (N, 30, 2), "targets": (N, 30), "code": (N,)},
        {"parameters": ["code"]},
        ("points", (30,), "clouds of 30 points in 2 dimensions: points -> target; with the scalar code"),
    ),
    "a time series": (
        {"targets": (N, 16, 12, 30)},
        {},
        ("frames", (16, 12), "a time series on a grid of 16 x 12 sites: target, 10 frames -> the next 20"),
    ),
    "a time series with parameters, as said": (
        {"targets": (N, 16, 30), "parameters": (N,)},
        {"kind": "frames"},
        (
            "frames",
            (16,),
            "a time series on a grid of 16 sites: target, 10 frames -> the next 20; with the scalar parameter",
        ),
    ),
    "a time series with parameters, its frames said": (
        {"targets": (N, 16, 30), "parameters": (N,)},
        {"frames": (2, 3)},
        ("frames", (16,), None),
    ),
    "parameters and coordinates that all samples share": (
        {"targets": (N, 16, 12), "parameters": (N,), "coords": (16, 12, 2)},
        {},
        ("mesh", (16, 12), "a structured mesh of 16 x 12 sites: x, y -> target; with the scalar parameter"),
    ),
    "a time series that is periodic": (
        {"targets": (N, 16, 30)},
        {"periodic": True},
        ("frames", (16,), "a time series on a periodic grid of 16 sites: target, 10 frames -> the next 20"),
    ),
    "several fields in time": (
        {"u": (N, 16, 6), "v": (N, 16, 6)},
        {"targets": ["u", "v"], "frames": (2, 3)},
        ("frames", (16,), "a time series on a grid of 16 sites: u, v, 2 frames -> the next 3"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_kind_and_sites_follow_from_the_shapes(name):
    shapes, roles, (kind, sites, words) = CASES[name]
    found = layout(roles, **shapes)
    assert (found.kind, found.sites, found.num_samples) == (kind, sites, N)
    assert words is None or found.describe() == words


REFUSED = {
    "no targets": (
        {"a": (N, 4), "b": (N, 4)},
        {},
        "no array is named targets; the arrays are a, b: say which are inputs and which are targets",
    ),
    "another number of samples": (
        {"inputs": (N, 4), "targets": (N - 1, 4)},
        {},
        r"inputs \(20, 4\), targets \(19, 4\)",
    ),
    "other sites": ({"inputs": (N, 4, 5), "targets": (N, 6, 5)}, {}, "do not lie on a common grid"),
    "an array that is not there": ({"targets": (N, 4)}, {"inputs": ["k"]}, "inputs: no array is called k"),
    "a surface": (
        {"coords": (N, 4, 5, 3), "targets": (N, 4, 5)},
        {},
        r"one coordinate for each, but there are 3 coordinates for \(4, 5\) sites; read the sites as points",
    ),
    "too many coordinates": ({"coords": (N, 9, 4), "targets": (N, 9)}, {}, "4 coordinates in coords"),
    "too many coordinates that all samples share": (
        {"coords": (9, 4), "targets": (N, 9)},
        {},
        "4 coordinates in coords",
    ),
    "a coordinate elsewhere": ({"coords": (N, 9), "targets": (N, 8)}, {}, "share no sites"),
    "a vector of coordinates for each axis": (
        {"x": (9,), "y": (8,), "inputs": (N, 9, 8), "targets": (N, 9, 8)},
        {"coords": ["x", "y"]},
        r"^x \(9,\), y \(8,\) are the coordinates along the axes of targets \(20, 9, 8\), .* x, y = np.meshgrid\(x, y, index",
    ),
    "a vector of coordinates for each of equal axes": (
        {"x": (9,), "y": (9,), "targets": (N, 9, 9, 2)},
        {"coords": ["x", "y"]},
        r"are the coordinates along the axes of .* for a regular grid set data.coords=\[\]",
    ),
    "coordinates elsewhere": ({"coords": (N, 9, 2), "targets": (N, 8)}, {}, "share no sites"),
    "two fields of one name": (
        {"coords": (N, 9, 8, 2), "targets": (N, 9, 8), "x": (N, 9, 8)},
        {"inputs": ["x"]},
        "both be named x; give the channels different names",
    ),
    "too few names": (
        {"inputs": (N, 9, 2), "targets": (N, 9)},
        {"names": {"inputs": ["u"]}},
        "1 names .* 2 channels of inputs",
    ),
    "a code on a grid": (
        {"inputs": (N, 9), "targets": (N, 9), "code": (N, 3)},
        {},
        "code is a code vector, which only point clouds can use; list it under parameters",
    ),
    "a field as a scalar": ({"inputs": (N, 9), "targets": (N, 9), "parameters": (N, 3, 3)}, {}, "expected are scalars"),
    "names of no array": (
        {"inputs": (N, 9, 2), "targets": (N, 9)},
        {"names": {"input": ["u", "v"]}},
        "names are given for input, expected is one of inputs, targets",
    ),
    "a unit of no field": (
        {"inputs": (N, 9, 2), "targets": (N, 9)},
        {"units": {"targett": "K"}},
        "units are given for targett, expected is one of input_1, input_2, target, inputs, targets",
    ),
    "frames of a mesh": (
        {"coords": (N, 9, 8, 2), "targets": (N, 9, 8)},
        {"frames": (5, 15)},
        r"frames \[5, 15\] apply only to a time series, but these arrays are read as kind mesh",
    ),
    "frames of a grid": (
        {"inputs": (N, 9, 8), "targets": (N, 9, 8)},
        {"frames": (4, 4), "kind": "grid"},
        "read as kind grid",
    ),
    "more frames than there are": (
        {"targets": (N, 9, 12)},
        {"frames": (5, 20)},
        r"frames \[5, 20\] need 25 frames, targets \(20, 9, 12\) has 12",
    ),
    "scalars on a mesh": (
        {"coords": (N, 9, 8, 2), "inputs": (N,), "targets": (N, 9, 8)},
        {},
        r"inputs \(20,\) has no sites; if it holds numbers that describe a whole sample, list it under parameters",
    ),
    "scalars on a cloud": (
        {"coords": (9, 2), "inputs": (N, 3), "targets": (N, 9)},
        {},
        r"inputs \(20, 3\) has no sites",
    ),
    "scalars on a grid": (
        {"inputs": (N, 3), "targets": (N, 9, 8)},
        {},
        "if inputs holds numbers that describe a whole sample, list it under parameters and give the coordinates of the sites",
    ),
    "parameters and fields, or a time series": (
        {"parameters": (N, 3), "targets": (N, 64, 64)},
        {},
        r"^targets \(20, 64, 64\), parameters \(20, 3\) can be read in two ways: .* set data.kind=frames .* give the coordinates",
    ),
    "inputs that are scalars, without sites": (
        {"inputs": (N, 3), "targets": (N, 64)},
        {"parameters": ["inputs"]},
        "can be read in two ways",
    ),
    "a grid of parameters alone": (
        {"parameters": (N, 3), "targets": (N, 64, 64)},
        {"kind": "grid"},
        r"a grid needs inputs, but none were found; leave data.kind out and give the coordinates .* or an array",
    ),
    "a periodic mesh": (
        {"coords": (N, 9, 8, 2), "targets": (N, 9, 8)},
        {"periodic": True},
        "periodic applies to grids and to time series on grids, but these arrays are read as kind mesh",
    ),
    "one frame": ({"targets": (N, 9, 1)}, {}, r"has two frames or more, but targets \(20, 9, 1\) has 1"),
    "one frame to predict from": (
        {"targets": (N, 20, 16, 16, 2)},
        {},
        r"has 2 frames on its last axis, too few to start from more than one; .* or set frames to \[1, 1\]",
    ),
    "channels of a time series": (
        {"targets": (N, 9, 8, 12)},
        {"channels_last": True},
        r"no axis of channels, .* for targets \(20, 9, 8, 12\); give one array",
    ),
    "channels that the coordinates of a mesh rule out": (
        {"targets": (N, 9, 8), "coords": (9, 8, 2)},
        {"channels_last": True},
        r"channels_last is true, but targets \(20, 9, 8\) has no channel axis in addition to the sites of coords \(9, 8, 2\)",
    ),
    "coordinates of a grid": (
        {"inputs": (N, 9, 8), "targets": (N, 9, 8), "coords": (9, 8, 2)},
        {"kind": "grid"},
        r"kind=grid has no coordinates, but coords \(9, 8, 2\) was found; remove data.kind .* data.coords=\[\]",
    ),
    "a field in time on other sites": (
        {"u": (N, 64, 20), "v": (N, 32, 40)},
        {"targets": ["u", "v"]},
        r"the fields of a time series have different shapes: u \(20, 64, 20\), v \(20, 32, 40\)",
    ),
    "a field in time of fewer samples": (
        {"u": (N, 8, 12), "v": (N - 1, 8, 12)},
        {"targets": ["u", "v"]},
        r"v \(19, 8, 12\), u \(20, 8, 12\): the first axis",
    ),
    "different numbers of channels on the first axis": (
        {"inputs": (N, 3, 32, 32), "targets": (N, 1, 32, 32)},
        {},
        r"if the first axis holds channels, move it to the end with np\.moveaxis\(a, 1, -1\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_named(name):
    shapes, roles, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        layout(roles, **shapes)


def test_columns_are_cut_out_of_their_arrays():
    inputs, coords = np.random.default_rng(0).random((3, 4, 5, 2)), np.random.default_rng(1).random((4, 5, 2))
    blocks = {"inputs": inputs, "coords": coords}
    second = Column("v", (4, 5), (Part("inputs", 1),)).values(blocks, 3)
    assert second.dtype == inputs.dtype
    assert np.array_equal(second, inputs[..., 1])
    points = Column("points", (20, 2), tuple(Part("coords", axis, shared=True) for axis in range(2))).values(blocks, 3)
    assert np.array_equal(points, np.tile(coords.reshape(1, 20, 2), (3, 1, 1)))


def test_names_that_no_store_can_hold_are_changed():
    found = layout({"inputs": ["a/b"], "targets": ["_T"]}, **{"a/b": (N, 9), "_T": (N, 9)})
    assert (found.reader["inputs"], found.reader["targets"]) == (["a_b"], ["T"])


def test_names_and_units_that_the_file_says():
    shapes = {"inputs": (N, 8, 2), "targets": (N, 8), "coords": (N, 8, 2), "parameters": (N, 2)}
    names = {"inputs": ("u", "v"), "targets": ("T",), "coords": ("X", "Y")}
    units = {"inputs": ("m/s", "Pa"), "coords": ("mm", "mm"), "parameters": ("K",)}

    def channels(**roles):
        found = find_layout(shapes, Roles(**roles), names, units)
        return {column.name: column.unit for column in found.columns}

    expected = {"points": "mm", "u": "m/s", "v": "Pa", "parameter_1": "K", "parameter_2": "K", "T": "1"}
    assert channels() == expected
    typed = channels(names={"inputs": ["a", "b"]}, units={"a": "km/h", "targets": "K"})
    assert typed == {"points": "mm", "a": "km/h", "b": "Pa", "parameter_1": "K", "parameter_2": "K", "T": "K"}
    with pytest.raises(InputError, match="3 units are given for the 2 channels of inputs"):
        find_layout(shapes, Roles(), names, {"inputs": ("m", "m", "m")})
    with pytest.raises(InputError, match="1 names are given for the 2 channels of inputs"):
        find_layout(shapes, Roles(), {"inputs": ("u",)})


HINTS = {
    "channels first": (
        (1, 32, 32),
        (1, 32, 32),
        {},
        r"first axis \(size 1\) is read as sites; .* np\.moveaxis\(a, 1, -1\)",
    ),
    "many channels first": ((8, 64, 64), (8, 64, 64), {}, r"first axis \(size 8\) is read as sites"),
    "many channels first, on a plane of other sides": (
        (5, 16, 24),
        (5, 16, 24),
        {},
        r"first axis \(size 5\) is read as sites",
    ),
    "samples on the last axis": (
        (N, 100),
        (N, 100),
        {},
        r"^the first axis \(size 20\) is read as that of the samples; .* last one \(size 100\), .* np.moveaxis\(a, -1, 0\)$",
    ),
    "a plane of other sides": ((9, 8), (9, 8), {}, "^$"),
    "frames on the last axis": (
        (64, 64, 10),
        (64, 64, 10),
        {},
        r"^the last axis \(size 10\) is read as sites; set data.channels_last=true to read it as channels$",
    ),
    "channels of the targets": ((32, 32), (32, 32, 5), {}, r"last axis \(size 5\) is read as sites"),
    "an input of the first axis of a plane": (
        (100,),
        (100, 8),
        {},
        r"^the last axis \(size 8\) is read as sites; set data.channels_last=true to read it as channels$",
    ),
    "an input of the first of equal axes": ((32,), (32, 32), {}, r"last axis \(size 32\) is read as sites"),
    "an input of a short first axis": ((3,), (3, 8), {}, r"last axis \(size 8\) is read as sites"),
    "an input of the first axis, as asked for": ((100,), (100, 8), {"channels_last": False}, "^$"),
    "channels": (
        (32, 32, 2),
        (32, 32, 2),
        {},
        r"\(size 2\) is read as channels; set data.channels_last=false to read it as sites",
    ),
    "channels as asked for": ((64, 64, 10), (64, 64, 10), {"channels_last": True}, "^$"),
    "a plane": ((32, 32), (32, 32), {}, "^$"),
    "other numbers of channels": ((64, 64, 10), (64, 64, 6), {}, "^$"),
}


@pytest.mark.parametrize("name", HINTS)
def test_the_option_that_gives_another_reading_is_named(name):
    inputs, targets, roles, words = HINTS[name]
    assert re.search(words, layout(roles, inputs=(N, *inputs), targets=(N, *targets)).hint)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((20, 24, 48), r"^the last axis \(size 48\) is read as time; if the first axis is time, move it to the end"),
        ((24, 24, 20), "^$"),
        ((24, 24, 24), r"\(size 24\) is read as time"),
        ((64, 20), r"\(size 20\) is read as time"),
        ((64, 64), r"\(size 64\) is read as time"),
    ],
)
def test_a_series_whose_first_axis_may_be_time_says_so(shape, words):
    assert re.search(words, layout({}, targets=(N, *shape)).hint)


#: Arrays with as many samples as sites along each axis, what the user says, and the kind, sites, dimensions, fields and hint.
PLANE, SPACE = {"targets": (N, N, N)}, {"targets": (N, N, N, N)}
OF_EACH = (
    r"of all samples .* \(size 20\) as sites; set data.channels_last=true{} to read those of each sample and channels$"
)
OF_ALL = (
    r"of each sample .* \(size 20\) as channels; set data.channels_last=false{} to read those of all samples and sites$"
)
AS_MANY = {
    "a plane": (PLANE | {"coords": (N, N, 2)}, {}, ("mesh", (N, N), 2, 1), OF_EACH.format("")),
    "a plane, as said": (PLANE | {"coords": (N, N, 2)}, {"kind": "mesh"}, ("mesh", (N, N), 2, 1), "^$"),
    "an array per coordinate": (
        PLANE | {"X": (N, N), "Y": (N, N)},
        {"coords": ["X", "Y"]},
        ("mesh", (N, N), 2, 1),
        OF_EACH.format(""),
    ),
    "the sites of a plane as points": (
        PLANE | {"coords": (N, N, 2)},
        {"kind": "points"},
        ("points", (N * N,), 2, 1),
        OF_EACH.format(""),
    ),
    "clouds and channels, as said": (
        PLANE | {"coords": (N, N, 2)},
        {"channels_last": True},
        ("points", (N,), 2, N),
        "^$",
    ),
    "clouds and channels, from another field": (
        PLANE | {"coords": (N, N, 2), "inputs": (N, N)},
        {},
        ("points", (N,), 2, N),
        "^$",
    ),
    "clouds in space": (
        PLANE | {"coords": (N, N, 3)},
        {},
        ("points", (N,), 3, N),
        OF_ALL.format(" data.kind=points"),
    ),
    "a surface": (PLANE | {"coords": (N, N, 3)}, {"kind": "points"}, ("points", (N * N,), 3, 1), OF_EACH.format("")),
    "a surface, as said": (
        PLANE | {"coords": (N, N, 3)},
        {"kind": "points", "channels_last": False},
        ("points", (N * N,), 3, 1),
        "^$",
    ),
    "a volume": (SPACE | {"coords": (N, N, N, 3)}, {}, ("mesh", (N, N, N), 3, 1), OF_EACH.format(" data.kind=points")),
    "planes and channels": (SPACE | {"coords": (N, N, N, 2)}, {"kind": "mesh"}, ("mesh", (N, N), 2, N), "^$"),
}


@pytest.mark.parametrize("name", AS_MANY)
def test_as_many_samples_as_sites_along_each_axis(name):
    """Coordinates of all samples look like those of each, and the last axis of sites like one of channels."""
    shapes, roles, expected, words = AS_MANY[name]
    found = layout(roles, **shapes)
    assert (found.kind, found.sites, found.dimensions, len(found.reader["targets"])) == expected
    assert re.search(words, found.hint)
    of_all = expected[3] == 1
    parts = [part for column in found.columns for part in column.parts if part.array not in ("inputs", "targets")]
    assert {part.shared for part in parts} == {of_all}


def test_coordinates_of_all_samples_are_read_as_such_whatever_the_number_of_samples():
    """The store of as many samples as sites along each axis is that of the same samples among more."""
    x, y = np.meshgrid(np.arange(3.0), np.arange(3.0), indexing="ij")
    blocks = {"coords": np.stack([x, y], axis=-1), "targets": np.arange(27.0).reshape(3, 3, 3)}
    found = layout(**{name: array.shape for name, array in blocks.items()})
    values = {column.name: column.values(blocks, 3) for column in found.columns}
    expected = {"x": np.stack([x] * 3), "y": np.stack([y] * 3), "target": blocks["targets"]}
    assert values.keys() == expected.keys()
    assert all(np.array_equal(values[name], expected[name]) for name in expected)


@pytest.mark.parametrize("shapes", [{"targets": (N, 9, 8, 12)}, {"inputs": (N, 9, 8), "targets": (N, 9, 8)}])
def test_own_data_are_periodic_only_if_it_is_said(shapes):
    assert "periodic" not in layout(**shapes).reader
    assert layout({"periodic": True}, **shapes).reader["periodic"] is True


def test_one_frame_predicts_the_next_if_it_is_asked_for():
    found = layout({"frames": (1, 1)}, targets=(N, 16, 16, 2))
    assert found.describe().endswith("target, 1 frames -> the next 1")
