"""Pictures of fields at rest."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from pictures import bars, drawn, is_blank, lines_of, panel_grid, wavy
from tiny import batch, spec

from data_prep.elasticity.generator import ElasticityGenerator
from lsm.fields import Channel, FieldBatch, Frames
from lsm.plotting import Display, draw_sample, save_figure
from lsm.plotting.layout import label_of
from lsm.plotting.painting import colour_scale, triangulate

COLUMNS = ["input", "truth", "prediction", "absolute error"]


def sample_of(fields):
    """A random sample; the coordinates of a mesh or cloud are its first inputs."""
    sample = batch(fields).sample(0)
    if sample.coords is None:
        return sample
    if fields.geometry == "mesh":
        x, y = np.meshgrid(*(np.linspace(0, 1, size) for size in fields.sites), indexing="ij")
        sample = replace(sample, coords=torch.tensor(np.stack([x + 0.3 * y, y], axis=-1), dtype=torch.float32))
    return replace(sample, inputs=torch.cat([sample.coords, sample.inputs[..., sample.coords.shape[-1] :]], dim=-1))


@pytest.mark.parametrize(
    "fields", [spec(targets=2), spec("mesh", inputs=2, targets=2), spec("points", (40,), inputs=2, targets=2)]
)
def test_panels_of_a_field_at_rest(fields, tmp_path):
    sample = sample_of(fields)
    prediction = sample.targets * 3 + 1
    figure = draw_sample(fields, Display(), sample, prediction, "error 0.5")
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "error 0.5"
    first, second = panel_grid(figure)
    assert [axis.get_title().partition(":")[0] for axis in first] == COLUMNS
    assert len(second) == 3, "the one input is drawn once"
    for channel, row in enumerate((first[1:], second)):
        truth, predicted, error = map(drawn, row)
        assert truth.get_clim() == predicted.get_clim()
        low, high = truth.get_clim()
        both = torch.stack([sample.targets, prediction])[..., channel]
        assert low <= both.min() + 1e-6
        assert high >= both.max() - 1e-6
        assert truth.get_cmap() == predicted.get_cmap()
        difference = (prediction - sample.targets).abs()
        for panel, values in ((truth, sample.targets), (predicted, prediction), (error, difference)):
            wanted = values[..., channel].numpy()
            wanted = wanted.T if fields.geometry == "grid" else wanted
            np.testing.assert_allclose(np.asarray(panel.get_array()).ravel(), wanted.ravel(), rtol=1e-5)
        np.testing.assert_allclose(error.get_clim(), (0, difference[..., channel].max()), rtol=1e-5)
        assert [bar.get_ylabel() for axis in row for bar in bars(axis)] == [f"out{channel}"] * 2
    assert all(axis.get_aspect() == 1 for axis in figure.axes), "undistorted"
    save_figure(figure, tmp_path / "deep" / "sample.png", dpi=40)
    assert (tmp_path / "deep" / "sample.png").read_bytes().startswith(b"\x89PNG")


def test_every_input_channel_of_a_grid_is_drawn():
    fields = spec(inputs=3, targets=1)
    sample = sample_of(fields)
    rows = panel_grid(draw_sample(fields, Display(), sample, sample.targets, ""))
    assert [len(row) for row in rows] == [4, 1, 1]
    for channel, (axis, *_) in enumerate(rows):
        np.testing.assert_array_equal(drawn(axis).get_array(), sample.inputs[..., channel].numpy().T)
        assert bars(axis)[0].get_ylabel() == f"in{channel}"


@pytest.mark.parametrize("geometry", ["mesh", "points"])
def test_input_fields_of_a_mesh_or_cloud_are_drawn_below_its_sites(geometry):
    fields = spec(geometry, (6, 5) if geometry == "mesh" else (40,), inputs=4)
    sample = sample_of(fields)
    rows = panel_grid(draw_sample(fields, Display(), sample, sample.targets, ""))
    assert [len(row) for row in rows] == [4, 1, 1]
    assert rows[0][0].get_title() == f"input: {geometry}"
    for channel, (axis,) in enumerate(rows[1:], start=2):
        values = np.asarray(drawn(axis).get_array()).ravel()
        np.testing.assert_array_equal(values, sample.inputs[..., channel].ravel())
        assert bars(axis)[0].get_ylabel() == f"in{channel}"


WIDE = Display(window=((0.0, 4.0), (0.0, 1.0)))


def test_colour_bars_are_as_high_as_their_panels_and_all_of_one_width():
    widths = []
    for fields in (spec(), spec("mesh", (9, 9), inputs=2), spec("points", (40,), inputs=2)):
        sample = sample_of(fields)
        figure = draw_sample(fields, WIDE, sample, sample.targets * 2, "")
        figure.draw_without_rendering()
        for axis in figure.axes:
            for bar in bars(axis):
                panel, box = axis.get_window_extent(), bar.get_window_extent()
                np.testing.assert_allclose((box.y0, box.y1), (panel.y0, panel.y1), atol=0.5)
                widths.append(box.width / figure.dpi)
    np.testing.assert_allclose(widths, widths[0], rtol=0.02)


@pytest.mark.parametrize(
    "fields",
    [
        replace(spec("mesh", (9, 9), inputs=3), targets=(Channel("velocity_x", "m/s"), Channel("pressure", "Pa"))),
        spec(inputs=2, targets=2, parameters=(Channel("viscosity", "m2/s"),)),
        spec(sites=(9,), inputs=2, targets=2),
        replace(spec(targets=2, frames=Frames(2, 4)), parameters=(Channel("viscosity", "m2/s"),)),
        spec(sites=(9,), targets=2, frames=Frames(2, 4)),
    ],
)
def test_nothing_overlaps_and_nothing_is_cut_off(fields):
    sample = sample_of(fields)
    title = "darcy, test sample 12: relative L2 error 0.0123, " + "and a very long remark " * 5
    figure = draw_sample(fields, WIDE, sample, sample.targets * 0.00123, title)
    figure.draw_without_rendering()
    boxes = [figure._suptitle.get_window_extent(), *(axis.get_tightbbox() for axis in figure.axes)]
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.height
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_parameters_of_the_sample_are_in_the_headline():
    channels = (Channel("viscosity", "m2/s"), Channel("far_mach"))
    for fields in (spec(parameters=channels), spec(frames=Frames(1, 2), parameters=channels)):
        sample = replace(sample_of(fields), parameters=torch.tensor([1e-5, 0.8]))
        figure = draw_sample(fields, Display(), sample, sample.targets, "error 0.5")
        assert figure.get_suptitle() == "error 0.5\nviscosity 1e-05 m2/s, far mach 0.8"


def test_first_axis_of_a_grid_runs_to_the_right():
    fields = spec(sites=(4, 3))
    sample = sample_of(fields)
    axis = panel_grid(draw_sample(fields, Display(), sample, sample.targets, ""))[0][1]
    image = axis.images[0]
    assert image.origin == "lower"
    assert image.get_array().shape == (3, 4)
    assert axis.get_xlabel() == "x"


@pytest.mark.parametrize("geometry", ["mesh", "points"])
def test_axes_have_the_units_of_the_coordinates(geometry):
    channels = (Channel("x", "mm"), Channel("arc_length"), Channel("in0"))
    fields = replace(spec(geometry, (30,) if geometry == "points" else (6, 5)), inputs=channels)
    sample = sample_of(fields)
    sample.inputs[..., :2] = sample.coords
    figure = draw_sample(fields, Display(), sample, sample.targets, "")
    assert {axis.get_xlabel() for axis in figure.axes} == {"x [mm]", ""}
    assert {axis.get_ylabel() for axis in figure.axes} == {"arc length", ""}


def test_where_the_mask_is_zero_nothing_is_drawn():
    """The wild values in there must not reach the colours either."""
    fields = spec(sites=(8, 6), mask=0)
    solid = torch.ones(8, 6)
    solid[2:5, 1:3] = 0
    truth = wavy(8, 6)
    sample = FieldBatch(inputs=solid[..., None], targets=torch.where(solid > 0, truth, -900.0)[..., None])
    prediction = torch.where(solid > 0, truth + 0.1, 700.0)[..., None]
    figure = draw_sample(fields, Display(), sample, prediction, "")
    ((given, *others),) = panel_grid(figure)
    inside, outside = [(3.5 / 8, 2 / 6)], [(6.5 / 8, 4.5 / 6)]
    for axis in others:
        np.testing.assert_array_equal(np.ma.getmaskarray(drawn(axis).get_array()), (solid == 0).numpy().T)
        assert is_blank(figure, axis, inside)
        assert not is_blank(figure, axis, outside)
    assert not is_blank(figure, given, inside)
    low, high = drawn(others[0]).get_clim()
    seen = truth[solid > 0]
    np.testing.assert_allclose((low, high), (seen.min(), seen.max() + 0.1), rtol=1e-5)
    np.testing.assert_allclose(drawn(others[2]).get_clim(), (0, 0.1), rtol=1e-4)


@pytest.mark.parametrize("geometry", ["mesh", "points"])
def test_a_mask_blanks_meshes_and_clouds(geometry):
    x, y = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21), indexing="ij")
    coords = torch.tensor(np.stack([x, y], axis=-1), dtype=torch.float32)
    solid = torch.tensor(np.hypot(x - 0.5, y - 0.5) > 0.25, dtype=torch.float32)
    sites = solid.shape if geometry == "mesh" else (441,)
    coords, solid = coords.reshape(*sites, 2), solid.reshape(sites)
    fields = spec(geometry, sites, mask=0)
    sample = FieldBatch(inputs=solid[..., None], targets=wavy(*sites)[..., None], coords=coords)
    figure = draw_sample(fields, Display(), sample, sample.targets + 0.1, "")
    for axis in panel_grid(figure)[0][1:]:
        assert is_blank(figure, axis, [(0.5, 0.5), (0.6, 0.4)]).all()
        assert not is_blank(figure, axis, [(0.1, 0.1), (0.9, 0.5)]).any()


def test_a_prediction_that_is_not_a_number_is_left_blank():
    fields = spec()
    sample = sample_of(fields)
    axis = panel_grid(draw_sample(fields, Display(), sample, torch.full_like(sample.targets, torch.nan), ""))[0]
    low, high = drawn(axis[1]).get_clim()
    assert np.isfinite([low, high]).all()
    assert np.ma.getmaskarray(drawn(axis[2]).get_array()).all()


def rings():
    """Rings of points about the origin, of radius one half to one."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.concatenate([radius * circle for radius in np.linspace(0.5, 1, 9)])


def test_a_hole_is_left_blank():
    find = triangulate(rings()).get_trifinder()
    assert find(0.0, 0.0) == -1
    assert find(0.3, 0.1) == -1
    around = np.linspace(0, 2 * np.pi, 40)
    assert (find(0.75 * np.cos(around), 0.75 * np.sin(around)) >= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_void_of_a_solved_sample_is_blank_and_its_solid_is_whole(seed):
    """A margin of half the distance of neighbouring points, about 0.03, is left at the void's rim and at the edges."""
    solved = ElasticityGenerator().solve(np.random.default_rng(seed)).fields
    angle = np.linspace(0, 2 * np.pi, 42)
    rim = solved["radius"][:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    find = triangulate(solved["points"]).get_trifinder()
    places = np.stack(np.meshgrid(*[np.linspace(0.02, 0.98, 97)] * 2), axis=-1).reshape(-1, 2)
    painted = find(*places.T) >= 0
    void = Outline(0.5 + (1 - 0.015 / np.linalg.norm(rim, axis=1, keepdims=True)) * rim).contains_points(places)
    solid = ~Outline(0.5 + (1 + 0.015 / np.linalg.norm(rim, axis=1, keepdims=True)) * rim).contains_points(places)
    assert void.sum() > 500
    assert not painted[void].any()
    assert painted[solid].all()


def test_a_full_cloud_has_no_hole():
    points = np.random.default_rng(0).random((400, 2))
    find = triangulate(points).get_trifinder()
    inner = 0.15 + 0.7 * np.random.default_rng(1).random((200, 2))
    assert (find(*inner.T) >= 0).mean() > 0.98


LINES = {"line": [[0.1 * i, 0.3 * i] for i in range(9)], "two points": [[0, 0], [1, 1]], "one place": [[2, 3]] * 5}


@pytest.mark.parametrize("places", LINES.values(), ids=LINES)
@pytest.mark.parametrize("space", [2, 3])
def test_of_a_cloud_on_a_line_the_points_are_drawn(places, space, tmp_path):
    fields = spec("points", (len(places),), inputs=space + 1, space=space)
    coords = torch.tensor(places)[:, [0, 1, 1][:space]].float()
    sample = sample_of(fields)
    sample = replace(sample, coords=coords, inputs=torch.cat([coords, sample.inputs[:, space:]], dim=-1))
    figure = draw_sample(fields, Display(), sample, sample.targets, "error 0.5")
    truth = drawn(panel_grid(figure)[0][1])
    assert len(truth.get_offsets()) == len(truth.get_array()) <= len(places)
    save_figure(figure, tmp_path / "line.png")


def test_colours_diverge_about_zero_for_fields_of_both_signs():
    both = colour_scale([np.array([-1.0, 0.5]), np.array([2.0])])
    assert (both["vmin"], both["vmax"], both["cmap"]) == (-2.0, 2.0, "RdBu_r")
    slightly = colour_scale([np.array([-0.1, 3.0])])
    assert (slightly["vmin"], slightly["vmax"], slightly["cmap"]) == (-3.0, 3.0, "RdBu_r")
    negative = colour_scale([np.array([-3.0, 0.02])])
    assert (negative["vmin"], negative["vmax"], negative["cmap"]) == (-3.0, 0.02, "viridis")
    one = colour_scale([np.array([1.0, 3.0]), np.array([0.5])])
    assert (one["vmin"], one["vmax"], one["cmap"]) == (0.5, 3.0, "viridis")


def test_the_truth_decides_whether_colours_diverge():
    positive = colour_scale([np.array([0.0, 2.0])], [np.array([-1.0, 2.5])])
    assert (positive["vmin"], positive["vmax"], positive["cmap"]) == (-1.0, 2.5, "viridis")
    signed = colour_scale([np.array([-1.0, 2.0])], [np.array([1.0, 2.5])])
    assert (signed["vmin"], signed["vmax"], signed["cmap"]) == (-2.5, 2.5, "RdBu_r")


def c_mesh():
    """``(81, 25, 2)`` about a flat body of half axes 0.5 and 0.1 and behind it, out to a distance of 30."""
    angles = np.linspace(0, 2 * np.pi, 61)
    body = np.stack([0.5 * np.cos(angles), 0.1 * np.sin(angles)], axis=-1)
    far = 30 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    wake = np.linspace(1, 0, 11)[:-1, None] ** 2 * [29.5, 0] + [0.5, 0]
    up = np.array([0, 30])
    inner, outer = np.concatenate([wake, body, wake[::-1]]), np.concatenate([wake + up, far, (wake - up)[::-1]])
    share = (1.3 ** np.arange(25) - 1) / (1.3**24 - 1)
    return inner[:, None] + share[:, None] * (outer - inner)[:, None]


def test_a_window_shows_a_body_blank_within_lines_of_its_mesh():
    window = ((-1.0, 1.5), (-0.6, 0.6))
    coords = torch.tensor(c_mesh(), dtype=torch.float32)
    fields = spec("mesh", coords.shape[:2], inputs=2)
    truth = wavy(*coords.shape[:2])
    truth[:, -3:] = 40.0
    sample = FieldBatch(inputs=coords, targets=truth[..., None], coords=coords)
    figure = draw_sample(fields, Display(window=window), sample, sample.targets + 0.1, "")
    ((mesh, *others),) = panel_grid(figure)
    assert mesh.get_title() == "input: mesh"
    for axis in figure.axes:
        assert axis.get_xlim() == window[0]
        assert axis.get_ylim() == window[1]
        assert axis.get_aspect() == 1
    body, fluid = [(0.0, 0.0), (0.3, 0.03), (-0.4, 0.0)], [(0.0, 0.3), (-0.8, 0.1), (0.0, -0.2)]
    assert is_blank(figure, mesh, body).all()
    for axis in others:
        assert is_blank(figure, axis, body).all()
        assert not is_blank(figure, axis, fluid).any()
        assert drawn(axis).get_clim()[1] < 2, "the far field has no say in the colours"
    lines = lines_of(mesh)
    along = [line for line in lines if len(line) == 81]
    assert any(np.array_equal(line, coords[:, 0]) for line in along), "the body itself"
    assert sum((np.hypot(*line.T) < 0.75).any() for line in along) > 5
    (left, right), (low, high) = window
    for x, y in (line.T for line in lines):
        assert ((x > left) & (x < right) & (y > low) & (y < high)).any(), "no line that only passes elsewhere"


def test_a_fine_mesh_is_drawn_by_lines_that_can_be_told_apart():
    x, y = np.meshgrid(np.linspace(0, 10, 129), np.linspace(0, 1, 129), indexing="ij")
    coords = torch.tensor(np.stack([x, y], axis=-1), dtype=torch.float32)
    fields = spec("mesh", (129, 129), inputs=2)
    sample = FieldBatch(inputs=coords, targets=wavy(129, 129)[..., None], coords=coords)
    figure = draw_sample(fields, Display(), sample, sample.targets, "")
    axis = panel_grid(figure)[0][0]
    figure.draw_without_rendering()
    long = [line for line in lines_of(axis) if np.ptp(line[:, 0]) > 9]
    heights = np.array([axis.transData.transform(line[0])[1] / figure.dpi for line in long])
    assert len(long) >= 4
    assert np.diff(heights)[:-1].min() > 0.03, "inches"
    np.testing.assert_allclose([long[0][0, 1], long[-1][0, 1]], [0, 1])


def test_curves_of_a_field_along_a_line():
    fields = spec(sites=(30,), inputs=2, targets=1)
    sample = sample_of(fields)
    prediction = sample.targets + 0.5
    (given, both, error), (second,) = panel_grid(draw_sample(fields, Display(), sample, prediction, ""))
    for axis, channel in ((given, 0), (second, 1)):
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), sample.inputs[:, channel])
        assert axis.get_ylabel() == f"in{channel}"
    truth, predicted = both.lines
    np.testing.assert_array_equal(truth.get_ydata(), sample.targets[:, 0])
    np.testing.assert_array_equal(predicted.get_ydata(), prediction[:, 0])
    np.testing.assert_allclose(truth.get_xdata(), np.linspace(0, 1, 30))
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["truth", "prediction"]
    np.testing.assert_allclose(error.lines[0].get_ydata(), 0.5, rtol=1e-5)
    assert error.get_ylim()[0] == 0
    assert both.get_ylabel() == error.get_ylabel() == "out0"


def test_points_along_a_line_are_drawn_in_their_order():
    fields = spec("points", (30,), inputs=1, space=1)
    sample = sample_of(fields)
    ((sites, both, error),) = panel_grid(draw_sample(fields, Display(), sample, sample.targets + 0.5, ""))
    order = sample.coords[:, 0].argsort()
    assert sites.get_title() == "input: points"
    for line, values in ((sites.lines[0], 0 * order), (both.lines[0], sample.targets[order, 0])):
        np.testing.assert_array_equal(line.get_xdata(), sample.coords[order, 0])
        np.testing.assert_array_equal(line.get_ydata(), values)
    np.testing.assert_allclose(error.lines[0].get_ydata(), 0.5, rtol=1e-5)
    assert (sites.get_xlabel(), sites.get_ylabel()) == ("in0", ""), "the coordinate"


def test_of_a_volume_the_middle_plane_is_drawn():
    fields = spec(sites=(6, 5, 9))
    sample = sample_of(fields)
    figure = draw_sample(fields, Display(), sample, sample.targets, "error 0.5")
    assert figure.get_suptitle() == "error 0.5 (middle slice: z index 4 of 0 to 8)"
    given, truth, *_ = panel_grid(figure)[0]
    np.testing.assert_array_equal(drawn(given).get_array(), sample.inputs[:, :, 4, 0].T)
    np.testing.assert_array_equal(drawn(truth).get_array(), sample.targets[:, :, 4, 0].T)


def test_of_a_cloud_in_space_the_points_in_the_middle_are_drawn():
    fields = spec("points", (1000,), inputs=4, space=3)
    sample = sample_of(fields)
    figure = draw_sample(fields, Display(), sample, sample.targets, "error 0.5")
    height = sample.coords[:, 2]
    (sites, truth, *_), (given,) = panel_grid(figure)
    shown = sites.collections[0].get_offsets()
    assert len(shown) == 200, "2 * 1000^(2/3)"
    chosen = [int(torch.nonzero((sample.coords[:, :2] == place).all(dim=1))) for place in torch.tensor(shown.data)]
    distance = (height - height.median()).abs()
    assert distance[chosen].max() <= distance.sort().values[199]
    low, high = height[chosen].min(), height[chosen].max()
    assert figure.get_suptitle() == f"error 0.5 (middle slab: z from {low:.3g} to {high:.3g})"
    np.testing.assert_array_equal(drawn(truth).get_array(), sample.targets[chosen, 0])
    np.testing.assert_array_equal(drawn(given).get_array(), sample.inputs[chosen, 3])


def test_labels_are_for_people():
    assert label_of(Channel("horizontal_velocity", "m/s")) == "horizontal velocity [m/s]"
    assert label_of(Channel("mach")) == "mach"
