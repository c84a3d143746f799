"""The exceptions for mistakes that a user can correct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import shorten


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


#: Kinds of exceptions, as an ``except`` clause takes them.
Kinds = type[BaseException] | tuple[type[BaseException], ...]


@contextmanager
def explained(
    problem: str,
    errors: Kinds = Exception,
    remedy: str = "",
    *,
    passing: Kinds = (InputError, PermissionError),
    options: Sequence[str] = (),
) -> Iterator[None]:
    """Say what an error of a library, or of an inner check, means for the user.

    Args:
        problem: what is wrong, such as "FILE is damaged".
        errors: kinds of errors that mean it.
        remedy: what to do about it.
        passing: kinds of errors that are left as they are, since they say themselves what is wrong.
        options: see :class:`InputError`.
    Raises:
        InputError: ``PROBLEM (REASON); REMEDY``, or ``PROBLEM: REASON`` without a remedy.

    Example:
        >>> with explained("data.json is damaged", ValueError, "write it again"):
        ...     int("x1")
        Traceback (most recent call last):
        lsm.errors.InputError: data.json is damaged (invalid literal for int() with base 10: 'x1'); write it again
    """
    try:
        yield
    except passing:
        raise
    except errors as error:
        said = repr(error) if isinstance(error, KeyError) else str(error)  # of a missing key, str shows only its name
        reason = shorten(said, 500, placeholder=" ..") or type(error).__name__
        sentence = f"{problem} ({reason}); {remedy}" if remedy else f"{problem}: {reason}"
        raise InputError(sentence, options) from error
