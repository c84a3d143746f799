"""Calls that share one data set: shards, merging, calls that exclude each other, and what is left to tidy."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
from filelock import FileLock
from toy_sets import assert_same, content, make

from data_prep.generation.engine import Report, merge
from data_prep.generation.job import Job, claim
from lsm.errors import InputError


@pytest.fixture
def shards(job) -> list[Job]:
    return [replace(job, shard=shard, num_shards=3) for shard in range(3)]


def test_merging_computes_nothing_and_names_what_is_missing(job, shards, expected):
    with pytest.raises(InputError, match=r"7 of 7 samples of .*toy\.h5 are missing: 0, 1, 2, \.\.\.; "):
        merge(job)
    assert list(job.path.parent.iterdir()) == [], "no trace"
    make(shards[1])
    with pytest.raises(InputError) as caught:
        merge(shards[0])
    assert "5 of 7 samples" in str(caught.value)
    assert "missing: shard 0 lacks 3 (0, 3, 6), shard 2 lacks 2 (2, 5); run these shards of 3" in str(caught.value)
    with pytest.raises(InputError, match=r"5 of 7 samples of .* are missing: 0, 2, 3, \.\.\.; "):
        merge(job)
    make(shards[0])
    make(shards[2])
    assert merge(job) == Report(0, 7, True, [])
    assert_same(content(job.path), expected)
    assert not job.parts.exists()
    assert merge(shards[0]) == Report(0, 7, True, []), "a second time there is nothing to do"


def test_merging_adds_to_a_smaller_set(job, shards, expected):
    make(replace(job, num_samples=4))
    with pytest.raises(InputError, match=r"shard 0 lacks 1 \(6\), shard 1 lacks 1 \(4\), shard 2 lacks 1 \(5\)"):
        merge(shards[0])
    for shard in shards:
        make(shard)
    merge(job)
    assert_same(content(job.path), expected)


def test_merging_refuses_parts_of_other_data(job, shards):
    make(shards[0])
    with pytest.raises(InputError, match="seed is 3, now 4"):
        merge(replace(job, seed=4))


@pytest.mark.parametrize(
    ("running", "refused", "named"),
    [
        ((1, 3), (0, 1), r"generating shard 1 of 3 of .*toy\.h5"),
        ((0, 1), (1, 3), r"generating /.*toy\.h5"),
        ((1, 3), (1, 3), r"generating shard 1 of 3 of"),
        ((1, 3), (0, 2), r"generating shard 1 of 3 of"),
        ((0, 1), (0, 1), r"generating /.*toy\.h5"),
    ],
)
def test_calls_that_would_do_the_same_samples_exclude_each_other(running, refused, named, job, expected, monkeypatch):
    monkeypatch.setattr("data_prep.generation.job._PATIENCE", 0.1)
    second = replace(job, shard=refused[0], num_shards=refused[1])
    with claim(replace(job, shard=running[0], num_shards=running[1])):
        for _ in range(2):
            with pytest.raises(InputError, match=named):
                make(second)
        assert not list(job.parts.glob("*.npz"))
    make(second)
    make(job)
    assert_same(content(job.path), expected)


def test_a_complete_set_is_not_merged_while_a_shard_runs(job, shards):
    for shard in shards:
        make(shard)
    with claim(shards[1]), pytest.raises(InputError, match="shard 1 of 3"):
        merge(job)
    assert len(list(job.parts.glob("*.npz"))) == 7


def test_shards_run_side_by_side(shards):
    with claim(shards[0]), claim(shards[2]):
        assert make(shards[1]).computed == 2


def test_a_shard_is_not_turned_away_by_one_that_only_looks(job, shards):
    """Shards that start together all look at the lock that an earlier call without shard left behind."""
    job.parts.mkdir()
    left_behind = FileLock(job.parts / "shard-0-of-1.lock", thread_local=False)
    left_behind.acquire()
    threading.Timer(0.3, left_behind.release).start()
    assert make(shards[1]).computed == 2


def test_shards_are_done_in_any_order_and_merged_by_a_call_without_shard(job, expected):
    shards = [replace(job, shard=shard, num_shards=2) for shard in (1, 0)]
    reports = [make(shard) for shard in shards]
    assert reports == [Report(3, 0, False, []), Report(4, 0, False, [])]
    assert not job.path.exists()
    assert make(shards[0]) == Report(0, 3, False, [])
    assert make(job) == Report(0, 7, True, [])
    assert_same(content(job.path), expected)
    assert not job.parts.exists()


def test_finished_samples_beyond_the_store_are_kept(job, expected):
    """Samples 5 and 6 of a set of seven are there when a smaller one is merged, or found complete."""
    for shard in (5, 6):
        make(replace(job, shard=shard, num_shards=7))
    for computed in (4, 0):
        assert make(replace(job, num_samples=4)).computed == computed
        assert sorted(part.name for part in job.parts.glob("*.npz")) == ["000005.npz", "000006.npz"]
    assert make(job) == Report(1, 6, True, [])
    assert_same(content(job.path), expected)
    assert not job.parts.exists()


def test_parts_begun_before_the_class_was_recorded_are_used(job, expected):
    make(replace(job, shard=0, num_shards=2))
    generator = dict(job.generator.provenance)
    (job.parts / "manifest.json").write_text(json.dumps({"benchmark": "toy", "seed": 3, "generator": generator}))
    assert make(job) == Report(3, 4, True, [])
    assert_same(content(job.path), expected)


def test_a_call_that_finds_all_leaves_alone_what_is_not_its_own(job):
    """Another process that has just begun to enlarge the set, or parts of other data."""
    small = replace(job, num_samples=4)
    make(small)
    with claim(replace(job, shard=1, num_shards=2)):
        assert make(small) == Report(0, 4, True, [])
        assert (job.parts / "manifest.json").is_file()
    (job.parts / "manifest.json").write_text(json.dumps({**job.identity, "seed": 99}))
    assert make(small) == Report(0, 4, True, [])
    assert (job.parts / "manifest.json").is_file()


def test_merging_what_is_merged_tidies_too(job, shards, monkeypatch):
    for shard in shards:
        make(shard)
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.generation.parts._tidy", lambda job, in_store: None)
        assert merge(job).merged
    assert len(list(job.parts.glob("*.npz"))) == 7, "the test leaves parts behind"
    assert merge(job) == Report(0, 7, True, [])
    assert [file.name for file in job.path.parent.iterdir()] == ["toy.h5"]
