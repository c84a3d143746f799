"""Optional packages: imported when they are needed; a missing one is named with what to install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from lsm.errors import InputError


def require(module: str, extra: str, what: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: its name.
        extra: the extra of this project that installs it.
        what: what needs it, for the message.
    Raises:
        InputError: it is not installed; the message says what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name.partition(".")[0]):
            raise
        raise InputError(
            f'{what} needs the package {error.name}; install it with `pip install "latent-spectral-models[{extra}]"`, '
            f'from a checkout `pip install -e ".[{extra}]"`'
        ) from error
