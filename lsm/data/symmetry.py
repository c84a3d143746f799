"""Symmetries of a benchmark: a permutation of the sites and a map of the values.

If the equations, the domain and the distribution of the inputs are symmetric, the image of a solved sample is a solved sample.
Symmetries augment the training samples, and average a prediction over its images in the evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from lsm.device import numbers_on
from lsm.errors import InputError
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.registry import Count, Options, check_options

#: More elements of a symmetry group than this are not enumerated.
_MOST_ELEMENTS = 10_000


@dataclass(frozen=True)
class Symmetry(Options):
    """A generator of a symmetry group of fields ``(b, *sites, c)``; its steps are applied in the order of the arguments.

    Args:
        swap: two axes that change places.
        flip: axes whose direction is reversed; about the origin if the axis is periodic, otherwise about the middle.
        shift: part of the period by which a periodic axis is shifted, ``new(x) = old(x + shift)``.
        roll: number of sites by which a periodic axis is shifted.
        reflect: constant ``c`` by the name of a field whose values ``v`` become ``c - v``; 0 changes the sign.
        mirror_code: sum of an angle and its mirror image, in turns, for a shape code that lists a smooth function of the angle
            at equal steps from 0 to one turn, both included; values between them follow from its Fourier series.
        periodic: whether the axes are periodic.
        when: the symmetry holds for data whose provenance does not contradict these facts, such as
            ``{"generator": {"angle": 0.0}}``.
        order: number of powers ``0 .. order - 1`` that count as different elements; None for as many as there are sites
            along the first axis of ``roll``.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (3,), ("x",), (Channel("a"),), (Channel("u"),))
        >>> line = torch.tensor([[[1.0], [2.0], [3.0]]])
        >>> Symmetry(flip=["x"], reflect={"u": 0.0}).apply(FieldBatch(line, line), spec).targets.flatten()
        tensor([-3., -2., -1.])
    """

    swap: Sequence[str] = ()
    flip: Sequence[str] = ()
    shift: Mapping[str, float] = field(default_factory=dict)
    roll: Mapping[str, int] = field(default_factory=dict)
    reflect: Mapping[str, float] = field(default_factory=dict)
    mirror_code: float | None = None
    periodic: bool = False
    when: Mapping[str, Any] = field(default_factory=dict)
    order: Count | None = 2

    def find_problem(self) -> tuple[str, str] | None:
        """An order that nothing determines."""
        if self.order is None and not self.roll:
            return "order", "is null, expected a number: only a roll has as many powers as an axis has sites"
        return None

    def check(self, spec: FieldSpec) -> None:
        """Compare the steps with the fields ``(*sites, c)``.

        Raises:
            InputError: an axis or field is unknown, axes that change places differ, or a shift is no whole number of sites.
        """
        if problem := self._find_problem(spec):
            raise InputError(f"a symmetry {problem}")

    def _find_problem(self, spec: FieldSpec) -> str | None:
        fields = {channel.name for channel in (*spec.inputs, *spec.targets)}
        if unknown := set(self.reflect) - fields:
            return f"reflects {', '.join(unknown)}; the fields are {', '.join(sorted(fields))}"
        for name in (*self.swap, *self.flip, *self.roll, *self.shift):
            if name not in spec.axes:
                return f"names the axis {name!r}; the axes are {', '.join(spec.axes)}"
        sizes = dict(zip(spec.axes, spec.sites, strict=True))
        if self.mirror_code is not None and spec.code < 4:
            return "mirrors the shape code, and the samples have none of four or more numbers"
        if self.swap and (len(self.swap) != 2 or sizes[self.swap[0]] != sizes[self.swap[1]]):
            return f"swaps {', '.join(self.swap)}, expected two axes with equally many sites"
        for axis, part in self.shift.items():
            if abs(round(part * sizes[axis]) - part * sizes[axis]) > 1e-6:
                return f"shifts {axis} by {part} of {sizes[axis]} sites, which is no whole number of sites"
        return None

    def count(self, spec: FieldSpec) -> int:
        """Number of different powers.

        Raises:
            InputError: it depends on the fields, which the steps do not fit; see :meth:`check`.
        """
        if self.order:
            return self.order
        self.check(spec)
        return spec.sites[spec.axes.index(next(iter(self.roll)))]

    def power(self, exponent: int) -> list[Symmetry]:
        """The steps of a power; rolls are added up."""
        if self.roll and not (self.swap or self.flip or self.shift or self.reflect or self.mirror_code is not None):
            return [replace(self, roll={axis: exponent * sites for axis, sites in self.roll.items()})]
        return [self] * exponent

    def apply(self, batch: FieldBatch, spec: FieldSpec) -> FieldBatch:
        """The image of samples ``(b, *sites, c)``.

        Raises:
            InputError: the steps do not fit the fields, see :meth:`check`.
        """
        self.check(spec)
        moved = {
            "inputs": self._reflected(self._moved(batch.inputs, spec), spec.inputs, spec),
            "targets": self._reflected(self._moved(batch.targets, spec), spec.targets, spec),
        }
        if batch.coords is not None:
            coords = self._moved(batch.coords, spec)
            moved["coords"] = self._reflected(coords, spec.inputs[: coords.shape[-1]], spec)
        if batch.code is not None and self.mirror_code is not None:
            moved["code"] = mirrored_function(batch.code, self.mirror_code)
        return replace(batch, **moved)

    def undo(self, prediction: Tensor, spec: FieldSpec) -> Tensor:
        """Map a prediction ``(b, *sites, c)`` for the image of a sample back to the sample."""
        values = self._reflected(prediction, spec.targets, spec)
        for axis, sites in self._shifts(spec).items():
            values = values.roll(sites, self._axis(axis, spec))
        for axis in self.flip:
            values = self._flipped(values, self._axis(axis, spec))
        return values.transpose(*self._axes(self.swap, spec)) if self.swap else values

    def _moved(self, values: Tensor, spec: FieldSpec) -> Tensor:
        if self.swap:
            values = values.transpose(*self._axes(self.swap, spec))
        for axis in self.flip:
            values = self._flipped(values, self._axis(axis, spec))
        for axis, sites in self._shifts(spec).items():
            values = values.roll(-sites, self._axis(axis, spec))
        return values

    def _flipped(self, values: Tensor, axis: int) -> Tensor:
        return values.flip(axis).roll(1, axis) if self.periodic else values.flip(axis)

    def _reflected(self, values: Tensor, fields: Sequence[Channel], spec: FieldSpec) -> Tensor:
        names = [channel.name for channel in fields] * (values.shape[-1] // len(fields))
        if not set(names) & set(self.reflect):
            return values
        sign = numbers_on(values.device, [-1.0 if name in self.reflect else 1.0 for name in names], values.dtype)
        constant = numbers_on(values.device, [self.reflect.get(name, 0.0) for name in names], values.dtype)
        return constant + sign * values

    def _axis(self, name: str, spec: FieldSpec) -> int:
        return 1 + spec.axes.index(name)

    def _axes(self, names: Sequence[str], spec: FieldSpec) -> list[int]:
        return [self._axis(name, spec) for name in names]

    def _shifts(self, spec: FieldSpec) -> dict[str, int]:
        """Sites by which each axis is shifted."""
        parts = {axis: round(part * spec.sites[spec.axes.index(axis)]) for axis, part in self.shift.items()}
        return {axis: self.roll.get(axis, 0) + parts.get(axis, 0) for axis in {**self.roll, **parts}}


def mirrored_function(values: Tensor, turns: float) -> Tensor:
    """Values ``(b, k)`` at the angles ``turns - a`` of functions that are given at ``a = 0, 1 / (k - 1), .., 1`` turns.

    Example:
        >>> angles = 2 * torch.pi * torch.linspace(0, 1, 6)
        >>> torch.allclose(mirrored_function(angles.cos()[None], 0.5), -angles.cos()[None], atol=1e-6)
        True
    """
    series = torch.fft.rfft(values[:, :-1])
    waves = torch.arange(series.shape[-1], device=values.device)
    turned = series.conj() * torch.exp(-2j * torch.pi * turns * waves)
    around = torch.fft.irfft(turned, n=values.shape[-1] - 1).to(values.dtype)
    return torch.cat([around, around[:, :1]], dim=-1)


#: A product of powers of generators: the symmetries to apply, one after the other.
Element = Sequence[Symmetry]


def symmetries_of(
    plain: Sequence[Mapping[str, Any]] | None, provenance: Mapping[str, Any] | None = None
) -> list[Symmetry]:
    """Generators from a benchmark's plain description: those that hold for data of this provenance.

    Raises:
        OptionError: a generator has an unknown option, or one of another kind.
    """
    for generator in plain or ():
        check_options(Symmetry, generator)
    generators = [Symmetry(**dict(generator)) for generator in plain or ()]
    return [generator for generator in generators if _agree(generator.when, provenance or {})]


def _agree(facts: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    """Whether what is recorded of some facts equals them.

    Example:
        >>> facts = {"source": "generated", "generator": {"angle": 0.0}}
        >>> [_agree(facts, other) for other in ({}, {"generator": {"angle": 0.0, "mach": 0.8}}, {"generator": {"angle": 1.0}})]
        [True, True, False]
    """

    def agrees(fact: Any, other: Any) -> bool:
        return _agree(fact, other) if isinstance(fact, Mapping) and isinstance(other, Mapping) else fact == other

    return all(agrees(fact, recorded[name]) for name, fact in facts.items() if name in recorded)


def elements(generators: Sequence[Symmetry], spec: FieldSpec) -> list[Element]:
    """All products of powers of the generators, as maps of ``(b, *sites, c)``, the identity first.

    Raises:
        InputError: they are too many to be enumerated.
    """
    counts = [generator.count(spec) for generator in generators]
    if prod(counts) > _MOST_ELEMENTS:
        raise InputError(f"the symmetries have {prod(counts)} elements, expected at most {_MOST_ELEMENTS}")
    powers = product(*(range(count) for count in counts))
    return [_element(generators, chosen) for chosen in powers]


def draw(generators: Sequence[Symmetry], spec: FieldSpec, random: torch.Generator) -> Element:
    """A product of powers of the generators, a map of ``(b, *sites, c)``; each power is uniformly drawn."""
    chosen = [int(torch.randint(generator.count(spec), (), generator=random)) for generator in generators]
    return _element(generators, chosen)


def _element(generators: Sequence[Symmetry], powers: Sequence[int]) -> Element:
    return [step for generator, power in zip(generators, powers, strict=True) for step in generator.power(power)]


def apply(element: Element, batch: FieldBatch, spec: FieldSpec) -> FieldBatch:
    """The image of samples ``(b, *sites, c)`` under an element of the group."""
    for symmetry in element:
        batch = symmetry.apply(batch, spec)
    return batch


def undo(element: Element, prediction: Tensor, spec: FieldSpec) -> Tensor:
    """Map a prediction ``(b, *sites, c)`` for the image of a sample back to the sample."""
    for symmetry in reversed(element):
        prediction = symmetry.undo(prediction, spec)
    return prediction
