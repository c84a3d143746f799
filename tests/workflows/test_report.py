"""``lsm-report`` on tiny runs, and the page in a browser where there is one."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import lsm
from experiments.facts import _environments

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: Widths in pixels of a laptop's and a phone's window.
WIDTHS = (1280, 390)

#: Says of each frame what its pictures and its width are, once all have loaded.
SCRIPT = """
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument;
    return {pictures: [...page.images].map(image => image.complete ? image.naturalWidth : 0),
            width: page.documentElement.scrollWidth, text: page.body.innerText.length};
  });
  document.getElementById("found").textContent = JSON.stringify(found);
});
"""


@pytest.fixture(scope="module")
def page(darcy_run, command, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("report") / "page.html"
    return command("report", f"checkpoint={darcy_run}", "device=cpu", f"output={output}", "dpi=40")


def test_a_report_of_a_run(page, darcy_run):
    text = html.unescape(page.read_text())
    captions = re.findall(r'alt="([^"]*)"', text)
    # Learning curve, histogram, bands, regions, and of two samples the best (which is the median one) and the worst.
    assert len(captions) == 4 + 2
    for expected in (
        "lsm on darcy",
        "permeability to pressure; 2 samples of the test split on 13 x 13 sites",
        "lsm-generate benchmark=darcy preset=quick",
        "lsm-train benchmark=darcy preset=quick",
        f"lsm-evaluate checkpoint={darcy_run} device=cpu",
        f"lsm-report checkpoint={darcy_run} device=cpu dpi=40",
        "training data: generator.class",
        json.loads((darcy_run / "environment.json").read_text())["date"],
    ):
        assert expected in text
    # The best checkpoint may be of an earlier epoch than the last one of the training.
    assert f"<th>epoch of the checkpoint</th><td>{lsm.load(darcy_run).epoch + 1}</td>" in text


def test_the_training_is_repeated_with_its_plugins(darcy_run, command, tmp_path):
    content = torch.load(darcy_run / "checkpoints/best.ckpt", weights_only=True)
    content["lsm"]["run"]["config"]["plugins"] = ["mine", "other.part"]
    torch.save(content, tmp_path / "solver.ckpt")
    page = command("report", f"checkpoint={tmp_path / 'solver.ckpt'}", "device=cpu", "dpi=20")
    (line,) = re.findall("lsm-train .*", html.unescape(page.read_text()))
    assert "plugins=[mine,other.part]" in shlex.split(re.sub("<.*", "", line))


def test_the_calls_of_a_run_are_in_their_order(tmp_path):
    for name, commit in (("environment", "a"), ("environment-resumed-10", "c"), ("environment-resumed-2", "b")):
        (tmp_path / f"{name}.json").write_text(json.dumps({"commit": commit}))
    assert [environment["commit"] for environment in _environments(tmp_path)] == ["a", "b", "c"]


@pytest.mark.slow
def test_a_report_of_several_runs(darcy_run, command, tmp_path):
    shutil.copytree(darcy_run, tmp_path / "runs/a")
    shutil.copytree(darcy_run, tmp_path / "runs/b")
    path = command("report", f"checkpoint={tmp_path}/runs/*", "device=cpu", "dpi=30")
    assert path == tmp_path / "runs/comparison/a+b/test.html"
    text = html.unescape(path.read_text())
    assert "lsm (a) against lsm (b)" in text
    assert "0 : 0, 2 equal" in text
    assert len(re.findall("<img ", text)) == 4 + 2 * 2


@pytest.mark.skipif(BROWSER is None, reason="no chromium")
def test_a_browser_shows_every_picture_and_no_page_is_too_wide(page, tmp_path):
    frames = "".join(
        f'<iframe style="width:{width}px;border:0" srcdoc="{html.escape(page.read_text())}"></iframe>'
        for width in WIDTHS
    )
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(f'<meta charset="utf-8"><script>{SCRIPT}</script>{frames}<pre id="found"></pre>')
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=10000",
        f"--user-data-dir={tmp_path}",
    ]
    shown = subprocess.run(
        [BROWSER, *options, "--dump-dom", wrapper.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', shown.stdout)
    for width, frame in zip(WIDTHS, json.loads(found), strict=True):
        assert len(frame["pictures"]) == 6
        assert min(frame["pictures"]) > 0
        assert frame["width"] <= width
        assert frame["text"] > 1000
