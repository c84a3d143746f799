"""Augmentations: images of solved samples, drawn from the random numbers that they are given and from nowhere else."""

import pytest
import torch
from tiny import batch, spec

from lsm.data.augment import AUGMENTATIONS
from lsm.data.symmetry import Symmetry, apply, elements
from lsm.errors import InputError

SQUARE = [Symmetry(swap=["x", "y"]), Symmetry(flip=["x"]), Symmetry(flip=["y"])]
FIELDS = spec(sites=(5, 5))


def drawn(augment, seed, samples):
    return augment(samples, FIELDS, torch.Generator().manual_seed(seed))


def test_an_image_is_that_under_one_element_for_all_samples():
    samples, augment = batch(FIELDS), AUGMENTATIONS.make("symmetry", SQUARE)
    images = [apply(element, samples, FIELDS) for element in elements(SQUARE, FIELDS)]
    met = set()
    for seed in range(60):
        found = drawn(augment, seed, samples)
        equal = [
            index
            for index, image in enumerate(images)
            if torch.equal(found.inputs, image.inputs) and torch.equal(found.targets, image.targets)
        ]
        assert len(equal) == 1
        met.update(equal)
    assert met == set(range(8))


def test_the_same_random_numbers_draw_the_same_image():
    samples, augment = batch(FIELDS), AUGMENTATIONS.make({"name": "symmetry"}, SQUARE)
    torch.manual_seed(1)
    first = drawn(augment, 7, samples).inputs
    torch.manual_seed(2)
    torch.rand(3)
    assert torch.equal(drawn(augment, 7, samples).inputs, first)
    assert any(not torch.equal(drawn(augment, seed, samples).inputs, first) for seed in range(8, 12))


def test_none_leaves_samples_as_they_are():
    samples = batch(FIELDS)
    assert drawn(AUGMENTATIONS.make("none", SQUARE), 0, samples) is samples


def test_without_symmetries_there_is_nothing_to_draw():
    with pytest.raises(InputError, match="no exact symmetries, so there is nothing to augment with; choose 'none'"):
        AUGMENTATIONS.make("symmetry", [])
    assert AUGMENTATIONS.make("none", []) is not None


def test_symmetries_that_are_not_required_may_be_absent():
    samples = batch(FIELDS)
    assert drawn(AUGMENTATIONS.make({"name": "symmetry", "required": False}, []), 0, samples) is samples
