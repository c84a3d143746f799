"""Kinds and ranges of the commands' own options; parts check theirs by their signatures (:mod:`lsm.registry`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from annotated_types import Ge, Interval, Le, MinLen
from omegaconf import DictConfig, OmegaConf

from lsm.registry import Count, Index, Names, NotNegative, Positive, Resolution, check_value

Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Level = Annotated[float, Interval(gt=0, lt=1)]
Sizes = Annotated[Sequence[Count], MinLen(1)]
Split = Literal["train", "validation", "test"]


class TrainOptions:
    """Options of ``lsm-train`` besides those of its groups."""

    seed: Seed
    data_dir: str
    run_dir: str
    resume: str | None
    equal_fields: bool
    metrics: Names
    compile: str | None
    recompute: bool | Literal["cheap"]
    checkpoint_interval: NotNegative
    batch_norm_batches: Count | None
    time_limit: Positive | None
    plugins: Sequence[str]


class GenerateOptions:
    """Options of ``lsm-generate``; ``max_attempts`` fits the 16 bits in which a store keeps the attempt."""

    data_dir: str
    store: str
    num_samples: Count
    seed: Index
    workers: Count | None
    max_attempts: Annotated[int, Ge(1), Le(1 << 16)]
    device: str
    batch_size: Count
    shard: Index
    num_shards: Count
    merge: bool
    check: bool
    check_samples: Count


class ConvertOptions:
    """Options of ``lsm-convert``."""

    data_dir: str
    store: str
    source: str | None
    export: str | None
    strict: bool
    overwrite: bool


class SplitOptions:
    """Options of every command that reads a split of a checkpoint's data."""

    split: Split
    data_dir: str | None
    store: str | None
    resolution: Resolution
    transforms: Sequence[str]
    device: str
    max_sample_bytes: Positive
    plugins: Sequence[str]


class EvaluateOptions(SplitOptions):
    """Options of ``lsm-evaluate``."""

    checkpoint: str | Names
    batch_size: Count
    metrics: Names | None
    bands: bool | None
    ensemble: bool
    run_dir: str


class ReportOptions(SplitOptions):
    """Options of ``lsm-report``."""

    checkpoint: str | Names
    batch_size: Count
    dpi: Count
    bands: bool | None
    ensemble: bool
    output: str


class VisualizeOptions(SplitOptions):
    """Options of ``lsm-visualize``."""

    checkpoint: str | Names
    what: Literal["samples", "latents", "errors", "gallery"]
    samples: Sequence[Index] | None
    format: Literal["png", "pdf", "svg", "vtk"]
    dpi: Count
    level: Level | None
    band: Literal["site", "field"]
    animate: bool
    animation: Literal["gif", "mp4"]
    animation_dpi: Count
    gallery_dpi: Count
    curve: bool
    run_dir: str


class ImportOptions:
    """Options of ``lsm-import`` besides those of ``lsm-train``."""

    checkpoint: str
    deformation: str | None
    output: str | None


class ProfileOptions:
    """Options of ``lsm-profile`` besides those of ``lsm-train``."""

    checkpoint: str | None
    samples: Count
    compare: Names | None
    sites: Sizes | Annotated[Sequence[Sizes], MinLen(1)] | None
    for_table: bool
    time_limit: Positive | None
    fit_from: Count | None
    device: str
    warmup: Count
    repeats: Count
    seed: Seed
    data_dir: str
    run_dir: str
    compile: str | None
    recompute: bool | Literal["cheap"]
    plugins: Sequence[str]


class TableOptions:
    """Options of ``lsm-table`` besides the table's file."""

    models: Names | None
    benchmarks: Names | None
    seeds: Count
    budget: Positive | str | None
    options: Sequence[str]
    device: str
    threads: Count
    workers: Count
    time_limit: Positive | None
    data_dir: str
    run_dir: str
    generate: bool
    accept_other_code: bool
    dry_run: bool
    collect: bool
    plugins: Sequence[str]
    shard: Index
    num_shards: Count


class PredictOptions:
    """Options of ``lsm-predict``."""

    checkpoint: str | Names
    input: str | None
    output: str | None
    template: str | None
    level: Level | None
    band: Literal["site", "field"]
    batch_size: Count
    device: str
    overwrite: bool
    training_grid: bool
    plugins: Sequence[str]


class InspectOptions:
    """Options of ``lsm-inspect`` besides those of the arrays."""

    file: str
    sample: Index
    picture: str | None
    dpi: Count


class ExportOptions:
    """Options of ``lsm-export``."""

    checkpoint: str
    format: str
    output: str | None
    license: str | None
    plugins: Sequence[str]


SCHEMAS: dict[str, type] = {
    "train": TrainOptions,
    "generate": GenerateOptions,
    "convert": ConvertOptions,
    "evaluate": EvaluateOptions,
    "report": ReportOptions,
    "visualize": VisualizeOptions,
    "import": ImportOptions,
    "predict": PredictOptions,
    "export": ExportOptions,
    "inspect": InspectOptions,
    "profile": ProfileOptions,
    "table": TableOptions,
}


@cache
def schema_of(name: str) -> dict[str, Any]:
    """The annotation of each option of a command."""
    return get_type_hints(SCHEMAS[name], include_extras=True)


def check_schema(name: str, cfg: DictConfig) -> None:
    """Check a command's own options.

    Args:
        name: of the command.
        cfg: its composed configuration.
    Raises:
        OptionError: an option has another kind or range.
    """
    for option, annotation in schema_of(name).items():
        value = cfg[option]  # a missing one raises OmegaConf's error
        plain: Any = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        check_value(option, plain, annotation)
