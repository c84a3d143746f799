"""The one exception for mistakes that a user can mend, and the check of the commonest one."""

from __future__ import annotations

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
