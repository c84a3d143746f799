"""The page of a report: tables as texts, pictures inside the file, and the template."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

import lsm.report
from lsm.comparison import Pair
from lsm.plotting.curve import spell
from lsm.report.content import (
    Content,
    Picture,
    chosen_samples,
    histogram,
    learning_curves,
    parts_of,
    pictures_of_parts,
    pictures_of_samples,
    reliability,
    scalars_of,
    unit_of,
)
from lsm.statistics import Summary

#: Shown where nothing is known.
NOTHING = "\N{EN DASH}"

#: Texts of files are drawn as they are, also where a dollar sign would begin a formula; equal figures have equal bytes.
_STYLE: Any = {"text.parse_math": False, "svg.hashsalt": "lsm"}

#: More parts than these are shown as a curve only.
_MOST_ROWS = 6


def render(content: Content, dpi: int = 110) -> bytes:
    """The page, in UTF-8. Every text is escaped; the page holds no script and asks for nothing outside it.

    Args:
        content: what to show.
        dpi: resolution of pictures of fields.
    """
    return fill_template(
        "report.html.jinja",
        dpi,
        content=content,
        metrics=scalars_of(content),
        cards=cards_of(content),
        errors=errors_of(content),
        samples=samples_of(content),
        pairs=[_describe(pair) for pair in content.pairs],
        curves=[*learning_curves(content), histogram(content)],
        parts=pictures_of_parts(content),
        tables=tables_of_parts(content),
        reliability=reliability(content),
        fields=pictures_of_samples(content),
        config=config_of(content),
    )


def fill_template(name: str, dpi: int, **shown: Any) -> bytes:
    """A page from a template of this package, in UTF-8, with every text escaped and every picture inside.

    Args:
        name: of the template.
        dpi: resolution of pictures of fields.
        shown: what the template names.
    """
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"spell": spell, "data": lambda picture: as_data(picture, dpi)}
    template = environment.from_string(files(lsm.report).joinpath(name).read_text("utf-8"))
    with rc_context(_STYLE):
        text = template.render(**shown)
    return text.encode("utf-8", "replace")  # a text of a file may hold half a surrogate pair


def as_data(picture: Picture, dpi: int) -> str:
    """A picture as the address of an image that holds its own data."""
    kind, mime = ("png", "image/png") if picture.fields else ("svg", "image/svg+xml")
    return f"data:{mime};base64,{base64.b64encode(_drawn(picture.draw(), kind, dpi)).decode()}"


def _drawn(figure: Figure, kind: str, dpi: int) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()


def cards_of(content: Content) -> list[tuple[str, str, str]]:
    """The numbers to read first: heading, number, and a line below."""
    metric, cards = scalars_of(content)[0], []
    for model in content.models:
        found = model.summaries.get(metric)
        if found is None:
            continue
        spread = "" if found.deviation is None else f" ± {found.deviation:.2g} over {len(found.seeds)} seeds"
        heading = f"mean {spell(metric)} error" + (f", {model.label}" if len(content.models) > 1 else "")
        cards.append((heading, f"{found.mean:.4g}{spread}", f"95 % interval {found.low:.3g} to {found.high:.3g}"))
    if len(content.models) == 1:
        errors = content.models[0].means(metric)
        chosen = chosen_samples(content.models[0], metric)
        cards += [(f"{name} sample", f"{errors[index]:.4g}", f"number {index}") for name, index in chosen.items()]
    return cards


def errors_of(content: Content) -> list[tuple[str, list[str]]]:
    """Rows of the mean errors: a model, with each of its seeds below if there are several."""
    names, rows = scalars_of(content), []
    for model in content.models:
        found = model.summaries
        rows.append((model.label, [_mean(found.get(name)) for name in names]))
        if len(model.members) > 1:
            for place, label in enumerate(model.members):
                rows.append((f"\N{EM SPACE}{label}", [_seed(found.get(name), place) for name in names]))
    return rows


def _mean(found: Summary | None) -> str:
    if found is None:
        return "not defined"
    return f"{found.mean:.4g}" + ("" if found.deviation is None else f" ± {found.deviation:.2g}")


def _seed(found: Summary | None, place: int) -> str:
    return NOTHING if found is None else f"{found.seeds[place]:.4g}"


def samples_of(content: Content) -> list[tuple[str, str, list[str]]]:
    """Rows of statistics over the samples: metric, unit, and mean, interval, deviation, median, best and worst sample."""
    if len(content.runs) > 1:
        return []
    (evaluation,) = (member for model in content.models for member in model.members.values())
    summaries = evaluation.summaries()
    return [(spell(name), unit_of(content.spec, name), _statistics(summaries[name])) for name in evaluation.scalars]


def _statistics(summary: Mapping[str, Any] | None) -> list[str]:
    if summary is None:
        return ["not defined", *[NOTHING] * 5]
    low, high = summary["interval"]
    best, worst = (f"{summary[name]:.4g} (number {summary[f'{name}_sample']})" for name in ("best", "worst"))
    mean, deviation, median = (f"{summary[name]:.4g}" for name in ("mean", "std", "median"))
    return [mean, f"{low:.4g} to {high:.4g}", deviation, median, best, worst]


def tables_of_parts(content: Content) -> dict[str, tuple[list[str], list[tuple[str, list[str]]]]]:
    """For each error in a few parts: their names, and rows of the models."""
    found = {model.label: model.summaries for model in content.models}
    return {
        metric: (
            names,
            [(label, [_mean(means.get(f"{metric} {name}")) for name in names]) for label, means in found.items()],
        )
        for metric, names in parts_of(content).items()
        if len(names) <= _MOST_ROWS
    }


def _describe(pair: Pair) -> tuple[str, str, list[list[str]]]:
    rows = []
    for name, found in pair.metrics.items():
        ties = f", {found.ties} equal" if found.ties else ""
        verdict = pair.first if found.high < 0 else pair.second if found.low > 0 else "none clearly"
        interval = f"{found.low:.3g} to {found.high:.3g}"
        rows.append([spell(name), f"{found.wins} : {found.losses}{ties}", f"{found.difference:.3g}", interval, verdict])
    return pair.first, pair.second, rows


def config_of(content: Content) -> tuple[list[str], list[tuple[str, list[str], bool]]]:
    """Names of the checkpoints, the first seed of each model, and rows of their configuration: whether a row differs."""
    labels: Sequence[str] = [next(iter(model.members)) for model in content.models]
    configs = [content.runs[label].config for label in labels]
    rows = []
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [_plain(config[key]) if key in config else NOTHING for config in configs]
        rows.append((key, values, len(set(values)) > 1))
    return list(labels), rows


def _plain(value: Any) -> str:
    """A value of a configuration as an option would give it."""
    return value if isinstance(value, str) else json.dumps(value)
