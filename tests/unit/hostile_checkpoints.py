"""Checkpoints of somebody else, and records of runs in them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from hostile_published import Trap

from lsm.checkpoint import describe
from lsm.fields import Channel, FieldSpec
from lsm.solver import build_solver

SPEC = FieldSpec("grid", (6, 5), ("x", "y"), (Channel("inner", "m"),), (Channel("outer", "Pa"),))

MODELS = {
    "unet": {"name": "unet", "width": 4, "num_scales": 2, "head_width": 4},
    "lsm": {
        "name": "lsm",
        "width": 8,
        "patch": [2, 2],
        "num_scales": 2,
        "block": {"name": "neural_spectral", "heads": 4, "num_tokens": 2, "num_basis": 3},
        "head_width": 4,
    },
    "fno": {"name": "fno", "width": 4, "modes": 2, "num_layers": 2, "padding": 2, "head_width": 4},
}


def record_of(store: Path) -> dict[str, Any]:
    """What a training on the toy store would record."""
    config = {
        "benchmark": {
            "name": "toy",
            "reader": {"name": "grid", "inputs": ["inner"], "targets": ["outer"]},
            "symmetries": [{"flip": ["x"]}],
        },
        "preset": "quick",
        "seed": 0,
        "data": {
            "path": str(store),
            "splits": {"train": [0, 3], "validation": [3, 4], "test": [4, 6]},
            "batch_size": 2,
            "in_memory": None,
            "num_workers": 0,
            "on_device": False,
            "max_sample_bytes": 2.5e8,
        },
        "metrics": ["relative_l2"],
    }
    return {"config": config, "overrides": ["seed=0"], "choices": {"model": "unet"}}


def content_of(store: Path, model: str = "unet") -> dict[str, Any]:
    """A checkpoint that is all right."""
    torch.manual_seed(0)
    solver = build_solver({"model": deepcopy(MODELS[model])}, SPEC)
    data = {"store": str(store), "num_samples": 6, "provenance": {"seed": 1}}
    state = {f"solver.{name}": value for name, value in solver.state_dict().items()}
    return {"lsm": describe(solver, record_of(store), data), "state_dict": state, "epoch": 3}


#: Values in the place of any entry of a description.
BAD_VALUES: dict[str, Any] = {
    "nothing": None,
    "0": 0,
    "-1": -1,
    "half": 0.5,
    "10^6": 10**6,
    "10^18": 10**18,
    "10^400": 10**400,
    "nan": float("nan"),
    "text": "text",
    "escapes": "\x1b[2J",
    "path": "/etc/passwd",
    "list": [1, 2, 3],
    "list of lists": [[[]]],
    "many": [1] * 100_000,
    "dictionary": {"_target_": "os.mkdir", "name": "unet"},
    "true": True,
    "tensor": torch.ones(3),
}


def paths_of(nested: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of all values inside dictionaries and lists."""
    if prefix:
        yield prefix
    items = nested.items() if isinstance(nested, Mapping) else enumerate(nested) if isinstance(nested, list) else ()
    for key, value in items:
        yield from paths_of(value, (*prefix, key))


def changed(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy = deepcopy(content)
    place = copy["lsm"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def without(content: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    copy = deepcopy(content)
    place = copy["lsm"]
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return copy


Change = Callable[[dict[str, Any]], Any]


def description_cases() -> Iterator[tuple[str, str, Change]]:
    """Every entry of a description, missing or of another value: name, model and change of a good checkpoint."""
    for model in MODELS:
        for path in paths_of(content_of(Path("store.h5"), model)["lsm"]):
            if model != "unet" and path[:2] != ("solver", "model"):
                continue
            name = f"{model} {'.'.join(map(str, path))}"
            yield f"{name}: missing", model, lambda content, path=path: without(content, path)
            for label, value in BAD_VALUES.items():
                yield f"{name}: {label}", model, lambda content, path=path, value=value: changed(content, path, value)


def _weight(change: Callable[[torch.Tensor], Any]) -> Change:
    def apply(content: dict[str, Any]) -> dict[str, Any]:
        name = "solver.model.lift.weight"
        content["state_dict"][name] = change(content["state_dict"][name])
        return content

    return apply


def _poked(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(weight: torch.Tensor) -> torch.Tensor:
        weight = weight.clone()
        weight[0, 0] = value
        return weight

    return change


def _many_targets(content: dict[str, Any]) -> dict[str, Any]:
    content["lsm"]["spec"]["targets"] = [{"name": f"t{index}", "unit": "1"} for index in range(100_000)]
    return content


def _itself(content: dict[str, Any]) -> dict[str, Any]:
    content["lsm"]["data"]["more"] = content["lsm"]["data"]
    return content


def _laughs(content: dict[str, Any]) -> dict[str, Any]:
    value: Any = [1]
    for _ in range(25):
        value = [value] * 10
    content["lsm"]["data"]["more"] = value
    return content


def _deep(content: dict[str, Any]) -> dict[str, Any]:
    value: Any = 1
    for _ in range(100):
        value = [value]
    content["lsm"]["run"]["config"]["more"] = value
    return content


def _put(**more: Any) -> Change:
    return lambda content: content | more


#: Contents that must be refused.
CONTENTS: dict[str, Change] = {
    "nan": _weight(_poked(float("nan"))),
    "infinity": _weight(_poked(float("-inf"))),
    "transposed": _weight(lambda weight: weight.T),
    "expanded": _weight(lambda weight: torch.zeros(1, 1).expand(weight.shape)),
    "expanded to 10^12": _weight(lambda weight: torch.zeros(1, 1).expand(10**6, 10**6)),
    "sparse": _weight(lambda weight: weight.to_sparse()),
    "meta": _weight(lambda weight: weight.to("meta")),
    "quantized": _weight(lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
    "texts as weights": _weight(lambda weight: "weight"),
    "no weights": _put(state_dict={}),
    "list of weights": _put(state_dict=[]),
    "more weights": lambda content: {**content, "state_dict": {**content["state_dict"], "more": torch.ones(2)}},
    "numbers as names": _put(state_dict={1: torch.ones(2)}),
    "epoch": _put(epoch="last"),
    "no description": _put(lsm=3),
    "another schema": lambda content: changed(content, ("schema",), 99),
    "schema 1": lambda content: changed(content, ("schema",), 1),
    "10^5 targets": _many_targets,
    "list in itself": _itself,
    "exponentially many values": _laughs,
    "100 lists deep": _deep,
    "a list": lambda content: [content],
    "a tensor": lambda content: torch.ones(3),
    "a module": lambda content: torch.nn.Linear(1, 1),
}


def saved(content: Any) -> bytes:
    memory = io.BytesIO()
    torch.save(content, memory)
    return memory.getvalue()


def _rezipped(raw: bytes, change: Callable[[str, bytes], bytes] = lambda name, data: data, **options: Any) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(memory, "w", **options) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return memory.getvalue()


def _bomb(raw: bytes) -> bytes:
    """Weights of 2.5 GB of zeros, compressed."""
    memory = io.BytesIO(_rezipped(raw))
    with (
        zipfile.ZipFile(memory, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("archive/data/9999", "w", force_zip64=True) as entry,
    ):
        for _ in range(250):
            entry.write(bytes(10_000_000))
    return memory.getvalue()


def _claims_more(raw: bytes) -> bytes:
    """A storage that claims more numbers than its record has."""

    def change(name: str, data: bytes) -> bytes:
        return (
            data.replace(b"K\x04t", b"J" + struct.pack("<i", 10_000_000) + b"t") if name.endswith("data.pkl") else data
        )

    return _rezipped(raw, change)


def _overlapping(raw: bytes) -> bytes:
    """Two entries of the directory with the same data."""
    memory = io.BytesIO(_rezipped(raw))
    with zipfile.ZipFile(memory, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 20
        archive._didModify = True
    return memory.getvalue()


#: Bytes that must be refused, made of those of a good checkpoint.
BYTES: dict[str, Callable[[bytes], bytes]] = {
    "compressed": lambda raw: _rezipped(raw, compression=zipfile.ZIP_DEFLATED),
    "bomb": _bomb,
    "claims more": _claims_more,
    "overlapping": _overlapping,
    "empty archive": lambda raw: b"PK\x05\x06" + bytes(18),
    "nothing": lambda raw: b"",
    "text": lambda raw: b"not a checkpoint\n" * 10,
    "picture": lambda raw: b"\x89PNG\r\n\x1a\n" + bytes(200),
    "a byte less": lambda raw: raw[:-1],
    "a byte in front": lambda raw: b"x" + raw,
}


def trapped(where: str, canary: Path, content: dict[str, Any]) -> bytes:
    """A checkpoint that runs code when it is unpickled without care."""
    if where == "bare pickle":
        return pickle.dumps(Trap(canary))
    if where == "alone":
        return saved(Trap(canary))
    if where == "description":
        content["lsm"]["run"]["config"]["trap"] = Trap(canary)
    elif where == "weights":
        content["state_dict"]["trap"] = Trap(canary)
    else:
        content[where] = Trap(canary)
    return saved(content)


TRAPS = ("bare pickle", "alone", "description", "weights", "callbacks", "epoch", "optimizer_states")
