"""Hydra's compositions of ``conf/``, each computed once: one takes longer than a short training, and tests repeat them."""

from __future__ import annotations

import pickle
import re
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from experiments.app import config_dir

#: Options that hold a path. Nothing is composed by their value: others refer to them, which is resolved on reading.
_PLACES = frozenset(("data.path", "data_dir", "run_dir", "store", "checkpoint", "resume", "input", "output"))

compose_anew = hydra.compose
_known: dict[tuple[Any, ...], bytes] = {}


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


def _is_unchanging() -> bool:
    """Whether all files come from ``conf/`` of this checkout or from Hydra; those that a test writes may change."""
    search_path = GlobalHydra.instance().config_loader().get_search_path().get_path()
    paths = {item.path for item in search_path if item.provider not in ("hydra", "schema")}
    return paths <= {f"file://{config_dir()}", str(config_dir())}
