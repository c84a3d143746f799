"""The generator that options describe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from lsm.errors import InputError, OptionError

if TYPE_CHECKING:
    from data_prep.generation.generator import Generator


def make_generator(cfg: DictConfig) -> Generator:
    """The generator of the configured benchmark.

    Raises:
        InputError: an option is unknown, of the wrong kind, or out of range.
    """
    try:
        return instantiate(cfg.benchmark.generator)
    except InstantiationException as error:
        if isinstance(error.__cause__, OptionError):
            raise error.__cause__.within("benchmark.generator") from error
        raise InputError(f"generator options of {cfg.benchmark.name}: {error.__cause__ or error}") from error
