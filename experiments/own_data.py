"""Own data: a file of arrays becomes a store, and the options that a user would otherwise write become part of the run.

The file says what the data are; what is found (the reader, the splits, sizes) is typed, so to speak, by :func:`complete`, and
recorded with the run, which afterwards depends on the store and no longer on the file.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from experiments.app import compose_config, plain
from experiments.effect import lies_in
from experiments.options import as_option, parse
from lsm.errors import InputError, option_group
from lsm.progress import console, progress_bar
from lsm.registry import Index, Share, check_value

if TYPE_CHECKING:
    from lsm.data.layout import Layout, Roles
    from lsm.data.own_file import OwnFile

#: Options about a file, which are no part of a run that was made from it.
_FILE_OPTIONS = ("data.file", "data.fractions", "data.split_seed")

#: Groups that :func:`complete` chooses.
_GROUPS = ("preset",)

#: What is chosen without being named.
_UNSAID = (*_GROUPS, "benchmark.name", "benchmark.reader")

#: With several target fields, which may differ by many orders of magnitude, each counts.
_SEVERAL_FIELDS = {"equal_fields": True, "metrics": ["relative_l2_by_field"]}


def is_asked(cfg: DictConfig) -> bool:
    """Whether a training is to start from a file of arrays.

    Raises:
        InputError: the benchmark of own data is chosen without a file, and there is no run to resume.
    """
    if "file" not in cfg.data:
        return False
    if cfg.data.file is None and cfg.resume in (None, "auto") and cfg.benchmark.reader is None:
        raise InputError(
            "benchmark=custom takes a file of arrays: add data.file=FILE (.npz, .h5 or .mat), or a folder of VTK files"
        )
    return cfg.data.file is not None


def complete(
    cfg: DictConfig, overrides: Sequence[str], name: str = "train", resumed: bool = False
) -> tuple[DictConfig, list[str], dict[str, str]]:
    """Make the store of a file, unless it exists, and add what was found of it to the options.

    Args:
        cfg: the configuration with ``data.file``.
        overrides: the options as typed.
        name: of the command's configuration.
        resumed: whether a run continues, which needs to know its data alone.
    Returns:
        The whole configuration, the options that make it, and those of them that choose groups.
    """
    from lsm.data.own_file import open_own_file

    path, roles, kept = Path(cfg.data.file), roles_of(cfg), _options_of_run(overrides)
    in_order = any(key == "data.splits" or key.startswith("data.splits.") for key in kept)
    check_value("data.fractions", list(cfg.data.fractions), Sequence[Share])
    check_value("data.split_seed", cfg.data.split_seed, Index | None)
    with open_own_file(path, roles) as file:
        splits = _splits_of(cfg, file, in_order)
        store = _store_of(cfg, file, roles, None if in_order else cfg.data.split_seed)
        batch_size = OmegaConf.select(compose_config(name, *{"preset": "preset=own", **kept}.values()), "batch")
        found = _data_options(cfg, file.layout, store, splits)
        if not resumed:  # a run that is resumed keeps what was chosen for it
            _refuse_unused_code(cfg.model.name, file.layout)
            found |= _size_options(cfg.model.name, file.layout, splits["train"][1] - splits["train"][0], batch_size)
            found |= _SEVERAL_FIELDS if len(file.layout.reader["targets"]) > 1 else {}
    added = {key: value for key, value in found.items() if not any(_overlap(key, other) for other in kept)}
    options = [*kept.values(), *(f"{key}={as_option(value)}" for key, value in added.items())]
    _tell(path, file.layout, {} if OmegaConf.select(cfg, "compare") else added)
    groups = {key: str(value) for key, value in added.items() if key in _GROUPS}
    return compose_config(name, *options), options, groups


def _refuse_unused_code(model: str, layout: Layout) -> None:
    from lsm.model import families_with

    fitting = families_with("takes_code")
    if "code" in layout.reader and model not in fitting:
        raise InputError(
            f"the file has a code vector, which model={model} does not use; list its array under data.parameters, which every "
            f"family uses, or choose a family that takes codes: {', '.join(fitting)}",
            options=("model", "data.code"),
        )


def without_file(cfg: DictConfig, overrides: Sequence[str]) -> list[str] | None:
    """The options with which a run continues whose file of arrays is gone; None if the file is there, or none is given.

    Args:
        cfg: the configuration, perhaps with ``data.file``.
        overrides: the options as typed.
    """
    file = cfg.data.get("file")
    if file is None or Path(file).exists() or glob(file):
        return None
    console.print(f"{file} does not exist; the run continues with the store that was made of it", soft_wrap=True)
    return list(_options_of_run(overrides).values())


def _options_of_run(overrides: Sequence[str]) -> dict[str, str]:
    """Options by key, without those that say how a file is read."""
    options = {parse(text).key_or_group: text for text in overrides}
    return {key: text for key, text in options.items() if not lies_in(key, options_of_file())}


def options_of_file() -> tuple[str, ...]:
    """The options that say which file of arrays is read, and how."""
    from lsm.data.layout import Roles

    return (*_FILE_OPTIONS, *(f"data.{field.name}" for field in fields(Roles)))


def _overlap(key: str, other: str) -> bool:
    """Whether one of two options is the other or a part of it; the choice of a group leaves its options free."""
    return key == other or ("." in key and "." in other and (lies_in(key, [other]) or lies_in(other, [key])))


def roles_of(cfg: DictConfig) -> Roles:
    """What the options ``data.ROLE`` say about the arrays of a file."""
    from lsm.data.layout import Roles

    data = plain(cfg.data)
    given = {field.name: data.get(field.name) for field in fields(Roles)}
    given["coords"] = [given["coords"]] if isinstance(given["coords"], str) else given["coords"]
    given["frames"] = None if given["frames"] is None else tuple(given["frames"])
    with option_group("data"):
        return Roles(**given)


def _store_of(cfg: DictConfig, file: OwnFile, roles: Roles, seed: int | None) -> Path:
    """The store of a file, made if it does not exist; its name contains a digest of the file and of how it is read.

    The reader counts, since another version of lsm may read the same file in another way.
    """
    from lsm.data.mesh_set import digest_of
    from lsm.data.own_file import write_store

    order = _order(file.layout.num_samples, seed)
    made_from = {
        "sha256": digest_of(file.path),
        "roles": asdict(roles),
        "split_seed": seed,
        "reader": file.layout.reader,
    }
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:8]
    store = Path(cfg.data_dir) / f"{cfg.benchmark.name}_{digest}.h5"
    if store.exists():
        return store
    provenance = {"source": "file", "file": file.path.name, **made_from}
    with progress_bar() as progress:

        def track(blocks: Iterable[Any]) -> Iterable[Any]:
            return progress.track(blocks, total=None, description="reading")

        write_store(file, store, order, provenance, track)
    return store


def _order(num_samples: int, seed: int | None) -> list[int]:
    """Place of each sample of the file in the store: random, or the same without a seed."""
    import numpy as np

    if seed is None:
        return list(range(num_samples))
    return np.random.default_rng(seed).permutation(num_samples).tolist()


def _splits_of(cfg: DictConfig, file: OwnFile, typed: bool) -> dict[str, tuple[int, int]]:
    """``(first, end)`` of the samples of each split: as typed, else of the sizes that follow from ``data.fractions``."""
    from lsm.data.datamodule import check_splits
    from lsm.data.own_file import split_sizes

    count = file.layout.num_samples
    if typed:
        splits = plain(cfg.data)["splits"]
        check_value("data.splits", splits, Mapping[str, Any])
        return check_splits(splits, count, file.path)
    train, validation, _ = split_sizes(count, cfg.data.fractions)
    held_out = train + validation
    return {"train": (0, train), "validation": (train, held_out), "test": (held_out, count)}


def _data_options(
    cfg: DictConfig, layout: Layout, store: Path, splits: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    return {
        "preset": "own",
        "benchmark.name": cfg.benchmark.name,
        "benchmark.reader": layout.reader,
        "data.path": str(store),
        "data.splits": splits,
    }


def _size_options(family: str, layout: Layout, num_samples: int, batch_size: int | None) -> dict[str, Any]:
    """Sizes that suit the data and the machine; a batch has at most as many samples as the recipe sets.

    A recipe with smaller batches than those of :func:`lsm.sizing.suggest` trains for as many epochs, in more steps.
    """
    from lsm.sizing import Machine, suggest

    sizes = suggest(family, layout.sites, layout.kind == "points", num_samples, Machine.present())
    options = {f"model.{name}": value for name, value in sizes.model.items()}
    batch_size = min(batch_size or sizes.batch_size, sizes.batch_size)
    return {**options, "data.batch_size": batch_size, "trainer.max_epochs": sizes.max_epochs}


def _tell(path: Path, layout: Layout, added: Mapping[str, Any]) -> None:
    """Say how the file is read and what was chosen."""
    hint = layout.hint or "to change this, set data.kind, data.inputs, ..."
    console.print(f"{path} is read as {layout.describe()}; {layout.num_samples} samples ({hint})", soft_wrap=True)
    if chosen := [f"{key}={as_option(value)}" for key, value in added.items() if key not in _UNSAID]:
        console.print(f"chosen: {shlex.join(chosen)}", soft_wrap=True)
