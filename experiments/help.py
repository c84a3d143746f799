"""``--help`` of a command: its text in ``conf/hydra/help``, with the options of the groups that it names.

Hydra's own help composes the whole configuration and lists every group of every package, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from omegaconf import OmegaConf


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help on the command."""
    return any(argument in ("--help", "-h") for argument in arguments)


def help_text(name: str, conf: Path, arguments: Sequence[str]) -> str:
    """The help of a command.

    Args:
        name: of the command.
        conf: folder of the configuration.
        arguments: the command line; a folder given with ``--config-dir`` may add options to the groups.
    """
    folders = [conf, *map(Path, _values(arguments, "--config-dir", "-cd"))]
    OmegaConf.register_new_resolver("lsm.choices", lambda group: ", ".join(_choices(group, folders)), replace=True)
    text = OmegaConf.create({"hydra": {"help": OmegaConf.load(conf / f"hydra/help/{name}.yaml")}})
    return text.hydra.help.template


def _choices(group: str, folders: Sequence[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _values(arguments: Sequence[str], *flags: str) -> list[str]:
    """Values of an option, as ``FLAG VALUE`` or ``FLAG=VALUE``."""
    following = [after for before, after in pairwise(arguments) if before in flags]
    joined = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] in flags]
    return following + [value for value in joined if value]
