"""Hydra's compositions of ``conf/``, each computed once, and its files, each read once: a composition takes longer than a short
training, and tests repeat them."""

from __future__ import annotations

import pickle
import re
from typing import Any

import hydra
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from experiments.app import config_dir

#: Options that hold a path. Nothing is composed by their value: others refer to them, which is resolved on reading.
_PLACES = frozenset(("data.path", "data_dir", "run_dir", "store", "checkpoint", "resume", "input", "output"))

compose_anew = hydra.compose
_known: dict[tuple[Any, ...], bytes] = {}

load_anew = ConfigRepository.load_config
_files: dict[tuple[str, str], bytes] = {}


def compose_once(name: str, overrides: list[str], return_hydra_config: bool = False) -> DictConfig:
    """As ``hydra.compose``; of calls that differ in absolute paths only, the first one is composed and the others set theirs."""
    if not _is_unchanging():
        return compose_anew(name, overrides, return_hydra_config)
    options = [re.fullmatch(r"([\w.]+)=(/[\w/.-]+)", option) for option in overrides]
    places = {found[1]: found[2] for found in options if found and found[1] in _PLACES}
    others = (
        found[1] if found and found[1] in places else text for found, text in zip(options, overrides, strict=True)
    )
    call = (name, return_hydra_config, *others)
    if call not in _known:
        _known[call] = pickle.dumps(compose_anew(name, overrides, return_hydra_config))
    cfg: DictConfig = pickle.loads(_known[call])
    for key, path in places.items():
        OmegaConf.update(cfg, key, path)
    if return_hydra_config:
        cfg.hydra.overrides.task = list(overrides)
    return cfg


def load_once(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
    """As Hydra's ``ConfigRepository.load_config``; of those files that do not change, each is read and parsed once."""
    source = repository._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or not _changes_never(source.provider, source.path):
        return load_anew(repository, config_path)
    file = (source.path, config_path)
    if file not in _files:
        _files[file] = pickle.dumps(load_anew(repository, config_path))
    loaded: ConfigResult = pickle.loads(_files[file])
    return loaded


def _is_unchanging() -> bool:
    search_path = GlobalHydra.instance().config_loader().get_search_path().get_path()
    return all(_changes_never(item.provider, item.path) for item in search_path)


def _changes_never(provider: str | None, path: str | None) -> bool:
    """Whether files come from ``conf/`` of this checkout or from Hydra; those that a test writes may change."""
    return provider in ("hydra", "schema") or path in (f"file://{config_dir()}", str(config_dir()))
