"""``lsm-visualize``: a PNG a sample of input, truth, prediction and error, and a GIF if it moves; the learning curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.cli import command, console, run_of
from experiments.curve import as_csv, as_series, read_curve
from experiments.device import choose_device
from lsm.errors import InputError, require_whole


def run(cfg: DictConfig) -> list[Path]:
    """Draw as configured; return the pictures, after each its animation if there is one, and last the learning curve.

    Raises:
        InputError: a sample is not in the split, or the fields do not move and are to be animated.
    """
    import torch

    from experiments.build import load_run
    from lsm.fields import FieldBatch
    from lsm.metrics import relative_l2
    from lsm.plotting import check_in_motion, draw_sample, save_animation, save_figure

    checkpoint, data = load_run(cfg, cfg.split)
    if cfg.animate:
        check_in_motion(data.spec)
    dataset = data.dataset(cfg.split)
    samples = _positions(cfg.samples, len(dataset))
    wrong = [index for index in samples if not 0 <= index < len(dataset)]
    if wrong:
        raise InputError(f"samples {wrong} are not in the {cfg.split} split, which has 0 to {len(dataset) - 1}")
    for name in ("dpi", "animation_dpi"):
        require_whole(name, cfg[name], 1)
    device = choose_device(cfg.device)
    solver = checkpoint.solver.to(device)
    paths = []
    for index in samples:
        batch = FieldBatch.stack([dataset[index]]).to(device)
        with torch.inference_mode():
            prediction = solver(batch)
        error = float(relative_l2(prediction, batch.targets))
        title = f"{checkpoint.run['benchmark']['name']}, {cfg.split} sample {index}: relative L2 error {error:.4f}"
        drawn = data.spec, batch.sample(0).to("cpu"), prediction[0].cpu(), title
        path = Path(cfg.run_dir) / f"{cfg.split}_{index:04d}.png"
        save_figure(draw_sample(*drawn), path, cfg.dpi)
        paths.append(path)
        console.print(f"{path}  (relative L2 error {error:.4f})", soft_wrap=True)
        if cfg.animate:
            paths.append(path.with_suffix(".gif"))
            save_animation(*drawn, paths[-1], cfg.animation_dpi)
            console.print(paths[-1], soft_wrap=True)
    if cfg.curve:
        paths += _draw_curve(cfg, checkpoint.run["benchmark"]["name"])
    return paths


def _positions(samples: Any, available: int) -> list[int]:
    if samples is None:
        return list(range(min(3, available)))
    if not OmegaConf.is_list(samples) or not all(type(index) is int for index in samples):
        raise InputError(f"samples is {samples}, expected a list of positions such as [0,1,2]")
    return list(samples)


def _draw_curve(cfg: DictConfig, benchmark: str) -> list[Path]:
    """The run's learning curve and its numbers; nothing for a checkpoint without a run's logs."""
    from lsm.plotting import draw_learning_curve, save_figure

    curve = read_curve(run_of(cfg.checkpoint))
    if not curve:
        return []
    path = Path(cfg.run_dir) / "learning_curve.png"
    length = f"{len(curve)} epoch" + ("" if len(curve) == 1 else "s")
    save_figure(draw_learning_curve(as_series(curve), f"{benchmark}, {length}"), path, cfg.dpi)
    path.with_suffix(".csv").write_text(as_csv(curve))
    console.print(f"{path}  ({length})", soft_wrap=True)
    return [path]


main = command("visualize", run)

if __name__ == "__main__":
    main()
