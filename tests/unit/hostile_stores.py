"""Stores of somebody else: damaged, dishonest, or made to take memory, time or other files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s, h5t

from lsm.data.store import StoredField, StoreWriter

NUM_SAMPLES, SITES = 6, (6, 5)

FIELDS = {"inner": StoredField(SITES, "m", "an input"), "outer": StoredField(SITES, "Pa", "a target")}


def write_store(path: Path) -> None:
    """A store that is all right."""
    rng = np.random.default_rng(0)
    provenance = {"source": "generated", "seed": 1, "generator": {"class": "None"}, "redrawn": [[0, 1, "a reason"]]}
    with StoreWriter(path, "toy", FIELDS, NUM_SAMPLES, provenance, {"residual": "float64"}) as writer:
        for index in range(NUM_SAMPLES):
            arrays = {name: rng.random(SITES).astype("f4") for name in FIELDS}
            writer.write(index, arrays, {"residual": 1.0})


def nested(depth: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * depth + "1" + closing * depth


#: Values of attributes that are texts, and whether a text in this place may be taken.
BAD_ATTRIBUTES: dict[str, Any] = {
    "nothing": None,
    "number": 3,
    "numbers": np.arange(5),
    "array of texts": np.array(["a", "b"], dtype=object),
    "bytes": np.bytes_("text"),
    "void": np.void(b"\x00\x01"),
    "empty": h5py.Empty("f"),
    "control characters": "unit \x1b[2J\x07",
    "long": "x" * 20_000_000,
    "not unicode": np.array(b"\xff\xfe\xfa", dtype=h5py.string_dtype("utf-8", 3)),
    "nan": float("nan"),
}

BAD_JSON = {
    "no JSON": "{",
    "a list": "[1]",
    "nested": nested(100_000),
    "nested a little": nested(60),
    "digits": '{"a": ' + "7" * 5000 + "}",
    "fewer digits": '{"a": ' + "7" * 3000 + "}",
    "not a number": '{"a": NaN}',
    "many": json.dumps({"a": list(range(1_200_000))}),
}


def attribute_cases() -> dict[str, Callable[[h5py.File], None]]:
    """Every attribute with every bad value."""
    places = {"schema": "/", "version": "/", "benchmark": "/", "provenance": "/", "display": "/"}
    places |= {"unit": "fields/inner", "description": "fields/outer"}
    cases = {}
    for name, place in places.items():
        values = BAD_ATTRIBUTES | (BAD_JSON if name in ("provenance", "display") else {})
        for label, value in values.items():
            cases[f"attribute {name}: {label}"] = _attribute(place, name, value)
    return cases


def _attribute(place: str, name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[place].attrs[name]
        if value is not None:
            file[place].attrs[name] = value

    return change


def replaced(name: str = "inner", **options: Any) -> Callable[[h5py.File], None]:
    """A field that is made in another way."""

    def change(file: h5py.File) -> None:
        attributes = dict(file[f"fields/{name}"].attrs)
        del file[f"fields/{name}"]
        dataset = file.create_dataset(f"fields/{name}", **options)
        dataset.attrs.update(attributes)

    return change


def values_of(dtype: Any, fill: Any = 1) -> Callable[[h5py.File], None]:
    return replaced(data=np.full((NUM_SAMPLES, *SITES), fill, dtype=dtype))


def linked(link: Callable[[Path], Any]) -> Callable[[h5py.File], None]:
    """A field that is a link."""

    def change(file: h5py.File) -> None:
        del file["fields/inner"]
        file["fields/inner"] = link(Path(file.filename))

    return change


def _other_store(path: Path) -> Path:
    other = path.with_name("other.h5")
    write_store(other)
    return other


def _make_virtual(file: h5py.File) -> None:
    other = _other_store(Path(file.filename))
    layout = h5py.VirtualLayout((NUM_SAMPLES, *SITES), "f4")
    layout[...] = h5py.VirtualSource(str(other), "fields/inner", (NUM_SAMPLES, *SITES))
    attributes = dict(file["fields/inner"].attrs)
    del file["fields/inner"]
    file.create_virtual_dataset("fields/inner", layout).attrs.update(attributes)


def _take_password_file(file: h5py.File) -> None:
    replaced(shape=(NUM_SAMPLES, *SITES), dtype="u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])(file)


def _poke(value: float, dtype: str = "f4") -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        values = np.ones((NUM_SAMPLES, *SITES), dtype)
        values[NUM_SAMPLES - 1, 2, 3] = value
        replaced(data=values, chunks=(1, *SITES))(file)

    return change


def _never_written(file: h5py.File) -> None:
    replaced(shape=(NUM_SAMPLES, *SITES), dtype="f4", chunks=(1, *SITES))(file)
    file["fields/inner"][0] = 1


@cache
def compressed_zeros() -> bytes:
    """2.5 GB of zeros."""
    compressor = zlib.compressobj(9)
    piece = bytes(10_000_000)
    return b"".join(compressor.compress(piece) for _ in range(250)) + compressor.flush()


def _bomb(file: h5py.File) -> None:
    """A chunk of more bytes than declared."""
    shape, raw = (1000, 1000), compressed_zeros()
    for name in FIELDS:
        replaced(name, shape=(1, *shape), dtype="f4", chunks=(1, *shape), compression="gzip")(file)
        file[f"fields/{name}"].id.write_direct_chunk((0, 0, 0), raw)
    del file["samples"]


def _huge(file: h5py.File) -> None:
    """Samples of 3 GB each that compress to a few bytes."""
    shape = (28_001, 28_001)
    raw = zlib.compress(bytes(1000))
    for name in FIELDS:
        replaced(name, shape=(NUM_SAMPLES, *shape), dtype="f4", chunks=(1, *shape), compression="gzip")(file)
        for index in range(NUM_SAMPLES):
            file[f"fields/{name}"].id.write_direct_chunk((index, 0, 0), raw)


def _many_samples(file: h5py.File) -> None:
    for name in FIELDS:
        replaced(name, shape=(10**9, *SITES), dtype="f4", chunks=(1, *SITES))(file)


def _resized(name: str, samples: int) -> Callable[[h5py.File], None]:
    return replaced(name, data=np.ones((samples, *SITES), "f4"), chunks=(1, *SITES) if samples else None)


def _null_space(file: h5py.File) -> None:
    attributes = dict(file["fields/inner"].attrs)
    del file["fields/inner"]
    h5d.create(file["fields"].id, b"inner", h5t.IEEE_F32LE, h5s.create(h5s.NULL))
    file["fields/inner"].attrs.update(attributes)


def _named_type(file: h5py.File) -> None:
    del file["fields/inner"]
    file["fields/inner"] = np.dtype("f4")


def _odd_float(file: h5py.File) -> None:
    """A type of four bytes that is no IEEE number."""
    kind = h5t.IEEE_F32LE.copy()
    kind.set_ebias(120)
    attributes = dict(file["fields/inner"].attrs)
    del file["fields/inner"]
    space = h5s.create_simple((NUM_SAMPLES, *SITES))
    h5d.create(file["fields"].id, b"inner", kind, space)
    file["fields/inner"].attrs.update(attributes)


def _group(file: h5py.File) -> None:
    del file["fields/inner"]
    file["fields"].create_group("inner")


def _group_in_itself(file: h5py.File) -> None:
    del file["fields/inner"]
    file["fields/inner"] = file["fields"]


def _fields_is(value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["fields"]
        if value is not None:
            file["fields"] = value(file) if callable(value) else value

    return change


def _renamed(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.move("fields/inner", f"fields/{name}")


def _many_fields(file: h5py.File) -> None:
    for index in range(1500):
        file["fields"].create_group(f"g{index}")


def _strange_filter(file: h5py.File) -> None:
    replaced(data=np.ones((NUM_SAMPLES, *SITES), "f4"), chunks=(1, *SITES), scaleoffset=3)(file)


def _without_checksum(file: h5py.File) -> None:
    """A chunk that says that it was not checked."""
    dataset = file["fields/inner"]
    dataset.id.write_direct_chunk((0, 0, 0), np.ones(SITES, "f4").tobytes(), filter_mask=0b111)


#: Changes of a good store. All must be refused but those in :data:`MAY_BE_TAKEN`.
CASES: dict[str, Callable[[h5py.File], None]] = {
    **attribute_cases(),
    **{f"values {kind}": values_of(kind) for kind in ("c8", "c16", "S3", "?")},
    "values texts": replaced(shape=(NUM_SAMPLES, *SITES), dtype=h5py.string_dtype()),
    "values references": replaced(shape=(NUM_SAMPLES, *SITES), dtype=h5py.ref_dtype),
    "values enumeration": replaced(data=np.ones((NUM_SAMPLES, *SITES), "u1"), dtype=h5py.enum_dtype({"a": 1})),
    "values compound": values_of(np.dtype([("a", "f4"), ("b", "f4")])),
    "values opaque": values_of(np.dtype("V4"), b"\x00"),
    "values of varying length": replaced(shape=(NUM_SAMPLES, *SITES), dtype=h5py.vlen_dtype("f4")),
    "values longdouble": values_of(np.longdouble),
    "values in strange floats": _odd_float,
    "nan": _poke(np.nan),
    "infinity": _poke(np.inf),
    "infinity in single precision": _poke(1e300, "f8"),
    "never written": _never_written,
    "never written at all": replaced(shape=(NUM_SAMPLES, *SITES), dtype="f4"),
    "soft link": linked(lambda path: h5py.SoftLink("/fields/outer")),
    "dangling link": linked(lambda path: h5py.SoftLink("/nothing")),
    "link loop": linked(lambda path: h5py.SoftLink("/fields/inner")),
    "external link": linked(lambda path: h5py.ExternalLink(str(_other_store(path)), "/fields/inner")),
    "external link to nothing": linked(lambda path: h5py.ExternalLink("/nothing.h5", "/fields/inner")),
    "virtual": _make_virtual,
    "external storage": _take_password_file,
    "bomb": _bomb,
    "huge": _huge,
    "10^9 samples": _many_samples,
    "fewer samples": _resized("outer", NUM_SAMPLES - 1),
    "no samples": _resized("outer", 0),
    "scalar": replaced(data=np.float32(1)),
    "no space": _null_space,
    "named type": _named_type,
    "group": _group,
    "group in itself": _group_in_itself,
    "fields missing": _fields_is(None),
    "fields is an array": _fields_is(np.ones(3)),
    "fields is a link": _fields_is(h5py.SoftLink("/samples")),
    "fields is the root": _fields_is(lambda file: file["/"]),
    "fields is empty": _fields_is(lambda file: file.create_group("other")),
    "name with escapes": _renamed("in\x1b[2Jner"),
    "many fields": _many_fields,
    "chunks of two samples": replaced(data=np.ones((NUM_SAMPLES, *SITES), "f4"), chunks=(2, *SITES)),
    "strange filter": _strange_filter,
    "without checksum": _without_checksum,
    "samples is an array": lambda file: (file.__delitem__("samples"), file.__setitem__("samples", np.ones(6)))[0],
    "records of texts": lambda file: file["samples"].create_dataset("note", data=[b"a"] * NUM_SAMPLES),
    "other field shape": replaced(data=np.ones((NUM_SAMPLES, 7, 5), "f4"), chunks=(1, 7, 5)),
    "other field rank": replaced(data=np.ones((NUM_SAMPLES, 2, 2, 2, 2), "f4"), chunks=(1, 2, 2, 2, 2)),
    "scalars": replaced(data=np.ones(NUM_SAMPLES, "f4"), chunks=(1,)),
    "zeros": values_of("f4", 0),
    "denormals": values_of("f4", 1e-42),
    "float16": values_of("f2"),
    "contiguous": values_of("f4"),
    "big endian": values_of(">f4"),
    "whole numbers": values_of("i8"),
    "additional field": lambda file: (
        file["fields"].create_dataset("more", data=np.ones(6)).attrs.update(unit="1", description="")
    ),
}

#: Cases that are stores all right, or differ in what nobody can know to be wrong.
MAY_BE_TAKEN = {
    *("zeros", "denormals", "float16", "contiguous", "big endian", "whole numbers", "additional field"),
    "attribute display: nothing",
}
