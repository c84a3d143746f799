"""An import that commands put off until it is needed."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_NAME = "scipy.signal"


class _ScipySignal(ModuleType):
    """Stands for ``scipy.signal`` until something in it is used; then the module itself takes its place."""

    #: A window that SciPy no longer has. All that torchmetrics does with the module is to add this name where it is missing.
    hamming = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # a search through all modules, as of inspect, is not a use
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(import_module(_NAME), name)


def defer_scipy_signal() -> None:
    """Import ``scipy.signal`` at its first use only.

    Lightning imports torchmetrics, which imports it without using it: this takes 0.7 s, a seventh of the time to the first
    training step.
    """
    sys.modules.setdefault(_NAME, _ScipySignal(_NAME))
