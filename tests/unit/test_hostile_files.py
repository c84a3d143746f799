"""Files of somebody else: a clear error or no harm, never a traceback, a hang, gigabytes, wrong data or code that runs.

``pytest -m slow tests/unit/test_hostile_files.py -s`` runs all cases and prints their counts; the default run a draw of them.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import hostile_checkpoints
import hostile_inputs
import hostile_own
import hostile_published
import hostile_stores
import numpy as np
import pytest
import torch
from hostile_bytes import damage
from omegaconf import OmegaConf
from sandbox import GOOD, Outcome, run_apart
from toy_generators import ToyGenerator

from data_prep.generation.engine import merge
from data_prep.generation.job import Job, claim
from data_prep.generation.parts import write_part
from data_prep.published.convert import Layout, PublishedArray, PublishedFile, export_files, import_files
from experiments.export import run as export_run
from experiments.runs import load_run
from experiments.tables.cells import describe_code, read_json
from lsm.checkpoint import load, read
from lsm.data.array_files import open_arrays
from lsm.data.datamodule import FieldDataModule
from lsm.data.readers.grid import GridReader
from lsm.data.store import Store
from lsm.data.symmetry import elements, symmetries_of
from lsm.plotting.display import Display
from lsm.prediction import predict_file
from lsm.training.history import keys_of, read_history, series_of, to_csv

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux counts it")

#: Cases of random damage for each kind of file.
NUM_DAMAGED = 60


@dataclass(frozen=True)
class Case:
    """A hostile file.

    Args:
        name: of the case, for messages.
        make: makes the file in a folder.
        read: reads what lies in the folder.
        named: what a clear message contains.
        allowed: whether the reader may take the file; otherwise that is wrong.
        same: writes the undamaged file, whose values the reader must return if it takes the damaged one; None for any.
        file: path of this file below the folder.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    named: str
    allowed: bool = True
    same: Callable[[Path], Any] | None = None
    file: str = ""

    @property
    def kind(self) -> str:
        """What kind of file it is."""
        return self.name.partition(":")[0]


def digest(*arrays: Any) -> str:
    """A fingerprint of arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def ignore(count: int) -> None:
    """Progress that nobody watches."""


def read_store(folder: Path) -> str:
    """All that commands do with a store: describe it, decode every sample, export it."""
    path = folder / "store.h5"
    with Store(path) as store:
        Display.from_dict(store.display)
        store.bookkeeping()
        str(store.provenance)
    splits = {"train": [0, 3], "validation": [3, 4], "test": [4, 6]}
    data = FieldDataModule(path, GridReader(inputs=["inner"], targets=["outer"]), splits, batch_size=2)
    data.describe()
    values = [tensor for split in splits for batch in data.batches(split) for tensor in (batch.inputs, batch.targets)]
    assert all(torch.isfinite(tensor).all() for tensor in values)
    export_files(_store_layout(), path, folder / "out", "5", False, True, ignore, ignore)
    return digest(*(tensor.numpy() for tensor in values))


@cache
def _store_layout() -> Layout:
    arrays = tuple(PublishedArray((name,), ("n", "x", "y"), name) for name in hostile_stores.FIELDS)
    file = PublishedFile("both.mat", (0, hostile_stores.NUM_SAMPLES), arrays)
    fields = hostile_stores.FIELDS
    return Layout("toy", (file,), fields, frozenset(fields), {})


def reading_published(suffix: str) -> Callable[[Path], str]:
    """A conversion of whatever sizes; the store that comes of it must be a good one."""

    def convert(folder: Path) -> str:
        layout = hostile_published.layout_of(suffix)
        import_files(layout, folder, folder / "converted.h5", False, ignore, ignore)
        with Store(folder / "converted.h5") as store:
            return digest(*(store.field(name)[:] for name in store.fields))

    return convert


def read_checkpoint(folder: Path) -> str:
    """Load a solver and predict; and what resuming reads."""
    path = folder / "some.ckpt"
    read(path)
    solver = load(path).solver
    assert all(torch.isfinite(value).all() for value in solver.state_dict().values())
    inputs = np.linspace(0, 1, 30).reshape(6, 5, 1)
    return digest(*solver.state_dict().values(), solver.predict(inputs))


def read_run(folder: Path) -> None:
    """What evaluation and pictures read: the solver, its record, its data."""
    cfg = OmegaConf.create(
        {
            "checkpoint": str(folder / "some.ckpt"),
            "split": "test",
            "store": None,
            "data_dir": None,
            "resolution": None,
            "plugins": [],
        }
    )
    checkpoint, data = load_run(cfg)
    elements(symmetries_of(checkpoint.run["config"]["benchmark"].get("symmetries")), data.spec)
    for batch in data.batches("test"):
        checkpoint.solver(batch)


def read_curve(folder: Path) -> None:
    """The learning curve of a run's folder."""
    history = read_history(folder)
    to_csv(history)
    for key in keys_of(history):
        series_of(history, key.partition("/")[2])


def toy_job(folder: Path) -> Job:
    return Job(ToyGenerator(), folder / "toy.h5", "toy", num_samples=3, seed=1)


def merge_parts(folder: Path) -> str:
    """Merge parts that lie there."""
    merge(toy_job(folder))
    with Store(folder / "toy.h5") as store:
        return digest(*(store.field(name)[:] for name in store.fields))


# ---- the files


def store_cases() -> Iterator[Case]:
    def changing(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            hostile_stores.write_store(folder / "store.h5")
            with h5py.File(folder / "store.h5", "a") as file:
                change(file)

        return make

    for name, change in hostile_stores.CASES.items():
        yield Case(f"store: {name}", changing(change), read_store, "store.h5", name in hostile_stores.MAY_BE_TAKEN)
    yield Case("store: pipe", lambda folder: os.mkfifo(folder / "store.h5"), read_store, "store.h5", False)
    yield Case("store: folder", lambda folder: (folder / "store.h5").mkdir(), read_store, "store.h5", False)

    def link_to_pipe(folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        (folder / "store.h5").symlink_to(folder / "pipe")

    yield Case("store: link to a pipe", link_to_pipe, read_store, "store.h5", False)
    yield from damaged("store", "store.h5", hostile_stores.write_store, read_store)


def damaged(
    kind: str,
    name: str,
    write: Callable[[Path], Any],
    reader: Callable[[Path], Any],
    found: bool = True,
    count: int = NUM_DAMAGED,
) -> Iterator[Case]:
    """Random damage of one file; ``found`` where every change of values must be found."""
    for seed in range(count):

        def make(folder: Path, seed: int = seed) -> None:
            (folder / name).parent.mkdir(exist_ok=True)
            write(folder / name)
            (folder / name).write_bytes(damage((folder / name).read_bytes(), random.Random(seed)))

        yield Case(f"{kind}: damage {seed}", make, reader, Path(name).name, same=write if found else None, file=name)


def published_cases() -> Iterator[Case]:
    tables = {
        "mat5": (hostile_published.MAT5, "both.mat", ".mat"),
        "mat73": (hostile_published.MAT73, "both.mat", ".mat"),
        "npy": (hostile_published.NPY, "inner.npy", ".npy"),
    }
    for kind, (table, name, suffix) in tables.items():
        for label, write in table.items():

            def make(folder: Path, write: Callable[[Path], None] = write, name: str = name) -> None:
                if name == "inner.npy":
                    hostile_published.write_npy(folder)
                    (folder / name).unlink()
                write(folder / name)

            taken = f"{kind}: {label}" in hostile_published.MAY_BE_TAKEN
            yield Case(f"{kind}: {label}", make, reading_published(suffix), name.partition(".")[0], taken)
    for kind, compressed in (("mat5", False), ("mat5 compressed", True)):
        yield from damaged(
            kind,
            "both.mat",
            lambda path, compressed=compressed: hostile_published.write_mat5(path, compressed),
            reading_published(".mat"),
            found=False,
        )
    yield from damaged("mat73", "both.mat", hostile_published.write_mat73, reading_published(".mat"), found=False)
    yield from damaged(
        "npy",
        "inner.npy",
        lambda path: hostile_published.write_npy(path.parent),
        reading_published(".npy"),
        found=False,
    )


def checkpoint_cases() -> Iterator[Case]:
    here = hostile_checkpoints

    def writing(make_bytes: Callable[[Path], bytes]) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            hostile_stores.write_store(folder / "store.h5")
            (folder / "some.ckpt").write_bytes(make_bytes(folder))

        return make

    def good(folder: Path, model: str = "unet") -> dict[str, Any]:
        return here.content_of(folder / "store.h5", model)

    for name, change in here.CONTENTS.items():
        make = writing(lambda folder, change=change: here.saved(change(good(folder))))
        yield Case(f"checkpoint: {name}", make, read_checkpoint, "some.ckpt", False)
    for name, change in here.BYTES.items():
        make = writing(lambda folder, change=change: change(here.saved(good(folder))))
        yield Case(f"checkpoint: {name}", make, read_checkpoint, "some.ckpt", False)
    for where in here.TRAPS:
        make = writing(lambda folder, where=where: here.trapped(where, folder / "canary", good(folder)))
        yield Case(f"checkpoint: trap in {where}", make, read_checkpoint, "some.ckpt", False)
    yield Case("checkpoint: pipe", lambda folder: os.mkfifo(folder / "some.ckpt"), read_checkpoint, "some.ckpt", False)
    for name, model, change in here.description_cases():
        make = writing(lambda folder, model=model, change=change: here.saved(change(good(folder, model))))
        yield Case(f"record: {name}", make, read_run, "")
    write = lambda path: path.write_bytes(here.saved(good(path.parent)))  # noqa: E731
    yield from damaged("checkpoint", "some.ckpt", write, read_checkpoint)


CURVES = {
    "nothing": b"",
    "no epoch": b"step,train/loss\n1,2\n",
    "epoch of text": b"epoch,train/loss\none,2\n",
    "value of text": b"epoch,train/loss\n1,two\n",
    "infinite epoch": b"epoch,train/loss\n1e999,2\n",
    "nan": b"epoch,train/loss\n1,nan\n2,inf\n3,-1\n",
    "too many columns": b"epoch,train/loss\n1,2,3,4\n",
    "too few columns": b"epoch,train/loss,val/loss\n1\n",
    "bytes": bytes(range(256)) * 4,
    "zeros": bytes(1000),
    "digits": b"epoch,train/loss\n" + b"7" * 5000 + b",1\n",
    "a long field": b"epoch,train/loss\n1," + b"7" * 200_000 + b"\n",
    "quotes": b'epoch,"train/loss\n1,2\n',
}


def curve_cases() -> Iterator[Case]:
    name = "csv/version_0/metrics.csv"

    def writing(content: bytes) -> Callable[[Path], Any]:
        def make(folder: Path) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

        return make

    for label, content in CURVES.items():
        yield Case(f"curve: {label}", writing(content), read_curve, "metrics.csv")
    good = b"epoch,step,train/loss,val/loss\n" + b"".join(b"%d,%d,0.5,0.25\n" % (i, i) for i in range(20))
    for seed in range(NUM_DAMAGED // 3):
        make = writing(damage(good, random.Random(seed)))
        yield Case(f"curve: damage {seed}", make, read_curve, "metrics.csv")
    yield Case(
        "curve: folder of no number", lambda folder: (folder / "csv/version_x").mkdir(parents=True), read_curve, ""
    )


@cache
def finished_parts() -> dict[str, bytes]:
    """The parts of the toy job, as a kill before the merge leaves them."""
    with TemporaryDirectory() as folder:
        job = toy_job(Path(folder))
        with claim(job):
            for index in range(job.num_samples):
                sample = job.generator.solve(np.random.default_rng(index))
                write_part(job, index, sample, attempt=0, failures=["a reason"] * index)
        return {path.name: path.read_bytes() for path in job.parts.iterdir() if path.suffix in (".npz", ".json")}


def part_cases() -> Iterator[Case]:
    def writing(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            (folder / "toy.h5.parts").mkdir()
            for part, content in finished_parts().items():
                (folder / "toy.h5.parts" / part).write_bytes(change(content) if part == name else content)

        return make

    for name, contents in {
        "manifest.json": (b"", b"[]", b"{}", b'{"generator": 3}', b"\xff\xfe", hostile_stores.nested(99_999).encode()),
        "000001.npz": (b"", b"PK\x05\x06" + bytes(18), finished_parts()["000001.npz"][:-30]),
    }.items():
        for index, content in enumerate(contents):
            make = writing(name, lambda _, content=content: content)
            yield Case(f"part: {name} {index}", make, merge_parts, "toy.h5", False)
    for seed in range(NUM_DAMAGED):
        make = writing("000001.npz", lambda content, seed=seed: damage(content, random.Random(seed)))
        yield Case(f"part: damage {seed}", make, merge_parts, "toy.h5")


def predict_inputs(name: str) -> Callable[[Path], str]:
    """Predict from a file, in the format of the file."""

    def read(folder: Path) -> str:
        target = folder / f"outputs{Path(name).suffix}"
        predict_file(hostile_inputs.solver(), folder / name, target, {})
        with open_arrays(target) as arrays:
            found = {key: array[:] for key, array in arrays.items() if key not in ("x", "y", "z", "inner")}
        assert all(np.isfinite(values).all() for values in found.values())
        return digest(*found.values())

    return read


def input_cases() -> Iterator[Case]:
    for kind, (name, write, hostile, found) in hostile_inputs.KINDS.items():
        for label, make in {**hostile_inputs.ANY, **hostile}.items():
            yield Case(
                f"{kind}: {label}",
                lambda folder, make=make, name=name: make(folder / name),
                predict_inputs(name),
                name,
                False,
            )
        yield from damaged(kind, name, write, predict_inputs(name), found)


def read_model_folder(folder: Path) -> str:
    """Load a solver and predict."""
    solver = load(folder / "model").solver
    assert all(torch.isfinite(value).all() for value in solver.state_dict().values())
    return digest(*solver.state_dict().values(), solver.predict(np.linspace(0, 1, 30).reshape(6, 5, 1)))


def model_folder_cases() -> Iterator[Case]:
    def making(write: Callable[[Path], Any]) -> Callable[[Path], Any]:
        return lambda folder: write(folder / "model")

    for label, write in hostile_inputs.FOLDERS.items():
        taken = label in hostile_inputs.FOLDERS_MAY_BE_TAKEN
        yield Case(f"model folder: {label}", making(write), read_model_folder, "model", taken)
    for label, write in hostile_inputs.description_cases():
        yield Case(f"model folder: {label}", making(write), read_model_folder, "")
    for name, found in (("model.safetensors", True), ("config.json", False)):
        for seed in range(NUM_DAMAGED):

            def write(folder: Path, seed: int = seed, name: str = name) -> None:
                hostile_inputs.write_model_folder(folder)
                (folder / name).write_bytes(damage((folder / name).read_bytes(), random.Random(seed)))

            same = hostile_inputs.write_model_folder if found else None
            case = f"model folder: damage {seed} of {name}"
            yield Case(case, making(write), read_model_folder, "model", same=same, file="model")


#: Records that commands find in folders of runs, and texts in their place.
RECORDS = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[1]",
    "an empty object": b"{}",
    "nested": hostile_stores.nested(100_000).encode(),
    "nan": b'{"epoch": NaN}',
    "numbers": b'{"epoch": 3, "code": 3, "relative_l2": 3, "machine": 1, "split": 7}',
    "summary of texts": b'{"epoch": 3, "split": [[]], "relative_l2": {"mean": "text", "num_samples": {}}}',
    "escapes": b'{"epoch": 3, "split": "\\u001b[2J", "relative_l2": {"mean": 1}}',
    "data of a number": b'{"epoch": 3, "data": {"provenance": 3}}',
    "data with half a letter": b'{"epoch": 3, "data": {"provenance": {"seed": "\\ud800"}}}',
    "bytes": bytes(range(256)) * 4,
    "digits": b'{"epoch": ' + b"7" * 5000 + b"}",
}


def export_with_metrics(folder: Path) -> None:
    """Export a checkpoint whose run was evaluated."""
    cfg = OmegaConf.create(
        {"checkpoint": str(folder / "checkpoints/best.ckpt"), "plugins": [], "output": str(folder / "out")}
        | {"format": "safetensors", "license": None}
    )
    export_run(cfg)


def record_cases() -> Iterator[Case]:
    """Files beside the checkpoints of a run."""

    def writing(name: str, content: bytes) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            (folder / "checkpoints").mkdir()
            content_of = hostile_checkpoints.content_of(folder / "store.h5")
            (folder / "checkpoints/best.ckpt").write_bytes(hostile_checkpoints.saved(content_of))

        return make

    readers = {
        "evaluation/test/metrics.json": export_with_metrics,
        "environment.json": describe_code,
        "profile.json": lambda folder: read_json(folder / "profile.json"),
    }
    for name, reader in readers.items():
        for label, content in RECORDS.items():
            yield Case(f"run folder: {Path(name).name}, {label}", writing(name, content), reader, Path(name).name)


def own_cases() -> Iterator[Case]:
    """A user's arrays for a training, and bands beside a checkpoint."""

    def reading(read: Callable[[Path], list[np.ndarray]], name: str) -> Callable[[Path], str]:
        return lambda folder: digest(*read(folder / name))

    def making(write: Callable[[Path], Any], name: str) -> Callable[[Path], Any]:
        return lambda folder: write(folder / name)

    for label, (name, write) in hostile_own.own_files().items():
        unsaid, same = label in hostile_own.UNSAID, making(hostile_own.write_own, name)
        read = reading(hostile_own.read_own, name)
        yield Case(f"own data: {label}", making(write, name), read, "own", unsaid, same if unsaid else None)
    for name in ("own.npz", "own.h5", "own.mat"):
        checked = name != "own.mat"  # files of MATLAB version 5 have no checksum
        reader = reading(hostile_own.read_own, name)
        yield from damaged("own data", name, hostile_own.write_own, reader, checked, NUM_DAMAGED // 3)
    for kind, name, writers in (
        ("ragged clouds", "own.npz", hostile_own.cloud_files()),
        ("mesh folder", "own", hostile_own.mesh_folders()),
    ):
        for label, write in writers.items():
            yield Case(f"{kind}: {label}", making(write, name), reading(hostile_own.read_own, name), "own", False)
    name = "best.bands.safetensors"
    for label, write in hostile_own.BANDS.items():
        reader = reading(hostile_own.read_good_bands, name)
        yield Case(f"bands: {label}", making(write, name), reader, name, False)
    yield from damaged("bands", name, hostile_own.write_good_bands, reading(hostile_own.read_good_bands, name))


@cache
def all_cases() -> tuple[Case, ...]:
    return (
        *(*store_cases(), *published_cases(), *checkpoint_cases(), *curve_cases(), *part_cases()),
        *(*input_cases(), *model_folder_cases(), *record_cases(), *own_cases()),
    )


# ---- the judgement


def judge(case: Case, folder: Path) -> Outcome:
    """What comes of a case."""
    folder.mkdir()
    case.make(folder)
    outcome = run_apart(lambda: case.read(folder), case.named, folder / "canary")
    if outcome.kind == "harmless" and not case.allowed:
        return Outcome("wrong", "was taken")
    if outcome.kind == "harmless" and case.same and outcome.result != expected(case.same, case.file, case.read):
        return Outcome("wrong", "was taken with other values")
    return outcome


@cache
def expected(write: Callable[[Path], Any], name: str, read: Callable[[Path], Any]) -> Any:
    """What a reader makes of an undamaged file."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return read(Path(folder))


def assert_good(cases: Sequence[Case], folder: Path) -> Counter[tuple[str, str]]:
    """Judge cases; all must be clear or harmless. Returns how many there were, by kind of file and outcome."""
    counts: Counter[tuple[str, str]] = Counter()
    bad = []
    for index, case in enumerate(cases):
        outcome = judge(case, folder / str(index))
        counts[case.kind, outcome.kind] += 1
        if outcome.kind not in GOOD:
            bad.append(f"{case.name}: {outcome.kind}: {outcome.detail}")
    assert not bad, f"{len(bad)} of {len(cases)}:\n\n" + "\n\n".join(bad)
    return counts


def test_the_undamaged_files_are_taken(tmp_path: Path) -> None:
    """Or else all would be refused for another reason."""
    hostile_stores.write_store(tmp_path / "store.h5")
    read_store(tmp_path)
    content = hostile_checkpoints.content_of(tmp_path / "store.h5")
    (tmp_path / "some.ckpt").write_bytes(hostile_checkpoints.saved(content))
    read_checkpoint(tmp_path)
    read_run(tmp_path)
    for write in (hostile_published.write_mat5, hostile_published.write_mat73):
        write(tmp_path / "both.mat")
        reading_published(".mat")(tmp_path)
    hostile_published.write_npy(tmp_path)
    reading_published(".npy")(tmp_path)
    for name, write, _, _ in hostile_inputs.KINDS.values():
        write(tmp_path / name)
        predict_inputs(name)(tmp_path)
        (tmp_path / name).unlink()
    hostile_inputs.write_model_folder(tmp_path / "model")
    read_model_folder(tmp_path)
    for name in ("own.npz", "own.h5", "own.mat"):
        hostile_own.write_own(tmp_path / name)
        hostile_own.read_own(tmp_path / name)
    hostile_own.write_clouds(tmp_path / "own.npz", **hostile_own.clouds(True))
    hostile_own.write_meshes(tmp_path / "own")
    for name in ("own.npz", "own"):
        hostile_own.read_own(tmp_path / name)
    hostile_own.write_good_bands(tmp_path / "bands")
    hostile_own.read_good_bands(tmp_path / "bands")


#: Cases of the default run, by kind of file.
DRAWN = {"store": 20, "mat5": 7, "mat73": 5, "npy": 5, "checkpoint": 12, "record": 14, "curve": 4, "part": 6}
DRAWN |= {**dict.fromkeys(hostile_inputs.KINDS, 2), "model folder": 6, "run folder": 3, "own data": 6, "bands": 5}
DRAWN |= {"ragged clouds": 6, "mesh folder": 4}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_draw_of_hostile_files(kind: str, tmp_path: Path) -> None:
    slow = ("bomb", "many", "long", "10^5 targets")
    quick = [case for case in all_cases() if case.kind == kind and not any(word in case.name for word in slow)]
    assert_good(random.Random(kind).sample(quick, DRAWN[kind]), tmp_path)


@pytest.mark.slow
def test_all_hostile_files(tmp_path: Path) -> None:
    cases = all_cases()
    assert len(cases) >= 500
    counts = assert_good(cases, tmp_path)
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:18} {outcome:10} {count}")


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda: 3, "harmless"),
        (lambda: 1 / 0, "traceback"),
        (lambda: np.ones(25_000_000).sum(), "memory"),
        (lambda: os.kill(os.getpid(), 11), "crash"),
    ],
)
def test_the_sandbox_sees_what_happens(act: Callable[[], Any], kind: str, tmp_path: Path) -> None:
    assert run_apart(act, "", tmp_path / "canary", memory=100_000_000).kind == kind


def test_the_sandbox_sees_code_that_runs(tmp_path: Path) -> None:
    trap = hostile_checkpoints.trapped("alone", tmp_path / "canary", {})
    (tmp_path / "some.ckpt").write_bytes(trap)
    careless = lambda: torch.load(tmp_path / "some.ckpt", weights_only=False)  # noqa: E731
    assert run_apart(careless, "", tmp_path / "canary").kind == "code"
