"""The exceptions for mistakes that a user can correct, and checks of the commonest ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


class InputError(ValueError):
    """A file, an option or an array that does not fit.

    The message is one sentence that names the value, what was expected and the remedy; the commands print it without a
    traceback.

    Args:
        message: the sentence.
        options: names of the arguments that the remedy changes, as this library knows them; a program adds the names
            under which it offers them.
    """

    def __init__(self, message: str, options: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.options = tuple(options)


class UnknownNameError(InputError):
    """A name under which no part is registered."""


class OptionError(InputError):
    """An option that a part does not have, or a value that it does not accept.

    Args:
        option: the option's name, as the part knows it.
        problem: the rest of the sentence.
    """

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option} {problem}")
        self.option, self.problem = option, problem

    def within(self, group: str) -> OptionError:
        """The same error with the option's name as a caller knows it, ``GROUP.OPTION``."""
        return OptionError(f"{group}.{self.option}", self.problem)


@contextmanager
def option_group(name: str) -> Iterator[None]:
    """Complete the name of an option that is refused inside by the group to which it belongs."""
    try:
        yield
    except OptionError as error:
        raise error.within(name) from error


def require_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Check a whole number.

    Raises:
        InputError: the value is no integer (``True`` is none), or lies outside ``least`` to ``most``.
    """
    if not _is(int, value) or value < least or (most is not None and value > most):
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
    if not (_is(float, value) and math.isfinite(value)) or not least <= value <= most or (positive and value <= 0):
        limits = [f"of at least {least:g}"] * (least > -math.inf) + [f"of at most {most:g}"] * (most < math.inf)
        expected = " ".join(["a positive number" if positive else "a finite number", " and ".join(limits)]).rstrip()
        raise InputError(f"{name} is {value}, expected {expected}")


def require_kinds(options: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> None:
    """Check that options are true or false, whole numbers or numbers where their defaults are.

    Args:
        options: by name; those without a default are not looked at.
        defaults: by name.
        prefix: of the names, as typed.
    Raises:
        InputError: one is of another kind.
    """
    for name, default in defaults.items():
        kind = type(default)
        if name in options and kind in _KINDS and not _is(kind, options[name]):
            raise InputError(f"{prefix}{name} is {options[name]}, expected {_KINDS[kind]}")


def _is(kind: type, value: Any) -> bool:
    if isinstance(value, bool) or kind is bool:
        return kind is type(value)
    return isinstance(value, (int, float) if kind is float else kind)
