"""Pictures of bands, of several models on one sample, and of latents; and a gallery."""

import re
import sys
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from pictures import bars, drawn, panel_grid
from tiny import batch, make_solver, moving, spec

from experiments import subjects
from lsm.conformal import Band
from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.model.inspection import inspect_latents
from lsm.plotting import Display, draw_sample, save_animation, save_figure
from lsm.plotting.latents import draw_latents
from lsm.plotting.panels import ERROR, HALF_WIDTH
from lsm.report.gallery import Entry, render_gallery
from lsm.solver import build_solver


def scene(fields, width=0.5):
    sample = batch(fields).sample(0)
    return sample, sample.targets + 0.1, Band(0.9, "site", np.full(sample.targets.shape, width, "f4"), fields, 9)


@pytest.mark.parametrize("geometry", ["grid", "points"])
def test_a_band_has_the_colours_of_the_error(geometry):
    fields = spec(geometry, (40,) if geometry == "points" else (6, 5), inputs=2)
    sample, prediction, band = scene(fields)
    prediction = prediction.clone()
    prediction[0] += 3
    if geometry == "points":
        band = Band(0.9, "site", np.full((1, 1), 0.5, "f4"), fields, 9)
    figure = draw_sample(fields, Display(), sample, prediction, "title", band)
    row = panel_grid(figure)[0]
    error, width = row[-2:]
    assert [error.get_title(), width.get_title()] == [ERROR, HALF_WIDTH]
    assert drawn(error).get_clim() == drawn(width).get_clim()
    assert drawn(error).get_clim()[1] == pytest.approx(3.1, rel=1e-5)
    np.testing.assert_allclose(np.asarray(drawn(width).get_array()).ravel(), 0.5)
    assert (bars(error), len(bars(width))) == ([], 1), "one bar for both"
    outside = sample.targets[0].numel() / sample.targets.numel()
    assert (
        figure.get_suptitle() == f"title\n90 % band at each site: {100 * (1 - outside):.3g} % of the values are inside"
    )


def test_a_band_counts_the_values_that_exist():
    """Of ten sites with a target, nine lie in the band, which is infinite at two; the other sites would lie in it, too."""
    fields = spec(mask=0)
    sample, prediction, band = scene(fields)
    sample.inputs[:] = 0
    sample.inputs[:2] = 1
    prediction = prediction.clone()
    prediction[0, 0] += 3
    band.half_width[1, :2] = np.inf
    figure = draw_sample(fields, Display(), sample, prediction, "title", band)
    assert figure.get_suptitle() == "title\n90 % band at each site: 90 % of the values are inside, 20 % have no limits"
    width = np.ma.asarray(drawn(panel_grid(figure)[0][-1]).get_array())
    assert width.count() == 8, "blank without a target and without a limit"
    assert width.max() == 0.5


@pytest.mark.parametrize("targets", [1, 2])
def test_the_errors_of_many_models_take_several_lines(targets):
    fields = spec(targets=targets)
    sample, prediction, _ = scene(fields)
    figure = draw_sample(
        fields, Display(), sample, {name: prediction * scale for scale, name in enumerate("abcde")}, ""
    )
    assert figure.get_figwidth() < 15
    first, *others = panel_grid(figure)
    assert [axis.get_title() for axis in first] == ["input", "truth", "error of a", "error of b"]
    assert len(others) == 2 * targets - 1
    names = [axis.get_title() for axis in others[0]]
    assert names == ["error of c", "error of d", "error of e"]
    errors = [*first[2:], *others[0]]
    assert len({drawn(axis).get_clim() for axis in errors}) == 1
    assert [len(bars(axis)) for axis in errors] == [0, 1, 0, 0, 1]


def test_a_band_along_a_line():
    fields = spec(sites=(9,), axes=("x",))
    _, both, _ = draw_sample(fields, Display(), *scene(fields)[:2], "", scene(fields)[2]).axes
    assert both.get_legend_handles_labels()[1] == ["truth", "prediction", "band"]


def test_a_band_of_fields_in_motion_is_a_row():
    fields = moving(2, 3)
    sample, prediction, band = scene(fields)
    rows = panel_grid(draw_sample(fields, Display(), sample, prediction, "", band))
    assert [row[0].get_ylabel() for row in rows][-1] == HALF_WIDTH
    assert drawn(rows[-1][-1]).get_clim() == drawn(rows[-2][-1]).get_clim()


def test_models_are_compared_in_common_colours():
    fields = spec(targets=2)
    sample, prediction, _ = scene(fields)
    figure = draw_sample(fields, Display(), sample, {"lsm": prediction, "fno": prediction + 2}, "")
    first, second = panel_grid(figure)
    assert [axis.get_title() for axis in first] == ["input", "truth", "error of lsm", "error of fno"]
    for channel, (truth, *errors) in enumerate((first[1:], second)):
        values = sample.targets[..., channel].numpy()
        largest = max(abs(values.min()), values.max())
        np.testing.assert_allclose(
            drawn(truth).get_clim(), (-largest, largest), rtol=1e-6, err_msg="diverges about zero"
        )
        for error, expected in zip(errors, (0.1, 2.1), strict=True):
            np.testing.assert_allclose(np.asarray(drawn(error).get_array()), expected, rtol=1e-4)
            np.testing.assert_allclose(drawn(error).get_clim(), (0, 2.1), rtol=1e-4)


def test_models_are_compared_in_motion():
    fields = moving(2, 3)
    sample, prediction, _ = scene(fields)
    rows = panel_grid(draw_sample(fields, Display(), sample, {"a": prediction, "b": prediction}, ""))
    assert {axis.get_ylabel() for row in rows for axis in row} == {"", "y", "truth", "error of a", "error of b"}


LONG = ("model=transolver,optimizer.lr=0.001,seed=0", "model=ffno,optimizer.lr=0.0003,seed=1")


@pytest.mark.parametrize("fields", [spec(sites=(9, 7)), moving(2, 3)])
def test_long_names_of_models_stay_apart(fields):
    sample, prediction, _ = scene(fields)
    figure = draw_sample(
        fields, Display(), sample, dict.fromkeys(LONG, prediction), "a headline, long enough for two lines, " * 4
    )
    FigureCanvasAgg(figure).draw()
    texts = [figure._suptitle] + [
        text for axis in figure.axes for text in (axis.title, axis.yaxis.label) if text.get_text()
    ]
    assert sum("seed=1" in text.get_text() for text in texts) == 1
    boxes = [text.get_window_extent() for text in texts]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_latents_are_drawn_as_inspected():
    fields = spec(sites=(7, 6))
    solver, samples = make_solver(fields, patch=(3, 2)).eval(), batch(fields, 1)
    scales = inspect_latents(solver, samples)
    rows = panel_grid(draw_latents(scales, samples.sample(0), fields, "title"))
    assert len(rows) == len(scales)
    for row, scale in zip(rows, scales, strict=True):
        maps = [np.asarray(drawn(axis).get_array()).T for axis in row]
        shares = 6 * scale.gathering[0].numpy()  # relative to the mean share in patches of 3 x 2
        head = next(h for h in range(len(shares)) if np.allclose(shares[h, 0], maps[0]))
        np.testing.assert_allclose(maps[1], shares[head, 1])
        np.testing.assert_allclose(maps[2], scale.spreading[0, head, 0])
        norms = scale.tokens[0].flatten(1).norm(dim=1).reshape(scale.patches)
        for i, j in np.ndindex(maps[4].shape):
            assert maps[4][i, j] == pytest.approx(norms[i // 3, j // 2].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        (spec("mesh", (7, 6), inputs=2), {"patch": (3, 2)}),
        (spec("points", (30,), inputs=2), {"patch": (2, 2), "projection": {"modes": 3, "resolution": 8}}),
        (spec(sites=(7, 6, 4), axes=("x", "y", "time")), {"patch": (3, 2, 2)}),
        (spec(sites=(12,), axes=("x",)), {"patch": (3,)}),
    ],
)
def test_latents_of_other_geometries_are_drawn(fields, options, tmp_path):
    solver, samples = make_solver(fields, **options).eval(), batch(fields, 1)
    figure = draw_latents(inspect_latents(solver, samples), samples.sample(0), fields, "title")
    save_figure(figure, tmp_path / "latents.png", dpi=20)
    assert len(figure.axes) == 2 * 6


@pytest.mark.parametrize(
    ("fields", "options", "rows"),
    [
        (spec(sites=(9, 7)), {}, 1),
        (spec(sites=(9, 7)), {"latent_scales": 2}, 2),
        (spec("mesh", (9, 7), inputs=2), {}, 1),
        (spec("mesh", (9, 7, 4), inputs=3, axes=("x", "y", "time")), {}, 1),
        (spec(sites=(9, 7, 8)), {}, 1),
        (spec(sites=(12,), axes=("x",)), {}, 1),
        (spec("points", (30,), inputs=2), {"lattice": 8}, 1),
        (spec("points", (30,), inputs=2), {"lattice": 0, "depth": 2}, 2),
        (spec("points", (30,), inputs=2, ragged=True), {"lattice": 8, "point_blocks": True}, 2),
        (spec("points", (60,), inputs=3, space=3), {"lattice": 4, "point_blocks": True}, 2),
        (spec("points", (30,), inputs=1, space=1), {"lattice": 8, "point_blocks": True}, 2),
    ],
)
def test_latents_of_the_second_generation_are_drawn(fields, options, rows, tmp_path):
    model = {"name": "lsm2", "width": 8, "num_scales": 2, "block": {"heads": 4, "num_tokens": 3}} | options
    solver, samples = build_solver({"model": model}, fields).eval(), batch(fields, 10)
    samples = FieldBatch.stack([samples.sample(9)])
    figure = draw_latents(inspect_latents(solver, samples), samples.sample(0), fields, "title")
    save_figure(figure, tmp_path / "latents.png", dpi=20)
    assert len(panel_grid(figure)) == rows


def test_coarse_sites_are_drawn_on_the_whole_mesh():
    fields = spec("mesh", (9, 7), inputs=2)
    solver = build_solver(
        {"model": {"name": "lsm2", "width": 8, "num_scales": 2, "block": {"heads": 4}}}, fields
    ).eval()
    samples = batch(fields, 1)
    (seen,) = inspect_latents(solver, samples)
    (row,) = panel_grid(draw_latents([seen], samples.sample(0), fields, "title"))
    change = seen.update[0].norm(dim=0).numpy()
    expected = [[change[i // 2, j // 2] for j in range(7)] for i in range(9)]
    np.testing.assert_allclose(np.asarray(drawn(row[-1]).get_array()).reshape(9, 7), expected, rtol=1e-6)


def test_the_change_by_a_block_is_drawn_at_the_points():
    fields = spec("points", (30,), inputs=2, ragged=True)
    solver = build_solver({"model": {"name": "lsm2", "width": 8, "lattice": 0, "block": {"heads": 4}}}, fields).eval()
    samples = FieldBatch.stack([batch(fields, 10).sample(9)])
    (seen,) = inspect_latents(solver, samples)
    (row,) = panel_grid(draw_latents([seen], samples.sample(0), fields, "title"))
    real = samples.mask[0]
    np.testing.assert_allclose(drawn(row[-1]).get_array(), seen.update[0].norm(dim=0)[real], rtol=1e-6)
    shares = [np.asarray(drawn(axis).get_array()) for axis in row[:2]]
    np.testing.assert_allclose([share.mean() for share in shares], 1, rtol=1e-5)


@pytest.mark.parametrize(("suffix", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_figures_have_equal_bytes_in_every_format(suffix, start, tmp_path):
    fields = spec()
    for name in ("a", "b"):
        save_figure(draw_sample(fields, Display(), *scene(fields)[:2], ""), tmp_path / f"{name}.{suffix}", dpi=30)
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("a", "b"))
    assert first.startswith(start)
    assert first == second
    if suffix == "pdf":
        assert b"/Type3" not in first, "letters as journals accept them"


def test_an_mp4_has_every_frame(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    fields = moving(2, 3)
    sample, prediction, _ = scene(fields)
    save_animation(fields, Display(), sample, prediction, "t", tmp_path / "a.mp4", dpi=31)
    count, _ = ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert count == 3


def test_an_mp4_without_its_package_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    fields = moving(2, 3)
    with pytest.raises(InputError, match=r"imageio_ffmpeg; install it with .*latent-spectral-models\[mp4\]"):
        save_animation(fields, Display(), *scene(fields)[:2], "t", tmp_path / "a.mp4")


def test_a_small_error_is_not_rounded_to_nothing(monkeypatch):
    monkeypatch.setattr(subjects, "predictor_of", lambda cfg, checkpoint, data: None)
    monkeypatch.setattr(
        subjects, "predict_sample", lambda predict, data, split, index, device: (None, None, 3.21987e-5)
    )
    cfg = SimpleNamespace(split="test", device="cpu", transforms=())
    data = SimpleNamespace(spec=spec(), display={})
    drawn = subjects.Subject(cfg, {"best": None}, data, "darcy", Path(), None).drawn(7)
    assert drawn.error == 3.21987e-5
    assert drawn.title == "darcy, test sample 7: relative L2 error 3.22e-05"


def test_a_gallery_begins_with_the_largest_error():
    fields = spec()
    sample, prediction, _ = scene(fields)
    entries = [
        Entry(index, error, lambda: draw_sample(fields, Display(), sample, prediction, "$a"))
        for index, error in enumerate((0.1, 0.3))
    ]
    page = render_gallery("<darcy>", entries, dpi=10).decode()
    assert re.findall(r'alt="sample (\d)', page) == ["1", "0"]
    assert page.count("data:image/png;base64,") == 2
    assert "<darcy>" not in page
