"""What is promised about files of strangers, kills and full disks, one small test for each promise."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import hostile_checkpoints
import hostile_stores
import numpy as np
import pytest
import torch
from filelock import FileLock
from hydra.types import RunMode
from omegaconf import OmegaConf
from pytorch_lightning.utilities.exceptions import SIGTERMException

from data_prep.generation import parts
from data_prep.generation.job import Job
from data_prep.published.formats import open_array
from experiments import train
from experiments.mistakes import Terminated, mistakes_reported
from lsm.checkpoint import load, write
from lsm.data.store import Store, StoredField, StoreWriter
from lsm.errors import InputError
from lsm.evaluation import Evaluation
from lsm.memory import AllocationLimit
from lsm.plain import MAX_DEPTH, parse_json

FIELDS = {"pressure": StoredField((4, 3), "Pa", "pressure")}


def write_store(path: Path, value: float = 1.0, **options: Any) -> None:
    with StoreWriter(path, "toy", FIELDS, 2, {}, **options) as writer:
        writer.write(slice(0, 2), {"pressure": np.full((2, 4, 3), value)})


# ---- stores


def test_every_flipped_bit_of_a_sample_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    hostile_stores.write_store(path)
    with h5py.File(path) as file:
        chunks = [file["fields/inner"].id.get_chunk_info(index) for index in range(hostile_stores.NUM_SAMPLES)]
    whole = path.read_bytes()
    rng = random.Random(0)
    for index, chunk in enumerate(chunks):
        for _ in range(5):
            changed = bytearray(whole)
            changed[chunk.byte_offset + rng.randrange(chunk.size)] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            with Store(path) as store, pytest.raises(InputError, match=r"store\.h5 is damaged"):
                store.field("inner")[index]


def test_a_limit_on_the_size_of_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "store.h5"
    write_store(path)
    size = 4 * 3 * 4
    Store(path, max_sample_bytes=size).close()
    with pytest.raises(
        InputError, match=rf"store.h5 has {size} bytes, the limit max_sample_bytes is {size - 1}"
    ) as found:
        Store(path, max_sample_bytes=size - 1)
    assert found.value.options == ("max_sample_bytes",)


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        (np.full((4, 3), 1 + 1j), "float32", "has type complex128, expected numbers"),
        (np.full((4, 3), "1"), "float32", "has type <U1, expected numbers"),
        (np.full((4, 3), 1e300), "float32", "not finite"),
        (np.full((4, 3), 0.5), "uint8", "uint8 cannot represent"),
        (np.full((4, 3), 300), "uint8", "uint8 cannot represent"),
    ],
)
def test_values_that_would_change_are_not_written(values: np.ndarray, kind: str, told: str, tmp_path: Path) -> None:
    fields = {"pressure": StoredField((4, 3), "Pa", "pressure", kind)}
    with pytest.raises(InputError, match=told), StoreWriter(tmp_path / "s.h5", "toy", fields, 1, {}) as writer:
        writer.write(0, {"pressure": values})


def test_a_second_writer_destroys_nothing(tmp_path: Path) -> None:
    """The first writer's store is whole, and then the second one's."""
    path = tmp_path / "store.h5"
    with StoreWriter(path, "toy", FIELDS, 2, {}) as slow:
        slow.write(0, {"pressure": np.full((4, 3), 1.0)})
        write_store(path, 2.0)
        with Store(path) as store:
            assert store.field("pressure")[1].max() == 2.0
        with pytest.raises(InputError), StoreWriter(path, "toy", FIELDS, 2, {}):
            pass  # refused, since nothing was written
        slow.write(1, {"pressure": np.full((4, 3), 1.0)})
    with Store(path) as store:
        assert store.field("pressure")[:].tolist() == np.full((2, 4, 3), 1.0).tolist()
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    for name in ("store.h5.partial", "store.h5.00ff.partial"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (0, time.time() - 3600))
    write_store(tmp_path / "store.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.h5"]


def test_parts_stay_until_the_store_was_read_back(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, or a disk that lies, may leave another store than was written."""
    for index in range(job.num_samples):
        parts.write_part(job, index, job.generator.solve(np.random.default_rng(index)), 0, [])
    real = parts._write_store

    def spoil(*arguments: Any) -> Any:
        redrawn = real(*arguments)
        with h5py.File(job.path, "a") as file:
            file["fields/pressure"].id.write_direct_chunk((3, 0, 0), b"not what was compressed")
        return redrawn

    monkeypatch.setattr(parts, "_write_store", spoil)
    with pytest.raises(InputError, match=r"toy\.h5 is damaged"):
        parts.merge_parts(job)
    assert len(list(job.parts.glob("*.npz"))) == job.num_samples


# ---- published files


def test_only_headers_are_read_before_the_values_are_needed(tmp_path: Path) -> None:
    """A shape that does not fit is refused without the memory that it would take."""
    import hostile_published

    path = tmp_path / "both.mat"
    hostile_published.MAT5["10^9 numbers"](path)
    with open_array(path, "inner", ("n", "x", "y")) as (array, _):
        assert array.shape == (1000, 1000, 1000)


def test_zeros_that_a_program_left_out_can_be_written(tmp_path: Path) -> None:
    """They cannot be told from a download that stopped; the message says how to make them zeros that count."""
    path, copy = tmp_path / "zeros.npy", tmp_path / "copy.npy"
    zeros = np.lib.format.open_memmap(path, "w+", np.float32, (2, 700, 700))
    zeros[0, 0] = 1
    zeros.flush()
    with pytest.raises(InputError, match=r"not written completely.* cp --sparse=never zeros\.npy COPY"), opened(path):
        pass
    copy.write_bytes(path.read_bytes())
    with opened(copy) as (array, _):
        assert array[0].sum() == 700


def opened(path: Path) -> Any:
    return open_array(path, None, ("n", "x", "y"))


# ---- checkpoints


def good_checkpoint(folder: Path) -> Path:
    write(hostile_checkpoints.content_of(folder / "store.h5"), folder / "some.ckpt")
    return folder / "some.ckpt"


def test_every_flipped_bit_of_a_weight_is_found(tmp_path: Path) -> None:
    path = good_checkpoint(tmp_path)
    weights = load(path).solver.state_dict()
    whole = path.read_bytes()
    rng = random.Random(0)
    for name in rng.sample([name for name, value in weights.items() if value.numel() > 4], 8):
        raw = weights[name].numpy().tobytes()
        assert whole.count(raw) == 1
        changed = bytearray(whole)
        changed[whole.index(raw) + rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(InputError, match=r"some\.ckpt is damaged .*the checksum of .* is wrong"):
            load(path)


@pytest.mark.parametrize(
    "name", ["nan", "infinity", "expanded to 10^12", "sparse", "transposed", "exponentially many values"]
)
def test_contents_that_are_refused(name: str, tmp_path: Path) -> None:
    content = hostile_checkpoints.CONTENTS[name](hostile_checkpoints.content_of(tmp_path / "store.h5"))
    write(content, tmp_path / "some.ckpt")
    with pytest.raises(InputError, match=r"some\.ckpt"):
        load(tmp_path / "some.ckpt")


@pytest.mark.parametrize(
    ("option", "value"), [("width", 16_384), ("num_scales", 10**6), ("num_scales", 16), ("head_width", 10**9)]
)
def test_a_description_of_a_huge_model_is_refused_at_once(option: str, value: int, tmp_path: Path) -> None:
    content = hostile_checkpoints.content_of(tmp_path / "store.h5")
    content["lsm"]["solver"]["model"][option] = value
    write(content, tmp_path / "some.ckpt")
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"some\.ckpt does not describe a solver"):
        load(tmp_path / "some.ckpt")
    assert time.perf_counter() - start < 5


def test_the_limit_of_allocations_ends_with_its_context() -> None:
    with AllocationLimit(100):
        torch.zeros(10, 10)
        with pytest.raises(InputError, match="more than 100 numbers"):
            torch.empty(1)
    torch.zeros(1000)


# ---- descriptions, terminals


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH + 1, 100_000])
def test_json_of_some_depth(depth: int) -> None:
    text = hostile_stores.nested(depth)
    if depth < MAX_DEPTH:
        assert parse_json(text, "it")
    else:
        with pytest.raises(InputError, match="too deep|cannot be read|no JSON text"):
            parse_json(text, "it")


def test_escape_sequences_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), mistakes_reported(False):
        raise InputError("no field \x1b[2J\u202e of a file")
    assert capsys.readouterr().err == "error: no field \\x1b[2J\\u202e of a file\n"


# ---- signals and locks


@pytest.mark.parametrize(
    ("raised", "code", "told"), [(KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "terminated")]
)
def test_codes_of_signals(
    raised: type[BaseException], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving, mistakes_reported(False):
        raise raised
    assert leaving.value.code == code
    assert told in capsys.readouterr().err


def test_lightning_passes_signals_on(tmp_path: Path) -> None:
    with pytest.raises(Terminated), train._signals_passed_on(tmp_path):
        raise SIGTERMException
    with pytest.raises(KeyboardInterrupt), train._signals_passed_on(tmp_path):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904, as Lightning does
    with pytest.raises(SystemExit) as leaving, train._signals_passed_on(tmp_path):
        raise SystemExit(3)
    assert leaving.value.code == 3


def test_one_training_in_a_folder(tmp_path: Path) -> None:
    with (
        train._claim(tmp_path),
        pytest.raises(InputError, match="another process is training in"),
        train._claim(tmp_path),
    ):
        pass
    lock = FileLock(tmp_path / ".lock")
    lock.acquire(timeout=0)  # released
    lock.release()


@pytest.mark.parametrize("name", ["LOCAL_RANK", "NODE_RANK", "RANK", "SLURM_PROCID"])
def test_only_rank_zero_takes_the_lock(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with train._claim(tmp_path):
        monkeypatch.setenv(name, "1")
        with train._claim(tmp_path):
            pass
        monkeypatch.delenv(name)


def test_processes_of_slurm_do_not_name_their_folder_by_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hydra = OmegaConf.create({"mode": RunMode.RUN, "run": {"dir": "${run_dir}"}})
    dated, named = (OmegaConf.create({"run_dir": name, "resume": None}) for name in ("runs/${now:%H}", "runs/mine"))
    train._refuse_unnamed_folder(hydra, dated)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    train._refuse_unnamed_folder(hydra, named)
    with pytest.raises(InputError, match="share one run, .*; add run_dir=FOLDER"):
        train._refuse_unnamed_folder(hydra, dated)


# ---- full disks


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("lsm.files.os.fsync", fail)


@pytest.mark.usefixtures("full_disk")
def test_results_of_an_evaluation_are_kept_when_the_disk_is_full(tmp_path: Path) -> None:
    from experiments.evaluate import _write

    errors = Evaluation({"relative_l2": np.ones(2)})
    evaluated = SimpleNamespace(metrics={"split": "test"}, evaluation=errors, origins=("heat.npz", [5, 3]))
    for name in ("metrics.json", "samples.csv"):
        (tmp_path / name).write_text("good")
    with pytest.raises(OSError, match=r"metrics\.json"):
        _write(evaluated, tmp_path)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == dict.fromkeys(
        ("metrics.json", "samples.csv"), "good"
    )


@pytest.mark.usefixtures("full_disk")
def test_pictures_are_kept_when_the_disk_is_full(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from lsm.plotting import save_figure

    (tmp_path / "a.png").write_bytes(b"good")
    with pytest.raises(OSError, match=r"a\.png"):
        save_figure(Figure(), tmp_path / "a.png")
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"good"]


@pytest.mark.usefixtures("full_disk")
def test_the_record_of_a_run_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"config\.yaml"):
        train._write_record({"seed": 1}, {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_record_of_a_run_is_read_again(tmp_path: Path) -> None:
    train._write_record({"seed": 1}, {"store": "s"}, tmp_path)
    assert json.loads((tmp_path / "environment.json").read_text())["data"] == {"store": "s"}
    train._write_record({"seed": 1}, {}, tmp_path)
    assert (tmp_path / "environment-resumed-1.json").is_file()
