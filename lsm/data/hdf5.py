"""HDF5 files of unknown origin: what is read lies in the file itself, is complete and is no larger than declared.

Every check takes place when a file or an array is opened; what is opened may then be read. Knows no schema.
"""

from __future__ import annotations

import zlib
from contextlib import AbstractContextManager
from math import ceil, inf, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5t, h5z

from lsm.errors import InputError, explained
from lsm.files import require_regular
from lsm.plain import MAX_TEXT

#: The filters that may compress an array, in the order in which HDF5 libraries apply them; none needs a plugin.
_FILTERS = (h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE, h5z.FILTER_FLETCHER32)

#: Names of other filters that users meet.
_NAMED = {h5z.FILTER_LZF: "lzf", h5z.FILTER_SZIP: "szip"}

#: The deflate algorithm makes at most so many bytes of one.
_MOST_INFLATION = 1032

#: How the names of such files end.
SUFFIXES = (".h5", ".hdf5")

#: More arrays than this in one group or archive are refused.
MAX_MEMBERS = 1000

#: What h5py raises on damaged files, besides OSError.
_DAMAGE = (
    OSError,
    RuntimeError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    MemoryError,
    zlib.error,
)

_REMEDY = "fetch, generate or convert again"


def damage_reported(path: Path) -> AbstractContextManager[None]:
    """Say which file is damaged where HDF5 only says how.

    Raises:
        InputError: reading failed.
    """
    return explained(f"{path} is damaged", _DAMAGE, _REMEDY)


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is no regular file, or no HDF5 file.
    """
    require_regular(path)
    with explained(f"{path} cannot be read as HDF5", _DAMAGE, f"it is truncated or no HDF5 file: {_REMEDY}"):
        return h5py.File(path, "r")


def read_attribute(path: Path, item: Any, name: str) -> Any:
    """An attribute of a group or array; None if there is none.

    Raises:
        InputError: it is damaged or too large.
    """
    with damage_reported(path):
        if name not in item.attrs:
            return None
        if h5a.open(item.id, name.encode()).get_storage_size() > MAX_TEXT:
            raise InputError(f"{path} has an attribute {name} of more than {MAX_TEXT} bytes")
        return item.attrs[name]


def member_names(path: Path, group: h5py.Group) -> list[str]:
    """Names of what a group contains.

    Raises:
        InputError: there are too many, or one cannot be printed.
    """
    with damage_reported(path):
        if problem := _find_problem_of_names(group):
            raise InputError(f"{path} holds {problem}")
        return list(group)


def _find_problem_of_names(group: h5py.Group) -> str | None:
    if len(group) > MAX_MEMBERS:
        return f"{len(group)} arrays, expected at most {MAX_MEMBERS}"
    strange = [name for name in group if not isinstance(name, str) or not name.isprintable()]
    return f"an array {strange[0]!r}, whose name cannot be printed" if strange else None


def open_group(path: Path, parent: h5py.Group, name: str) -> h5py.Group:
    """A group that lies in the file itself.

    Raises:
        InputError: there is none.
    """
    return _open_member(path, parent, name, h5py.Group)


def open_dataset(path: Path, parent: h5py.Group, name: str, max_bytes: float) -> h5py.Dataset:
    """An array of numbers or truth values, of any shape, that lies in the file itself and is complete.

    Args:
        path: the file.
        parent: the group that contains it.
        name: its name.
        max_bytes: limit for what is read at once, a chunk.
    Raises:
        InputError: it is a link, keeps its values in other files, holds no plain numbers, was not written completely, or has
            chunks beyond the limit.
    """
    return _open_member(path, parent, name, h5py.Dataset, max_bytes)


def _open_member(path: Path, parent: h5py.Group, name: str, kind: type, max_bytes: float = inf) -> Any:
    with damage_reported(path):
        if problem := _find_problem(parent, name, kind, max_bytes):
            raise InputError(f"{path}: {name} {problem}")
        return parent[name]


def _find_problem(parent: h5py.Group, name: str, kind: type, max_bytes: float) -> str | None:
    """The first reason against reading a group or an array, in words; None without one."""
    what = "an array" if kind is h5py.Dataset else "a group"
    link = parent.get(name, getlink=True)
    if link is None:
        return f"is missing, expected {what}"
    if not isinstance(link, h5py.HardLink):
        return f"is a link to another place, expected {what} in the file itself"
    if not isinstance(parent[name], kind):
        return f"is of another kind (a cell, a struct or sparse in MATLAB), expected {what}"
    return _find_problem_of_array(parent[name], max_bytes) if kind is h5py.Dataset else None


def _find_problem_of_array(dataset: h5py.Dataset, max_bytes: float) -> str | None:
    if dataset.is_virtual or dataset.external:
        return "keeps its values in other files"
    if dataset.shape is None:
        return "holds no values"
    if dataset.dtype.kind not in "iufb" or dataset.dtype.itemsize > 8 or not _is_standard(dataset):
        return f"holds values of type {dataset.dtype}, expected plain whole or real numbers"
    if dataset.chunks is None:
        complete = dataset.id.get_storage_size() == prod(dataset.shape) * dataset.dtype.itemsize
        return None if complete else "was not written completely"
    if _chunk_bytes(dataset) > max_bytes:
        return f"has chunks of {_chunk_bytes(dataset):.3g} bytes, more than {max_bytes:.3g}"
    return _find_problem_of_filters(dataset) or _find_problem_of_chunks(dataset)


def _is_standard(dataset: h5py.Dataset) -> bool:
    """Whether the type on disk is as h5py writes one of numpy's: no other enumeration than False and True, no other layout."""
    return dataset.id.get_type() == h5t.py_create(np.dtype(dataset.dtype.str))


def _filters(dataset: h5py.Dataset) -> list[int]:
    created = dataset.id.get_create_plist()
    return [created.get_filter(index)[0] for index in range(created.get_nfilters())]


def _find_problem_of_filters(dataset: h5py.Dataset) -> str | None:
    used = _filters(dataset)
    if strange := [code for code in used if code not in _FILTERS]:
        known = _NAMED.get(strange[0])
        by = f"{known} (HDF5 filter {strange[0]})" if known else f"HDF5 filter {strange[0]}"
        return f'is compressed by {by}; save it with compression="gzip", or without'
    if used != [code for code in _FILTERS if code in used]:
        return f"has the HDF5 filters {used}, expected shuffle, gzip and checksums"
    return None


def _find_problem_of_chunks(dataset: h5py.Dataset) -> str | None:
    """Every chunk exists, none is larger than incompressible values would make it, and none leaves a filter out."""
    expected = prod(ceil(size / chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    most = 1.01 * _chunk_bytes(dataset) + 64
    count, wrong = 0, False

    def look(chunk: h5d.StoreInfo) -> bool | None:
        nonlocal count, wrong
        count += 1
        wrong = chunk.size > most or chunk.filter_mask != 0
        return wrong or count > expected or None

    dataset.id.chunk_iter(look)
    if wrong:
        return "has a chunk that is too large or was written without compression or checksum"
    return None if count == expected else "was not written completely"


def _chunk_bytes(dataset: h5py.Dataset) -> int:
    return prod(dataset.chunks) * dataset.dtype.itemsize


def require_true_size(path: Path, dataset: h5py.Dataset, corner: tuple[int, ...], max_bytes: float) -> None:
    """Check that a compressed chunk holds no more than declared; HDF5 would take any amount of memory to find out.

    Args:
        path: the file.
        dataset: an array of it.
        corner: position of the chunk's first value, an index per axis of the array.
        max_bytes: amount of memory that does no harm.
    Raises:
        InputError: the chunk holds more, or is damaged.
    """
    if dataset.chunks is None or h5z.FILTER_DEFLATE not in _filters(dataset):
        return
    with damage_reported(path):
        size = dataset.id.get_chunk_info_by_coord(corner).size
        if size * _MOST_INFLATION <= max_bytes:
            return
        limit, (_, raw) = _chunk_bytes(dataset), dataset.id.read_direct_chunk(corner)
        if len(zlib.decompressobj().decompress(raw, limit + 1)) > limit:
            raise InputError(f"{path} has a chunk that holds more than the {limit} bytes declared")


def require_true_sizes(path: Path, dataset: h5py.Dataset, max_bytes: float) -> None:
    """Check all chunks of an array; see :func:`require_true_size`."""
    corners: list[tuple[int, ...]] = []
    if dataset.chunks is not None:
        with damage_reported(path):
            dataset.id.chunk_iter(lambda chunk: corners.append(chunk.chunk_offset))
    for corner in corners:
        require_true_size(path, dataset, corner, max_bytes)
