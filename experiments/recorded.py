"""What a checkpoint records of its run, checked before it is used: a checkpoint may come from a stranger.

Recorded options choose parts of this project by name and set numbers. They never name code to run, files to write, or
variables of this machine's environment: an option that could is taken from the command line only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from experiments.effect import CALL_OPTIONS, lies_in
from experiments.options import parse
from experiments.schema import Seed
from lsm.errors import InputError, OptionError, explained
from lsm.registry import check_value

#: What evaluation, pictures and a resumed training read of a recorded configuration.
_KINDS: dict[str, Any] = {
    "benchmark.name": str,
    "benchmark.reader": Mapping[str, Any],
    "benchmark.symmetries": Sequence[Mapping[str, Any]] | None,
    "preset": str,
    "seed": Seed,
    "data.path": str,
    "data.splits": Mapping[str, Any],
    "plugins": Sequence[str] | None,
}

#: Groups whose options decide which code runs and which files are written.
_PRIVATE = ("hydra", "callbacks", "logger", "trainer.plugins", "trainer.profiler", *CALL_OPTIONS)

#: Most characters of a recorded option.
_LONGEST = 4096

#: Options that name files, which are only read.
_PATHS = ("data_dir", "data.path")


def require_config(path: Path, run: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recorded configuration, checked.

    Args:
        path: the checkpoint.
        run: what it records of its run, see :class:`lsm.checkpoint.Checkpoint`.
    Raises:
        InputError: something is missing or of another kind.
    """
    with explained(f"{path} does not record the run that wrote it", OptionError, passing=()):
        check_value("the configuration", run.get("config"), Mapping[str, Any])
        for key, kind in _KINDS.items():
            check_value(key, _select(run["config"], key), kind)
    return run["config"]


def _select(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def recorded_options(path: Path, recorded: Sequence[str], typed: Sequence[Override]) -> list[Override]:
    """Recorded options but for those that the present call replaces.

    Args:
        path: the checkpoint.
        recorded: its options, of the kind that :func:`lsm.checkpoint.read` checked, nothing more.
        typed: options of the present call.
    Raises:
        InputError: one can name code, a file or a variable of the environment, and is not repeated on the command line.
    """
    kept = []
    for text in recorded:
        option = _parse_recorded(path, text)
        if _is_replaced(option, typed):
            continue
        if not _is_harmless(option):
            raise InputError(
                f"{path} records the option {text}; an option that can name code, a file or a variable of the environment is "
                "not taken from a checkpoint: if you trust it, repeat it on the command line"
            )
        kept.append(option)
    return kept


def _parse_recorded(path: Path, text: str) -> Override:
    try:
        if len(text) <= _LONGEST:
            return parse(text)
    except (HydraException, RecursionError):
        pass
    raise InputError(f"{path} does not record the run that wrote it: {text[:80]!r} is no option")


def _is_replaced(option: Override, typed: Sequence[Override]) -> bool:
    """Whether a typed option has the same key, or removes the group in which the recorded one lies."""
    same = any(option.key_or_group == other.key_or_group for other in typed)
    removed = [other.key_or_group for other in typed if other.is_delete() or other.value() is None]
    return same or lies_in(option.key_or_group, removed)


def _is_harmless(option: Override) -> bool:
    key = option.key_or_group
    if option.is_delete():
        return True
    if option.is_sweep_override() or option.package is not None or any(part.startswith("_") for part in key.split(".")):
        return False
    chosen = isinstance(option.value(), str) and "." not in key
    if lies_in(key.replace("/", "."), _PRIVATE) and not (chosen and key in ("callbacks", "logger")):
        return False
    return all(_is_plain(text, key in _PATHS) for text in _texts(option.value()))


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, keys included; those of a quoted text too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from (str(key), *_texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, (bool, int, float)):
        yield str(value)


def _is_plain(text: str, may_be_path: bool) -> bool:
    path = PurePath(text)
    leaves = path.is_absolute() or ".." in path.parts or text.startswith("~") or "\\" in text
    return "${" not in text and not text.startswith("_") and (may_be_path or not leaves)
