"""``lsm-inspect``: what a store or a file of arrays holds, and how it would be read for a training."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from experiments.app import command, compose_config, group_choices, plain
from experiments.mistakes import describe
from experiments.options import as_option
from experiments.own_data import roles_of
from lsm.errors import InputError
from lsm.progress import console

if TYPE_CHECKING:
    import numpy as np

    from lsm.data.array_files import ArrayInFile
    from lsm.data.store import StoredField


@dataclass(frozen=True)
class Content:
    """What was found in a file.

    Args:
        arrays: by name.
        reader: configuration of the reader that decodes a sample; None if it is not known.
        fields: what the reader decodes, by name.
        sample: one sample of these.
        display: how to draw it.
    """

    arrays: Mapping[str, ArrayInFile]
    reader: Mapping[str, Any] | None = None
    fields: Mapping[str, StoredField] = field(default_factory=dict)
    sample: Mapping[str, np.ndarray] = field(default_factory=dict)
    display: Mapping[str, Any] = field(default_factory=dict)


def run(cfg: DictConfig) -> Path | None:
    """Describe a file and draw a sample of it; return the picture, if one was drawn."""
    from lsm.data.store import is_store

    path = Path(cfg.file)
    with (_store if is_store(path) else _own_file)(path, cfg) as content:
        _print_table(content.arrays)
        if content.reader is None or cfg.picture is None:
            return None
        return _draw(cfg, content)


@contextmanager
def _own_file(path: Path, cfg: DictConfig) -> Iterator[Content]:
    """A file of arrays; its reader is that of the columns as which they would be stored, if they fit together."""
    from lsm.data.own_file import lay_out, open_samples
    from lsm.data.store import StoredField

    with open_samples(path) as arrays:
        try:
            file = lay_out(path, arrays, roles_of(cfg))
        except InputError as error:
            console.print(f"cannot be trained on as it is: {describe(error)}", soft_wrap=True)
            yield Content(arrays)
            return
        _require_sample(cfg.sample, file.layout.num_samples)
        hint = f" ({file.layout.hint})" if file.layout.hint else ""
        console.print(
            f"{path}: {file.layout.num_samples} samples, read as {file.layout.describe()}{hint}", soft_wrap=True
        )
        fields = {column.name: StoredField(column.shape, column.unit, "") for column in file.layout.columns}
        sample = {name: values[0] for name, values in file.columns(cfg.sample, cfg.sample + 1).items()}
        yield Content(arrays, file.layout.reader, fields, sample)


@contextmanager
def _store(path: Path, cfg: DictConfig) -> Iterator[Content]:
    """A store; its reader is that of its benchmark, if that is known."""
    from lsm.data.array_files import open_arrays
    from lsm.data.store import Store

    with Store(path) as store, open_arrays(path) as arrays:
        _require_sample(cfg.sample, store.num_samples)
        console.print(f"{path}: store of {store.benchmark}, {store.num_samples} samples", soft_wrap=True)
        for name, value in store.provenance.items():
            console.print(f"  {name}: {value}", soft_wrap=True)
        sample = {name: array[cfg.sample : cfg.sample + 1][0] for name, array in arrays.items()}
        yield Content(arrays, _reader_of(store.benchmark, store.provenance), store.fields, sample, store.display)


def _reader_of(benchmark: str, provenance: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The reader that was found for own data, else that of the benchmark of this name, of all sites; None without one."""
    if isinstance(provenance.get("reader"), Mapping):
        return provenance["reader"]
    if benchmark not in group_choices("benchmark"):
        return None
    return {**plain(compose_config("train", f"benchmark={benchmark}"))["benchmark"]["reader"], "resolution": None}


def _require_sample(sample: int, num_samples: int) -> None:
    if sample >= num_samples:
        raise InputError(f"sample={sample} is not in the file, which has 0 to {num_samples - 1}")


def _print_table(arrays: Mapping[str, ArrayInFile]) -> None:
    """A line per array: name, shape, unit, range, mean, and what is wrong with its values."""
    from lsm.data.array_summary import summarise

    rows = [("array", "shape", "unit", "least", "mean", "greatest", "")]
    for name, array in arrays.items():
        found = summarise(array)
        numbers = (f"{value:.6g}" for value in (found.low, found.mean, found.high))
        shape, units = " x ".join(map(str, array.shape)) or "one number", ", ".join(array.units) or "1"
        rows.append((name, shape, units, *numbers, found.remark))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print("  ".join(cells).rstrip(), soft_wrap=True)


def _draw(cfg: DictConfig, content: Content) -> Path:
    from lsm.data.readers.base import make_reader
    from lsm.plotting import Display, save_figure
    from lsm.plotting.overview import draw_overview

    reader, path = make_reader(content.reader), Path(cfg.picture)
    spec = reader.spec(SimpleNamespace(fields=content.fields, path=cfg.file))
    title = f"{Path(cfg.file).name}, sample {cfg.sample}"
    display = Display.from_dict(content.display)
    save_figure(draw_overview(spec, display, reader.decode(content.sample), title), path, cfg.dpi)
    console.print(f"sample {cfg.sample} is drawn in {path}", soft_wrap=True)
    return path


#: Flags of Hydra whose value is the next word.
_FLAGS = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn")


def with_file(words: Sequence[str]) -> list[str]:
    """The words of a command line; one that is neither an option nor the value of a flag names the file."""
    is_file = [not (word.startswith("-") or "=" in word or before in _FLAGS) for before, word in pairwise(["", *words])]
    return [f"file={as_option(word)}" if found else word for word, found in zip(words, is_file, strict=True)]


def main() -> None:
    """``lsm-inspect FILE OPTIONS``."""
    sys.argv[1:] = with_file(sys.argv[1:])
    command("inspect", run)()


if __name__ == "__main__":
    main()
