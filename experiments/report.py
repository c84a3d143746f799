"""``lsm-report``: one page about a checkpoint, or several compared, that opens without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.app import command
from experiments.device import choose_device
from experiments.evaluations import Evaluated, evaluate_all, group_models, predict_sample, predictor_of
from experiments.facts import commands_of, facts_of, subtitle_of, title_of, written
from experiments.folders import run_of
from experiments.runs import essence
from lsm.files import write_whole
from lsm.progress import console

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lsm.report import Run


def run(cfg: DictConfig) -> Path:
    """Write the page as configured; return the file."""
    evaluated = evaluate_all(cfg)

    from lsm.comparison import compare_pairs
    from lsm.report import Content, render

    models = group_models(evaluated)
    pairs, refused = compare_pairs(models) if len(evaluated) > 1 else ([], [])
    content = Content(
        title=title_of(evaluated),
        subtitle=subtitle_of(evaluated),
        spec=next(iter(evaluated.values())).data.spec,
        models=models,
        pairs=pairs,
        refused=refused,
        runs={label: _run(one, cfg) for label, one in evaluated.items()},
        commands=commands_of(evaluated),
        written=written(),
    )
    path = Path(cfg.output)
    write_whole(path, render(content, cfg.dpi))
    console.print(f"{path}  (open it in a browser)", soft_wrap=True)
    return path


def _run(one: Evaluated, cfg: DictConfig) -> Run:
    from lsm.report import Run
    from lsm.training.history import monitored, read_history, series_of

    history = read_history(run_of(one.path))
    metric = monitored(history, one.config) if history else ""
    curves = series_of(history, metric) if history else {}
    return Run(curves, metric, facts_of(one), essence(one.config), _painter(one, cfg), one.coverage)


def _painter(one: Evaluated, cfg: DictConfig) -> Callable[[int, str], Figure]:
    from lsm.plotting import Display, draw_sample

    display, device = Display.from_dict(one.data.display), choose_device(cfg.device)
    predict = predictor_of(cfg, one.checkpoint, one.data)

    def draw(index: int, title: str) -> Figure:
        sample, prediction, _ = predict_sample(predict, one.data, cfg.split, index, device)
        return draw_sample(one.data.spec, display, sample, prediction, title)

    return draw


main = command("report", run)

if __name__ == "__main__":
    main()
