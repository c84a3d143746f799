"""What the units of work do: each runs commands of this project as programs of their own, and reads what they leave."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from omegaconf import DictConfig

from experiments.curve import as_csv, read_curve
from experiments.environment import count_processors
from experiments.playbook.ledger import write_whole
from experiments.playbook.processes import PACKAGES, Deadline, OutOfTime, Skipped, WorkFailed, run_logged, run_or_fail
from lsm.checkpoint import read
from lsm.data.store import Store

Result = dict[str, Any]
Work = Callable[[Deadline], Result]

#: Seconds before the deadline at which a training shall have written its state.
MARGIN = 20.0


def size_options(benchmark: str, cfg: DictConfig) -> list[str]:
    """Options of ``lsm-train`` for a benchmark at the playbook's size."""
    size = cfg.sizes[cfg.size]
    return [f"benchmark={benchmark}", f"preset={size.preset}", f"seed={cfg.seed}", *size.options]


def _log(cfg: DictConfig, stage: str, name: str) -> Path:
    return Path(cfg.out) / "logs" / f"{stage}_{name}.log"


def _python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


# Tests


def run_tests(cfg: DictConfig, name: str, deadline: Deadline) -> Result:
    """A selection of the tests, with counts and the names of those that fail.

    Raises:
        WorkFailed: tests failed, or none was found.
        Skipped: there is no checkout with tests, or all of them were skipped.
    """
    if not (PACKAGES / "tests").is_dir():
        raise Skipped("needs a checkout: the installed package holds no tests")
    log = _log(cfg, "tests", name)
    cases = log.with_suffix(".xml").resolve()
    options = ["-p", "no:cacheprovider", "--durations=10", f"--junitxml={cases}", *cfg.tests[name]]
    code = run_logged(_python("pytest", "-q", *options), log, deadline, PACKAGES)
    if code not in (0, 1) or not cases.is_file():
        raise WorkFailed(f"pytest ended with code {code}; see {log.name}")
    result = read_cases(cases)
    if code:
        raise WorkFailed(result["summary"], result)
    if not result["passed"]:
        raise Skipped(result["summary"])
    return result


def read_cases(path: Path) -> Result:
    """Counts, and the names of failed tests, from pytest's JUnit file."""
    suite = next(ElementTree.parse(path).iter("testsuite"))
    bad = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    passed = total - skipped - len(bad)
    summary = f"{passed} passed, {skipped} skipped, {len(bad)} failed" + (f": {', '.join(bad[:3])}" if bad else "")
    return {"summary": summary, "passed": passed, "skipped": skipped, "failed": bad}


# Timings


def time_steps(cfg: DictConfig, benchmark: str, name: str, backend: str | None, deadline: Deadline) -> Result:
    """Step times of a benchmark, see ``timings.py``.

    Raises:
        WorkFailed: a precision could not be measured, or a compilation took too long and was cut off.
        OutOfTime: the deadline came first.
    """
    log = _log(cfg, "timings", name)
    answer = log.with_suffix(".json")
    settings = {key: cfg.timings[key] for key in ("warmup", "steps")}
    request = {
        "options": size_options(benchmark, cfg),
        "device": cfg.device,
        "compile": backend,
        "precisions": list(cfg.timings.precisions),
        "answer": str(answer),
        **settings,
    }
    own = Deadline(min(deadline.left(), cfg.timings.limit))
    problem = None
    try:
        run_or_fail(_python("experiments.playbook.timings", json.dumps(request)), log, own)
    except OutOfTime:
        if not deadline.left():
            raise
        problem = f"took longer than timings.limit={cfg.timings.limit} seconds"
    measured = json.loads(answer.read_text()) if answer.is_file() else {"precisions": {}}
    answer.unlink(missing_ok=True)
    told = [f"{precision} {_figures(found)}" for precision, found in measured["precisions"].items()]
    result = {"summary": "; ".join(told), "load_average": os.getloadavg()[0], **measured}
    if problem or any("error" in found for found in measured["precisions"].values()):
        raise WorkFailed("; ".join([*([problem] if problem else []), *told]), result)
    return result


def _figures(found: Result) -> str:
    if "error" in found:
        return found["error"]
    memory = found["peak_memory_bytes"]
    told = f"{1e3 * found['step_seconds']:.1f} ms, {found['samples_per_second']:.0f} samples/s"
    return told + (f", {memory / 2**30:.2f} GiB" if memory else "")


# Data


def generate_options(cfg: DictConfig, benchmark: str, num_samples: int, on_device: bool) -> list[str]:
    """Options of ``lsm-generate``: all processors but two, which feed the device; or few processes that use the device."""
    options = [f"benchmark={benchmark}", f"preset={cfg.sizes[cfg.size].preset}", f"data_dir={cfg.data_dir}"]
    options += [f"seed={cfg.seed}", f"num_samples={num_samples}"]
    if on_device:
        return [
            *options,
            f"workers={cfg.data.device_workers}",
            f"device={cfg.device}",
            f"batch_size={cfg.data.batch_size}",
        ]
    return [*options, f"workers={cfg.data.workers or max(count_processors() - 2, 1)}"]


def generate(cfg: DictConfig, options: list[str], store: Path, num_samples: int, deadline: Deadline) -> Result:
    """Make a store, unless one with enough samples is there; what is solved when the time is over is kept beside it."""
    started = time.monotonic()
    solved = 0
    if _samples_in(store) < num_samples:
        found = _samples_in(store) + len(list(store.with_name(store.name + ".parts").glob("*.npz")))
        run_or_fail(_python("experiments.generate", *options), _log(cfg, "data", store.stem), deadline)
        solved = num_samples - found
    seconds = time.monotonic() - started
    with Store(store) as made:
        provenance, residuals = made.provenance, made.bookkeeping().get("residual")
    redrawn = provenance.get("redrawn", [])
    summary = f"{solved} of {num_samples} samples solved in {seconds:.0f} s, {len(redrawn)} redrawn"
    return {
        "summary": summary,
        "samples": num_samples,
        "source": provenance.get("source"),
        "solved_in_this_call": solved,
        "seconds_of_this_call": seconds,
        "largest_residual": None if residuals is None else float(residuals.max()),
        "redrawn": redrawn,
        "options": options,
    }


def _samples_in(path: Path) -> int:
    if not path.exists():
        return 0
    with Store(path) as store:
        return store.num_samples


# Training


def train(cfg: DictConfig, benchmark: str, epochs: int, deadline: Deadline) -> Result:
    """Train to the last epoch, over as many calls as it takes; evaluate on the test split; keep the curve at each stop."""
    run, log = Path(cfg.runs_dir) / benchmark, _log(cfg, "train", benchmark)
    last, results = run / "checkpoints" / "last.ckpt", Path(cfg.out) / "results"
    options = train_options(cfg, benchmark, run, deadline)
    try:
        if _epochs_done(last) < epochs:
            run_or_fail(_python("experiments.train", *options), log, deadline)
        if _epochs_done(last) < epochs:
            raise OutOfTime
    finally:
        curve = read_curve(run)
        write_whole(results / f"{benchmark}_curve.csv", as_csv(curve))
    evaluation = run / "evaluation" / "test"
    asked = [f"checkpoint={run}", f"device={cfg.device}", f"run_dir={evaluation}", f"data_dir={cfg.data_dir}"]
    run_or_fail(_python("experiments.evaluate", *asked), log, deadline)
    shutil.copy(evaluation / "samples.csv", results / f"{benchmark}_samples.csv")
    metrics = json.loads((evaluation / "metrics.json").read_text())
    write_whole(results / f"{benchmark}.json", json.dumps(metrics, indent=2) + "\n")
    error = metrics["relative_l2"]["mean"]
    return {"summary": f"relative L2 {error:.5f} (test) after {len(curve)} epochs", "epochs": len(curve), **metrics}


def _epochs_done(checkpoint: Path) -> int:
    return read(checkpoint)["epoch"] + 1 if checkpoint.is_file() else 0


def train_options(cfg: DictConfig, benchmark: str, run: Path, deadline: Deadline) -> list[str]:
    """Options of ``lsm-train`` for the published protocol, resumable, with its data on the device."""
    return [
        *size_options(benchmark, cfg),
        *("resume=auto", f"run_dir={run}", f"data_dir={cfg.data_dir}"),
        f"trainer.accelerator={'cpu' if cfg.device == 'cpu' else 'gpu'}",
        *("data.on_device=true", f"checkpoint_interval={cfg.train.checkpoint_interval}"),
        f"time_limit={max(deadline.left() - MARGIN, 1.0):.0f}",
        *cfg.train.options,
    ]
