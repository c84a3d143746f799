"""``lsm-visualize``: input, truth, prediction and error of samples, animations of fields in motion, the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from experiments.app import command
from experiments.device import choose_device
from experiments.evaluations import predict_sample
from experiments.folders import run_of
from experiments.runs import load_run
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console


def run(cfg: DictConfig) -> list[Path]:
    """Draw as configured; return the pictures, each followed by its animation if there is one, and the learning curve.

    Raises:
        InputError: a sample is not in the split, or fields at rest are to be animated.
    """
    checkpoint, data = load_run(cfg)

    from lsm.plotting import Display, check_in_motion, draw_sample, save_animation, save_figure

    if cfg.animate:
        check_in_motion(data.spec)
    display = Display.from_dict(data.display)
    name = checkpoint.run["config"]["benchmark"]["name"]
    device = choose_device(cfg.device)
    paths = []
    for index in _positions(cfg.samples, cfg.split, len(data.dataset(cfg.split))):
        sample, prediction, error = predict_sample(checkpoint.solver, data, cfg.split, index, device)
        title = f"{name}, {cfg.split} sample {index}: relative L2 error {error:.4f}"
        drawn = data.spec, display, sample, prediction, title
        path = Path(cfg.run_dir) / f"{cfg.split}_{index:04d}.png"
        save_figure(draw_sample(*drawn), path, cfg.dpi)
        paths.append(path)
        console.print(f"{path}  (relative L2 error {error:.4f})", soft_wrap=True)
        if cfg.animate:
            paths.append(path.with_suffix(".gif"))
            save_animation(*drawn, paths[-1], cfg.animation_dpi)
            console.print(paths[-1], soft_wrap=True)
    return paths + (_draw_curve(cfg, name) if cfg.curve else [])


def _positions(samples: Sequence[int] | None, split: str, available: int) -> list[int]:
    if samples is None:
        return list(range(min(3, available)))
    wrong = [index for index in samples if index >= available]
    if wrong:
        raise InputError(f"samples {wrong} are not in the {split} split, which has 0 to {available - 1}")
    return list(samples)


def _draw_curve(cfg: DictConfig, benchmark: str) -> list[Path]:
    """The run's learning curve and its numbers; nothing for a checkpoint without the logs of a run."""
    from lsm.plotting import draw_learning_curve, save_figure
    from lsm.training.history import monitored, read_history, series_of, to_csv

    history = read_history(run_of(cfg.checkpoint))
    if not history:
        return []
    metric = monitored(history)
    path = Path(cfg.run_dir) / "learning_curve.png"
    length = f"{len(history)} epoch" + ("" if len(history) == 1 else "s")
    save_figure(draw_learning_curve(series_of(history, metric), metric, f"{benchmark}, {length}"), path, cfg.dpi)
    write_whole(path.with_suffix(".csv"), to_csv(history))
    console.print(f"{path}  ({length})", soft_wrap=True)
    return [path]


main = command("visualize", run)

if __name__ == "__main__":
    main()
