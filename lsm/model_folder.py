"""A solver as a folder that can be uploaded to a model hub: weights as safetensors, everything else as JSON.

Such a folder may come from anybody. Neither file can hold code, and no other file of the folder is read.

Files::

    config.json         the description of a checkpoint (:mod:`lsm.checkpoint`), the epoch, which weights are complex, and the
                        SHA-256 of the other file, without which a damaged number would not be noticed
    model.safetensors   weights and normaliser statistics by name; complex ones as real and imaginary part on a last axis
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lsm.errors import InputError, explained
from lsm.files import require_regular, sha256, write_whole
from lsm.plain import MAX_TEXT, parse_json
from lsm.registry import Config, Index, check_value

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def _is_model_folder(path: Path) -> bool:
    """Whether a path is a folder of this layout."""
    return (path / CONFIG).is_file()


def write_folder(folder: Path, described: Mapping[str, Any], epoch: int | None, state: Mapping[str, Tensor]) -> None:
    """Write both files.

    Args:
        folder: is made if it is not there.
        described: the plain description, see :func:`lsm.checkpoint.describe`.
        epoch: as in :class:`lsm.checkpoint.Checkpoint`.
        state: the solver's state dict.
    """
    complex_names = [name for name, value in state.items() if value.is_complex()]
    real = {name: torch.view_as_real(value) if value.is_complex() else value for name, value in state.items()}
    weights = save({name: value.contiguous() for name, value in real.items()}, metadata={"format": "pt"})
    config = {"model_type": "lsm", "lsm": described, "epoch": epoch, "complex": complex_names}
    config["sha256"] = hashlib.sha256(weights).hexdigest()
    write_whole(folder / WEIGHTS, weights)
    write_whole(folder / CONFIG, json.dumps(config, indent=2, allow_nan=False) + "\n")


def read_folder(folder: Path) -> dict[str, Any]:
    """The content of a folder as :func:`lsm.checkpoint.read` returns it for a file.

    Raises:
        InputError: it is no such folder, or one of its files is damaged.
    """
    if not _is_model_folder(folder):
        raise InputError(
            f"{folder} holds no solver: neither checkpoints/best.ckpt, as a run's folder does, nor {CONFIG}, as an exported "
            "one does"
        )
    config = _read_config(folder / CONFIG)
    state = _read_weights(folder / WEIGHTS, config.get("sha256"))
    for name in config["complex"]:
        if name not in state or not _holds_pairs(state[name]):
            raise InputError(
                f"{folder / CONFIG} lists {name!r} as complex, which {folder / WEIGHTS} does not hold as pairs"
            )
        state[name] = torch.view_as_complex(state[name])
    return {"lsm": config["lsm"], "epoch": config.get("epoch"), "state_dict": state}


def _holds_pairs(value: Tensor) -> bool:
    return value.dtype in (torch.float32, torch.float64) and value.dim() > 0 and value.shape[-1] == 2


def _read_config(path: Path) -> dict[str, Any]:
    require_regular(path)
    if path.stat().st_size > MAX_TEXT:
        raise InputError(f"{path} has {path.stat().st_size} bytes, expected at most {MAX_TEXT}")
    config = parse_json(path.read_text("utf-8", errors="replace"), str(path))
    kinds = {"lsm": Config, "complex": list[str], "epoch": Index | None, "sha256": str | None}
    for name, annotation in kinds.items():
        check_value(f"{path}: {name}", config.get(name), annotation)
    return config


def _read_weights(path: Path, expected: str | None) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; weights are read from safetensors only, since other formats can hold code"
        )
    with explained(f"{path} is damaged or no safetensors file", (SafetensorError, ValueError, OSError)):
        weights = load_file(path)
        if expected is not None and sha256(path) != expected:
            raise ValueError(f"its checksum is not the one that {CONFIG} records")
    return weights
