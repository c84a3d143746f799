"""Calls that work on the same files at the same time, each pair of them; shards and merging are in ``test_shards.py``."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from toy_sets import assert_same, content, make
from training import SCHEDULES, assert_same_state, options_of

from data_prep.generation.engine import merge
from data_prep.generation.job import claim
from data_prep.generation.parts import write_part
from experiments import train as training
from lsm.data.store import Store, StoreWriter
from lsm.errors import InputError


def enlarge(path: Path) -> None:
    """Replace a store by one of another sample besides, as a generation that merges does."""
    with Store(path) as old:
        bookkeeping = old.bookkeeping()
        types = {name: str(values.dtype) for name, values in bookkeeping.items()}
        total = old.num_samples + 1
        with StoreWriter(path, old.benchmark, old.fields, total, old.provenance, types, old.display) as writer:
            for index in range(total):
                found = min(index, old.num_samples - 1)
                sample = {name: old.field(name)[found] for name in old.fields}
                writer.write(index, sample, {name: values[found] for name, values in bookkeeping.items()})


@dataclass
class EnlargeBefore(pl.Callback):
    """Enlarge the store before an epoch."""

    path: Path
    epoch: int

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            enlarge(self.path)


def test_a_training_beside_a_generation_of_its_store(train, darcy_store, tmp_path, monkeypatch):
    """The samples that it trains on stay the same; and so do those of a resumed run."""
    options = (*SCHEDULES["paper"], "data.in_memory=false")
    store = tmp_path / "darcy.h5"
    shutil.copy(darcy_store, store)
    alone = train(*options_of(darcy_store, tmp_path / "alone", *options))
    original = training.make_trainer

    def make_trainer(*arguments: Any, **more: Any) -> pl.Trainer:
        trainer = original(*arguments, **more)
        trainer.callbacks.insert(0, EnlargeBefore(store, 1))
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(training, "make_trainer", make_trainer)
        train(*options_of(store, tmp_path / "beside", *options), stop=(2, 1))
    with Store(store) as larger:
        assert larger.num_samples == 10, "the store was enlarged while the training ran"
    beside = train(f"resume={tmp_path / 'beside'}")
    assert_same_state(beside.last, alone.last)


@pytest.mark.parametrize("more", [(), ("resume=auto",)])
def test_a_second_training_in_a_folder_changes_nothing(more, train, darcy_store, tmp_path):
    folder = tmp_path / "run"
    options = options_of(darcy_store, folder, *SCHEDULES["paper"])
    train(*options, stop=(1, 0))

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = files()
    with training._claim(folder), pytest.raises(InputError, match=f"another process is training in {folder}"):
        train(*options, *more)
    assert files() == before


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_killed_shard_holds_up_no_other_and_loses_nothing(job, expected):
    shards = [replace(job, shard=shard, num_shards=2) for shard in range(2)]
    child = os.fork()
    if not child:
        try:
            with claim(shards[0]):
                write_part(job, 0, job.generator.solve(np.random.default_rng((job.seed, 0, 0))), 0, [])
                (job.parts / "000002.npz.00ff.partial").write_bytes(b"PK half a sample")
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)  # never the rest of the tests
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert make(shards[1]).computed == 3
    with pytest.raises(InputError, match=r"shard 0 lacks 3 \(2, 4, 6\); run these shards of 2"):
        merge(shards[0])
    report = make(shards[0])
    assert (report.computed, report.found) == (3, 1)
    merge(job)
    assert_same(content(job.path), expected)
    assert not job.parts.exists()
