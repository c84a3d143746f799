"""Synthetic arrays in a benchmark's layout: smooth, random and of no physics. For tests of everything but the solvers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lsm.data.store import StoredField, StoreWriter

#: Share of the values that differs from site to site, so that no two sites coincide.
ROUGHNESS = 0.1


def synthetic_field(
    name: str, field: StoredField, num_samples: int, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Samples ``(n, *shape)`` that depend on the name and the sample's number; integers are 0 and 1.

    Args:
        name: name of the field.
        field: its shape and type.
        limits: least and greatest value; 0.1 and 1 by default.
    """
    samples = []
    for index in range(num_samples):
        rng = np.random.default_rng((zlib.crc32(name.encode()), index))
        sites = np.meshgrid(*(np.linspace(0, 1, size) for size in field.shape), indexing="ij", sparse=True)
        waves = sum(np.cos(2 * np.pi * (rng.uniform(0.3, 1) * x + rng.random())) for x in sites)
        samples.append(waves / len(sites) + ROUGHNESS * rng.uniform(-1, 1, field.shape))
    values = np.stack(samples)
    if np.issubdtype(np.dtype(field.dtype), np.integer):
        return (values > 0).astype(field.dtype)
    low, high = limits or (0.1, 1.0)
    share = (values - values.min()) / (values.max() - values.min())
    # A little inside the limits, where rounding to float32 cannot leave them.
    return (low + (high - low) * (0.01 + 0.98 * share)).astype(field.dtype)


def write_synthetic_store(
    path: Path,
    benchmark: str,
    fields: Mapping[str, StoredField],
    num_samples: int,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    display: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Write a store of synthetic arrays; return them."""
    arrays = {
        name: synthetic_field(name, field, num_samples, (ranges or {}).get(name)) for name, field in fields.items()
    }
    with StoreWriter(
        path, benchmark, fields, num_samples, {"source": "synthetic, for tests only"}, display=display
    ) as writer:
        writer.write(slice(0, num_samples), arrays)
    return arrays
