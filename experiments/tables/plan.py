"""Which runs a table consists of: rows times benchmarks times seeds, each with the options of its ``lsm-train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen
from omegaconf import DictConfig

from experiments.app import check_benchmark, compose_config, group_choices, import_plugins, plain
from experiments.options import as_option
from experiments.runs import record_of
from experiments.tables.devices import kind_of
from lsm.errors import InputError, OptionError, explained
from lsm.registry import Names, Options, Positive, check_options


@dataclass(frozen=True)
class Row(Options):
    """A row: one way to train, on every benchmark.

    Args:
        name: its folder, and its name in ``models=``.
        label: what the table shows.
        model: family.
        recipe: how to train; None for that of the preset.
        preset: sizes of data and model; None for that of the table.
        options: further options of ``lsm-train``.
        published: method whose published figures stand beside this row's; None for none.
        share: part of the table's budget that this row gets.
        benchmarks: those that it applies to, where it is another model than the other rows; empty for all.
        at: value of what the table varies; None of a row that has none.
    """

    name: str
    label: str
    model: str
    recipe: str | None = None
    preset: str | None = None
    options: Sequence[str] = ()
    published: str | None = None
    share: Positive = 1.0
    benchmarks: Sequence[str] = ()
    at: Positive | None = None

    @classmethod
    def named(cls, name: str, options: Mapping[str, Any]) -> Row:
        """A row from the table's file; label and model are its name by default."""
        lists = {key: tuple(options.get(key, ())) for key in ("options", "benchmarks")}  # a row has a hash
        return cls(**{"name": name, "label": name, "model": name, **options, **lists})


@dataclass(frozen=True)
class TableFile(Options):
    """The content of ``conf/table/NAME.yaml``.

    Args:
        name: of the table and of its folder.
        title: heading.
        caption: what the numbers are.
        preset: sizes of data and models.
        metric: the error that is shown.
        benchmarks: columns.
        rows: options of each :class:`Row` by its name.
        published: methods of which published figures are shown, or "all".
        options: of ``lsm-train``, for every run.
        generate: options of ``lsm-generate``, for data of another size than those of the preset.
        budget: for how long every run trains: seconds, or a row whose own training takes this time; None for the epochs of its
            recipe.
        varied: what varies from row to row, in words, if rows have a value of it; the errors are drawn against it.
    """

    name: str
    title: str
    caption: str
    preset: str
    metric: str
    benchmarks: Names
    rows: Annotated[Mapping[str, Mapping[str, Any]], MinLen(1)]
    published: Sequence[str] | Literal["all"]
    options: Sequence[str]
    generate: Sequence[str]
    budget: Positive | str | None
    varied: str | None = None


@dataclass(frozen=True)
class Experiment:
    """One benchmark and one row.

    Args:
        benchmark: its name.
        row: how to train on it.
        options: of ``lsm-train``, without seed, folder and device.
        folder: where its runs lie.
        accelerator: what they train on, by Lightning's name.
    """

    benchmark: str
    row: Row
    options: tuple[str, ...]
    folder: Path
    accelerator: str = "auto"

    @property
    def name(self) -> str:
        """Such as ``darcy, lsm``."""
        return f"{self.benchmark}, {self.row.name}"

    @cached_property
    def cfg(self) -> DictConfig:
        """The configuration of its runs."""
        return compose_config("train", *self.options, f"trainer.accelerator={self.accelerator}")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The same as a run records it, with seed 0."""
        return record_of(self.cfg, [], {})["config"]

    def with_options(self, *options: str) -> Experiment:
        """The same with further options of ``lsm-train``."""
        return replace(self, options=(*self.options, *options)) if options else self

    @property
    def store(self) -> Path:
        """Its data."""
        return Path(self.cfg.data.path)

    @property
    def num_samples(self) -> int:
        """Samples that its splits need."""
        return max(end for _, end in self.cfg.data.splits.values())

    def serves(self) -> bool:
        """Whether the row applies to the benchmark, and its model takes sites such as those of the benchmark.

        Raises:
            InputError: the benchmark has no reader, as that of one's own file of arrays.
        """
        from lsm.data.readers.base import READERS
        from lsm.model import MODELS, geometries_of

        check_benchmark(self.cfg, "reader")
        import_plugins(self.cfg.plugins)
        applies = not self.row.benchmarks or self.benchmark in self.row.benchmarks
        return applies and READERS[self.cfg.benchmark.reader.name].geometry in geometries_of(
            MODELS[self.cfg.model.name]
        )


@dataclass(frozen=True)
class Plan:
    """What a table consists of.

    Args:
        file: the table.
        rows: those that are asked for.
        benchmarks: those that are asked for.
        experiments: by benchmark and row; models that do not support a benchmark's sites are left out.
        seeds: of each experiment.
        references: by benchmark, the experiment whose own training takes the time that every run gets; empty unless the budget
            names a row.
    """

    file: TableFile
    rows: tuple[Row, ...]
    benchmarks: tuple[str, ...]
    experiments: tuple[Experiment, ...]
    seeds: tuple[int, ...]
    references: Mapping[str, Experiment] = field(default_factory=dict)


def make_plan(cfg: DictConfig) -> Plan:
    """The runs of a table.

    Args:
        cfg: configuration of ``lsm-table``.
    Raises:
        InputError: the table's file has a mistake, a row or benchmark is unknown, or the budget's row cannot set a time.
    """
    from lsm.metrics import scalar_metric

    content = plain(cfg.table)
    try:
        check_options(TableFile, content)
    except OptionError as error:
        raise error.within("table") from error
    file = TableFile(**content)
    scalar_metric(file.metric)
    rows = tuple(_row(name, file) for name in cfg.models or file.rows)
    benchmarks = tuple(cfg.benchmarks or file.benchmarks)
    experiments = [_experiment(cfg, file, benchmark, row) for benchmark in benchmarks for row in rows]
    serving = tuple(experiment for experiment in experiments if experiment.serves())
    if not serving:
        raise InputError("none of these models supports any of these benchmarks; choose other models= or benchmarks=")
    return Plan(file, rows, benchmarks, serving, tuple(range(cfg.seeds)), _references(cfg, file, benchmarks))


def _references(cfg: DictConfig, file: TableFile, benchmarks: Sequence[str]) -> dict[str, Experiment]:
    """The experiments of the row that the budget names."""
    if not isinstance(cfg.budget, str):
        return {}
    row = _row(cfg.budget, file)
    references = {benchmark: _experiment(cfg, file, benchmark, row) for benchmark in benchmarks}
    if unserved := [benchmark for benchmark, reference in references.items() if not reference.serves()]:
        raise InputError(
            f"budget={row.name} cannot set the time for {', '.join(unserved)}, which {row.model} does not support; "
            "choose another row"
        )
    return references


def _row(name: str, file: TableFile) -> Row:
    """The table's row of this name, else the family of this name."""
    if name in file.rows:
        options = {key: value for key, value in file.rows[name].items() if value is not None}
        with explained(f"row {name} of table {file.name}", (OptionError, TypeError), passing=()):
            return Row.named(name, options)
    known = dict.fromkeys([*file.rows, *group_choices("model")])
    if name not in known:
        raise InputError(f"model {name!r} is neither a row of table {file.name} nor a family: {', '.join(known)}")
    return Row.named(name, {})


def _experiment(cfg: DictConfig, file: TableFile, benchmark: str, row: Row) -> Experiment:
    options = [f"benchmark={benchmark}", f"preset={row.preset or file.preset}", f"model={row.model}"]
    options += [f"recipe={row.recipe}"] * (row.recipe is not None)
    options += [*file.options, *row.options, *cfg.options, f"data_dir={as_option(cfg.data_dir)}"]
    if cfg.plugins and not any(option.startswith("plugins=") for option in options):
        options.append(f"plugins=[{','.join(cfg.plugins)}]")
    kind = kind_of(cfg.device)
    accelerator = {"cuda": "gpu"}.get(kind, kind)
    return Experiment(benchmark, row, tuple(options), Path(cfg.run_dir) / benchmark / row.name, accelerator)
