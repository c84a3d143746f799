"""Plain data from files: JSON texts and descriptions in checkpoints, bounded in size and depth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lsm.errors import InputError, explained

#: Most characters of a JSON text.
MAX_TEXT = 1 << 24

#: Most lists and dictionaries inside each other.
MAX_DEPTH = 32

#: Most values in all.
MAX_VALUES = 300_000

#: Whole numbers beyond this have no use in a description, and thousands of digits cannot be printed.
MAX_WHOLE = 1 << 64


def parse_json(text: str, what: str) -> dict[str, Any]:
    """The JSON object in a text.

    Args:
        text: JSON.
        what: what it is, for messages, such as "the provenance of FILE".
    Raises:
        InputError: the text is no JSON object, or exceeds the limits of :func:`require_plain`.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"{what} has {len(text)} characters, expected at most {MAX_TEXT}")
    with explained(f"{what} is no JSON text that can be read", (ValueError, RecursionError)):
        parsed = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(parsed, dict):
        raise InputError(f"{what} is no JSON object")
    require_plain(parsed, what)
    return parsed


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def require_plain(value: Any, what: str) -> None:
    """Check that a value consists of dictionaries with texts as keys, lists, texts, numbers, booleans and None.

    Args:
        value: the value.
        what: what it is, for messages.
    Raises:
        InputError: it contains something else, or is too deep or too large.
    """
    for item in walk(value, what):
        if not _is_plain(item):
            raise InputError(f"{what} contains {type(item).__name__} values, or numbers of more than 64 bits")


def walk(value: Any, what: str) -> Iterator[Any]:
    """Every value in dictionaries, lists and tuples; a container comes before its content.

    Raises:
        InputError: there are too many, or they are too deep, as in a list that contains itself.
    """
    waiting, count = [(0, value)], 0
    while waiting:
        depth, item = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_VALUES:
            raise InputError(f"{what} is too deep or too large: at most {MAX_DEPTH} levels and {MAX_VALUES} values")
        yield item
        content = item.values() if isinstance(item, Mapping) else item if isinstance(item, (list, tuple)) else ()
        waiting += [(depth + 1, inner) for inner in content]


def without_places(value: Any) -> Any:
    """Plain data in which absolute paths, which concern nobody on another machine, are cut to their last part."""
    if isinstance(value, Mapping):
        return {name: without_places(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_places(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _is_plain(item: Any) -> bool:
    if isinstance(item, dict):
        return all(isinstance(key, str) for key in item)
    if type(item) is int:
        return abs(item) < MAX_WHOLE
    return item is None or type(item) in (list, tuple, str, bool, float)
