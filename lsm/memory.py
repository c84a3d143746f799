"""A limit for the numbers that are allocated while modules are built from a description of unknown origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from lsm.errors import InputError

#: The functions by which modules make their parameters and constants; the product of their whole numbers bounds the size.
_FACTORIES = {
    *(torch.empty, torch.zeros, torch.ones, torch.full, torch.eye, torch.rand, torch.randn, torch.randint),
    *(torch.arange, torch.linspace),
}


class AllocationLimit(TorchFunctionMode):
    """Within this context, tensors are made until together they have ``most`` numbers; the next one is refused.

    The check precedes the allocation, so that a description of a huge model costs neither memory nor time.

    Args:
        most: the limit.
    Raises:
        InputError: from the call that would exceed the limit.

    Example:
        >>> with AllocationLimit(100):
        ...     torch.nn.Linear(10_000, 10_000)
        Traceback (most recent call last):
        lsm.errors.InputError: more than 100 numbers would be needed
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = self._left = most

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count the numbers of a new tensor."""
        if func in _FACTORIES:
            self._left -= prod(max(number, 1) for number in _whole_numbers((args, (kwargs or {}).get("size"))))
            if self._left < 0:
                raise InputError(f"more than {self._most} numbers would be needed")
        return func(*args, **(kwargs or {}))


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _whole_numbers(item)
