"""Pictures and animations of fields in motion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from pictures import bars, drawn, lines_of, panel_grid
from PIL import Image
from tiny import batch, spec

from data_prep.plasticity import generator as plasticity
from lsm.data.readers.base import make_reader
from lsm.data.store import Store, StoreWriter
from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, Frames
from lsm.plotting import Display, animation, check_in_motion, draw_sample, save_animation
from lsm.plotting.display import Tool
from lsm.plotting.overview import draw_overview
from lsm.plotting.painting import TOOL_COLOUR
from lsm.plotting.sequence import MAX_SNAPSHOTS

FORGED = replace(
    spec(sites=(6, 5, 7), targets=4),
    axes=("x", "y", "time"),
    targets=tuple(Channel(name, "mm") for name in ("x", "y", "u_x", "u_y")),
)
DIE = Display(positions=("x", "y"), tool=Tool(height="in0", span=(-3.0, 2.0), travel=0.25))

VORTICITY, HEAT = Channel("vorticity", "1/s"), Channel("heat", "K")


#: Rows of a figure, from top to bottom.
ROWS = ("truth", "prediction", "absolute error")


def frames_spec(inputs, targets, sites=(6, 5), fields=(VORTICITY,)):
    """Successive frames of some fields."""
    plain = spec(sites=sites, targets=len(fields), frames=Frames(inputs, targets))
    return replace(plain, inputs=fields, targets=fields)


def forged_sample():
    """A block on [-3, 2] x [0, 2] that sinks, below a die that is higher to the right."""
    x, y = np.meshgrid(np.linspace(2, -3, 6), np.linspace(2, 0, 5), indexing="ij")
    sinking = -0.1 * (y / 2)[..., None] * np.arange(7)
    places = np.stack([np.broadcast_to(x[..., None], sinking.shape), y[..., None] + sinking], axis=-1)
    targets = np.concatenate([places, np.stack([0.03 * sinking, sinking], axis=-1)], axis=-1)
    die = np.broadcast_to(np.linspace(2.5, 3.5, 6)[:, None, None, None], (6, 5, 7, 1))
    return FieldBatch(*(torch.tensor(np.ascontiguousarray(values), dtype=torch.float32) for values in (die, targets)))


def layout_of(figure):
    """The panel of the input, and three rows of panels."""
    (block,) = blocks_of(figure)
    return block


def blocks_of(figure):
    """For each field the panel of its input, and three rows of panels."""
    rows = panel_grid(figure)
    blocks = [rows[first : first + 3] for first in range(0, len(rows), 3)]
    return [(prediction[0], [truth, prediction[1:], error]) for truth, prediction, error in blocks]


@pytest.mark.parametrize(
    ("inputs", "targets", "shown"),
    [(10, 10, [14, 16, 18, 20]), (3, 2, [4, 5]), (1, 4, [2, 3, 4, 5]), (2, 7, [3, 5, 7, 9]), (1, 20, [6, 11, 16, 21])],
)
def test_frames_that_follow_one_another(inputs, targets, shown):
    fields = frames_spec(inputs, targets)
    sample = batch(fields).sample(0)
    prediction = sample.targets * 2
    figure = draw_sample(fields, Display(), sample, prediction, "error 0.5")
    given, rows = layout_of(figure)
    assert figure.get_suptitle() == "error 0.5"
    assert [axis.get_title() for axis in rows[0]] == [f"frame {frame}" for frame in shown]
    assert len(shown) <= MAX_SNAPSHOTS
    assert [row[0].get_ylabel() for row in rows] == list(ROWS)
    for axes, values in zip(rows, (sample.targets, prediction, sample.targets.abs()), strict=True):
        for axis, frame in zip(axes, shown, strict=True):
            np.testing.assert_allclose(drawn(axis).get_array(), values[..., frame - inputs - 1].T, rtol=1e-5)
        assert len({drawn(axis).get_clim() for axis in axes}) == 1
        assert [len(bars(axis)) for axis in axes] == [0] * (len(axes) - 1) + [1]
        assert bars(axes[-1])[0].get_ylabel() == "vorticity [1/s]"
    assert drawn(rows[2][0]).get_clim()[0] == 0
    limits = drawn(rows[0][0]).get_clim()
    assert limits == drawn(rows[1][0]).get_clim()
    assert limits[0] == -limits[1], "diverging about zero"
    assert drawn(rows[0][0]).get_cmap().name == "RdBu_r"
    assert given.get_title() == f"input: frame {inputs}"
    np.testing.assert_array_equal(drawn(given).get_array(), sample.inputs[..., -1].T)
    assert drawn(given).get_clim() == limits


def test_every_field_of_a_roll_out_has_a_block_of_rows():
    fields = frames_spec(2, 3, fields=(VORTICITY, HEAT))
    sample = batch(fields).sample(0)
    sample = replace(sample, inputs=sample.inputs + torch.tensor([0.0, 300.0]).repeat(2))
    sample = replace(sample, targets=sample.targets + torch.tensor([0.0, 300.0]).repeat(3))
    prediction = sample.targets * 1.1
    blocks = blocks_of(draw_sample(fields, Display(), sample, prediction, ""))
    assert len(blocks) == 2
    for field, (label, (given, rows)) in enumerate(zip(["vorticity [1/s]", "heat [K]"], blocks, strict=True)):
        assert given.get_title() == "input: frame 2"
        np.testing.assert_array_equal(drawn(given).get_array(), sample.inputs[..., 2 + field].T)
        assert [axis.get_title() for axis in rows[0]] == ["frame 3", "frame 4", "frame 5"]
        assert [row[0].get_ylabel() for row in rows] == list(ROWS)
        for axes, values in zip(rows, (sample.targets, prediction, (sample.targets * 0.1).abs()), strict=True):
            for frame, axis in enumerate(axes):
                wanted = values[..., 2 * frame + field].T
                np.testing.assert_allclose(drawn(axis).get_array(), wanted, rtol=1e-5, atol=1e-4)
            assert bars(axes[-1])[0].get_ylabel() == label
        assert drawn(given).get_clim() == drawn(rows[0][0]).get_clim() == drawn(rows[1][0]).get_clim()
    colours = [drawn(rows[0][0]) for _, rows in blocks]
    assert [colour.get_cmap().name for colour in colours] == ["RdBu_r", "viridis"]
    assert colours[0].get_clim()[1] < 10, "heat has no effect on the colours of the vorticity"
    assert colours[1].get_clim()[0] > 280


def test_the_last_input_counts_for_the_colours():
    fields = frames_spec(2, 3)
    sample = batch(fields).sample(0)
    sample.inputs[..., -1] *= 50
    given, rows = layout_of(draw_sample(fields, Display(), sample, sample.targets, ""))
    assert drawn(rows[0][0]).get_clim()[1] >= sample.inputs.abs().max()
    assert drawn(given).get_clim() == drawn(rows[0][0]).get_clim()


def test_frames_of_a_field_along_a_line():
    fields = frames_spec(2, 3, sites=(20,))
    sample = batch(fields).sample(0)
    given, rows = layout_of(draw_sample(fields, Display(), sample, sample.targets * 2, ""))
    for axes, scale in zip(rows, (1, 2, 1), strict=True):
        for frame, axis in enumerate(axes):
            wanted = sample.targets[:, frame] * scale
            np.testing.assert_allclose(
                axis.lines[0].get_ydata(), wanted.abs() if axes is rows[2] else wanted, rtol=1e-5
            )
    assert len({axis.get_ylim() for row in (rows[0], rows[1], [given]) for axis in row}) == 1
    assert given.get_ylabel() == "vorticity [1/s]"
    assert [row[0].get_ylabel() for row in rows] == [f"{name}\nvorticity [1/s]" for name in ROWS]


def test_an_animated_line_shows_the_figures_of_its_error(monkeypatch, tmp_path):
    fields, seen = frames_spec(2, 3, sites=(20,)), []
    redraw = animation._redraw

    def watched(axes, *others):
        redraw(axes, *others)
        seen[:] = axes[0]

    monkeypatch.setattr(animation, "_redraw", watched)
    sample = batch(fields).sample(0)
    save_animation(fields, Display(), sample, sample.targets * 2, "", tmp_path / "line.gif", 30)
    assert [axis.yaxis.get_tick_params()["labelleft"] for axis in seen] == [True, False, True]
    assert [axis.get_ylabel() for axis in seen] == ["vorticity [1/s]", "", ""]


def test_a_field_in_time_beside_its_first_input():
    fields = replace(spec(sites=(6, 5, 9)), axes=("x", "y", "time"), targets=(HEAT,))
    sample = batch(fields).sample(0)
    given, rows = layout_of(draw_sample(fields, Display(), sample, -sample.targets, ""))
    assert [axis.get_title() for axis in rows[0]] == ["frame 2", "frame 4", "frame 6", "frame 8"]
    np.testing.assert_array_equal(drawn(rows[0][1]).get_array(), sample.targets[:, :, 4, 0].T)
    np.testing.assert_allclose(drawn(rows[2][1]).get_array(), 2 * sample.targets[:, :, 4, 0].T.abs(), rtol=1e-5)
    np.testing.assert_array_equal(drawn(given).get_array(), sample.inputs[:, :, 0, 0].T)
    assert bars(rows[0][-1])[0].get_ylabel() == "heat [K]"
    assert bars(given)[0].get_ylabel() == "in0"
    assert given.get_title() == "input: in0"


def test_all_inputs_of_fields_in_time_are_drawn_and_each_field_has_its_rows():
    fields = replace(spec(sites=(6, 5, 9), inputs=2), axes=("x", "y", "time"), targets=(VORTICITY, HEAT))
    sample = batch(fields).sample(0)
    rows = panel_grid(draw_sample(fields, Display(), sample, sample.targets, ""))
    assert [len(row) for row in rows] == [5, 5, 4, 4, 4, 4]
    for channel, row in enumerate(rows[:2]):
        np.testing.assert_array_equal(drawn(row[0]).get_array(), sample.inputs[:, :, 0, channel].T)
    for channel, row in enumerate([rows[0], rows[3]]):
        np.testing.assert_array_equal(drawn(row[-1]).get_array(), sample.targets[:, :, 8, channel].T)


def test_one_axis_of_space_and_one_of_time_is_one_plane():
    fields = replace(spec(sites=(6, 5)), axes=("x", "time"))
    sample = batch(fields).sample(0)
    ((given, *_),) = panel_grid(draw_sample(fields, Display(), sample, sample.targets, ""))
    assert (given.get_xlabel(), given.get_ylabel()) == ("x", "time")


def tools_of(axis):
    """Outlines of filled areas that are tools."""
    return [
        artist.get_paths()[0].vertices
        for artist in axis.collections
        if artist.get_array() is None and len(artist.get_facecolor())
    ]


def test_a_mesh_that_moves_under_a_tool_that_comes_down():
    sample = forged_sample()
    prediction = sample.targets.clone()
    prediction[..., 2] += 0.3
    prediction[..., 3] += 0.4
    prediction[..., 0] += 0.05
    given, rows = layout_of(draw_sample(FORGED, DIE, sample, prediction, ""))
    shown = [int(axis.get_title().removeprefix("frame ")) for axis in rows[0]]
    assert shown == [3, 4, 5, 6]
    assert given.get_title() == "input: in0"
    for name, axes in zip(ROWS, rows, strict=True):
        source = prediction if name == "prediction" else sample.targets
        for axis, frame in zip(axes, shown, strict=True):
            corners = drawn(axis).get_coordinates()
            np.testing.assert_allclose(corners, source[:, :, frame, :2], rtol=1e-5)
            np.testing.assert_allclose(lines_of(axis)[0], source[0, :, frame, :2], rtol=1e-5)
            length = np.linalg.norm(source[:, :, frame, 2:], axis=-1)
            wanted = np.full_like(length, 0.5) if name == "absolute error" else length
            np.testing.assert_allclose(np.asarray(drawn(axis).get_array()).ravel(), wanted.ravel(), rtol=1e-4)
            assert axis.get_aspect() == 1
    assert bars(rows[0][-1])[0].get_ylabel() == "|u| [mm]"
    for axis, frame in [(given, 0), *((axis, frame) for axes in rows for axis, frame in zip(axes, shown, strict=True))]:
        (outline,) = tools_of(axis)
        for x, height in ((-3.0, 2.5), (0.0, 3.1), (2.0, 3.5)):
            below = outline[np.isclose(outline[:, 0], x), 1].min()
            np.testing.assert_allclose(below, height - 0.25 * frame, rtol=1e-5)
        low, high = axis.get_xlim()
        assert outline[:, 0].min() <= low
        assert outline[:, 0].max() >= high
    np.testing.assert_allclose(lines_of(given)[0], sample.targets[0, :, 0, :2], rtol=1e-5)
    assert len({(axis.get_xlim(), axis.get_ylim()) for row in (*rows, [given]) for axis in row}) == 1


def test_a_second_quantity_on_a_mesh_that_moves_has_a_block_with_the_same_view():
    fields = replace(FORGED, targets=(*FORGED.targets, Channel("stress", "Pa")))
    sample = forged_sample()
    stress = 7 + sample.targets[..., :1]
    sample = replace(sample, targets=torch.cat([sample.targets, stress], dim=-1))
    rows = panel_grid(draw_sample(fields, DIE, sample, sample.targets, ""))
    assert [len(row) for row in rows] == [4, 5, 4, 4, 4, 4]
    assert [bars(row[-1])[0].get_ylabel() for row in rows] == ["|u| [mm]"] * 3 + ["stress [Pa]"] * 3
    last = np.asarray(drawn(rows[3][-1]).get_array()).ravel()
    np.testing.assert_array_equal(last, stress[:, :, 6].ravel())
    assert len({(axis.get_xlim(), axis.get_ylim()) for row in rows for axis in row}) == 1
    assert all(tools_of(axis) for row in rows for axis in row)


def test_without_its_positions_a_mesh_that_moves_is_drawn_on_the_lattice():
    """As for a reader that decodes the displacements only; their components keep their signs."""
    fields, sample = replace(FORGED, targets=FORGED.targets[2:]), forged_sample()
    sample = replace(sample, targets=sample.targets[..., 2:])
    rows = panel_grid(draw_sample(fields, DIE, sample, sample.targets, ""))
    assert [bars(row[-1])[0].get_ylabel() for row in rows] == ["u x [mm]"] * 3 + ["u y [mm]"] * 3
    for channel, row in enumerate([rows[0], rows[3]]):
        np.testing.assert_array_equal(drawn(row[-1]).get_array(), sample.targets[:, :, 6, channel].T)
    np.testing.assert_array_equal(drawn(rows[1][0]).get_array(), sample.inputs[:, :, 0, 0].T)


def test_a_predicted_mesh_that_is_one_point_or_none_at_all_is_survived():
    sample = forged_sample()
    for value in (0.0, torch.nan):
        _, rows = layout_of(draw_sample(FORGED, DIE, sample, torch.full_like(sample.targets, value), ""))
        assert all(np.isfinite(axis.get_xlim()).all() for row in rows for axis in row)


def test_the_same_lines_of_a_mesh_are_drawn_at_all_times():
    """Though the block widens, which brings more of its lines apart."""
    sites = (6, 60, 7)
    x, y, time = np.meshgrid(np.linspace(0, 6, 6), np.linspace(0, 6, 60), np.arange(7.0), indexing="ij")
    places = np.stack([x, y * (1 + 0.3 * time), 0 * x, 0 * x], axis=-1)
    fields = replace(FORGED, sites=sites)
    sample = FieldBatch(torch.zeros(*sites, 1), torch.tensor(places, dtype=torch.float32))
    _, rows = layout_of(draw_sample(fields, Display(positions=("x", "y")), sample, sample.targets, ""))
    counts = {len(lines_of(axis)) for row in rows for axis in row}
    assert len(counts) == 1
    assert counts.pop() < 66


def test_an_overview_of_fields_with_an_axis_of_time():
    sample = forged_sample()
    figure = draw_overview(FORGED, DIE, sample, "plasticity.h5, sample 0")
    (given, first, last) = panel_grid(figure)[0]
    assert [axis.get_title() for axis in (given, first, last)] == ["input: in0", "frame 0", "frame 6"]
    assert all(map(tools_of, (given, first, last)))
    length = np.linalg.norm(sample.targets[..., 2:], axis=-1)
    for axis, frame in ((first, 0), (last, 6)):
        np.testing.assert_allclose(np.ravel(drawn(axis).get_array()), length[..., frame].ravel(), rtol=1e-5, atol=1e-7)
    plain = replace(FORGED, targets=tuple(Channel(f"out{index}") for index in range(4)))
    titles = [axis.get_title() for row in panel_grid(draw_overview(plain, Display(), sample, "")) for axis in row]
    assert titles == ["input: in0", *["frame 0", "frame 6"] * 4]


def test_the_drawn_die_rests_on_the_solved_block(tmp_path):
    """The generator knows where the published die is, to a third of its travel between two frames.

    Closer than the thickness of a line it cannot be, for it is drawn straight between heights that are 2.5 mm apart here.
    """
    generator = plasticity.PlasticityGenerator(columns=20, frames=6)
    with StoreWriter(tmp_path / "store.h5", "plasticity", generator.fields, 1, {}, display=generator.display) as writer:
        writer.write(0, generator.solve(np.random.default_rng(1)).fields)
    reader = make_reader(
        {
            "name": "grid",
            "inputs": ["die"],
            "targets": ["deformation"],
            "components": {"deformation": ["x", "y", "u_x", "u_y"]},
            "axes": ["x", "y", "time"],
        }
    )
    with Store(tmp_path / "store.h5") as store:
        fields, display = reader.spec(store), Display.from_dict(store.display)
        sample = reader.decode({name: store.field(name)[0] for name in reader.fields})
    half = 0.5 * plasticity.WIDTH
    np.testing.assert_allclose(display.tool.span, plasticity.ORIGIN[0] + np.array([-half, half]))
    assert display.tool.travel == plasticity.TRAVEL_PER_FRAME
    _, rows = layout_of(draw_sample(fields, display, sample, sample.targets, ""))
    for axis in rows[0]:
        frame = int(axis.get_title().removeprefix("frame "))
        (outline,) = tools_of(axis)
        floor = {x: outline[np.isclose(outline[:, 0], x), 1].min() for x in np.unique(outline[:, 0])}
        x, y = sample.targets[:, 0, frame, :2].numpy().T
        under = np.interp(x, list(floor), list(floor.values()))
        assert (under - y).min() == pytest.approx(0, abs=0.1)
        mirrored = np.interp(sum(display.tool.span) - x, list(floor), list(floor.values()))
        assert (mirrored - y).min() != pytest.approx(0, abs=0.1), "a die from right to left would not fit"


def gif_frames(path):
    """``(frames, height, width, 3)``."""
    with Image.open(path) as image:
        frames = []
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
    return np.stack(frames).astype(int)


@pytest.mark.slow
def test_an_animation_has_every_frame_and_colours_that_stay(tmp_path):
    fields = frames_spec(2, 6, sites=(2, 2))
    levels = torch.linspace(-1, 1, 6)
    targets = levels.expand(2, 2, 6).contiguous()
    sample = FieldBatch(inputs=torch.zeros(2, 2, 2), targets=targets)
    path = tmp_path / "deep" / "moving.gif"
    save_animation(fields, Display(), sample, targets * 0.5, "error 0.5", path, dpi=50)
    frames = gif_frames(path)
    assert len(frames) == 6
    middle = frames.shape[1] // 2
    panel_middle = round((0.7 + 1.15) * 50)
    for frame, level in zip(frames, levels, strict=True):
        wanted = 255 * np.array(colormaps["RdBu_r"](0.5 + 0.5 * float(level)))[:3]
        np.testing.assert_allclose(frame[middle + 10, panel_middle + 10], wanted, atol=12)
    bars_and_labels = frames[:, middle, -round(0.91 * 50) :]
    assert (bars_and_labels == bars_and_labels[0]).all(), "same limits and colours in every frame"


def test_the_background_of_an_animation_is_white(tmp_path):
    for fields in (frames_spec(1, 2), frames_spec(1, 2, sites=(20,))):
        sample = batch(fields).sample(0)
        save_animation(fields, Display(), sample, sample.targets, "error 0.5", tmp_path / "moving.gif", dpi=40)
        frames = gif_frames(tmp_path / "moving.gif")
        assert (frames[:, :3] == 255).all()


def test_an_animation_has_a_row_for_every_field(monkeypatch, tmp_path):
    fields, shown = frames_spec(2, 3, fields=(VORTICITY, HEAT)), []
    fields = replace(fields, parameters=(Channel("viscosity", "m2/s"),))
    redraw = animation._redraw

    def watched(axes, *others):
        redraw(axes, *others)
        shown.append([[np.asarray(drawn(axis).get_array()) for axis in row] for row in axes])
        labels[:] = [[bar.get_ylabel() for axis in row for bar in bars(axis)] for row in axes]

    labels = []
    monkeypatch.setattr(animation, "_redraw", watched)
    headlines = []
    write = animation.set_headline
    monkeypatch.setattr(animation, "set_headline", lambda figure, text: (headlines.append(text), write(figure, text)))
    sample = batch(fields).sample(0)
    save_animation(fields, Display(), sample, sample.targets * 3, "error 0.5", tmp_path / "two.gif", 30)
    for frame, rows in enumerate(shown):
        for field, row in enumerate(rows):
            truth = sample.targets[..., 2 * frame + field].T.numpy()
            for panel, wanted in zip(row, (truth, 3 * truth, 2 * np.abs(truth)), strict=True):
                np.testing.assert_allclose(panel, wanted, rtol=1e-5)
    assert labels == [["vorticity [1/s]"] * 2, ["heat [K]"] * 2]
    viscosity = f"viscosity {float(sample.parameters):.4g} m2/s"
    assert headlines == [f"error 0.5, frame {frame}\n{viscosity}" for frame in (3, 4, 5)]


@pytest.mark.slow
def test_a_larger_animation_has_more_dots(tmp_path):
    fields = frames_spec(1, 2)
    sample = batch(fields).sample(0)
    sizes = []
    for dpi in (30, 60):
        path = tmp_path / f"{dpi}.gif"
        save_animation(fields, Display(), sample, sample.targets, "error 0.5", path, dpi=dpi)
        sizes.append(gif_frames(path).shape[:3])
    np.testing.assert_allclose(sizes[1], np.array(sizes[0]) * [1, 2, 2], atol=2)


@pytest.mark.slow
def test_an_animation_of_a_mesh_that_moves_begins_at_rest(tmp_path):
    sample = forged_sample()
    save_animation(FORGED, DIE, sample, sample.targets, "error 0.5", tmp_path / "forged.gif", dpi=40)
    frames = gif_frames(tmp_path / "forged.gif")
    assert len(frames) == 7
    grey = round(255 * float(TOOL_COLOUR))
    tool = (np.abs(frames - grey) < 8).all(axis=-1).sum(axis=(1, 2))
    assert (np.diff(tool) > 0).all(), "more and more of the tool comes into view"


def test_a_field_at_rest_is_not_animated(tmp_path):
    fields = spec()
    sample = batch(fields).sample(0)
    with pytest.raises(InputError, match="no frames") as caught:
        save_animation(fields, Display(), sample, sample.targets, "", tmp_path / "still.gif")
    assert caught.value.options == ("animate",)
    assert not (tmp_path / "still.gif").exists()
    with pytest.raises(InputError, match="out0 cannot be animated"):
        check_in_motion(replace(fields, axes=("x", "time")))
    check_in_motion(FORGED)
