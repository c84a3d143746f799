"""Options as they are typed on a command line: how they are read, and how values are written as such."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString

#: Texts that need no quotes, unless they are one of the words that Hydra reads as a number, a truth value or nothing.
_PLAIN, _WORDS = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*"), ("true", "false", "null", "nan", "inf")


def parse(text: str) -> Override:
    """An option as typed.

    Raises:
        HydraException: the text is no option.
    """
    return OverridesParser.create().parse_override(text)


def as_option(value: Any) -> str:
    """A value as it is typed on the command line, such that Hydra reads the same value again; a path as its text."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_option(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(as_option, value)) + "]"
    if not isinstance(value, (str, Path)):
        return str(value)
    text = str(value)
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if is_plain else QuotedString(text, Quote.double).with_quotes()
