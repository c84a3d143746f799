"""The generation engine: the data depend on nothing but seed and options, and nothing finished is ever lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from small_disk import mounted
from toy_generators import (
    BatchedGenerator,
    CountingGenerator,
    DyingGenerator,
    FullDiskGenerator,
    FussyGenerator,
    LyingGenerator,
    RevisedGenerator,
    SlowGenerator,
    ToyGenerator,
)
from toy_sets import assert_same, content, make

from data_prep.generation.engine import Report, generate, merge
from data_prep.generation.job import MOST_ATTEMPTS, Job, _lock, claim
from data_prep.generation.parts import fields_lacking, write_part
from data_prep.generation.pool import _deferring_interrupts, compute
from experiments.mistakes import describe
from lsm.data.store import Store, StoreWriter
from lsm.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [ToyGenerator, BatchedGenerator])
def test_data_depend_on_the_seeds_alone(kind, workers, job, expected):
    started, done = [], []
    job = replace(job, generator=kind())
    report = generate(job, workers, lambda found, wanted: started.append((found, wanted)), done.append)
    assert_same(content(job.path), expected)
    assert report == Report(computed=7, found=0, merged=True, redrawn=[])
    assert started == [(0, 7)]
    assert sum(done) == 7
    assert [file.name for file in job.path.parent.iterdir()] == ["toy.h5"], "parts are gone"
    with Store(job.path) as store:
        assert store.fields == dict(job.generator.fields)
        assert store.benchmark == "toy"
        known = {**store.provenance, "lsm_version": None}
        generator = {"class": kind.__name__, "equation": "none", "resolution": 4, "scale": 1.0}
        assert known == {
            "source": "generated",
            "seed": 3,
            "revision": 1,
            "generator": generator,
            "lsm_version": None,
            "redrawn": [],
        }


def test_another_seed_gives_other_data(job, expected):
    make(replace(job, seed=4))
    assert not np.isin(content(job.path)["permeability"], expected["permeability"]).any()


def test_a_second_call_does_nothing(job):
    make(job)
    before = (job.path.stat().st_mtime_ns, job.path.stat().st_ino)
    started = []
    report = generate(job, 1, lambda found, wanted: started.append((found, wanted)), lambda count: None)
    assert report == Report(0, 7, True, [])
    assert started == [(7, 7)]
    assert (job.path.stat().st_mtime_ns, job.path.stat().st_ino) == before
    assert not job.parts.exists()


def test_a_larger_set_keeps_the_samples_of_a_smaller_one(job, expected):
    make(replace(job, num_samples=4))
    assert_same(content(job.path), {name: values[:4] for name, values in expected.items()})
    assert make(job).computed == 3
    assert_same(content(job.path), expected)
    assert make(replace(job, num_samples=4)) == Report(0, 4, True, [])
    assert_same(content(job.path), expected)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed is 3, now 4"),
        ({"generator": ToyGenerator(scale=2.0)}, r"scale is 1\.0, now 2\.0"),
        ({"generator": ToyGenerator(resolution=5)}, "resolution is 4, now 5"),
        ({"generator": BatchedGenerator()}, "class is ToyGenerator, now BatchedGenerator"),
        ({"generator": RevisedGenerator()}, "revision is 1, now 2.*the version of lsm"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_options_on_existing_data_are_refused(change, named, finished, job, expected):
    """A store, or the parts of one, is not mixed with other data: not when it is complete, nor when it is enlarged."""
    make(replace(job, num_samples=4) if finished else replace(job, shard=0, num_shards=2))
    for num_samples in (4, 7):
        with pytest.raises(InputError, match=named):
            make(replace(job, num_samples=num_samples, **change))
    make(job)
    assert_same(content(job.path), expected)


def test_a_store_with_fewer_fields_than_are_generated_now_stays_as_it_is(job):
    """As older versions of lsm made them."""
    make(replace(job, num_samples=4))
    with h5py.File(job.path, "a") as file:
        del file["fields/pressure"]
    before = job.path.read_bytes()
    assert make(replace(job, num_samples=4)) == Report(0, 4, True, [])
    with job.open_store() as store:
        assert "lacks pressure; move it away" in fields_lacking(job, store)
    with pytest.raises(
        InputError, match=r"no samples can be added: .*toy\.h5 was made by an older version of lsm and lacks pressure"
    ):
        make(job)
    assert job.path.read_bytes() == before


def test_benchmarks_that_share_a_generator_share_the_data(job, expected):
    make(replace(job, num_samples=4))
    other = replace(job, benchmark="toy_on_a_grid")
    assert make(replace(other, num_samples=4)) == Report(0, 4, True, [])
    assert make(other) == Report(3, 4, True, [])
    assert make(job) == Report(0, 7, True, [])
    assert_same(content(job.path), expected)


def test_generated_samples_are_not_mixed_with_published_ones(job):
    fields = {name: replace(field, shape=(1,)) for name, field in job.generator.fields.items()}
    with StoreWriter(job.path, "toy", fields, 2, {"source": "published", "files": {}}) as writer:
        writer.write(slice(0, 2), {name: np.zeros((2, 1)) for name in fields})
    for call in (make, merge):
        with pytest.raises(InputError, match=r"toy\.h5 was converted from published files.*choose another"):
            call(job)


def test_a_failure_is_drawn_anew_and_recorded(tmp_path):
    generator = FussyGenerator(limit=0.5)
    job = Job(generator, tmp_path / "toy.h5", "toy", num_samples=8, seed=1, max_attempts=20)
    report = make(job, workers=2)
    found = content(job.path)
    redrawn = []
    for index in range(8):
        for attempt in range(20):
            fate = np.random.default_rng((1, index, attempt)).random()
            if fate <= 0.5:
                break
            redrawn.append((index, attempt, f"diverged at {fate:.6f}"))
        assert found["attempt"][index] == attempt
        rng = np.random.default_rng((1, index, attempt))
        np.testing.assert_array_equal(found["permeability"][index], generator.solve(rng).fields["permeability"])
    assert {index for index, _, _ in redrawn} not in (set(), set(range(8))), "the test draws both kinds"
    assert report.redrawn == redrawn
    with Store(job.path) as store:
        assert [tuple(draw) for draw in store.provenance["redrawn"]] == redrawn


def test_redrawn_samples_stay_on_record_when_a_set_grows(tmp_path):
    job = Job(FussyGenerator(), tmp_path / "grown.h5", "toy", num_samples=4, seed=1, max_attempts=20)
    make(job)
    make(replace(job, num_samples=8))
    whole = replace(job, path=tmp_path / "whole.h5", num_samples=8)
    make(whole)
    assert_same(content(job.path), content(whole.path))
    with Store(job.path) as grown, Store(whole.path) as store:
        assert grown.provenance == store.provenance


def test_batches_redraw_only_what_failed(tmp_path):
    class_of = {"alone": FussyGenerator(), "together": _FussyBatches()}
    for name, generator in class_of.items():
        make(Job(generator, tmp_path / f"{name}.h5", "toy", num_samples=7, seed=1, max_attempts=20))
    assert_same(content(tmp_path / "together.h5"), content(tmp_path / "alone.h5"))


class _FussyBatches(FussyGenerator):
    batch_size = 4


def test_a_sample_that_always_fails_is_named_and_the_others_are_kept(tmp_path):
    job = Job(FussyGenerator(limit=0.5), tmp_path / "toy.h5", "toy", num_samples=8, seed=1, max_attempts=1)
    fates = [np.random.default_rng((1, index, 0)).random() for index in range(8)]
    failing = [index for index, fate in enumerate(fates) if fate > 0.5]
    with pytest.raises(InputError, match=f"{len(failing)} of 8 samples.*{failing[0]}: diverged at .*max_attempts"):
        make(job)
    assert not job.path.exists()
    kept = sorted(int(part.stem) for part in job.parts.glob("*.npz"))
    assert kept == [index for index in range(8) if index not in failing]
    assert make(replace(job, max_attempts=20)).computed == len(failing)
    uninterrupted = replace(job, path=tmp_path / "uninterrupted.h5", max_attempts=20)
    make(uninterrupted)
    assert_same(content(job.path), content(uninterrupted.path))


def test_a_job_that_cannot_succeed_ends_early(tmp_path):
    """After eight samples, unless any sample of the set exists already."""
    job = Job(FussyGenerator(limit=0.0), tmp_path / "toy.h5", "toy", num_samples=2000, seed=1, max_attempts=2)
    done = []
    with pytest.raises(
        InputError,
        match=r"none of the first 8 samples converged in 2 draws \(diverged .*remove .*toy.h5.parts and change the options",
    ):
        generate(job, 1, lambda found, wanted: None, done.append)
    assert done == [0] * 8
    with claim(job):
        write_part(job, 0, ToyGenerator().solve(np.random.default_rng(0)), 0, [])
    with pytest.raises(InputError, match=r"19 of 20 samples did not converge.*max_attempts.*easier to solve"):
        make(replace(job, num_samples=20))


def test_a_full_disk_keeps_what_is_finished(tmp_path):
    mended = tmp_path / "mended"
    job = Job(FullDiskGenerator(room=2, mended=mended), tmp_path / "toy.h5", "toy", num_samples=5, seed=3)
    with pytest.raises(OSError, match="No space left") as caught:
        make(job)
    assert caught.value.errno == errno.ENOSPC
    message = describe(caught.value)
    assert message.startswith("the disk is full")
    assert "\n" not in message
    assert sorted(part.name for part in job.parts.glob("*.npz*")) == ["000000.npz", "000001.npz"], "no partial files"
    mended.touch()
    assert make(job).computed == 3
    make(replace(job, generator=ToyGenerator(), path=tmp_path / "uninterrupted.h5"))
    assert_same(content(job.path), content(tmp_path / "uninterrupted.h5"))


def test_a_full_disk_while_merging_keeps_the_parts(tmp_path):
    """On a file system of a megabyte, which holds the parts but not the store besides."""
    with mounted(tmp_path / "disk", size="1m") as disk:
        process = start(disk, pause=0, num_samples=1, resolution=24_000)
        output, errors = process.communicate()
        assert errors.startswith("error: the disk is full"), output + errors
        assert len(errors.splitlines()) == 1
        assert process.returncode == 1, "a code of its own, no crash of HDF5"
        assert [part.name for part in disk.glob("toy.h5.parts/*.npz*")] == ["000000.npz"]
        assert not (disk / "toy.h5").exists()
        assert list(disk.glob("*.partial")) == []
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        output, errors = start(disk, pause=0, num_samples=1, resolution=24_000).communicate()
        assert "(0 computed, 1 found)" in output, output + errors
        assert content(disk / "toy.h5")["permeability"].shape == (1, 24_000, 3)


def test_a_worker_killed_for_memory_is_told(tmp_path):
    with pytest.raises(InputError, match=r"killed.*fewer workers"):
        make(Job(DyingGenerator(), tmp_path / "toy.h5", "toy", num_samples=2))


def test_a_generator_that_breaks_its_contract_is_an_error(tmp_path):
    job = Job(LyingGenerator(), tmp_path / "toy.h5", "toy", num_samples=1)
    with pytest.raises(TypeError, match="float32.*float64"):
        make(job)
    assert not list(job.parts.glob("*.npz*"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_samples": 0}, "num_samples is 0, expected a whole number of at least 1"),
        ({"num_samples": 2.5}, r"num_samples is 2\.5, expected a whole number"),
        ({"num_samples": "many"}, "num_samples is many, expected a whole number"),
        ({"num_samples": True}, "num_samples is True, expected a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"max_attempts": 65537}, "max_attempts is 65537, expected a whole number from 1 to 65536"),
        ({"num_shards": 0}, "num_shards is 0, expected a whole number of at least 1"),
        ({"shard": 2, "num_shards": 2}, "shard is 2, expected 0 to 1 with num_shards=2"),
        ({"shard": -1}, "shard is -1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, named, toy, tmp_path):
    with pytest.raises(InputError, match=named):
        Job(toy, tmp_path / "toy.h5", "toy", **{"num_samples": 3, **options})
    with pytest.raises(InputError, match="workers is 0"):
        make(Job(toy, tmp_path / "toy.h5", "toy", 3), workers=0)


def start(folder: Path, pause: float, num_samples: int = 12, resolution: int = 4) -> subprocess.Popen[str]:
    """``lsm-generate`` with a slow generator and two workers."""
    command = [
        *(sys.executable, "-m", "experiments.generate", "benchmark=darcy", "workers=2", "seed=3"),
        *(f"num_samples={num_samples}", f"store={folder / 'toy.h5'}"),
        *("benchmark.generator._target_=toy_generators.SlowGenerator", f"benchmark.generator.resolution={resolution}"),
        f"+benchmark.generator.pause={pause}",
        *(f"~benchmark.generator.{option}" for option in ("low", "high", "device", "batch_size")),
    ]
    paths = [str(ROOT / "tests"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background ignores
    )  # fmt: skip


def wait_for(condition, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def children_of(process: int) -> list[int]:
    """Processes started by one, workers and helpers alike."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_running(process: int) -> bool:
    """Whether a process exists and is no mere entry that waits to be collected."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_generation_goes_on_after_a_kill(tmp_path):
    job = Job(SlowGenerator(pause=0.15, resolution=4), tmp_path / "toy.h5", "darcy", num_samples=12, seed=3)

    def finished() -> list[Path]:
        return sorted(job.parts.glob("*.npz"))

    process = start(tmp_path, pause=0.15)
    try:
        assert wait_for(lambda: len(finished()) >= 3), process.communicate()[1]
        workers = children_of(process.pid)
        with pytest.raises(InputError, match=r"another process is generating .*toy\.h5"):
            make(job)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(workers) >= 2
    assert wait_for(lambda: not any(map(is_running, workers)), seconds=5), "workers outlive the killed command"
    kept = {part.name: (part.read_bytes(), part.stat().st_mtime_ns) for part in finished()}
    assert 3 <= len(kept) < 12
    for part in finished():
        sample = job.generator.solve(np.random.default_rng((3, int(part.stem), 0)))
        with np.load(part) as arrays:
            np.testing.assert_array_equal(arrays["pressure"], sample.fields["pressure"])
    started = []
    report = generate(job, 2, lambda found, wanted: started.append((found, wanted)), lambda count: None)
    assert (report.computed, report.found, started) == (12 - len(kept), len(kept), [(len(kept), 12)])
    uninterrupted = replace(
        job, generator=SlowGenerator(pause=0, resolution=4), path=tmp_path / "uninterrupted.h5", benchmark="toy"
    )
    make(uninterrupted)
    assert_same(content(job.path), content(uninterrupted.path))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["toy.h5", "uninterrupted.h5"]


def test_a_kill_while_a_part_is_written_leaves_no_broken_part(job, expected):
    """What a kill leaves behind: a partial file, a manifest, a store half merged. None of it is taken for data."""
    make(replace(job, shard=0, num_shards=2))
    (job.parts / "000001.npz.12345.partial").write_bytes(b"PK half a sample")
    leftover = job.path.with_name("toy.h5.12345.partial")
    leftover.write_bytes(b"half a store")
    os.utime(leftover, (0, 0))  # old enough not to be that of a running process
    assert make(job) == Report(3, 4, True, [])
    assert_same(content(job.path), expected)
    assert [file.name for file in job.path.parent.iterdir()] == ["toy.h5"]


@pytest.mark.parametrize("complete", [4, 7])
def test_a_kill_between_merging_and_tidying_loses_nothing(complete, job, expected, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(job, in_store):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.generation.parts._tidy", kill)
        with pytest.raises(Killed):
            make(replace(job, num_samples=4))
    assert len(list(job.parts.glob("*.npz"))) == 4, "the test leaves parts behind"
    assert make(replace(job, num_samples=complete)).computed == complete - 4
    assert_same(content(job.path), {name: values[:complete] for name, values in expected.items()})
    assert [file.name for file in job.path.parent.iterdir()] == ["toy.h5"], "a complete call tidies"


def test_a_file_system_that_keeps_open_files_in_their_folder(job, monkeypatch):
    """As NFS does, under another name and until they are closed."""

    def unlink(path):
        if path.suffix == ".lock":
            path.rename(path.with_name(".nfs0001"))
        else:
            os.remove(path)

    @contextmanager
    def lock(path, job):
        with _lock(path, job):
            yield
        path.with_name(".nfs0001").unlink()

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.generation.job._lock", lock)
        patch.setattr(Path, "unlink", unlink)
        assert make(job).merged
    assert [file.name for file in job.path.parent.iterdir()] == ["toy.h5"]


def test_the_parts_say_whose_they_are(job):
    make(replace(job, shard=0, num_shards=2))
    manifest = json.loads((job.parts / "manifest.json").read_text())
    assert manifest == {"seed": 3, "revision": 1, "generator": {"class": "ToyGenerator", **job.generator.provenance}}


@pytest.mark.parametrize("content", [b"", b"PK half a sample"])
def test_a_damaged_part_is_named(content, job):
    make(replace(job, shard=0, num_shards=2))
    job.part(2).write_bytes(content)
    with pytest.raises(InputError, match=r"000002\.npz is damaged .*; remove it and run the same command again"):
        make(job)
    job.part(2).unlink()
    assert make(job) == Report(1, 6, True, [])


def test_the_last_draw_allowed_fits_the_store(tmp_path):
    job = Job(ToyGenerator(), tmp_path / "toy.h5", "toy", num_samples=1, max_attempts=MOST_ATTEMPTS)
    sample = job.generator.solve(np.random.default_rng(0))
    with claim(job):
        write_part(job, 0, sample, job.max_attempts - 1, [])
    assert merge(job).merged
    assert content(job.path)["attempt"].tolist() == [MOST_ATTEMPTS - 1]


def test_a_store_that_appears_meanwhile_is_not_replaced(job, monkeypatch):
    """A conversion into the same store while samples are being solved."""

    def compute_late(*arguments):
        fields = job.generator.fields
        with StoreWriter(job.path, "toy", fields, 2, {"source": "published", "files": {}}) as writer:
            writer.write(slice(0, 2), {name: np.zeros((2, *field.shape)) for name, field in fields.items()})
        return compute(*arguments)

    monkeypatch.setattr("data_prep.generation.engine.compute", compute_late)
    with pytest.raises(InputError, match="was converted from published files"):
        make(job)
    with Store(job.path) as store:
        assert store.provenance["source"] == "published"
    assert len(list(job.parts.glob("*.npz"))) == 7, "what was solved is kept"


def test_a_call_that_waited_for_a_larger_one_keeps_its_samples(job, expected, monkeypatch):
    """The larger set is merged after the smaller call has looked at the store, and before it claims the parts."""

    @contextmanager
    def late_claim(small):
        monkeypatch.setattr("data_prep.generation.engine.claim", claim)
        make(job)
        with claim(small):
            yield

    monkeypatch.setattr("data_prep.generation.engine.claim", late_claim)
    make(replace(job, num_samples=4))
    assert_same(content(job.path), expected)
    assert [file.name for file in job.path.parent.iterdir()] == ["toy.h5"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.slow
def test_an_interrupt_ends_the_samples_at_work(tmp_path):
    process = start(tmp_path, pause=5.0)
    parts = tmp_path / "toy.h5.parts"
    try:
        assert wait_for(lambda: len(list(parts.glob("*.npz"))) >= 2), process.communicate()[1]
        workers = children_of(process.pid)
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    finally:
        process.kill()
    assert errors == "interrupted\n"
    assert time.monotonic() - interrupted < 3, "the next samples take five seconds"
    assert wait_for(lambda: not any(map(is_running, workers)), seconds=5)
    assert sorted(part.name for part in parts.glob("*.npz*")) == ["000000.npz", "000001.npz"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupt_waits_until_the_processes_are_started():
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), _deferring_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("processes started")
    assert done == ["processes started"]
    assert signal.getsignal(signal.SIGINT) is before
    with _deferring_interrupts():
        pass
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.skipif(os.cpu_count() == 1, reason="one processor")
def test_workers_compute_on_one_thread_each(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    job = Job(CountingGenerator(), tmp_path / "toy.h5", "toy", num_samples=1)
    make(job)
    assert content(job.path)["threads"].tolist() == [[1]]
