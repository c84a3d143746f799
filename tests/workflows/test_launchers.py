"""Shards of a data set as one sweep, by Hydra's own launcher and by the one for clusters, then merged."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from commands import call, call_forked
from conftest import TINY_DARCY

from lsm.data.store import Store
from lsm.errors import InputError

SUBMITIT = pytest.mark.skipif(find_spec("submitit") is None, reason="needs hydra-submitit-launcher (the extra `slurm`)")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", pytest.param("submitit_local", marks=SUBMITIT)])
def test_shards_are_launched_together_and_merged(launcher, command, darcy_store, tmp_path):
    options = [*TINY_DARCY, "num_samples=5", "workers=1", "num_shards=2", f"data_dir={tmp_path / 'data'}"]
    with pytest.raises(InputError, match="shard 0 lacks 3 .*shard 1 lacks 2"):
        command("generate", *options, "merge=true")
    sweep = ("generate", "-m", *options, f"hydra/launcher={launcher}", "shard=0,1")
    finished = call_forked(tmp_path, [sweep])[0] if launcher == "basic" else call(tmp_path, *sweep)
    assert finished.code == 0, finished.errors
    store = tmp_path / "data/darcy_quick.h5"
    parts = sorted(part.name for part in Path(f"{store}.parts").glob("*.npz"))
    assert parts == [f"{index:06d}.npz" for index in range(5)]
    with pytest.raises(InputError, match="leave out shard=1"):
        command("generate", *options, "merge=true", "shard=1")
    report = command("generate", *options, "merge=true")
    assert (report.computed, report.found, report.merged) == (0, 5, True)
    with Store(store) as merged, Store(darcy_store) as whole:
        for name in whole.fields:
            np.testing.assert_array_equal(merged.field(name)[:], whole.field(name)[:5])
