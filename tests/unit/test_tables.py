"""Tables: statistics by hand, the rule for bold, formats, plans, and epochs within a budget."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.backends.backend_agg import FigureCanvasAgg
from omegaconf import DictConfig

from experiments.app import compose_config
from experiments.effect import require_effect
from experiments.processes import CommandFailed, Deadline, OutOfTime
from experiments.revision import _has_effect, _revision, code_revision
from experiments.tables.cells import Cell
from experiments.tables.costs import budget_seconds, epoch_seconds, keep_pace, make_profile, within_budget
from experiments.tables.datasets import missing_data
from experiments.tables.devices import devices_to_share, environment_of
from experiments.tables.learning import Learning, describe_learning
from experiments.tables.numbers import as_bytes, as_count, as_error, as_seconds, as_share, decimals_of_pair
from experiments.tables.pictures import write_pictures
from experiments.tables.plan import Experiment, Plan, Row, make_plan
from experiments.tables.render import aligned, as_csv, escape_tex, render, settings_of
from experiments.tables.results import published, reference_of
from experiments.tables.running import MARGIN, Progress, _finish, _measure, _run_cells, my_share
from lsm.errors import InputError
from lsm.plotting.tables import Course, Efficiency, Variation, draw_efficiency, draw_learning, draw_variation
from lsm.statistics import Summary, bootstrap_interval, clear_best, summarise

TABLES = sorted(path.stem for path in (ROOT / "conf/table").glob("*.yaml"))


# Statistics


def test_mean_and_deviation_over_seeds_by_hand():
    summary = summarise([np.array([0.1, 0.3]), np.array([0.2, 0.6])])
    assert summary.seeds == pytest.approx((0.2, 0.4))
    assert summary.mean == pytest.approx(0.3)
    assert summary.deviation == pytest.approx(0.2 / 2**0.5), "one degree of freedom less than seeds"
    assert summarise([np.array([0.1, 0.3])]).deviation is None


def test_the_interval_has_the_width_of_the_standard_error():
    """Of 400 samples of deviation 1 and one seed: 1.96 standard errors of 1/20 on each side, to a tenth."""
    errors = np.random.default_rng(1).standard_normal(400)
    errors = 5 + (errors - errors.mean()) / errors.std()
    low, high = bootstrap_interval(errors[None])
    assert (5 - low, high - 5) == pytest.approx((0.098, 0.098), rel=0.1)


def test_the_interval_contains_the_spread_of_the_seeds():
    """Two seeds with constant errors 1 and 3: a quarter of the replicates has seed 1 alone, a quarter seed 2 alone."""
    assert bootstrap_interval(np.array([[1.0] * 5, [3.0] * 5])) == pytest.approx((1.0, 3.0))
    assert bootstrap_interval(np.full((3, 5), 2.0)) == pytest.approx((2.0, 2.0))
    table = np.random.default_rng(0).random((3, 50))
    assert bootstrap_interval(table) == bootstrap_interval(table), "the same numbers in every call"


def summary(mean: float, deviation: float | None) -> Summary:
    return Summary(mean, deviation, mean, mean, (mean,))


@pytest.mark.parametrize(
    ("methods", "best"),
    [
        ({"a": (1.0, 0.1), "b": (1.2, 0.1)}, "a"),  # 0.2 > sqrt(2) 0.1
        ({"a": (1.0, 0.1), "b": (1.14, 0.1)}, None),  # 0.14 < sqrt(2) 0.1
        ({"a": (1.2, 0.1), "b": (1.0, 0.1)}, "b"),
        ({"a": (1.0, 0.1), "b": (1.14, 0.1), "c": (9.0, 0.1)}, None),  # not clear of every other one
        ({"a": (1.0, 0.0), "b": (9.0, 0.0), "c": (5.0, 4.5)}, None),  # the third deviates, not the second
        ({"a": (1.0, 0.0), "b": (1.0, 0.0)}, None),
        ({"a": (1.0, None), "b": (9.0, None)}, None),  # one seed
        ({"a": (1.0, 0.1)}, None),  # nothing to compare with
    ],
)
def test_bold_is_for_differences_beyond_the_deviation(methods, best):
    assert clear_best({name: summary(*values) for name, values in methods.items()}) == best


# Numbers


def test_numbers_are_short_and_have_units():
    assert [as_error(value) for value in (0.01672, 0.5668, 1.2345, 0.000471)] == ["0.0167", "0.567", "1.23", "0.000471"]
    assert (decimals_of_pair(0.0167, 0.0003), decimals_of_pair(0.5668, 0.0003), decimals_of_pair(0.5, None)) == (
        4,
        4,
        3,
    )
    assert decimals_of_pair(0.5, 1e-9) == 5, "not more than two further decimals"
    assert [as_count(value) for value in (10, 307123, 999999, 1.66e8)] == ["10", "307 k", "1.00 M", "166 M"]
    assert [as_bytes(value) for value in (512, 172408832, 3.2e9)] == ["512 B", "164 MiB", "2.98 GiB"]
    times = [0.0123, 0.9996, 4.1, 99.96, 200, 3600, 7512]
    texts = ["12.3 ms", "1.00 s", "4.10 s", "1 min 40 s", "3 min 20 s", "1 h 0 min", "2 h 5 min"]
    assert [as_seconds(value) for value in times] == texts
    assert [as_share(value) for value in (1.0, 0.19, 0.0071)] == ["100 %", "19 %", "0.71 %"]
    assert {as_error(None), as_count(None), as_bytes(None), as_seconds(None), as_share(None)} == {"\N{EN DASH}"}


# Formats


def result(benchmark: str, row: str, mean: float | None, deviation: float | None = 0.0003) -> dict[str, Any]:
    known = mean is not None
    return {
        "benchmark": benchmark,
        "row": row,
        "seeds": {"0": mean, "1": mean} if known else {},
        "mean": mean,
        "deviation": deviation if known else None,
        "interval": [mean - 0.001, mean + 0.002] if known else None,
        "published": "0.0065" if (benchmark, row) == ("darcy", "lsm") else None,
        "epochs": 15 if known else None,
        "training_seconds": 130.0 if known else None,
        "training_device_seconds": 123.0 if known else None,
        "parameters": 307123,
        "flops_per_sample": 1.66e8,
        "memory_bytes": 172408832,
        "batch_size": 10,
        "step_seconds": 0.2,
        "latency_seconds": 0.0123,
        "device": "cpu",
    }


@pytest.fixture
def table() -> dict[str, Any]:
    """Two models, one of which lacks a benchmark, and a label that every format has to escape."""
    return {
        "name": "toy",
        "title": "Errors & costs",
        "caption": "At 100 % of <size>.",
        "metric": "relative_l2",
        "seeds": [0, 1],
        "budget": 200,
        "level": 0.95,
        "threads": 1,
        "code": "0123456789ab",
        "benchmarks": [
            {"name": "darcy", "sites": [43, 43], "num_test_samples": 200, "source": "generated", "data": {}},
            {"name": "elasticity_p", "sites": [972], "num_test_samples": 100, "source": "generated", "data": {}},
        ],
        "varied": None,
        "rows": [
            {"name": "lsm", "label": "LSM", "model": "lsm", "at": None, "share": 1.0},
            {"name": "odd", "label": "odd_|<b>", "model": "fno", "at": None, "share": 1.0},
        ],
        "results": [
            result("darcy", "lsm", 0.0167),
            result("darcy", "odd", 0.0201),
            result("elasticity_p", "lsm", 0.0515),
            result("elasticity_p", "odd", None),
        ],
        "reference": "lsm",
        "learning": [],
        "best": {"darcy": "lsm", "elasticity_p": None},
        "published": [{"method": "F-FNO", "source": "a", "errors": {"darcy": "0.0077"}}],
        "sources": {"a": {"title": "A paper", "arxiv": "2301.12664", "note": "read off a chart"}},
        "notes": ["odd_|<b> failed: 5 < 6"],
        "environment": {
            "date": "2030-01-31T12:00:00",
            "lsm": "0.1.0",
            "commit": "ab" * 20 + "+changes",
            "packages": {"torch": "2.13.0"},
            "machine": {"gpu": None, "processor": "a processor"},
        },
    }


def test_markdown(table):
    lines = render(table, "md").splitlines()
    assert lines[4:9] == [
        "| model                 |               Darcy |    Elasticity-P |",
        "| --------------------- | ------------------: | --------------: |",
        "| LSM                   | **0.0167 ± 0.0003** | 0.0515 ± 0.0003 |",
        "| odd_\\|\\<b>            |     0.0201 ± 0.0003 |               \N{EN DASH} |",
        "| F-FNO (published [1]) |              0.0077 |               \N{EN DASH} |",
    ]
    text = "\n".join(lines)
    assert "## Elasticity-P, 972 sites, 100 test samples, data: generated\n\n| model " in text
    assert (
        "0.0157 to 0.0187 |    0.0065 |      307 k | 166 M |     15 |           2 min 3 s | 164 MiB | 12.3 ms |" in text
    )
    assert "training (CPU time)" in text
    assert (
        "- Every run has as many whole epochs, at least one, as should take 3 min 20 s of the device's time, by" in text
    )
    assert "- odd_|<b> failed: 5 < 6\n" in text
    assert "1. A paper, arXiv 2301.12664 (read off a chart)." in text
    assert "\n\n\n" not in text


def test_latex(table):
    text = render(table, "tex")
    assert r"LSM & \textbf{0.0167 {\scriptsize $\pm$ 0.0003}} & 0.0515 {\scriptsize $\pm$ 0.0003} \\" in text
    assert r"odd\_\textbar{}\textless{}b\textgreater{} & 0.0201" in text
    assert r"\caption{Errors \& costs. At 100 \% of \textless{}size\textgreater{}.}" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 4
    for line in text.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert line.count(" & ") in (2, 9), "as many columns as the tabular has"
    assert escape_tex("a_b%{~}\\") == r"a\_b\%\{\textasciitilde{}\}\textbackslash{}"


class Cells(HTMLParser):
    """Texts of table cells, and which are marked as best; every element has to be closed."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.best: list[str] = []

    def handle_startendtag(self, tag, attributes):
        """Nothing to close."""

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.texts.append("")
            self.marked = ("class", "best") in attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "td" and self.marked:
            self.best.append(self.texts[-1])

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.texts[-1] += data


def test_html(table):
    text = render(table, "html")
    cells = Cells()
    cells.feed(text)
    assert cells.open == []
    assert cells.best == ["0.0167 ± 0.0003"] * 2, "in the summary and in the details"
    assert "odd_|<b>" in cells.texts, "escaped"
    assert "<b>" not in text
    assert '<a href="https://arxiv.org/abs/2301.12664">' in text
    assert text.count("<svg") == 3, "an interval for each known error"


def test_csv_holds_the_numbers_as_they_are(table):
    header, first, *_, last = as_csv(table).splitlines()
    assert header.startswith("benchmark,row,mean,deviation,low,high,published,parameters,")
    assert first.startswith("darcy,lsm,0.0167,0.0003,0.0157,0.0187,0.0065,307123,")
    assert first.endswith(",0.0167,0.0167")
    assert last.startswith("elasticity_p,odd,,,,,,307123,")
    assert {len(line.split(",")) for line in as_csv(table).splitlines()} == {17}


def test_a_single_seed_and_a_gpu_are_said(table):
    table["seeds"], table["best"] = [0], {"darcy": None, "elasticity_p": None}
    for entry in table["results"]:
        entry |= {"deviation": None, "device": "cuda:0"}
    text = render(table, "md")
    assert "one seed." in text
    assert "A single seed has no deviation, so nothing is bold." in text
    assert "training (GPU time)" in text
    assert "**" not in text


def test_columns_are_aligned():
    assert aligned([["a", "bb"], ["ccc", "d"]]) == "| a   |  bb |\n| --- | --: |\n| ccc |   d |"


# Time to accuracy


COURSES = [
    Learning("darcy", "lsm", (10.0, 20.0, 30.0), (0.3, 0.2, 0.1), (0.2, 0.1, 0.1), (0.4, 0.3, 0.1)),
    Learning("darcy", "odd", (5.0, 15.0), (0.2, 0.09), (0.2, 0.08), (0.2, 0.1)),
    Learning("elasticity_p", "odd", (5.0,), (0.2,), (0.2,), (0.2,)),
]


def test_a_course_reaches_the_last_error_of_the_reference():
    described = describe_learning(COURSES, "lsm")
    assert [entry["seconds_to_reference"] for entry in described] == [30.0, 15.0, None]
    assert described[1]["errors"] == (0.2, 0.09)
    assert COURSES[0].seconds_to(0.25) == 20.0
    assert COURSES[0].seconds_to(0.05) is None


@pytest.mark.parametrize(("models", "reference"), [("[fno,lsm]", "lsm"), ("[fno]", "fno")])
def test_the_reference_is_a_row_of_the_table(models, reference):
    """The row of the budget need not be among those that were chosen."""
    plan = plan_of("table=quick", "benchmarks=[darcy]", f"models={models}")
    assert reference_of(plan, "lsm") == reference
    assert reference_of(plan, 200) == reference_of(plan, None) == plan.rows[0].name


def test_the_time_to_the_error_of_the_reference_is_a_column(table):
    assert "until the error of" not in render(table, "md")
    table["learning"] = describe_learning(COURSES, "lsm")
    text = render(table, "md")
    assert "until the error of LSM" in text
    lines = [line for line in text.splitlines() if line.startswith(("| LSM ", "| odd_"))]
    assert ["30.0 s" in line for line in lines] == [False, False, True, False, False, False]
    assert ["15.0 s" in line for line in lines] == [False, False, False, True, False, False]
    assert "Until the error of LSM: time after which" in text


def test_courses_are_drawn_in_a_panel_for_each_benchmark(table, tmp_path):
    table["learning"] = describe_learning(COURSES, "lsm")
    paths = write_pictures(table, tmp_path)
    assert [path.name for path in paths] == ["learning.png", "learning.pdf", "efficiency.png", "efficiency.pdf"]
    assert all(path.stat().st_size > 1000 for path in paths)
    course = Course(*(getattr(COURSES[1], name) for name in Course._fields))
    figure = draw_learning({"Darcy": {"odd": course}, "Pipe": {"odd": course}}, {"Darcy": 0.1}, "LSM", "relative_l2")
    first, second = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["Darcy", "Pipe"]
    assert [line.get_label() for line in first.lines] == ["odd", "end of LSM"]
    assert first.lines[0].get_xydata().tolist() == [[5.0, 0.2], [15.0, 0.09]]
    assert len(second.lines) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["odd", "end of LSM"]


def test_errors_are_drawn_against_what_the_table_varies(table, tmp_path):
    """In the order of the values; a row without a value is a level."""
    table["rows"][0]["at"], table["varied"] = 8, "number of tokens"
    assert "variation.png" in [path.name for path in write_pictures(table, tmp_path)]
    figure = draw_variation(
        {"Darcy": {"lsm": Variation([8, 2], [0.1, 0.3], [0.01, 0.02])}},
        {"Darcy": {"none": 0.4}},
        "number of tokens",
        "rmse",
    )
    curve, *_, level = figure.axes[0].lines
    assert curve.get_xydata().tolist() == [[2, 0.3], [8, 0.1]]
    assert level.get_ydata()[0] == 0.4
    assert figure.get_supxlabel() == "number of tokens"


def test_of_what_nothing_is_known_no_picture_is_drawn(table, tmp_path):
    for entry in table["results"]:
        entry["latency_seconds"] = None
    assert write_pictures(table, tmp_path) == []


def test_errors_are_drawn_against_costs():
    """The area of a marker is in proportion to the memory, in all panels and in the legend; one seed has no deviation."""
    large, small = Efficiency(0.1, 64 * 2**20, 0.02, 0.001), Efficiency(0.01, 16 * 2**20, 0.01, None)
    figure = draw_efficiency({"Darcy": {"LSM": large, "odd": small}, "Pipe": {"odd": small}}, "relative_l2")
    first, second = figure.axes
    dots = [line for line in first.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [tuple(line.get_xydata()[0]) for line in dots] == [(100.0, 0.02), (10.0, 0.01)]
    assert dots[0].get_markersize() == 2 * dots[1].get_markersize()
    (other,) = (line for line in second.lines if line.get_marker() == "o" and len(line.get_xdata()))
    assert (other.get_color(), other.get_markersize()) == (dots[1].get_color(), dots[1].get_markersize())
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["LSM", "odd", "5 MiB", "50 MiB"]
    areas = [handle.get_markersize() ** 2 for handle in legend.legend_handles[2:]]
    assert np.allclose(areas, [5 * dots[1].get_markersize() ** 2 / 16, 50 * dots[1].get_markersize() ** 2 / 16])
    for low, high in (first.get_xlim(), first.get_ylim(), second.get_xlim()):
        assert high / low > 5


def test_seeds_that_differ_by_more_than_their_mean_are_drawn(tmp_path):
    """Their interval reaches below zero, which a logarithmic axis does not have."""
    wild, calm = Efficiency(0.1, 2**20, 0.1, 0.17), Efficiency(0.1, 2**20, 0.01, 0.001)
    figure = draw_efficiency({"Darcy": {"LSM": wild, "odd": calm}}, "relative_l2")
    figure.savefig(tmp_path / "efficiency.png")
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 0.01
    assert high > 0.27


# Published figures


def test_published_figures_name_their_sources_and_benchmarks():
    benchmarks = {path.stem for path in (ROOT / "conf/benchmark").glob("*.yaml")}
    known = published()
    assert {method["source"] for method in known["methods"].values()} == set(known["sources"])
    for method in known["methods"].values():
        assert set(method["errors"]) <= benchmarks
        assert all(0 < float(error) < 1 for error in method["errors"].values())
    assert known["methods"]["LSM"]["errors"]["elasticity_g"] == "0.0408"


# Plans


def plan_of(*options: str) -> Plan:
    return make_plan(compose_config("table", "data_dir=/data", "run_dir=/runs", *options))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("tiny", "paper") else [pytest.mark.slow]) for name in TABLES]
)
def test_every_table_is_a_plan(name):
    """Rows that Hydra composes, with options that the models take, and known methods."""
    plan = plan_of(f"table={name}")
    assert plan.file.name == name
    assert [row.name for row in plan.rows] == list(plan.file.rows)
    assert {experiment.row.name for experiment in plan.experiments} == set(plan.file.rows)
    assert all(experiment.config["model"]["name"] == experiment.row.model for experiment in plan.experiments)
    wanted = {row.published for row in plan.rows if row.published} | set(plan.file.published) - set("all")
    assert wanted <= set(published()["methods"])


def test_rows_and_benchmarks_are_chosen_by_name():
    plan = plan_of("table=ablation", "models=[no_block,fno]", "benchmarks=[pipe]", "seeds=2")
    assert [(experiment.benchmark, experiment.row.name) for experiment in plan.experiments] == [
        ("pipe", "no_block"),
        ("pipe", "fno"),  # a family that is no row of this table
    ]
    assert plan.seeds == (0, 1)
    assert plan.experiments[0].config["model"]["block"] == {"name": "identity"}
    assert str(plan.experiments[0].folder) == "/runs/pipe/no_block"
    with pytest.raises(InputError, match="model 'nobody' is neither a row of table ablation nor a family: lsm, "):
        plan_of("table=ablation", "models=[nobody]")


def test_rows_that_do_not_apply_to_a_benchmark_are_left_out():
    plan = plan_of("table=quick", "benchmarks=[elasticity_p,elasticity_g]", "models=[lsm,fno]")
    names = [experiment.name for experiment in plan.experiments]
    assert names == ["elasticity_p, lsm", "elasticity_g, lsm", "elasticity_g, fno"]
    plan = plan_of("table=lsm2_ablation", "benchmarks=[darcy,airfoil]", "models=[lsm2,position_waves]")
    names = [experiment.name for experiment in plan.experiments]
    assert names == ["darcy, lsm2", "airfoil, lsm2", "airfoil, position_waves"], "only meshes have waves to add"
    assert len({experiment: experiment.name for experiment in plan.experiments}) == 3


def test_shards_share_the_experiments():
    plan = Plan(None, (), (), tuple(experiment_of(f"seed={number}") for number in range(3)), (0,))
    shares = [my_share(plan, DictConfig({"shard": shard, "num_shards": 2, "generate": False})) for shard in (0, 1)]
    assert shares == [[plan.experiments[0], plan.experiments[2]], [plan.experiments[1]]]
    with pytest.raises(InputError, match="with num_shards=2, shard is 2, expected a whole number from 0 to 1"):
        my_share(plan, DictConfig({"shard": 2, "num_shards": 2, "generate": False}))
    with pytest.raises(InputError, match="all shards use the same data"):
        my_share(plan, DictConfig({"shard": 0, "num_shards": 2, "generate": True}))


@pytest.mark.parametrize(
    ("file", "has_effect"),
    [("process_threads.py", False), ("process_memory.py", False), ("plotting/still.py", False), ("solver.py", True)],
)
def test_what_decides_time_and_memory_alone_makes_no_run_outdated(file, has_effect):
    assert _has_effect(ROOT / "lsm" / file) is has_effect


def test_the_revision_counts_all_files_of_plugins(tmp_path, monkeypatch):
    """A module, a package and a folder without ``__init__.py``; the code alone counts, and neither place nor order."""
    for file in ("rev_one.py", "rev_many/__init__.py", "rev_many/deep/part.py", "rev_bare/part.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def revision_with(*plugins: str) -> str:
        _revision.cache_clear()
        return code_revision(plugins)

    names = ("rev_one", "rev_many", "rev_bare")
    seen = [revision_with(), *map(revision_with, names), revision_with(*names)]
    assert revision_with(*names[::-1]) == seen[-1]
    for file in ("rev_one.py", "rev_many/deep/part.py", "rev_bare/part.py"):
        (tmp_path / file).write_text("x = 2\n")
        seen.append(revision_with(*names))
    assert len(set(seen)) == len(seen)
    assert revision_with() == seen[0]
    with pytest.raises(InputError, match="plugin rev_gone cannot be imported"):
        code_revision(["rev_gone"])


def test_a_run_just_before_the_deadline_gets_the_rest_of_the_time(tmp_path, monkeypatch):
    limits = []

    def call_module(module: str, options: list[str], *_: Any) -> None:
        limits.extend(option for option in options if option.startswith("time_limit="))
        raise OutOfTime

    class AlmostOver(Deadline):
        def left(self) -> float:
            return MARGIN + 0.25

    monkeypatch.setattr("experiments.processes.call_module", call_module)
    cell = Cell(replace(experiment_of("preset=quick"), folder=tmp_path), 0)
    progress = Progress(provenance={str(cell.experiment.store): {}})
    table = {"accept_other_code": False, "time_limit": 60, "threads": 1, "table": {"metric": "relative_l2"}}
    with pytest.raises(OutOfTime):
        _finish(cell, progress, DictConfig(table), AlmostOver())
    assert limits == ["time_limit=0.25"]


def test_a_profile_takes_all_options_of_a_table(tmp_path, monkeypatch):
    """Also those that change the runs alone, such as the average of their weights."""
    calls = []

    def call_module(module: str, options: list[str], *_: Any) -> None:
        calls.append(options)
        raise CommandFailed

    monkeypatch.setattr("experiments.processes.call_module", call_module)
    options = ("recipe=modern", "~callbacks.average", "checkpoint_interval=60", "trainer.max_epochs=3")
    experiment = replace(experiment_of(*options), folder=tmp_path)
    table = DictConfig({"accept_other_code": False, "device": "cpu", "threads": 1})
    _measure(experiment, Progress(), table, Deadline())
    (typed,) = calls
    assert set(options) < set(typed)
    require_effect("profile", compose_config("profile", *typed), typed, ["benchmark", "recipe"])


@pytest.mark.parametrize(
    ("device", "visible", "count", "shared"),
    [
        ("auto", None, 4, ["0", "1", "2", "3"]),
        ("cuda", None, 1, []),  # nothing to choose
        ("cuda", "5, 7", 2, ["5", "7"]),
        ("cuda", "GPU-a,MIG-b,9", 2, ["GPU-a", "MIG-b"]),  # CUDA ignores what follows a device that is not there
        ("cuda:1", None, 4, ["1"]),
        ("cuda:1", "5,7", 2, ["7"]),
        ("cuda:0", None, 1, ["0"]),
        ("cuda:2", "5,7", 2, []),  # not there: lsm-table refuses it before
        ("auto", "", 0, []),
    ],
)
def test_the_gpus_that_runs_share(device, visible, count, shared):
    assert devices_to_share(device, visible, count) == shared


def test_slots_take_the_gpus_in_turn_and_runs_on_several_see_all():
    seen = [environment_of(slot, ["5", "7"]) for slot in range(3)]
    assert seen == [{"CUDA_VISIBLE_DEVICES": name} for name in ("5", "7", "5")]
    assert environment_of(0, []) == environment_of(1, ["5", "7"], wanted=2) == {}
    assert environment_of(3, ["7"], wanted=2) == {"CUDA_VISIBLE_DEVICES": "7"}, "the one that was named"


def calls_on_gpus(device: str, folder: Path, monkeypatch) -> list[tuple[str, list[str], str | None]]:
    """Module, options and GPU of each command of five runs by two workers, which end each training at once."""
    calls, meet = [], Barrier(2, timeout=60)

    def call_module(module: str, options: list[str], *more: Any) -> None:
        calls.append((module.removeprefix("experiments."), options, more[-1].get("CUDA_VISIBLE_DEVICES")))
        if module == "experiments.train" and len(calls) <= 3:
            meet.wait()  # the first two trainings are under way together
        raise CommandFailed

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("experiments.processes.call_module", call_module)
    cfg = compose_config("table", "table=tiny", "workers=2", f"device={device}", f"run_dir={folder}", "models=[lsm]")
    (experiment,) = make_plan(cfg).experiments
    _measure(experiment, Progress(), cfg, Deadline())
    cells = [Cell(experiment, seed) for seed in range(5)]
    _run_cells(cells, Progress(provenance={str(experiment.store): {}}), cfg, Deadline())
    return calls


@pytest.mark.parametrize(("device", "gpus"), [("cuda", {"5", "7"}), ("cuda:1", {"7"}), ("cpu", {None})])
def test_profile_and_runs_of_a_table_get_their_gpus(device, gpus, tmp_path, monkeypatch):
    (measured, *trained) = calls_on_gpus(device, tmp_path, monkeypatch)
    assert [name for name, *_ in (measured, *trained)] == ["profile", *["train"] * 5]
    assert measured[2] == {"cuda": "5", "cuda:1": "7", "cpu": None}[device]
    assert {gpu for *_, gpu in trained} == {gpu for *_, gpu in trained[:2]} == gpus
    kind = device.partition(":")[0]
    assert f"device={kind}" in measured[1]
    assert all(f"trainer.accelerator={'gpu' if kind == 'cuda' else kind}" in options for _, options, _ in trained)


def test_a_mistake_in_a_table_is_named():
    with pytest.raises(InputError, match=r"table\.metric is 3, expected a text"):
        plan_of("table=tiny", "table.metric=3")
    with pytest.raises(InputError, match=r"row lsm of table tiny: .*'colour'"):
        plan_of("table=tiny", "+table.rows.lsm.colour=red")
    with pytest.raises(InputError, match="has no reader in its file, which this command needs"):
        plan_of("table=tiny", "benchmarks=[custom]", "table.options=['data.file=heat.npz']")


def test_data_sets_are_made_once_and_large_enough():
    """Both elasticity benchmarks train on one data set."""
    plan = plan_of("table=quick", "benchmarks=[elasticity_p,elasticity_g]", "models=[lsm]")
    (missing,) = missing_data(plan.experiments, (), "cpu")
    assert str(missing.path) == "/data/elasticity_quick.h5"
    assert missing.options[-1] == "num_samples=600"
    (on_gpu,) = missing_data(plan_of("table=quick", "benchmarks=[darcy]", "models=[lsm]").experiments, (), "cuda")
    assert {"device=cuda", "batch_size=64"} < set(on_gpu.options)
    (numbered,) = missing_data(plan_of("table=quick", "benchmarks=[darcy]", "models=[lsm]").experiments, (), "cuda:1")
    assert {"device=cuda:1", "batch_size=64"} < set(numbered.options)
    assert not {"device=cuda", "batch_size=64"} & set(missing_data(plan.experiments, (), "cuda")[0].options)


# Budgets


def experiment_of(*options: str) -> Experiment:
    return Experiment("darcy", Row.named("lsm", {}), ("benchmark=darcy", *options), ROOT)


def profile_of(step: float, batch: float) -> dict[str, Any]:
    return {"step": {"device_seconds": step}, "inference": {"batch_device_seconds": batch}}


def test_an_epoch_is_its_steps_and_its_validation():
    """Quick Darcy: 600 training and 50 validation samples in batches of 10; of 7 the last ones are smaller."""
    assert epoch_seconds(experiment_of("preset=quick").config, 2.0, 0.5) == 60 * 2.0 + 5 * 0.5
    assert epoch_seconds(experiment_of("preset=quick", "data.batch_size=7").config, 2.0, 0.5) == 86 * 2.0 + 8 * 0.5


def test_batches_and_validations_that_are_left_out_take_no_time():
    options = "+trainer.limit_train_batches=0.1", "+trainer.limit_val_batches=2", "+trainer.check_val_every_n_epoch=4"
    assert epoch_seconds(experiment_of("preset=quick", *options).config, 2.0, 0.5) == 6 * 2.0 + 2 * 0.5 / 4


def test_results_of_fewer_seeds_and_curves_that_were_not_logged_are_told(table):
    table["results"][1]["seeds"] = {"0": 0.02}
    table["metric"] = "rmse"
    text = render(table, "md")
    assert (
        "- Fewer seeds: 1 of odd_|<b> on Darcy; beside a single seed, which has no deviation, nothing is bold." in text
    )
    assert "- No learning curves, since the trainings did not log rmse: add metrics=" in text


def test_a_slower_machine_while_a_row_is_measured_costs_it_no_epochs(tmp_path, monkeypatch):
    """The machine is half as fast when the second row is measured: step and reference step take twice as long."""
    pace = {"lsm": 1.0, "fno": 2.0}

    def measure(module: str, options: list[str], log: Path, *more: Any) -> None:
        slow = pace[log.parents[1].name]
        log.parent.mkdir(parents=True)
        (log.parent / "profile.json").write_text(
            json.dumps({**profile_of(2.0 * slow, 0.5 * slow), "reference_seconds": 0.01 * slow})
        )

    monkeypatch.setattr("experiments.processes.call_module", measure)
    for name in pace:
        row = Row.named(name, {})
        experiment = Experiment("darcy", row, ("benchmark=darcy", "preset=quick"), tmp_path / "darcy" / name)
        make_profile(experiment, "cpu", 1, Deadline(None), [])
        keep_pace(experiment, Deadline(None))
        profile = json.loads((experiment.folder / "profile" / "profile.json").read_text())
        assert within_budget(experiment, 1000.0, profile).config["trainer"]["max_epochs"] == 8


def test_a_budget_sets_the_epochs_and_the_schedule(capsys):
    quick = within_budget(experiment_of("preset=quick"), 1000.0, profile_of(2.0, 0.5))
    assert quick.config["trainer"]["max_epochs"] == 8, "1000 seconds of 122.5 each"
    least = within_budget(experiment_of("preset=quick"), 1.0, profile_of(2.0, 0.5))
    assert least.config["trainer"]["max_epochs"] == 1
    assert "one epoch takes 122 s, more than the 1 s that the row gets" in capsys.readouterr().out
    paper = within_budget(experiment_of("preset=paper"), 5100.0, profile_of(1.0, 0.5))
    assert paper.config["trainer"]["max_epochs"] == 100, "5100 seconds of 51 each"
    assert paper.config["scheduler"]["make"]["step_size"] == 20, "halved every fifth of the run, as in 501 epochs"
    assert within_budget(experiment_of("preset=quick"), None, None).config["trainer"]["max_epochs"] == 15


def test_every_row_of_a_picture_has_its_own_colour_and_the_legend_its_own_room():
    few, many = (
        draw_efficiency({"Darcy": {f"row {i}": Efficiency(0.1, 2**20, 0.1, None) for i in range(n)}}, "relative_l2")
        for n in (2, 12)
    )
    colours = {line.get_markerfacecolor() for line in many.axes[0].lines if line.get_label().startswith("row")}
    assert len(colours) == 12
    assert many.get_figheight() > few.get_figheight()


@pytest.mark.parametrize("benchmarks", [1, 6])
def test_the_legend_fits_the_picture(benchmarks):
    rows = {f"a rather long label, {i}": Efficiency(0.1, 2**20, 0.1, None) for i in range(10)}
    figure = draw_efficiency({f"Darcy {i}": rows for i in range(benchmarks)}, "relative_l2")
    FigureCanvasAgg(figure).draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width


def test_a_row_may_get_a_share_of_the_budget():
    row = Row.named("short", {"model": "lsm", "share": 0.25})
    experiment = Experiment("darcy", row, ("benchmark=darcy", "preset=quick"), ROOT)
    assert within_budget(experiment, 1000.0, profile_of(2.0, 0.5)).config["trainer"]["max_epochs"] == 2


def test_a_row_as_budget_gives_every_row_its_time(tmp_path):
    """LSM's 15 epochs of 60 steps of 2 s, and 5 batches of 0.5 s; FNO's steps take half of that."""
    options = "table=tiny", "table.options=[]", "table.rows.lsm.options=[]", "budget=lsm", f"run_dir={tmp_path}"
    plan, cfg = plan_of(*options, "models=[fno]"), compose_config("table", *options)
    assert plan.references["darcy"].row.name == "lsm"
    assert budget_seconds("darcy", plan, cfg) is None, "not measured yet"
    for experiment, step in ((plan.references["darcy"], 2.0), (plan.experiments[0], 1.0)):
        path = experiment.folder / "profile" / "profile.json"
        path.parent.mkdir(parents=True)
        content = {**profile_of(step, step / 4), "config": experiment.config, "code": code_revision()}
        path.write_text(json.dumps(content))
    assert budget_seconds("darcy", plan, cfg) == 15 * 122.5
    own = within_budget(plan.references["darcy"], 15 * 122.5, profile_of(2.0, 0.5))
    assert own.config["trainer"]["max_epochs"] == 15
    with pytest.raises(InputError, match="budget=fno cannot set the time for elasticity_p, which fno does not support"):
        plan_of("table=quick", "benchmarks=[darcy,elasticity_p]", "models=[lsm]", "budget=fno")
    with pytest.raises(InputError, match="model 'nobody' is neither a row of table quick nor a family"):
        plan_of("table=quick", "models=[lsm]", "budget=nobody")


def test_the_time_of_a_row_is_named(table):
    table["budget"] = "lsm"
    table["benchmarks"] = [{**each, "budget_seconds": 270} for each in table["benchmarks"]]
    table["rows"][1] |= {"label": "a quarter", "share": 0.25}
    settings = " ".join(settings_of(table))
    assert "of the device's time, by" in settings
    assert (
        "take the whole training of LSM (Darcy 4 min 30 s, Elasticity-P 4 min 30 s) (a quarter: 0.25 of it) of the"
        in settings
    )


def test_a_schedule_of_fixed_length_is_refused():
    cosine = "scheduler.make={_target_: torch.optim.lr_scheduler.ExponentialLR, _partial_: true, gamma: 0.9}"
    experiment = experiment_of("preset=paper", "~scheduler.make", f"+{cosine}")
    with pytest.raises(InputError, match="ExponentialLR of darcy, lsm cannot be stretched to a budget"):
        within_budget(experiment, 100.0, profile_of(1.0, 0.5))
