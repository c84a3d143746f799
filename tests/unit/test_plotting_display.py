"""What a store says about the pictures of its fields."""

import json

import numpy as np
import pytest
from tiny import spec

from lsm.errors import InputError
from lsm.plotting.display import Display, Tool

WINDOW = ((-1.0, 2.0), (0.0, 1.0))
FULL = Display(window=WINDOW, positions=("out0", "out1"), tool=Tool(height="in0", span=(-3.0, 2.0), travel=0.25))


@pytest.mark.parametrize("display", [Display(), Display(window=WINDOW), FULL])
def test_a_store_keeps_it_whole(display):
    assert Display.from_dict(json.loads(json.dumps(display.to_dict()))) == display


@pytest.mark.parametrize(
    ("plain", "place"),
    [
        ({"window": [[0, 1]]}, r"window is \(\(0, 1\),\)"),
        ({"window": [[0, 1], [1, 1]]}, "empty"),
        ({"window": [[0, 1], [0, float("inf")]]}, "finite number"),
        ({"window": 3}, "window"),
        ({"positions": ["x"]}, r"positions is \('x',\), expected a list"),
        ({"positions": "xy"}, "positions"),
        ({"tool": {"height": "die", "span": [0, 1]}}, r"tool\.travel is missing"),
        ({"tool": {"height": "die", "span": [0, "left"], "travel": 1}}, r"tool\.span is \(0, 'left'\)"),
        ([], "record"),
    ],
)
def test_a_malformed_record_is_refused_with_the_place_of_the_fault(plain, place):
    with pytest.raises(InputError, match=rf"display record .*{place}.*; write the store again"):
        Display.from_dict(plain)


def lattice(axes=("x", "y", "time"), **more):
    return spec(sites=(4, 3, 2)[: len(axes)], targets=more.pop("targets", 2), axes=axes, **more)


def test_entries_apply_only_to_fields_that_are_decoded():
    assert FULL.restricted_to(lattice()) == FULL
    assert FULL.restricted_to(lattice(targets=1)) == Display()
    assert FULL.restricted_to(lattice(axes=("x", "y"))) == Display(WINDOW, ("out0", "out1"))
    assert Display(WINDOW, tool=FULL.tool).restricted_to(lattice()) == Display()
    assert Display(WINDOW).restricted_to(spec("mesh")) == Display(WINDOW)
    assert Display(WINDOW).restricted_to(spec("points", (9,))) == Display(WINDOW)
    assert Display(WINDOW).restricted_to(spec("points", (9,), space=1)) == Display()
    assert Display(WINDOW).restricted_to(spec()) == Display(), "a regular lattice has no positions"


def test_sites_in_the_window():
    coords = np.array([[[-1.0, 0.0], [0.0, 1.1]], [[2.0, 1.0], [2.1, 0.5]]])
    np.testing.assert_array_equal(Display(WINDOW).in_window(coords), [[True, False], [True, False]])
    assert coords[Display().in_window(coords)].shape == coords.shape
