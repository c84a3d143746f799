"""The generator that options describe."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from lsm.errors import InputError, require_kinds

if TYPE_CHECKING:
    from data_prep.generation.generator import Generator


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
