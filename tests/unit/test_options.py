"""Options are read as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.options import as_option, parse

TEXTS = [
    "darcy",
    "/data/heat_1.h5",
    "runs/try (1)",
    "température",
    "März",
    "a=b, c",
    "Jörg's",
    '"',
    "tail\\",
    '\\"',
    "",
    " x",
]
WORDS = ["true", "False", "NULL", "nan", "Inf", "3", "1e5", "-inf", ".5"]


@pytest.mark.parametrize("value", [*TEXTS, *WORDS, True, 3, 0.5, [*TEXTS, *WORDS], {"train": [0, 4], "name": "x y"}])
def test_what_is_written_is_read(value):
    assert parse(f"key={as_option(value)}").value() == value


def test_only_what_needs_quotes_has_them():
    assert as_option(["darcy", Path("/data/heat_1.h5"), "my data"]) == '[darcy,/data/heat_1.h5,"my data"]'
