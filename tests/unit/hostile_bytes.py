"""Damage to the bytes of a file, as disks, networks and people do it."""

from __future__ import annotations

import random


def damage(content: bytes, rng: random.Random) -> bytes:
    """A damaged copy."""
    return rng.choice([_flip, _flip, _flip, _cut, _zero, _overwrite, _insert, _repeat, _number])(content, rng)


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _part(content: bytes, rng: random.Random) -> tuple[int, int]:
    first = rng.randrange(len(content))
    return first, min(len(content), first + rng.choice([1, 4, 16, 200]))


def _zero(content: bytes, rng: random.Random) -> bytes:
    first, end = _part(content, rng)
    return content[:first] + bytes(end - first) + content[end:]


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    first, end = _part(content, rng)
    return content[:first] + rng.randbytes(end - first) + content[end:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    first, end = _part(content, rng)
    return content[:first] + rng.randbytes(end - first) + content[first:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    first, end = _part(content, rng)
    return content[:end] + content[first:end] + content[end:]


def _number(content: bytes, rng: random.Random) -> bytes:
    """A size or an address that is as large or small as it can be."""
    first = rng.randrange(0, len(content), 4)
    number = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 1 << 20]).to_bytes(4, "little")
    return content[:first] + number + content[first + 4 :]
