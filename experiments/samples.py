"""One batch of a benchmark, for measuring what it costs: stored samples, or random numbers of their shape without any data."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from experiments.app import plain
from experiments.assemble import make_datamodule, make_generator, require_store
from lsm.errors import InputError

if TYPE_CHECKING:
    from lsm.data.datamodule import FieldDataModule
    from lsm.data.store import StoredField
    from lsm.fields import FieldBatch, FieldSpec


def one_batch(cfg: DictConfig) -> FieldDataModule:
    """A data module whose training split is one batch of the configured benchmark.

    Args:
        cfg: a configuration of ``lsm-train``.
    Raises:
        FileNotFoundError: there are no data, and the benchmark has no generator that says which fields they have.
    """
    cfg = cfg.copy()
    size, path = cfg.data.batch_size, Path(cfg.data.path)
    if path.exists():
        first, end = cfg.data.splits.train
        return _held(cfg, first, min(first + size, end))
    if "generator" not in cfg.benchmark:
        require_store(path, cfg.benchmark, cfg.preset)
    with tempfile.TemporaryDirectory() as folder:
        cfg.data.path = str(Path(folder) / "random.h5")
        write_random(Path(cfg.data.path), cfg.benchmark.name, make_generator(cfg).fields, size)
        return _held(cfg, 0, size)


def _held(cfg: DictConfig, first: int, end: int) -> FieldDataModule:
    """Samples ``first`` to ``end`` in memory, so that the file is not needed afterwards."""
    cfg.data.splits = OmegaConf.create({"train": [first, end], "validation": [end, end], "test": [end, end]})
    data = make_datamodule(plain(cfg), in_memory=True, num_workers=0)
    data.dataset("train")
    return data


def write_random(path: Path, benchmark: str, fields: Mapping[str, StoredField], num_samples: int) -> None:
    """A store of random numbers, from 0.1 to 1, or 0 and 1 for whole numbers: of no physics, enough for measuring time."""
    from lsm.data.store import StoreWriter

    random = np.random.default_rng(0)
    with StoreWriter(path, benchmark, fields, num_samples, {"source": "random numbers"}) as writer:
        for name, field in fields.items():
            shape, whole = (num_samples, *field.shape), np.issubdtype(np.dtype(field.dtype), np.integer)
            values: Any = random.integers(0, 2, shape) if whole else random.uniform(0.1, 1, shape)
            writer.write(slice(0, num_samples), {name: values.astype(field.dtype)})


def at_sites(batch: FieldBatch, spec: FieldSpec, sites: Sequence[int]) -> FieldBatch:
    """A batch on another number of sites, each of which has the values of a random site of the given batch.

    The values have the range and the masks of the fields, but no physics: enough for measuring time.

    Args:
        batch: ``(b, *sites, c)``.
        spec: the fields.
        sites: wanted number of sites along each axis.
    Raises:
        InputError: there is not one number for each axis.
    """
    import torch

    from lsm.fields import FieldBatch

    if len(sites) != len(spec.sites):
        raise InputError(f"sites is {list(sites)}, expected a number for each of the axes {', '.join(spec.axes)}")
    given = prod(batch.inputs.shape[1:-1])  # of ragged clouds fewer than of the largest one
    chosen = torch.randint(given, (prod(sites),), generator=torch.Generator().manual_seed(0))

    def spread(field: torch.Tensor) -> torch.Tensor:
        flat = field.flatten(1, len(spec.sites))
        return flat.index_select(1, chosen.to(field.device)).unflatten(1, tuple(sites))

    coords, mask = (None if field is None else spread(field) for field in (batch.coords, batch.mask))
    return FieldBatch(spread(batch.inputs), spread(batch.targets), coords, batch.code, batch.parameters, mask)
