"""The one exception for mistakes that a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Something handed in (a file, an option, an array) does not fit.

    The message is one sentence that names the value, what was expected and the remedy; the command line prints it without
    a traceback.
    """
