"""Bands beside the checkpoint for which they were calibrated, as safetensors, which cannot hold code.

The file names the weights that it belongs to by a digest: bands of a checkpoint that was trained on since are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lsm.conformal import Bands
from lsm.errors import InputError, explained
from lsm.fields import FieldSpec
from lsm.files import require_regular, write_whole
from lsm.plain import parse_json
from lsm.registry import Config, Count, check_value
from lsm.solver import NeuralSolver

SUFFIX = ".bands.safetensors"

#: Kinds of the entries of the record in a file.
_KINDS: dict[str, Any] = {
    "spec": Config,
    "levels": Sequence[Annotated[float, Interval(gt=0, lt=1)]],
    "num_samples": Count,
    "solvers": Sequence[str],
    "calibrated_on": Config,
}

_ARRAYS = ("site", "factors", "scale")

#: What reading a damaged file raises.
_DAMAGE = (SafetensorError, ValueError, KeyError, TypeError, OverflowError)


def digest_of(solver: NeuralSolver) -> str:
    """SHA-256 of all weights and statistics of a solver."""
    digest = hashlib.sha256()
    for name, value in sorted(solver.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_bands(path: Path, bands: Bands, solvers: Iterable[NeuralSolver], calibrated_on: Mapping[str, Any]) -> None:
    """Write bands: half-widths ``(levels, *sites, c)``, factors and scale, see :class:`lsm.conformal.Bands`.

    Args:
        path: the file; it appears whole or not at all.
        bands: the bands.
        solvers: for whose mean prediction they were calibrated.
        calibrated_on: plain data that describe the calibration samples.
    """
    record = {
        "spec": bands.spec.to_dict(),
        "levels": list(bands.levels),
        "num_samples": bands.num_samples,
        "solvers": sorted(map(digest_of, solvers)),
        "calibrated_on": dict(calibrated_on),
    }
    arrays = {name: np.ascontiguousarray(getattr(bands, name), dtype=np.float32) for name in _ARRAYS}
    # The record has the digest of the arrays: without it, a damaged number would not be noticed.
    record["sha256"] = _digest_of_arrays(arrays)
    write_whole(path, save(arrays, metadata={"lsm": json.dumps(record)}))


def _digest_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in _ARRAYS)).hexdigest()


def read_bands(path: Path, solvers: Iterable[NeuralSolver]) -> Bands:
    """Bands from a file, half-widths ``(levels, *sites, c)`` and more, for the solvers for which they were calibrated.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is damaged, or belongs to other solvers.
    """
    require_regular(path)
    with explained(f"{path} is damaged or no file of bands", _DAMAGE, passing=()):
        with safe_open(path, "numpy") as file:
            record = parse_json((file.metadata() or {})["lsm"], str(path))
            for name, kind in _KINDS.items():
                check_value(name, record.get(name), kind)
            spec = FieldSpec.from_dict(record["spec"])
            arrays = _checked_arrays(file, spec, len(record["levels"]))
        if _digest_of_arrays(arrays) != record.get("sha256"):
            raise ValueError("its checksum is wrong")
    if record["solvers"] != sorted(map(digest_of, solvers)):
        raise InputError(f"{path} belongs to other weights than these; calibrate the bands again")
    return Bands(spec, tuple(record["levels"]), record["num_samples"], **arrays)


def _checked_arrays(file: Any, spec: FieldSpec, num_levels: int) -> dict[str, np.ndarray]:
    """The arrays, whose shapes are compared before they are read."""
    places = (1,) if spec.geometry == "points" else spec.sites
    each = (*places, spec.target_channels)
    expected = {"site": (num_levels, *each), "factors": (num_levels, len(spec.targets)), "scale": each}
    for name, shape in expected.items():
        found = tuple(file.get_slice(name).get_shape())
        if found != shape:
            raise ValueError(f"{name} has shape {found}, expected {shape}")
    arrays = {name: file.get_tensor(name) for name in _ARRAYS}
    for name, values in arrays.items():
        # At a site where too few samples have a target, the half-width is infinite.
        may_be_infinite = name == "site" and spec.mask is not None
        positive = values >= 0 if may_be_infinite else np.isfinite(values) & (values >= 0)
        if values.dtype != np.float32 or not positive.all():
            raise ValueError(f"{name} holds other than {'' if may_be_infinite else 'finite '}positive numbers")
    return arrays
