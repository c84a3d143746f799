"""Which code made a number: a digest of the source files on which trained weights and measured errors depend."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import lsm

_LIBRARY = Path(lsm.__file__).resolve().parent

#: What only draws, or decides or measures time and memory: it may change without any effect on errors.
_WITHOUT_EFFECT = (
    "plotting/",
    "report/",
    "profiling.py",
    "process_memory.py",
    "process_threads.py",
    "scaling.py",
    "flops.py",
    "progress.py",
    "training/progress.py",
    "training/history.py",
)

#: Commands that assemble, train and evaluate.
_COMMANDS = ("assemble.py", "train.py", "evaluate.py", "evaluations.py")


@cache
def code_revision() -> str:
    """Twelve digits of a SHA-256 digest; a commit that changes only documentation leaves it as it is."""
    sources = [path for path in sorted(_LIBRARY.rglob("*.py")) if _has_effect(path)]
    sources += [Path(__file__).with_name(name) for name in _COMMANDS]
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _has_effect(path: Path) -> bool:
    return not path.relative_to(_LIBRARY).as_posix().startswith(_WITHOUT_EFFECT)
