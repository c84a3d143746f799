"""Checks of numbers handed in: the message names the value and what was expected."""

from __future__ import annotations

import pytest

from lsm.errors import InputError, require_number, require_whole


@pytest.mark.parametrize(
    ("value", "limits", "told"),
    [
        (0, {"least": 1}, "n is 0, expected a whole number of at least 1"),
        (9, {"least": 1, "most": 8}, "n is 9, expected a whole number from 1 to 8"),
        (2.0, {"least": 1}, "n is 2.0, expected a whole number of at least 1"),
        (True, {"least": 1}, "n is True, expected a whole number of at least 1"),
    ],
)
def test_whole_numbers(value, limits, told):
    with pytest.raises(InputError) as caught:
        require_whole("n", value, **limits)
    assert str(caught.value) == told
    require_whole("n", 8, **limits)


@pytest.mark.parametrize(
    ("value", "limits", "told"),
    [
        (float("nan"), {}, "x is nan, expected a finite number"),
        (float("inf"), {"least": 0.0}, "x is inf, expected a finite number of at least 0"),
        (-1e-3, {"least": 0.0}, "x is -0.001, expected a finite number of at least 0"),
        (0.0, {"positive": True}, "x is 0.0, expected a positive number"),
        (0.1, {"most": 0.05, "positive": True}, "x is 0.1, expected a positive number of at most 0.05"),
        (-2, {"least": -1, "most": 1}, "x is -2, expected a finite number of at least -1 and of at most 1"),
        (True, {"least": 0}, "x is True, expected a finite number of at least 0"),
        ("1", {"positive": True}, "x is 1, expected a positive number"),
    ],
)
def test_numbers(value, limits, told):
    with pytest.raises(InputError) as caught:
        require_number("x", value, **limits)
    assert str(caught.value) == told
    require_number("x", 0.05, **limits)
