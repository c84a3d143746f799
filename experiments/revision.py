"""Which code made a number: a digest of the source files, also of plugins, on which weights and errors depend."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import lsm
from lsm.errors import explained

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

#: Modules of users that the present command has imported.
_imported: tuple[str, ...] = ()


def set_plugins(modules: Sequence[str]) -> None:
    """Tell which plugins the present command has imported; they replace those of an earlier one in this process."""
    global _imported
    _imported = tuple(modules)


def code_revision(plugins: Sequence[str] | None = None) -> str:
    """Twelve digits of a SHA-256 digest; a commit that changes only documentation leaves it as it is.

    Args:
        plugins: modules of users whose code counts too; None for those of the present command.
    Raises:
        InputError: a plugin is not found.
    """
    return _revision(tuple(sorted({*(_imported if plugins is None else plugins)})))


@cache
def _revision(plugins: tuple[str, ...]) -> str:
    sources = [path for path in sorted(_LIBRARY.rglob("*.py")) if _has_effect(path)]
    sources += [Path(__file__).with_name(name) for name in _COMMANDS]
    named = [(path.name, path) for path in sources]
    named += [source for module in plugins for source in _sources_of(module)]
    digest = hashlib.sha256()
    for name, path in named:
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _sources_of(module: str) -> Iterator[tuple[str, Path]]:
    """Name and path of each source file of a module, or of a package with all that it contains."""
    with explained(f"plugin {module} cannot be imported", ImportError, "is its folder on PYTHONPATH?"):
        spec = find_spec(module)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {module!r}")
    if spec.submodule_search_locations is None and spec.has_location and spec.origin:
        yield module, Path(spec.origin)
    for folder in map(Path, spec.submodule_search_locations or ()):
        for path in sorted(folder.rglob("*.py")):
            yield f"{module}/{path.relative_to(folder).as_posix()}", path


def _has_effect(path: Path) -> bool:
    return not path.relative_to(_LIBRARY).as_posix().startswith(_WITHOUT_EFFECT)
