"""What a report shows: numbers, texts and pictures. Knows no files and no page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lsm.comparison import Model, Pair
from lsm.conformal import Coverage
from lsm.fields import FieldSpec
from lsm.plotting.curve import draw_learning_curve, spell
from lsm.plotting.errors import Interval, draw_frames, draw_histogram, draw_parts, draw_reliability

#: What the parts of an error mean, by the name of the metric.
EXPLANATIONS = {
    "relative_l2_per_band": "Error in bands of the wave number, relative to the truth of all bands: low up to 4 waves per length "
    "of an axis, middle up to 12, high above. The squares of the bands sum to the square of the relative L2 error.",
    "relative_l2_per_region": "Root mean square error at the rim of the lattice and inside, relative to the root mean square "
    "of the whole truth.",
}

#: Learning curves of a run by split: epochs and values.
Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]


@dataclass(frozen=True)
class Run:
    """One checkpoint.

    Args:
        curves: of the monitored error; empty without logs.
        monitored: name of this error.
        facts: what is known of it, as texts by name: where it lies, seed, commit, machine, data.
        config: its configuration, by dotted names.
        draw: draws a sample with the prediction, given its index and a title.
        coverage: how often its bands hold the truth, if they were calibrated.
    """

    curves: Curves
    monitored: str
    facts: Mapping[str, str]
    config: Mapping[str, Any]
    draw: Callable[[int, str], Figure]
    coverage: Coverage | None = None


@dataclass(frozen=True)
class Content:
    """What a report shows.

    Args:
        title: headline.
        subtitle: what was evaluated on what.
        spec: the fields.
        models: evaluations, grouped by model.
        pairs: comparisons of two models, or seeds.
        refused: why others are not compared, in sentences.
        runs: by the name of the checkpoint.
        commands: that make the results again, with what each does.
        written: when and with what the report was written.
    """

    title: str
    subtitle: str
    spec: FieldSpec
    models: Sequence[Model]
    pairs: Sequence[Pair]
    refused: Sequence[str]
    runs: Mapping[str, Run]
    commands: Sequence[tuple[str, str]]
    written: str


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Args:
        draw: draws it.
        caption: below it.
        explanation: longer text below the caption.
        fields: whether it shows fields, as pixels; curves are drawn as vectors.
    """

    draw: Callable[[], Figure]
    caption: str
    explanation: str = ""
    fields: bool = False


def scalars_of(content: Content) -> list[str]:
    """Names of the errors with one number per sample, ``(n,)``, of all models."""
    members = [member for model in content.models for member in model.members.values()]
    return list(dict.fromkeys(name for member in members for name in member.scalars))


def parts_of(content: Content) -> dict[str, list[str]]:
    """Names of the parts of each error in parts, ``(n, parts)``, of all models."""
    found: dict[str, list[str]] = {}
    for model in content.models:
        for member in model.members.values():
            for metric, names in member.parts.items():
                found[metric] = list(dict.fromkeys([*found.get(metric, []), *names]))
    return found


def unit_of(spec: FieldSpec, metric: str) -> str:
    """Unit of a metric: that of the fields for errors that have one."""
    units = {channel.unit for channel in spec.targets}
    if metric not in ("rmse", "max_error") or units == {"1"}:
        return ""
    return units.pop() if len(units) == 1 else "mixed units"


def chosen_samples(model: Model, metric: str) -> dict[str, int]:
    """The samples with the smallest, median and largest error ``(n,)``, averaged over the seeds; each once."""
    order = np.argsort(model.means(metric), kind="stable")
    places = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    chosen: dict[int, str] = {}
    for name, place in places.items():
        chosen.setdefault(int(order[place]), name)
    return {name: index for index, name in chosen.items()}


def learning_curves(content: Content) -> list[Picture]:
    """A picture for each error that chose best checkpoints."""
    runs = {label: run for label, run in content.runs.items() if run.curves}
    chosen = dict.fromkeys(run.monitored for run in runs.values())
    several = len(content.runs) > 1
    return [
        _learning_curve({label: run for label, run in runs.items() if run.monitored == metric}, metric, several)
        for metric in chosen
    ]


def _learning_curve(runs: Mapping[str, Run], metric: str, several: bool) -> Picture:
    """All splits of a single run; of several the validation, or the training of those without one."""
    if not several:
        (first,) = runs.values()
        series, splits = first.curves, list(first.curves)
    else:
        drawn = {label: "validation" if "validation" in run.curves else "training" for label, run in runs.items()}
        splits = list(dict.fromkeys(drawn.values()))
        series = {
            label if len(splits) == 1 else f"{label} ({split})": runs[label].curves[split]
            for label, split in drawn.items()
        }
    caption = f"Learning curve: {spell(metric)} error, {' and '.join(splits)}"
    return Picture(lambda: draw_learning_curve(series, metric, "", mark=not several), caption)


def histogram(content: Content) -> Picture:
    """Distribution of the relative L2 error ``(n,)`` over the samples."""
    metric = scalars_of(content)[0]
    errors = {model.label: model.means(metric) for model in content.models if metric in model.errors()}
    return Picture(lambda: draw_histogram(errors, metric, ""), f"Number of samples by their {spell(metric)} error")


def pictures_of_parts(content: Content) -> dict[str, Picture]:
    """A picture for each error in parts: a curve over the frames, bars otherwise."""
    pictures = {}
    for metric, names in parts_of(content).items():
        found = {model.label: intervals_of(model, metric, names) for model in content.models}
        means = {label: parts for label, parts in found.items() if parts}
        if means:
            pictures[metric] = picture_of_parts(metric, names, means, "")
    return pictures


def reliability(content: Content) -> dict[str, Picture]:
    """Coverage of bands against the probability that they state, by the name of the checkpoint; empty without bands."""
    fields = [channel.name for channel in content.spec.targets]
    found = {label: run.coverage for label, run in content.runs.items() if run.coverage is not None}
    several = len(content.runs) > 1
    return {label: _reliability_of(coverage, fields, label if several else "") for label, coverage in found.items()}


def _reliability_of(coverage: Coverage, fields: Sequence[str], label: str) -> Picture:
    caption = f"Coverage of the bands on {coverage.num_samples} samples" + (f" ({label})" if label else "")
    return Picture(
        lambda: draw_reliability(coverage, fields, ""),
        f"{caption}, calibrated on {coverage.calibration} others",
        "A band states the probability with which it holds the truth: at each site, or of a whole field at once. "
        "A valid band for whole fields lies in the grey range in 95 % of the draws of both splits.",
    )


def intervals_of(model: Model, metric: str, names: Sequence[str]) -> dict[str, Interval]:
    """Mean and interval of each part of an error that is defined for the model's samples."""
    found = {name: model.summaries[key] for name in names if (key := f"{metric} {name}") in model.summaries}
    return {name: (summary.mean, summary.low, summary.high) for name, summary in found.items()}


def picture_of_parts(
    metric: str, names: Sequence[str], means: Mapping[str, Mapping[str, Interval]], title: str
) -> Picture:
    """An error in parts, of models by their names: a curve over the frames, bars otherwise."""
    draw = draw_frames if metric == "relative_l2_per_frame" else draw_parts
    of, _, per = metric.partition("_per_")
    by = f" by {per.replace('_', ' ')}" if per else ""
    caption = f"{spell(of)} error{by}, with the 95 % interval of each mean"
    return Picture(
        lambda: draw(means, names, metric, title), caption[0].upper() + caption[1:], EXPLANATIONS.get(metric, "")
    )


def pictures_of_samples(content: Content) -> dict[str, list[Picture]]:
    """Fields ``(*sites, c)`` of the best, the median and the worst sample, by the name of the model.

    Models that were evaluated on the same samples show the same ones, those of the first. The first seed is drawn.
    """
    metric = scalars_of(content)[0]
    chosen: dict[str, tuple[Model, dict[str, int]]] = {}
    pictures = {}
    for model in content.models:
        owner, samples = chosen.setdefault(model.digest, (model, chosen_samples(model, metric)))
        of = f" of {owner.label}" if len(content.models) > 1 else ""
        titles = {index: f"The {name} sample{of}, number {index}" for name, index in samples.items()}
        pictures[model.label] = _samples_of(content, model, metric, titles)
    return pictures


def _samples_of(content: Content, model: Model, metric: str, titles: Mapping[int, str]) -> list[Picture]:
    label, member = next(iter(model.members.items()))
    run = content.runs[label]

    def picture(index: int, title: str) -> Picture:
        error = f"{spell(metric)} error {member.errors[metric][index]:.4g}"
        caption = f"{title}: {error}" + (f" ({label})" if len(content.runs) > 1 else "")
        return Picture(lambda: run.draw(index, f"sample {index}, {error}"), caption, fields=True)

    return [picture(index, title) for index, title in titles.items()]
