"""Parts by name: their signature is the schema of their options."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf

from lsm.errors import InputError, OptionError
from lsm.registry import Config, Count, Names, Options, Positive, Registry, check_value

PARTS: Registry = Registry("part")


@PARTS.register("plain")
def make_plain(
    context: str,
    *,
    size: Count = 2,
    rate: Annotated[float, Gt(0)] = 0.1,
    patch: Sequence[Count] | None = None,
    kind: Literal["a", "b"] = "a",
    on: bool = True,
    block: Config | None = None,
    names: Names,
) -> tuple:
    return context, size, rate, patch, kind, on, block, names


def test_context_and_options_reach_the_part():
    made = PARTS.make({"name": "plain", "names": ["u"], "size": 3, "patch": [1, 2], "kind": None}, "here")
    assert made == ("here", 3, 0.1, [1, 2], "a", True, None, ["u"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is 0, expected a whole number of at least 1"),
        ({"size": True}, "size is True, expected a whole number of at least 1"),
        ({"size": "3"}, "size is 3, expected a whole number of at least 1"),
        ({"size": 2.0}, "size is 2.0, expected a whole number of at least 1"),
        ({"rate": 0}, "rate is 0, expected a positive number"),
        ({"rate": float("nan")}, "rate is nan, expected a positive number"),
        ({"rate": float("inf")}, "rate is inf, expected a positive number"),
        ({"patch": [1, 0]}, "patch is [1, 0], expected a list, each item a whole number of at least 1"),
        ({"patch": "12"}, "patch is 12, expected a list, each item a whole number of at least 1"),
        ({"kind": "c"}, "kind is c, expected one of a, b"),
        ({"on": 1}, "on is 1, expected true or false"),
        ({"block": 3}, "block is 3, expected a group of options"),
        ({"names": []}, "names is [], expected a list, each item a text, at least one"),
        ({"names": "u"}, "names is u, expected a list, each item a text, at least one"),
        ({"names": None}, "names is missing, expected a list, each item a text, at least one"),
        ({"sise": 3}, "sise is no option of make_plain; its options: size, rate, patch, kind, on, block, names"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_what_is_expected(options, message):
    with pytest.raises(OptionError) as caught:
        PARTS.make({"name": "plain", "names": ["u"]} | options, "here")
    assert str(caught.value) == message
    assert str(caught.value.within("group")) == f"group.{message}"


@dataclass(frozen=True)
class Flow(Options):
    """A dataclass of options."""

    mach: Annotated[float, Gt(0)] = 0.8
    steps: Count = 3
    follows: Flow | None = None


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (9, Annotated[int, Interval(ge=1, le=8)], "n is 9, expected a whole number from 1 to 8"),
        (-1e-3, Annotated[float, Ge(0)], "n is -0.001, expected a finite number of at least 0"),
        (0.1, Annotated[float, Gt(0), Le(0.05)], "n is 0.1, expected a positive number of at most 0.05"),
        (1.0, Annotated[float, Gt(0), Lt(1)], "n is 1.0, expected a positive number below 1"),
        (-1.0, Annotated[float, Gt(-1)], "n is -1.0, expected a finite number above -1"),
        (7, Annotated[int, Ge(4), MultipleOf(2)], "n is 7, expected a multiple of 2 of at least 4"),
        (
            30,
            Annotated[int, Interval(ge=20, le=200), MultipleOf(20)],
            "n is 30, expected a multiple of 20 from 20 to 200",
        ),
        (True, float, "n is True, expected a finite number"),
        ([1], Mapping[str, Positive], "n is [1], expected a group of options, each a positive number"),
        ({"a": -1}, Mapping[str, Positive], "n is {'a': -1}, expected a group of options, each a positive number"),
        (3, Flow, "n is 3, expected Flow"),
    ],
)
def test_limits_are_said(value, annotation, message):
    with pytest.raises(OptionError) as caught:
        check_value("n", value, annotation)
    assert str(caught.value) == message


def test_unknown_names_are_listed():
    with pytest.raises(InputError, match="part 'other' is unknown; choose one of: plain"):
        PARTS.make("other")
    with pytest.raises(InputError, match="expected a name and options; names: plain"):
        PARTS.make({"size": 3})


def house(tmp_path, monkeypatch, name, options=""):
    """A package of parts, of which one module registers the part ``mine``."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(
        f"from lsm.registry import Registry\nPARTS = Registry('part', '{name}')\n"
    )
    code = f"from {name} import PARTS\n\n@PARTS.register('mine')\ndef make({options}):\n    return {'size' if options else 1}\n"
    (tmp_path / name / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name).PARTS


def test_a_name_has_one_part(tmp_path, monkeypatch):
    """Also where a plug-in is imported before the part at home that has the name."""
    parts = house(tmp_path, monkeypatch, "flat_of_parts")
    told = r"^part 'mine' is flat_of_parts.mine.make already; register .*other under another name$"
    with pytest.raises(InputError, match=told):

        @parts.register("mine")
        def other():
            return 2

    assert parts.make("mine") == 1
    again = importlib.reload(importlib.import_module("flat_of_parts.mine"))
    assert parts["mine"] is again.make, "the same part may be registered again"


def test_a_package_registers_its_modules_on_the_first_look(tmp_path, monkeypatch):
    parts = house(tmp_path, monkeypatch, "house_of_parts", "*, size: int = 1")
    assert parts.names() == ["mine"]
    assert parts.make({"name": "mine", "size": 4}) == 4


def test_dataclasses_of_options_check_themselves():
    assert Flow(mach=1).mach == 1
    assert Flow(follows=Flow()).follows == Flow()
    with pytest.raises(OptionError, match="steps is 0, expected a whole number of at least 1"):
        Flow(steps=0)
