"""A data set to generate: which one it is, where its finished samples lie, and who may work on it at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval
from filelock import FileLock, Timeout

from data_prep.generation.generator import Generator
from lsm.errors import InputError
from lsm.files import whole_file
from lsm.registry import Count, Index, Options, check_value

#: Seconds for which a shard tries to get a lock, since another call may hold it only to see whether it is held.
_PATIENCE = 2.0

#: The store keeps the number of a sample's draw in 16 bits.
MOST_ATTEMPTS = 1 << 16


@dataclass(frozen=True)
class Job(Options):
    """A data set to generate.

    Args:
        generator: draws and solves samples.
        path: the store to make.
        benchmark: name of the benchmark, a label: benchmarks that share a generator share the data.
        num_samples: how many samples the store shall hold.
        seed: base seed.
        max_attempts: how often a sample that does not converge is drawn anew before it counts as failed.
        shard: do only samples ``i`` with ``i % num_shards == shard``, and leave the merging to another call.
        num_shards: over how many calls, on as many machines, the samples are spread.
    """

    generator: Generator
    path: Path
    benchmark: str
    num_samples: Count
    seed: Index = 0
    max_attempts: Annotated[int, Interval(ge=1, le=MOST_ATTEMPTS)] = 10
    shard: Index = 0
    num_shards: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        shards = Annotated[int, Interval(ge=0, le=self.num_shards - 1)]
        check_value(f"with num_shards={self.num_shards}, shard", self.shard, shards)

    @property
    def parts(self) -> Path:
        """Folder of the finished samples."""
        return self.path.with_name(self.path.name + ".parts")

    @property
    def whole(self) -> Job:
        """The job of all shards together."""
        return replace(self, shard=0, num_shards=1)

    @property
    def identity(self) -> dict[str, Any]:
        """What two calls must share to work on one data set."""
        generator = self.generator
        return {
            "seed": self.seed,
            "revision": generator.revision,
            "generator": {"class": type(generator).__name__, **generator.provenance},
        }

    def part(self, index: int) -> Path:
        """File of one finished sample."""
        return self.parts / f"{index:06d}.npz"


def require_same(found: Mapping[str, Any], wanted: Mapping[str, Any], where: Path) -> None:
    """Check that data are those of a job, by their identities.

    Raises:
        InputError: they are not; the message names the first difference.
    """
    flat_found, flat_wanted = ({**side, **(side["generator"] or {})} for side in (found, wanted))
    # Data begun before class and revision were recorded do not name them.
    skipped = {"generator"} if "class" in flat_found else {"generator", "class"}
    if flat_found.get("revision") is None:
        flat_found["revision"] = 1
    for key, value in flat_wanted.items():
        if key not in skipped and flat_found.get(key) != value:
            raise InputError(
                f"{where} holds other data ({key} is {flat_found.get(key)}, now {value}); "
                "give the options (of revision: the version of lsm) it was begun with, remove it, or choose another data_dir"
            )


@contextmanager
def claim(job: Job) -> Iterator[None]:
    """Make the folder of parts, check whose it is, and keep out other processes that would do or merge the same samples.

    The shards of one ``num_shards`` run side by side; all other calls exclude each other. Each call takes its own lock
    first and then looks for others, so that of two that start together at least one steps back. An empty folder is removed
    in the end, when the lock is released: until then a network file system may keep the lock's file in it.

    Raises:
        InputError: another process is at work (the message says on what), or the parts are of other data.
    """
    job.parts.mkdir(parents=True, exist_ok=True)
    own = job.parts / f"shard-{job.shard}-of-{job.num_shards}.lock"
    with _lock(own, job):
        for other in sorted(set(job.parts.glob("shard-*.lock")) - set(job.parts.glob(f"*-of-{job.num_shards}.lock"))):
            with _lock(other, job):
                pass
        check_manifest(job)
        manifest = _manifest(job)
        if not manifest.exists():
            with whole_file(manifest) as file:
                file.write(json.dumps(job.identity, indent=2).encode())
        yield
    with suppress(OSError):
        job.parts.rmdir()


@contextmanager
def _lock(path: Path, job: Job) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PATIENCE if job.num_shards > 1 else 0)
    except Timeout as error:
        _, shard, _, num_shards = path.stem.split("-")
        what = job.path if num_shards == "1" else f"shard {shard} of {num_shards} of {job.path}"
        raise InputError(f"another process is generating {what}; wait for it, or stop it first") from error
    try:
        yield
    finally:
        lock.release()


def _manifest(job: Job) -> Path:
    return job.parts / "manifest.json"


def check_manifest(job: Job) -> None:
    """Check that the parts, if there are any, are those of this job.

    Raises:
        InputError: they are of other data.
    """
    if _manifest(job).exists():
        require_same(json.loads(_manifest(job).read_text()), job.identity, job.parts)
