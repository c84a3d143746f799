"""Mistakes in one sentence: what was found, what was expected, and what an error of a library means."""

from __future__ import annotations

import errno
import os
from typing import Annotated

import pytest
from annotated_types import Interval, MinLen

from experiments.mistakes import describe
from lsm.errors import InputError, explained
from lsm.registry import Count, Names, Positive, check_value


@pytest.mark.parametrize(
    ("value", "annotation", "told"),
    [
        (0, Count, "n is 0, expected a whole number of at least 1"),
        (9, Annotated[int, Interval(ge=1, le=8)], "n is 9, expected a whole number from 1 to 8"),
        (2.0, Count, "n is 2.0, expected a whole number of at least 1"),
        (True, Count, "n is True, expected a whole number of at least 1"),
        (float("nan"), float, "n is nan, expected a finite number"),
        (float("inf"), Annotated[float, Interval(ge=0)], "n is inf, expected a finite number of at least 0"),
        (0.0, Positive, "n is 0.0, expected a positive number"),
        (0.1, Annotated[float, Interval(gt=0, le=0.05)], "n is 0.1, expected a positive number of at most 0.05"),
        (-2, Annotated[float, Interval(ge=-1, le=1)], "n is -2, expected a finite number from -1 to 1"),
        (True, float, "n is True, expected a finite number"),
        ("1", Positive, "n is 1, expected a positive number"),
        ([], Names, "n is [], expected a list, each item a text, at least one"),
        (
            {},
            Annotated[dict[str, Positive], MinLen(1)],
            "n is {}, expected a group of options, each a positive number, at least one",
        ),
    ],
)
def test_numbers(value, annotation, told):
    with pytest.raises(InputError) as caught:
        check_value("n", value, annotation)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("error", "remedy", "told"),
    [
        (ValueError("bad\n  header"), "", "file is damaged: bad header"),
        (ValueError("bad header"), "fetch it", "file is damaged (bad header); fetch it"),
        (KeyError("weights"), "", "file is damaged: KeyError('weights')"),
        (MemoryError(), "", "file is damaged: MemoryError"),
    ],
)
def test_an_error_of_a_library_is_explained(error, remedy, told):
    with pytest.raises(InputError) as caught, explained("file is damaged", remedy=remedy, options=("width",)):
        raise error
    assert str(caught.value) == told
    assert caught.value.options == ("width",)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [InputError("it is a pipe"), PermissionError("no"), ZeroDivisionError("by zero")])
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, explained("file is damaged", (ValueError, OSError)):
        raise error
    assert caught.value is error


def test_an_inner_check_is_explained_if_nothing_is_to_pass():
    with (
        pytest.raises(InputError, match="^file describes no solver: width is 0$"),
        explained("file describes no solver", ValueError, passing=()),
    ):
        raise InputError("width is 0")


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        (errno.EACCES, PermissionError, "no permission for there; change its permissions, or choose another place"),
        (errno.EROFS, OSError, "there: read-only file system; choose another place by the option that names it"),
        (errno.EISDIR, IsADirectoryError, "there: is a directory"),
    ],
)
def test_another_place_is_advised_where_it_helps(number, kind, told):
    text = describe(kind(number, os.strerror(number), "there"))
    assert text.startswith(told)
    assert ("data_dir=" in text) == ("place" in told)
