"""A data set to generate: its identity, the files of its finished samples, and the locks between processes."""

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
from lsm.data.store import MAX_SAMPLE_BYTES, Store, sample_bytes
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.plain import parse_json
from lsm.registry import Count, Index, Options

#: Seconds for which a shard waits for a lock: another call may hold it for a moment, to test whether it is free.
_PATIENCE = 2.0

#: The store records the number of the accepted draw in 16 bits.
MOST_ATTEMPTS = 1 << 16


@dataclass(frozen=True)
class Job(Options):
    """A data set to generate.

    Args:
        generator: draws and solves the samples.
        path: the store to write.
        benchmark: name of the benchmark; only a label, since benchmarks with the same generator share their data.
        num_samples: number of samples in the finished store.
        seed: base seed.
        max_attempts: number of draws per sample; a sample whose draws all fail to converge counts as failed.
        shard: compute only the samples ``i`` with ``i % num_shards == shard``, without merging.
        num_shards: number of calls, on one or several machines, that share the samples.
    """

    generator: Generator
    path: Path
    benchmark: str
    num_samples: Count
    seed: Index = 0
    max_attempts: Annotated[int, Interval(ge=1, le=MOST_ATTEMPTS)] = 10
    shard: Index = 0
    num_shards: Count = 1

    def find_problem(self) -> tuple[str, str] | None:
        """A shard beyond the last one; see :meth:`lsm.registry.Options.find_problem`."""
        last = self.num_shards - 1
        beyond = self.shard > last
        return ("shard", f"is {self.shard}, expected 0 to {last} with num_shards={last + 1}") if beyond else None

    @property
    def parts(self) -> Path:
        """Folder of the finished samples that are not merged yet."""
        return self.path.with_name(self.path.name + ".parts")

    def open_store(self) -> Store:
        """The store as it exists; samples may be as large as this generator makes them."""
        return Store(self.path, max(MAX_SAMPLE_BYTES, sample_bytes(self.generator.fields)))

    @property
    def whole(self) -> Job:
        """The same job without shards."""
        return replace(self, shard=0, num_shards=1)

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be equal for two calls to work on the same data set: seed, revision, generator and its options."""
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
    """Check that existing data have the identity of a job.

    Args:
        found: identity of the existing data.
        wanted: identity of the job.
        where: file or folder of the existing data, for the message.
    Raises:
        InputError: the identities differ; the message gives the first difference.
    """
    flat_found, flat_wanted = ({**side, **_mapping(side.get("generator"))} for side in (found, wanted))
    # Older data do not record class and revision.
    skipped = {"generator"} if "class" in flat_found else {"generator", "class"}
    if flat_found.get("revision") is None:
        flat_found["revision"] = 1
    for key, value in flat_wanted.items():
        if key not in skipped and flat_found.get(key) != value:
            raise InputError(
                f"{where} holds other data ({key} is {flat_found.get(key)}, now {value}); "
                "use the options (for revision: the version of lsm) that it was started with, remove it, or choose another "
                "data_dir"
            )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


@contextmanager
def claim(job: Job) -> Iterator[None]:
    """Create the folder of parts, check its identity, and exclude other processes that compute or merge the same samples.

    Shards of the same ``num_shards`` may run at the same time; all other calls exclude each other. A call first takes its
    own lock and then tests the locks of others, so that of two calls that start together at least one gives up. The
    folder is removed at the end if it is empty. This happens after the lock is released, because a network file system
    may keep the file of a held lock.

    Raises:
        InputError: another process works on the same samples (the message says which), or the parts hold other data.
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
            write_whole(manifest, json.dumps(job.identity, indent=2))
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
    """Check that the parts, if there are any, belong to this job.

    Raises:
        InputError: they belong to other data.
    """
    if _manifest(job).exists():
        manifest = parse_json(_manifest(job).read_text(errors="replace"), f"{_manifest(job)}")
        require_same(manifest, job.identity, job.parts)
