"""Augmentations of training batches, by name in :data:`AUGMENTATIONS`.

An augmentation maps a batch to another batch of solved samples, with random numbers from the generator that it is given and
from nowhere else: the training draws the same ones again when it is resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lsm.data.symmetry import Symmetry, apply, draw
from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.registry import Registry

Augmentation = Callable[[FieldBatch, FieldSpec, torch.Generator], FieldBatch]

#: An augmentation takes the symmetries of its benchmark, and options.
AUGMENTATIONS: Registry = Registry("augmentation")


@AUGMENTATIONS.register("none")
class Unchanged:
    """No augmentation: batches ``(b, *sites, c)`` stay as they are."""

    def __init__(self, symmetries: Sequence[Symmetry]) -> None:
        pass

    def __call__(self, batch: FieldBatch, spec: FieldSpec, random: torch.Generator) -> FieldBatch:
        """Return the batch."""
        return batch


@AUGMENTATIONS.register("symmetry")
class RandomSymmetry:
    """Replace a batch ``(b, *sites, c)`` by its image under a random element of the benchmark's symmetry group.

    Args:
        symmetries: generators of the group.
        required: False leaves batches of data without symmetries as they are.
    Raises:
        InputError: the data have no symmetries, and they are required.
    """

    def __init__(self, symmetries: Sequence[Symmetry], *, required: bool = True) -> None:
        if required and not symmetries:
            raise InputError("these data have no exact symmetries, so there is nothing to augment with; choose 'none'")
        self.symmetries = symmetries

    def __call__(self, batch: FieldBatch, spec: FieldSpec, random: torch.Generator) -> FieldBatch:
        """The image of all samples ``(b, *sites, c)`` under one element."""
        return apply(draw(self.symmetries, spec, random), batch, spec)
