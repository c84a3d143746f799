"""The page of a report: nothing missing, nothing from outside, every text of a file escaped."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tiny import spec

from lsm.comparison import compare_pairs, models_of
from lsm.evaluation import Evaluation
from lsm.fields import Channel, FieldSpec
from lsm.report import Content, Run, render
from lsm.report.content import learning_curves

#: A text that would run code, end an attribute, or be taken for a formula.
HOSTILE = "<script>alert(1)</script>\" onerror='x' $\\frac{ &amp;"


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def pictures_of(page):
    """The pictures by their captions, decoded and checked."""
    found = {}
    for image in page.all("img"):
        kind, _, data = image["src"].partition(";base64,")
        content = base64.b64decode(data, validate=True)
        if kind == "data:image/png":
            Image.open(io.BytesIO(content)).verify()
        else:
            assert kind == "data:image/svg+xml"
            assert b"</svg>" in content
        found[image["alt"]] = content
    return found


def evaluation(seed, digest="same", samples=8):
    random = np.random.default_rng(seed)
    scalars = {name: random.uniform(0.1, 1, samples) for name in ("relative_l2", "rmse", "max_error")}
    parts = {
        "relative_l2_per_band": ("low", "middle"),
        "relative_l2_per_region": ("boundary", "interior"),
        "relative_l2_per_frame": tuple(f"frame {number}" for number in range(3, 12)),
    }
    errors = {name: random.uniform(0.1, 1, (samples, len(names))) for name, names in parts.items()}
    return Evaluation({**scalars, **errors}, parts, digest)


def draw(index, title):
    figure = Figure(figsize=(2, 1))
    figure.suptitle(title)
    return figure


def make_content(groups, fields=None, name="", **more):
    models = models_of(groups)
    labels = [label for members in groups.values() for label in members]
    pairs, refused = compare_pairs(models) if len(labels) > 1 else ([], [])
    curves = {"training": ([1, 2], [0.5, 0.3]), "validation": ([1, 2], [0.6, 0.4])}
    facts, config = {"seed": "0", f"data{name}": name}, {"model.name": name, "seed": 3, "data.splits.test": [0, 9]}
    runs = {label: Run(curves, "relative_l2", facts, config, draw) for label in labels}
    told = {"title": f"report {name}", "subtitle": name, "commands": [("Train", f"lsm-train {name}")], "written": name}
    return Content(spec=fields or spec(), models=models, pairs=pairs, refused=refused, runs=runs, **{**told, **more})


ONE = {"lsm": {"best": evaluation(0)}}
SEVERAL = {"lsm": {"a": evaluation(0), "b": evaluation(1)}, "fno": {"c": evaluation(2)}}


@pytest.fixture(scope="module")
def one():
    return Page(render(make_content(ONE), dpi=20))


@pytest.fixture(scope="module")
def several():
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        return Page(render(make_content(SEVERAL)))


def leave_undrawn(patch):
    """Without the time that drawing takes."""
    patch.setattr("lsm.report.page._drawn", lambda figure, kind, dpi: b"</svg>")


@pytest.fixture
def undrawn(monkeypatch):
    leave_undrawn(monkeypatch)


def captions_of(page):
    return [image["alt"] for image in page.all("img")]


def test_a_report_of_one_checkpoint_has_every_picture(one):
    errors, captions = ONE["lsm"]["best"].errors["relative_l2"], list(pictures_of(one))
    worst, best = int(errors.argmax()), int(errors.argmin())
    for text in (
        "Learning curve: relative L2 error, training and validation",
        "Number of samples by their relative L2 error",
        *(f"Relative L2 error by {part}, with the 95 % interval of each mean" for part in ("band", "region", "frame")),
        f"The best sample, number {best}: relative L2 error {errors[best]:.4g}",
        f"The worst sample, number {worst}: relative L2 error {errors[worst]:.4g}",
    ):
        assert text in captions
        captions.remove(text)
    (median,) = captions
    assert median.startswith("The median sample, number ")
    for text in (
        f"{errors.mean():.4g}",
        f"{errors[worst]:.4g} (number {worst})",
        "lsm-train",
        "data.splits.test",
        "[0, 9]",
    ):
        assert text in one.text


def test_a_report_of_several_checkpoints_compares_them(several):
    captions = captions_of(several)
    assert "Learning curve: relative L2 error, validation" in captions
    assert len(captions) == 2 + 3 + 2 * 3
    samples = [caption.partition(":")[0] for caption in captions if " sample of " in caption]
    assert samples[:3] == samples[3:], "both models show the samples of the first"
    tables = {
        label: np.mean([one.errors["relative_l2"] for one in group.values()], axis=0)
        for label, group in SEVERAL.items()
    }
    assert "lsm against fno" in several.text
    assert f"{sum(tables['lsm'] < tables['fno'])} : {sum(tables['lsm'] > tables['fno'])}" in several.text
    assert f"{tables['lsm'].mean() - tables['fno'].mean():.3g}" in several.text


@pytest.mark.usefixtures("undrawn")
def test_models_with_other_samples_show_their_own():
    groups = {"lsm": {"a": evaluation(0)}, "fno": {"b": evaluation(2, digest="other")}}
    page = Page(render(make_content(groups), dpi=20))
    assert "The worst sample of fno" in " ".join(captions_of(page))
    assert "are not compared: they were evaluated on different samples." in page.text


@pytest.mark.parametrize("name", ["one", "several"])
def test_a_page_needs_nothing_from_outside(name, request):
    page = request.getfixturevalue(name)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"} == set()
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} == {f"#{name}" for name in ids}
    assert all(value.startswith("data:") for _, tag in page.tags for key, value in tag.items() if key == "src")
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_text_of_a_file_is_escaped():
    """Of the configuration, the record of the data, labels of runs, names and units of fields."""
    fields = FieldSpec(
        "grid", (6, 5), ("x", "y"), (Channel(HOSTILE),), (Channel(HOSTILE, HOSTILE), Channel("b", HOSTILE))
    )
    found = evaluation(0)
    parts = {**found.parts, "relative_l2_per_channel": (HOSTILE, "b")}
    errors = {**found.errors, "relative_l2_per_channel": np.ones((8, 2))}
    groups = {HOSTILE: {HOSTILE: Evaluation(errors, parts, "same")}, "fno": {"b": evaluation(1)}}
    page = Page(render(make_content(groups, fields, HOSTILE + "\ud800"), dpi=20))  # half of a surrogate pair
    assert page.all("script") == []
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    for text in (f"report {HOSTILE}?", f"lsm-train {HOSTILE}?", f"{HOSTILE} against fno", f"data{HOSTILE}?"):
        assert text in page.text
    assert len(pictures_of(page)) == 2 + 4 + 2 * 3


@pytest.mark.usefixtures("undrawn")
def test_what_is_not_defined_is_said():
    found = evaluation(0)
    errors = {**found.errors, "relative_h1": np.full(8, np.nan), "relative_l2_per_region": np.full((8, 2), np.inf)}
    page = Page(render(make_content({"lsm": {"best": Evaluation(errors, found.parts, "same")}}), dpi=20))
    assert page.text.count("not defined") == 1, "relative H1"
    assert not any("by region" in caption for caption in captions_of(page))


@pytest.mark.usefixtures("undrawn")
def test_a_run_without_logs_has_no_learning_curve():
    content = make_content(ONE)
    bare = {label: Run({}, "", run.facts, run.config, run.draw) for label, run in content.runs.items()}
    page = Page(render(replace(content, runs=bare), dpi=20))
    assert not any("Learning curve" in caption for caption in captions_of(page))


@pytest.mark.parametrize("bare", ["", "c", "abc"])
def test_the_learning_curve_of_a_run_without_validation_is_that_of_its_training(bare):
    content = make_content(SEVERAL)
    curves = {"training": ([1, 2], [0.5, 0.3])}
    runs = {label: replace(run, curves=curves) if label in bare else run for label, run in content.runs.items()}
    (picture,) = learning_curves(replace(content, runs=runs))
    said = {"": "validation", "c": "validation and training", "abc": "training"}[bare]
    assert picture.caption == f"Learning curve: relative L2 error, {said}"
    labels = [f"{name} ({'training' if name in bare else 'validation'})" if bare == "c" else name for name in "abc"]
    lines = {line.get_label(): list(line.get_ydata()) for line in picture.draw().axes[0].lines}
    for name, label in zip("abc", labels, strict=True):
        assert lines[label] == ([0.5, 0.3] if name in bare else [0.6, 0.4])
    (single,) = learning_curves(replace(content, runs={"a": runs["a"]}))
    assert single.caption.endswith("error, training" if "a" in bare else "error, training and validation")


def test_errors_of_different_metrics_have_learning_curves_of_their_own():
    content = make_content(SEVERAL)
    runs = {label: replace(run, monitored="rmse") if label == "b" else run for label, run in content.runs.items()}
    first, second = learning_curves(replace(content, runs=runs))
    assert [first.caption, second.caption] == [
        f"Learning curve: {name} error, validation" for name in ("relative L2", "RMSE")
    ]
    lines = [[line.get_label() for line in one.draw().axes[0].lines] for one in (first, second)]
    assert lines == [["a", "c"], ["b"]]


@pytest.mark.usefixtures("undrawn")
def test_a_single_sample_is_shown_once():
    page = Page(render(make_content({"lsm": {"best": evaluation(0, samples=1)}}), dpi=20))
    assert sum("sample, number 0" in caption for caption in captions_of(page)) == 1


@pytest.mark.usefixtures("undrawn")
def test_units_are_those_of_the_fields():
    fields = FieldSpec("grid", (6, 5), ("x", "y"), (Channel("a"),), (Channel("u", "mm"), Channel("v", "mm")))
    assert Page(render(make_content(ONE, fields), dpi=20)).text.count("[mm]") == 2, "RMSE and largest error"
