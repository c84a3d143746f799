from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tiny import batch, spec

from lsm.fields import Channel
from lsm.plotting import MAX_FRAMES, colour_scale, draw_sample, label_of, save_figure, triangulate


def panels(figure):
    """Axes by their title, without colour bars."""
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


def drawn(axis):
    """What carries the colours of a panel."""
    return [*axis.images, *axis.collections][0]


def sample_of(fields):
    sample = batch(fields).sample(0)
    if sample.coords is not None and fields.geometry == "mesh":
        x, y = np.meshgrid(*(np.linspace(0, 1, size) for size in fields.sites), indexing="ij")
        sample = replace(sample, coords=torch.tensor(np.stack([x + 0.3 * y, y], axis=-1), dtype=torch.float32))
    return sample


@pytest.mark.parametrize("fields", [spec(targets=2), spec("mesh", targets=2), spec("points", (40,), targets=2)])
def test_panels_of_a_field_at_rest(fields, tmp_path):
    sample = sample_of(fields)
    prediction = sample.targets * 3 + 1
    figure = draw_sample(fields, sample, prediction, "error 0.5")
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "error 0.5"
    shown = panels(figure)
    for name in ("out0", "out1"):
        truth, predicted = drawn(shown[f"truth: {name}"]), drawn(shown[f"prediction: {name}"])
        channel = int(name[-1])
        assert truth.get_clim() == predicted.get_clim()
        low, high = truth.get_clim()
        both = torch.stack([sample.targets, prediction])[..., channel]
        assert low <= both.min() + 1e-6
        assert high >= both.max() - 1e-6
        assert truth.get_cmap() == predicted.get_cmap()
        for panel, values in ((truth, sample.targets), (predicted, prediction)):
            wanted = values[..., channel].numpy()
            wanted = wanted.T if fields.geometry == "grid" else wanted
            np.testing.assert_allclose(np.asarray(panel.get_array()).ravel(), wanted.ravel(), rtol=1e-6)
    errors = [axis for axis in figure.axes if axis.get_title() == "absolute error"]
    assert len(errors) == 2
    np.testing.assert_allclose(drawn(errors[0]).get_clim()[0], 0)
    np.testing.assert_allclose(
        np.sort(np.asarray(drawn(errors[0]).get_array()).ravel()),
        np.sort((prediction - sample.targets)[..., 0].abs().numpy().ravel()),
        rtol=1e-5,
    )
    assert any(title.startswith("input") for title in shown)
    save_figure(figure, tmp_path / "deep" / "sample.png", dpi=40)
    assert (tmp_path / "deep" / "sample.png").read_bytes().startswith(b"\x89PNG")


def test_first_axis_of_a_grid_runs_to_the_right():
    fields = spec(sites=(4, 3))
    sample = sample_of(fields)
    image = panels(draw_sample(fields, sample, sample.targets, ""))["truth: out0"].images[0]
    assert image.origin == "lower"
    assert image.get_array().shape == (3, 4)


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        (spec(inputs=3, targets=10, autoregressive=True), MAX_FRAMES),
        (spec(inputs=3, targets=2, autoregressive=True), 2),
        (replace(spec(sites=(6, 5, 7), targets=4), axes=("x", "y", "time"), positions=(0, 1)), MAX_FRAMES),
    ],
)
def test_frames_of_a_field_in_motion(fields, count, tmp_path):
    sample = sample_of(fields)
    prediction = sample.targets * 2
    figure = draw_sample(fields, sample, prediction, "error 0.5")
    rows = np.array(figure.axes[: 3 * count]).reshape(3, count)
    assert [axis.get_ylabel() for axis in rows[:, 0]] == ["truth", "prediction", "absolute error"]
    assert len({drawn(axis).get_clim() for axis in rows[:2].ravel()}) == 1
    assert len({drawn(axis).get_clim() for axis in rows[2]}) == 1
    truth, predicted, error = (np.asarray(drawn(axis).get_array()) for axis in rows[:, -1])
    if fields.autoregressive:
        np.testing.assert_allclose(truth, sample.targets[..., -1].numpy().T)
        assert rows[0, -1].get_title() == f"out{len(fields.targets) - 1}"
    else:
        speed = np.linalg.norm(sample.targets[:, :, -1, 2:].numpy(), axis=-1)
        np.testing.assert_allclose(truth.ravel(), speed.ravel(), rtol=1e-6)
        assert rows[0, -1].get_title() == "|out2, out3|, frame 6"
    np.testing.assert_allclose(error, np.abs(predicted - truth), rtol=1e-5)
    save_figure(figure, tmp_path / "frames.png", dpi=40)
    assert (tmp_path / "frames.png").stat().st_size > 1000


def test_a_hole_is_left_blank():
    """Rings about the origin, the innermost of radius one half: nothing is drawn at the centre."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    rings = [radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1) for radius in np.linspace(0.5, 1, 9)]
    find = triangulate(np.concatenate(rings)).get_trifinder()
    assert find(0.0, 0.0) == -1
    assert find(0.3, 0.1) == -1
    around = np.linspace(0, 2 * np.pi, 40)
    assert (find(0.75 * np.cos(around), 0.75 * np.sin(around)) >= 0).all()


def test_a_full_cloud_has_no_hole():
    points = np.random.default_rng(0).random((400, 2))
    find = triangulate(points).get_trifinder()
    inner = 0.15 + 0.7 * np.random.default_rng(1).random((200, 2))
    assert (find(*inner.T) >= 0).mean() > 0.98


def test_colours_diverge_about_zero_only_for_fields_of_both_signs():
    both = colour_scale([np.array([-1.0, 0.5]), np.array([2.0])])
    assert (both["vmin"], both["vmax"]) == (-2.0, 2.0)
    assert both["cmap"] != colour_scale([np.array([1.0, 3.0])])["cmap"]
    one = colour_scale([np.array([1.0, 3.0]), np.array([0.5])])
    assert (one["vmin"], one["vmax"]) == (0.5, 3.0)
    slightly = colour_scale([np.array([-0.1, 3.0])])
    assert (slightly["vmin"], slightly["vmax"]) == (-0.1, 3.0)


def test_a_window_limits_the_view():
    fields = replace(spec("mesh"), window=((0.2, 0.8), (0.1, 0.4)))
    sample = sample_of(fields)
    for title, axis in panels(draw_sample(fields, sample, sample.targets, "")).items():
        assert axis.get_xlim() == (0.2, 0.8), title
        assert axis.get_ylim() == (0.1, 0.4), title


def test_labels_are_for_people():
    assert label_of(Channel("horizontal_velocity", "m/s")) == "horizontal velocity [m/s]"
    assert label_of(Channel("mach")) == "mach"
