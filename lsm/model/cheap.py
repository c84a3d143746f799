"""Less memory for a training step: results that are cheap to compute are computed again for the gradients.

Autograd keeps whatever the gradients need until the backward pass. Within :func:`dropping_cheap_results` it keeps, in place of
the results of :func:`cheap`, what they were computed from; these may be such results themselves. The backward pass computes
each of them once more. Losses and gradients stay the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

Function = Callable[..., Tensor]


def cheap(function: Function, *given: Tensor, again: Function | None = None) -> Tensor:
    """``function(*given)``, computed again for the gradients within :func:`dropping_cheap_results`.

    Args:
        function: returns a tensor of its own memory. It may use parameters that do not change before the gradients.
        given: its arguments.
        again: computes the same a second time, if ``function`` has effects that must not be repeated.
    """
    result = function(*given)
    notes = None if torch.compiler.is_compiling() else _NOTES.get()
    if notes is not None and result.requires_grad:
        notes.add(result, again or function, given)
    return result


@contextmanager
def dropping_cheap_results() -> Iterator[None]:
    """Within this context autograd keeps no results of :func:`cheap`."""
    notes = _Notes()
    token = _NOTES.set(notes)
    try:
        with saved_tensors_hooks(notes.keep, _Kept.tensor):
            yield
    finally:
        _NOTES.reset(token)
        notes.clear()  # autograd holds them until the last gradient is computed


class _Recipe:
    """How to compute a result again; it is held until all that need it have it."""

    def __init__(self, function: Function, given: Sequence[_Kept]) -> None:
        self._function, self._given = function, given
        self._context = _present_autocast(given[0].device.type)
        self._left = 0
        self._result: Tensor | None = None

    def promise(self) -> None:
        """Count one more that will need the result."""
        self._left += 1

    def result(self) -> Tensor:
        """The result, for one that needs it."""
        found = self._result
        if found is None:
            with torch.no_grad(), self._context():
                found = self._function(*(kept.tensor() for kept in self._given))
        self._left -= 1
        self._result = found if self._left > 0 else None
        return found


class _Kept:
    """What autograd keeps: a tensor, or a recipe and which view of its result the tensor was."""

    def __init__(self, tensor: Tensor) -> None:
        self.device = tensor.device
        self._view = tensor.shape, tensor.stride(), tensor.storage_offset()
        self._tensor: Tensor | None = tensor
        self._recipe: _Recipe | None = None

    def exchange(self, recipe: _Recipe) -> None:
        """Keep the recipe in place of the tensor."""
        recipe.promise()
        self._tensor, self._recipe = None, recipe

    def tensor(self) -> Tensor:
        """The tensor, computed again where it was exchanged."""
        if self._recipe is not None:
            return self._recipe.result().as_strided(*self._view)
        assert self._tensor is not None
        return self._tensor


class _Notes:
    """What is kept during a forward pass, and the recipes of results that still exist, by the place of their numbers."""

    def __init__(self) -> None:
        self._kept: dict[int, list[ref[_Kept]]] = {}
        self._recipes: dict[int, tuple[ref[Tensor], _Recipe]] = {}

    def keep(self, tensor: Tensor) -> _Kept:
        """What autograd keeps for a tensor."""
        kept, place = _Kept(tensor), _place(tensor)
        known = self._recipes.get(place)
        if known is not None and known[0]() is not None:  # else another tensor may lie there by now
            kept.exchange(known[1])
        else:
            self._kept.setdefault(place, []).append(ref(kept))
        return kept

    def add(self, result: Tensor, function: Function, given: Sequence[Tensor]) -> None:
        """Exchange a result for its recipe where it was kept already, and from now on."""
        place = _place(result)
        if place in map(_place, given):  # a view of what is kept anyway
            return
        recipe = _Recipe(function, [self.keep(tensor) for tensor in given])
        for reference in self._kept.pop(place, ()):
            kept = reference()
            if kept is not None:
                kept.exchange(recipe)
        self._recipes[place] = ref(result), recipe

    def clear(self) -> None:
        """Forget all; what is kept has its recipe."""
        self._kept.clear()
        self._recipes.clear()


_NOTES: ContextVar[_Notes | None] = ContextVar("notes", default=None)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _present_autocast(device: str) -> Callable[[], AbstractContextManager[Any]]:
    if not torch.is_autocast_enabled(device):
        return nullcontext
    dtype = torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype)
