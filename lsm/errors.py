"""The one exception for mistakes that a user can mend, and checks of the commonest ones."""

from __future__ import annotations

import math
from typing import Any


class InputError(ValueError):
    """Something handed in (a file, an option, an array) does not fit.

    The message is one sentence that names the value, what was expected and the remedy; the command line prints it without
    a traceback.
    """


def require_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Check a whole number.

    Raises:
        InputError: the value is no integer (``True`` is none), or lies outside ``least`` to ``most``.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is {value}, expected a whole number {expected}")


def require_number(
    name: str, value: Any, least: float = -math.inf, most: float = math.inf, positive: bool = False
) -> None:
    """Check a number that need not be whole.

    Raises:
        InputError: the value is no number (``True`` is none), not finite, outside ``least`` to ``most``, or 0 or less although
            it is to be ``positive``.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not least <= value <= most or (positive and value <= 0):
        limits = [f"of at least {least:g}"] * (least > -math.inf) + [f"of at most {most:g}"] * (most < math.inf)
        expected = " ".join(["a positive number" if positive else "a finite number", " and ".join(limits)]).rstrip()
        raise InputError(f"{name} is {value}, expected {expected}")
