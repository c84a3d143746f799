"""Floating-point operations of a call, by module: PyTorch's counter, with formulas for FFTs and complex products.

Counted are products of matrices, convolutions, attention and FFTs, not operations on single values. Knows no model.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import flop_counter


def _fft_flops(full: Tensor, axes: Sequence[int], real: bool) -> int:
    """``5 n log2 n`` for each transform of ``n`` complex numbers, half of it if they are real."""
    count = math.prod(full.shape[axis] for axis in axes)
    flops = 5 * full.numel() * math.log2(count) if count > 1 else 0.0
    return round(flops / 2 if real else flops)


def _raw(formula: Callable[..., int]) -> Callable[..., int]:
    """Mark a formula that takes tensors instead of their shapes."""
    formula._get_raw = True  # type: ignore[attr-defined]
    return formula


def _by_type(operation: Any) -> Callable[..., int]:
    """PyTorch's formula for a product of matrices, times four if the numbers are complex."""

    @_raw
    def count(*args: Any, out_val: Tensor, **kwargs: Any) -> int:
        real = flop_counter.flop_registry[operation](*args, out_val=out_val, **kwargs)
        return real * (4 if args[0].is_complex() else 1)

    return count


_aten = torch.ops.aten

#: Formulas that PyTorch's counter lacks.
_FORMULAS: dict[Any, Callable[..., int]] = {
    _aten._fft_r2c: _raw(lambda x, axes, *_, out_val, **__: _fft_flops(x, axes, real=True)),
    _aten._fft_c2r: _raw(lambda x, axes, *_, out_val, **__: _fft_flops(out_val, axes, real=True)),
    _aten._fft_c2c: _raw(lambda x, axes, *_, out_val, **__: _fft_flops(x, axes, real=False)),
    _aten.mm: _by_type(_aten.mm),
    _aten.bmm: _by_type(_aten.bmm),
    _aten._scaled_dot_product_flash_attention_for_cpu: _by_type(_aten._scaled_dot_product_flash_attention),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _by_type(
        _aten._scaled_dot_product_flash_attention_backward
    ),
}


def count_flops(call: Callable[[], Any]) -> dict[str, int]:
    """Floating-point operations by module, such as ``{"Global": .., "NeuralSolver.model.trunk": ..}``.

    Counted are products of matrices, convolutions, attention and FFTs (``5 n log2 n``), not operations on single values. A
    compiled module hides its parts: count before compiling.
    """
    with flop_counter.FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        call()
    return {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()}


def split_flops(counts: Mapping[str, int], root: str = "NeuralSolver.model.") -> dict[str, int]:
    """Operations of the parts of a model, largest first; the largest part is given by its own parts.

    Args:
        counts: as :func:`count_flops` returns them.
        root: prefix of the names of the model's parts.
    Returns:
        Operations by name; what belongs to no part is named "other".
    """
    parts = _parts(counts, root)
    if parts:
        largest = max(parts, key=parts.__getitem__)
        inner = {f"{largest}.{name}": count for name, count in _parts(counts, f"{root}{largest}.").items()}
        if len(inner) > 1:
            rest = parts.pop(largest) - sum(inner.values())
            parts |= inner | ({largest: rest} if rest else {})
    other = counts.get("Global", 0) - sum(parts.values())
    parts |= {"other": other} if other else {}
    return dict(sorted(parts.items(), key=lambda item: -item[1]))


def _parts(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Operations of the direct children of ``prefix``; a list of modules, which is never called, counts as its members."""
    members: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for name, count in counts.items():
        if name.startswith(prefix):
            child, *rest = name.removeprefix(prefix).split(".")
            members[child][len(rest)] += count
    return {child: depths[min(depths)] for child, depths in members.items()}
