"""Kinds and ranges of the commands' own options; parts check theirs by their signatures (:mod:`lsm.registry`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval, Le
from omegaconf import DictConfig, OmegaConf

from lsm.registry import Count, Index, Names, Options, Positive, Resolution, check_value, options_of

Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class TrainOptions(Options):
    """Options of ``lsm-train`` besides those of its groups."""

    seed: Seed
    data_dir: str
    run_dir: str
    resume: str | None
    metrics: Names
    compile: str | None
    checkpoint_interval: Annotated[float, Ge(0)]
    time_limit: Positive | None
    plugins: Sequence[str]


@dataclass(frozen=True)
class GenerateOptions(Options):
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


@dataclass(frozen=True)
class ConvertOptions(Options):
    """Options of ``lsm-convert``."""

    data_dir: str
    store: str
    source: str | None
    export: str | None
    strict: bool
    overwrite: bool


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """Options of ``lsm-evaluate``."""

    checkpoint: str
    split: Split
    data_dir: str | None
    store: str | None
    resolution: Resolution
    batch_size: Count
    device: str
    max_sample_bytes: Positive
    metrics: Names
    transforms: Sequence[str]
    run_dir: str
    plugins: Sequence[str]


@dataclass(frozen=True)
class VisualizeOptions(Options):
    """Options of ``lsm-visualize``."""

    checkpoint: str
    samples: Sequence[Index] | None
    split: Split
    data_dir: str | None
    store: str | None
    resolution: Resolution
    device: str
    max_sample_bytes: Positive
    dpi: Count
    animate: bool
    animation_dpi: Count
    curve: bool
    run_dir: str
    plugins: Sequence[str]


@dataclass(frozen=True)
class ImportOptions(Options):
    """Options of ``lsm-import`` besides those of ``lsm-train``."""

    checkpoint: str
    deformation: str | None
    output: str | None


@dataclass(frozen=True)
class ProfileOptions(Options):
    """Options of ``lsm-profile`` besides those of ``lsm-train``."""

    compare: Names | None
    device: str
    warmup: Count
    repeats: Count
    seed: Seed
    data_dir: str
    run_dir: str
    compile: str | None
    plugins: Sequence[str]


@dataclass(frozen=True)
class TableOptions(Options):
    """Options of ``lsm-table`` besides the table's file."""

    models: Names | None
    benchmarks: Names | None
    seeds: Count
    budget: Positive | None
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
    plugins: Sequence[str]
    shard: Index
    num_shards: Count


@dataclass(frozen=True)
class PredictOptions(Options):
    """Options of ``lsm-predict``."""

    checkpoint: str
    input: str | None
    output: str | None
    template: str | None
    batch_size: Count
    device: str
    overwrite: bool
    plugins: Sequence[str]


@dataclass(frozen=True)
class ExportOptions(Options):
    """Options of ``lsm-export``."""

    checkpoint: str
    format: str
    output: str | None
    license: str | None
    plugins: Sequence[str]


SCHEMAS: dict[str, type[Options]] = {
    "train": TrainOptions,
    "generate": GenerateOptions,
    "convert": ConvertOptions,
    "evaluate": EvaluateOptions,
    "visualize": VisualizeOptions,
    "import": ImportOptions,
    "predict": PredictOptions,
    "export": ExportOptions,
    "profile": ProfileOptions,
    "table": TableOptions,
}


def check_schema(name: str, cfg: DictConfig) -> None:
    """Check a command's own options.

    Args:
        name: of the command.
        cfg: its composed configuration.
    Raises:
        OptionError: an option has another kind or range.
    """
    schema = SCHEMAS.get(name)
    if schema is None:
        return
    for option, parameter in options_of(schema).items():
        value = cfg[option]  # a missing one raises OmegaConf's error
        plain: Any = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        check_value(option, plain, parameter.annotation)
