"""``lsm-generate check=true``: figures of a data set beside those known of the published one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from data_prep.generation.generator import Generator, Statistic
from experiments.app import plain
from experiments.assemble import require_store
from lsm.data.store import MAX_SAMPLE_BYTES, Store, require_fields, sample_bytes
from lsm.errors import InputError
from lsm.progress import console


def check_store(cfg: DictConfig, generator: Generator) -> list[Statistic]:
    """Print the figures of ``cfg.store``, generated or converted, and mark those outside the expected range.

    Args:
        cfg: ``store``, ``benchmark``, ``preset``, and ``check_samples``: how many samples are read, evenly spread.
        generator: knows the figures.
    Returns:
        The figures.
    Raises:
        FileNotFoundError: there is no such store.
        InputError: it lacks fields, or holds samples of another shape than the generator makes.
    """
    from lsm.data.readers.base import make_reader

    path = Path(cfg.store)
    require_store(path, cfg.benchmark, cfg.preset)
    with Store(path, max(MAX_SAMPLE_BYTES, sample_bytes(generator.fields))) as store:
        require_fields(store, make_reader(plain(cfg.benchmark.reader)).fields)
        require_same_shapes(store, generator, f"preset={cfg.preset}")
        chosen = spread(store.num_samples, cfg.check_samples)
        known = [name for name in generator.fields if name in store.fields]
        figures = generator.statistics({name: np.stack([store.field(name)[i] for i in chosen]) for name in known})
        what = f"{len(chosen)} of {store.num_samples} samples in {path}"
    if not figures:
        raise InputError(
            f"{path} holds only {', '.join(known)}, of which no figure is known; add the other published files and "
            "convert again with overwrite=true"
        )
    _tell(figures, f"{cfg.benchmark.name}: {what}", cfg.preset)
    return figures


def spread(total: int, wanted: int) -> list[int]:
    """At most ``wanted`` of the numbers below ``total``, evenly spread, the first among them, and from two on the last."""
    return sorted({round(index) for index in np.linspace(0, total - 1, min(total, wanted)).tolist()})


def require_same_shapes(store: Store, generator: Generator, asked: str) -> None:
    """Refuse a store that this generator did not make.

    Args:
        store: the data.
        generator: the generator.
        asked: the options that chose the generator, for the message.
    Raises:
        InputError: a stored array has another shape.
    """
    for name, field in store.fields.items():
        expected = generator.fields[name].shape if name in generator.fields else field.shape
        if field.shape != expected:
            raise InputError(
                f"{store.path} holds {name} of shape {field.shape}, with {asked} it is {expected}; "
                "give the preset and options that the store was made with"
            )


def _tell(figures: Sequence[Statistic], title: str, preset: str) -> None:
    table = Table(title=Text(title))
    table.add_column("figure")
    for heading in ("value", "expected, from", "to"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for figure in figures:
        mark = Text("" if figure.expected else "outside", style="bold red")
        table.add_row(figure.name, *(f"{number:.5g}" for number in (figure.value, figure.low, figure.high)), mark)
    console.print(table)
    outside = sum(not figure.expected for figure in figures)
    told = f"{outside} of {len(figures)} figures outside the expected range"
    if outside:
        other = "other options than the published ones" + ("" if preset == "paper" else f", such as preset={preset}")
        told += f"; few samples may lie outside by chance, and data of {other} systematically"
    console.print(told, soft_wrap=True)
