import pytest

from lsm.plotting import draw_learning_curve
from lsm.training.history import keys_of, monitored, read_history, series_of, to_csv

HEADER = "epoch,step,train/relative_l2,val/relative_l2"


def write_log(run, version, *rows):
    folder = run / "csv" / f"version_{version}"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("\n".join([HEADER, *rows]) + "\n")


@pytest.fixture
def run(tmp_path):
    """Epochs 0 to 2, the last one done again by a second call, and an eleventh call that went on without validation."""
    write_log(tmp_path, 0, "0,9,,0.8", "0,9,0.9,", "1,19,,0.5", "1,19,0.6,", "2,29,,0.4")
    write_log(tmp_path, 10, "3,39,0.1,", "4,49,nan,")
    write_log(tmp_path, 2, "2,29,,0.45", "2,29,0.3,", "3,39,0.2,")
    return tmp_path


def test_logs_of_all_calls_are_joined_and_the_last_word_counts(run):
    assert to_csv(read_history(run)).splitlines() == [
        "epoch,train/relative_l2,val/relative_l2",
        "1,0.9,0.8",
        "2,0.6,0.5",
        "3,0.3,0.45",
        "4,0.1,",
        "5,nan,",
    ]


def test_series_hold_what_was_logged_with_epochs_from_one(run, tmp_path):
    series = series_of(read_history(run), "relative_l2")
    assert series["validation"] == ([1, 2, 3], [0.8, 0.5, 0.45])
    assert series["training"][0] == [1, 2, 3, 4, 5]
    only_training = tmp_path / "another"
    write_log(only_training, 0, "0,9,0.9,")
    assert series_of(read_history(only_training), "relative_l2") == {"training": ([1], [0.9])}


def test_each_metric_has_its_series():
    history = {0: {"train/relative_l2": "0.5", "val/rmse": "3"}, 1: {"val/rmse": "2"}}
    assert keys_of(history) == ["train/relative_l2", "val/rmse"]
    assert series_of(history, "rmse") == {"validation": ([1, 2], [3.0, 2.0])}
    assert series_of(history, "relative_l2") == {"training": ([1], [0.5])}


def test_the_curve_is_that_of_the_metric_that_chose_the_best_checkpoint():
    """Logs list the metrics by the alphabet."""
    history = {0: {"train/relative_l2": "0.5", "train/rmse": "3"}}
    assert monitored(history, {"metrics": ["rmse", "relative_l2"]}) == "rmse"
    assert monitored(history, {"metrics": ["max_error"]}) == monitored(history, {}) == "relative_l2"


def test_a_run_without_logs_has_an_empty_history(tmp_path):
    assert read_history(tmp_path) == {}
    assert series_of({}, "relative_l2") == {}


def test_the_drawing_shows_every_series_and_marks_the_smallest_error_of_the_last():
    nan = float("nan")
    series = {"training": ([1, 2, 3], [0.9, 0.5, 0.1]), "validation": ([1, 2, 3], [nan, 0.3, 0.4])}
    figure = draw_learning_curve(series, "relative_l2", "darcy")
    (axes,) = figure.axes
    training, validation, best = axes.lines
    assert training.get_xydata().tolist() == [[1, 0.9], [2, 0.5], [3, 0.1]]
    assert validation.get_xydata()[1:].tolist() == [[2, 0.3], [3, 0.4]]
    assert best.get_xydata().tolist() == [[2, 0.3]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training",
        "validation",
        "smallest validation value: 0.3, epoch 2",
    ]
    assert (axes.get_title(), axes.get_yscale()) == ("darcy", "log")


@pytest.mark.parametrize(("epochs", "marker"), [(1, "."), (2, "."), (19, "."), (20, "None"), (500, "None")])
def test_epochs_are_whole_and_few_of_them_are_marked(epochs, marker):
    series = {"training": (list(range(1, epochs + 1)), [0.5] * epochs)}
    (axes,) = draw_learning_curve(series, "relative_l2", "darcy").axes
    assert axes.lines[0].get_marker() == marker
    ticks = axes.get_xticks()
    assert all(tick == round(tick) for tick in ticks)
    assert len(ticks) >= 1


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("relative_l2", "relative L2"),
        ("relative_h1", "relative H1"),
        ("rmse", "RMSE"),
        ("relative_l2_by_frame", "relative L2 by frame"),
        ("mine", "mine"),
    ],
)
def test_the_vertical_axis_names_the_metric(metric, label):
    (axes,) = draw_learning_curve({"training": ([1, 2], [0.5, 0.4])}, metric, "darcy").axes
    assert axes.get_ylabel() == label
