"""Short names of checkpoints, and the folders of what belongs to several of them."""

from pathlib import Path

import pytest

from experiments.folders import ensemble_folder, labels_of
from lsm.errors import InputError

CASES = {
    "seeds": (["t/lsm/seed0", "t/lsm/seed1"], ["seed0", "seed1"]),
    "families": (["t/lsm/seed0", "t/fno/seed0"], ["lsm", "fno"]),
    "families and seeds": (["t/lsm/seed0", "t/fno/seed1"], ["lsm/seed0", "fno/seed1"]),
    "a shared end that is all of one name": (["t/a", "t/b/a"], ["a", "b/a"]),
    "last checkpoints": (
        ["t/lsm/seed0/checkpoints/last.ckpt", "t/fno/seed0/checkpoints/last.ckpt"],
        ["lsm/last", "fno/last"],
    ),
    "a sweep": (
        [
            "s/benchmark=darcy,data.splits={train:[0,9]},model=lsm",
            "s/benchmark=darcy,data.splits={train:[0,9]},model=fno",
        ],
        ["model=lsm", "model=fno"],
    ),
    "a sweep of sizes and seeds": (
        [
            "s/batch=4,model.patch=[3,4],seed=0",
            "s/batch=4,model.patch=[3,6],seed=0",
            "s/batch=4,model.patch=[3,6],seed=1",
        ],
        ["model.patch=[3,4],seed=0", "model.patch=[3,6],seed=0", "model.patch=[3,6],seed=1"],
    ),
    "all options of one are those of the other": (["s/seed=0", "s/model=fno,seed=0"], ["seed=0", "model=fno"]),
    "one run": (["t/lsm", "t/lsm/checkpoints/last.ckpt"], ["best", "last"]),
}


@pytest.mark.parametrize("case", CASES)
def test_labels_hold_what_is_not_shared(case):
    paths, expected = CASES[case]
    assert labels_of([Path(path) for path in paths]) == expected


def test_a_checkpoint_is_named_once():
    with pytest.raises(InputError, match="seed0 is given twice"):
        labels_of([Path("t/seed0"), Path("t/seed1"), Path("t/seed0")])


def test_folders_of_several_differ_where_their_labels_do_not(tmp_path):
    """Comparisons of the same families with other seeds do not overwrite one another."""
    runs = [[str(tmp_path / f"{family}/seed{seed}") for family in ("lsm", "fno")] for seed in (0, 1)]
    first, second = (ensemble_folder(paths) for paths in runs)
    assert first != second
    assert first.is_relative_to(tmp_path)
    assert "lsm_seed0+fno_seed0" in str(first)
