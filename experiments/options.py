"""Options as users give them: of the right kind, and made into the generator that they describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from lsm.errors import InputError

if TYPE_CHECKING:
    from data_prep.generators.base import Generator

_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def require_kinds(options: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> None:
    """Check that options are true or false, whole numbers or numbers where their defaults are.

    Args:
        options: by name; those without a default are not looked at.
        defaults: by name.
        prefix: of the names, as typed.
    Raises:
        InputError: one is of another kind.
    """
    for name, default in defaults.items():
        kind = type(default)
        if name in options and kind in _KINDS and not _is(kind, options[name]):
            raise InputError(f"{prefix}{name} is {options[name]}, expected {_KINDS[kind]}")


def _is(kind: type, value: Any) -> bool:
    if isinstance(value, bool) or kind is bool:
        return kind is type(value)
    return isinstance(value, (int, float) if kind is float else kind)


def make_generator(cfg: DictConfig) -> Generator:
    """The generator of the configured benchmark.

    Raises:
        InputError: an option is unknown, of the wrong kind, or out of range.
    """
    options = cfg.benchmark.generator
    made = get_class(options["_target_"])
    if dataclasses.is_dataclass(made):
        defaults = {field.name: field.default for field in dataclasses.fields(made)}
        require_kinds(options, defaults, "benchmark.generator.")
    try:
        return instantiate(options)
    except InstantiationException as error:
        raise InputError(f"generator options of {cfg.benchmark.name}: {error.__cause__ or error}") from error
