"""``lsm-visualize``: pictures of samples, of several models on them, of latents and errors; a gallery; files for ParaView."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from experiments.app import command
from experiments.folders import find_checkpoints
from experiments.subjects import Subject, load_subject
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console, progress_bar


def run(cfg: DictConfig) -> list[Path]:
    """Draw what is asked for; return the files.

    Raises:
        InputError: a sample is not in the split, fields at rest are to be animated, or options cannot be combined.
    """
    _require_fit(cfg)
    draw: dict[str, Callable[[DictConfig, Subject], list[Path]]] = {
        "samples": draw_samples,
        "latents": draw_latents,
        "errors": draw_errors,
        "gallery": write_gallery,
    }
    return draw[cfg.what](cfg, load_subject(cfg))


def _require_fit(cfg: DictConfig) -> None:
    several = len(find_checkpoints(cfg.checkpoint)) > 1
    if several and (cfg.level is not None or cfg.what != "samples"):
        asked = "level" if cfg.level is not None else f"what={cfg.what}"
        raise InputError(f"{asked} works with one checkpoint only; give one, or remove {asked} to compare several")
    if cfg.transforms and (cfg.level is not None or cfg.what == "latents"):
        shown = "latents" if cfg.what == "latents" else "bands"
        raise InputError(f"{shown} exist only for predictions without transforms; remove transforms")
    if cfg.format == "vtk" and (cfg.what != "samples" or cfg.animate):
        raise InputError("format=vtk writes the fields of samples, which ParaView draws and animates itself")
    if cfg.what in ("errors", "latents") and cfg.level is not None:
        raise InputError(f"what={cfg.what} shows no bands; choose what=samples or what=gallery, or leave out level=")
    if cfg.what != "samples" and cfg.animate:
        raise InputError("only samples can be animated; choose what=samples", ("animate",))


def _write(path: Path, note: str = "") -> Path:
    console.print(f"{path}{note and f'  ({note})'}", soft_wrap=True)
    return path


def draw_samples(cfg: DictConfig, subject: Subject) -> list[Path]:
    """One picture for each sample, followed by its animation if there is one; and the learning curve of a single run."""
    from lsm.plotting import check_in_motion, draw_sample, save_animation, save_figure
    from lsm.plotting.vtk import save_fields

    if cfg.animate:
        check_in_motion(subject.data.spec)
    paths = []
    for index in subject.positions():
        drawn = subject.drawn(index)
        path = Path(cfg.run_dir) / f"{cfg.split}_{index:04d}"
        if cfg.format == "vtk":
            paths += [_write(written) for written in save_fields(path, *drawn.picture[:4], drawn.band)]
            continue
        paths.append(path.with_suffix(f".{cfg.format}"))
        save_figure(draw_sample(*drawn.picture), paths[-1], cfg.dpi)
        _write(paths[-1], drawn.note)
        if cfg.animate:
            paths.append(_write(path.with_suffix(f".{cfg.animation}")))
            save_animation(*drawn.picture[:5], paths[-1], cfg.animation_dpi, drawn.band)
    curve = cfg.curve and cfg.format != "vtk" and len(subject.checkpoints) == 1
    return paths + (_draw_curve(cfg, subject) if curve else [])


def draw_latents(cfg: DictConfig, subject: Subject) -> list[Path]:
    """Attention maps and tokens of every spectral block of LSM or LSM-2, a picture for each sample."""
    from lsm.fields import FieldBatch
    from lsm.model.inspection import inspect_latents
    from lsm.plotting import save_figure
    from lsm.plotting.latents import draw_latents

    paths = []
    for index in subject.positions():
        sample = subject.data.dataset(cfg.split)[index]
        blocks = inspect_latents(subject.solver.eval().cpu(), FieldBatch.stack([sample]))
        path = Path(cfg.run_dir) / f"latents_{cfg.split}_{index:04d}.{cfg.format}"
        title = f"{subject.name}, {cfg.split} sample {index}: attention and tokens of each block"
        save_figure(draw_latents(blocks, sample, subject.data.spec, title), path, cfg.dpi)
        paths.append(_write(path))
    return paths


def draw_errors(cfg: DictConfig, subject: Subject) -> list[Path]:
    """Errors of a whole split: their distribution, where they lie, over the frames, and the spectra of truth and error."""
    from lsm.comparison import Model
    from lsm.plotting import save_figure
    from lsm.plotting.errors import draw_histogram
    from lsm.plotting.spectra import draw_spectrum
    from lsm.report.content import intervals_of, picture_of_parts

    evaluation, spectra = subject.measure()
    model = Model("", {"": evaluation})
    histogram = draw_histogram({"samples": evaluation.errors["relative_l2"]}, "relative_l2", subject.title)
    figures = {"errors": histogram}
    for metric, names in evaluation.parts.items():
        if means := intervals_of(model, metric, names):
            figures[metric] = picture_of_parts(metric, names, {"": means}, subject.title).draw()
    for channel in subject.data.spec.targets if spectra else ():
        headline = f"{subject.title}: {channel.name.replace('_', ' ')}"
        # A name may come from anybody's file: it must not lead out of the folder.
        figures[f"spectrum_{re.sub(r'[^0-9A-Za-z_-]', '_', channel.name)}"] = draw_spectrum(
            spectra[channel.name], headline, channel.unit
        )
    paths = []
    for name, figure in figures.items():
        paths.append(Path(cfg.run_dir) / f"{cfg.split}_{name}.{cfg.format}")
        save_figure(figure, paths[-1], cfg.dpi)
        _write(paths[-1])
    return paths


def write_gallery(cfg: DictConfig, subject: Subject) -> list[Path]:
    """A page with a small picture of each sample, those with the largest errors first."""
    from lsm.plotting import draw_sample
    from lsm.report.gallery import Entry, render_gallery

    entries = []
    with progress_bar() as progress:
        for index in progress.track(subject.positions(everything=True), description="samples"):
            drawn = subject.drawn(index)
            entries.append(Entry(index, drawn.error, lambda drawn=drawn: draw_sample(*drawn.picture)))
    path = Path(cfg.run_dir) / f"gallery_{cfg.split}.html"
    write_whole(path, render_gallery(subject.title, entries, cfg.gallery_dpi))
    return [_write(path, "open it in a browser")]


def _draw_curve(cfg: DictConfig, subject: Subject) -> list[Path]:
    """The run's learning curve and its numbers; nothing for a checkpoint without the logs of a run."""
    from lsm.plotting import draw_learning_curve, save_figure
    from lsm.training.history import monitored, read_history, series_of, to_csv

    history = read_history(subject.run)
    if not history:
        return []
    metric = monitored(history, next(iter(subject.checkpoints.values())).run.get("config") or {})
    path = Path(cfg.run_dir) / f"learning_curve.{cfg.format}"
    length = f"{len(history)} epoch" + ("" if len(history) == 1 else "s")
    save_figure(draw_learning_curve(series_of(history, metric), metric, f"{subject.name}, {length}"), path, cfg.dpi)
    write_whole(path.with_suffix(".csv"), to_csv(history))
    return [_write(path, length)]


main = command("visualize", run)

if __name__ == "__main__":
    main()
