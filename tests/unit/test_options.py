"""Options are read as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import apart
from experiments.apart import measure_apart
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


def test_a_profile_apart_is_told_its_folder(tmp_path, monkeypatch):
    folder, told = tmp_path / "try (1), März", {}

    def call(module, words, log, deadline):
        told.update({option.key_or_group: option.value() for option in map(parse, words)})
        folder.mkdir()
        (folder / "profile.json").write_text("{}")

    monkeypatch.setattr(apart.processes, "call_module", call)
    measure_apart(["benchmark=darcy", "run_dir=elsewhere"], {"model": "fno"}, folder)
    assert told == {"benchmark": "darcy", "model": "fno", "run_dir": str(folder)}
