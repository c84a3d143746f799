"""Folders of runs, and the resolvers by which the configuration names them."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lsm.errors import InputError

_LONGEST_NAME = 255


def run_of(checkpoint: str | Path) -> Path:
    """Folder of the run to which a checkpoint, or the folder itself, belongs."""
    path = Path(checkpoint)
    if not path.is_file() and path.suffix != ".ckpt":
        return path
    return path.parent.parent if path.parent.name == "checkpoints" else path.parent


def from_here(path: Path) -> Path:
    """The shorter name of a path in the present folder."""
    here = Path.cwd().resolve()
    return path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path


def find_checkpoint(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint that ``resume`` names; None to start from the beginning.

    Args:
        resume: a checkpoint, a run's folder, "auto" (the run in ``folder``, if it has a checkpoint) or None.
        folder: this run's folder.
    Raises:
        FileNotFoundError: what ``resume`` names has no checkpoint.
    """
    if resume is None:
        return None
    last = folder / "checkpoints" / "last.ckpt"
    if resume == "auto":
        return last if last.is_file() else None
    path = Path(resume)
    path = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; resume= takes a checkpoint, or a run's folder that has one")
    return path


def find_checkpoints(checkpoint: str | Sequence[str]) -> list[Path]:
    """The checkpoints that an option names: one, a list, or all that a pattern such as ``runs/seed*`` matches, each once.

    Raises:
        FileNotFoundError: a pattern matches neither a checkpoint nor a folder that has one.
        InputError: the list is empty.
    """
    names = [checkpoint] if isinstance(checkpoint, str) else list(checkpoint)
    if not names:
        raise InputError("checkpoint=[] names no checkpoint; give one, a list, or a pattern")
    return list(dict.fromkeys(path for name in names for path in _matches(str(name))))


def _matches(name: str) -> list[Path]:
    if Path(name).exists() or not glob.has_magic(name):
        return [Path(name)]
    found = [path for path in map(Path, sorted(glob.glob(name))) if _has_checkpoint(path)]
    if not found:
        raise FileNotFoundError(f"{name} matches neither a checkpoint nor the folder of a run")
    return found


def _has_checkpoint(path: Path) -> bool:
    return path.suffix == ".ckpt" or (path / "checkpoints").is_dir() or (path / "config.json").is_file()


def labels_of(checkpoints: Sequence[Path]) -> list[str]:
    """A short name for each of several checkpoints: of its run's folder what others do not share, and the file if not the best.

    Of folders of a sweep, such as ``benchmark=darcy,model=fno``, the options that all runs share are left out.

    Raises:
        InputError: two are the same.
    """
    return _labels(checkpoints, _without_shared_options(_without_shared_end(_parts_of_runs(checkpoints))))


def _parts_of_runs(checkpoints: Sequence[Path]) -> list[tuple[str, ...]]:
    """The folders of the runs below the folder that all share."""
    shared = _shared_folder(checkpoints)
    return [run_of(path).resolve().relative_to(shared).parts for path in checkpoints]


def _without_shared_end(paths: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Paths without the last folders if these are the same of all, such as ``seed0`` of ``lsm/seed0`` and ``fno/seed0``."""
    while len(paths) > 1 and min(map(len, paths)) > 1 and len({path[-1] for path in paths}) == 1:
        paths = [path[:-1] for path in paths]
    return paths


def _without_shared_options(runs: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Folders without the options that all runs have; as they are where nothing would be left, or runs would be confused."""
    shared = set.intersection(*({option for folder in run for option in _options_of(folder)} for run in runs))
    short = [
        tuple(",".join(part for part in _options_of(folder) if part not in shared) or folder for folder in run)
        for run in runs
    ]
    return short if len(set(short)) == len(set(runs)) else runs


def _options_of(folder: str) -> list[str]:
    """The options ``KEY=VALUE`` in the name of a sweep's folder, none in another name; commas in brackets belong to values."""
    return re.split(r",(?=[^,=()\[\]{}]+=)", folder) if "=" in folder else []


def _labels(checkpoints: Sequence[Path], runs: Sequence[tuple[str, ...]]) -> list[str]:
    stems = [path.stem if path.suffix == ".ckpt" else "best" for path in checkpoints]
    labels = [
        "/".join([*run, *([stem] if stem != "best" or not run else [])]) for run, stem in zip(runs, stems, strict=True)
    ]
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise InputError(f"checkpoint {twice[0]} is given twice; name each once")
    return labels


def _shared_folder(checkpoints: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([run_of(path).resolve() for path in checkpoints]))


def _results_folder(checkpoint: str | Sequence[str], kind: str) -> str:
    """Where results of one checkpoint go: ``RUN/KIND``; of several: ``comparison/A+B`` in the folder that their runs share."""
    paths = find_checkpoints(checkpoint)
    if len(paths) == 1:
        return str(run_of(paths[0]) / kind)
    return str(_shared_folder(paths) / "comparison" / _folder_name("+".join(_labels(paths, _parts_of_runs(paths)))))


def _profile_folder(checkpoint: str | None, default: str) -> str:
    return default if checkpoint is None else _results_folder(checkpoint, "profile")


def ensemble_folder(checkpoint: str | Sequence[str]) -> Path:
    """Where what belongs to several checkpoints together lies: ``comparison/A+B`` in the folder that their runs share."""
    return Path(_results_folder(checkpoint, "comparison"))


def require_place(name: str, place: Any) -> None:
    """Refuse a path that an unset shell variable left empty, which would be the root folder, and an unexpanded ``~``.

    Raises:
        InputError: the path is one of these.
    """
    if place == "" or str(place).startswith("~"):
        variable = " or LSM_DATA_DIR" if name == "data_dir" else ""
        hint = f"is a shell variable{variable} empty, or was ~ quoted?"
        raise InputError(f"{name}={place} is not a usable path; write it out in full ({hint})")


def _run_folder(resume: Any, default: str) -> str:
    return default if resume in (None, "auto") else str(run_of(resume))


def _checked_folder(folder: str, resume: Any) -> str:
    """The folder, checked together with ``resume``, since Hydra creates the folder before a command runs."""
    require_place("run_dir", folder)
    find_checkpoint(resume, Path(folder))
    return folder


def _variant(checkpoint: str | Sequence[str], store: str | None, resolution: Any, transforms: Any) -> str:
    """What distinguishes an evaluation from that of the run's best checkpoint on its own data and grid."""
    paths = find_checkpoints(checkpoint)
    stem = "best" if len(paths) > 1 or paths[0].is_dir() else paths[0].stem
    name = "" if stem == "best" else f"_{stem}"
    name += f"_{Path(store).stem}" if store else ""
    sites = resolution if OmegaConf.is_list(resolution) else [] if resolution is None else [resolution]
    return name + "".join(f"_{part}" for part in [*sites, *(transforms or [])])


def _folder_name(options: str) -> str:
    """Options as the name of one folder, which contains no slash and at most 255 bytes."""
    name = options.replace("/", "_")
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name if len(name.encode()) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 4]}_{digest}"


def data_name(file: str | None) -> str:
    """What own data are called: as their file, or the folder of a pattern of files, without characters that need quoting."""
    names = [Path(file).stem, Path(file).parent.name] if file else []
    quoted = (re.sub(r"[^\w-]", "_", name).strip("_") for name in names)
    return next(filter(None, quoted), "custom")


def register_resolvers() -> None:
    """Make the resolvers known to OmegaConf."""
    resolvers = {
        "lsm.results_folder": _results_folder,
        "lsm.profile_folder": _profile_folder,
        "lsm.run_folder": _run_folder,
        "lsm.checked_folder": _checked_folder,
        "lsm.variant": _variant,
        "lsm.folder_name": _folder_name,
        "lsm.data_name": data_name,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
