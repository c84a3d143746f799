"""Compositions that the tests share are those that Hydra would make."""

from __future__ import annotations

import hydra
from composition import compose_anew, compose_once
from omegaconf import OmegaConf

from experiments.app import config_dir


def options_of(number: int) -> list[str]:
    return ["benchmark=darcy", f"data.path=/data/{number}.h5", f"run_dir=/runs/{number}", "model.width=8"]


def test_a_shared_composition_with_other_paths_equals_a_new_one():
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(config_dir())):
        compose_once("train", options_of(1), return_hydra_config=True)
        shared = compose_once("train", options_of(2), return_hydra_config=True)
        new = compose_anew("train", options_of(2), return_hydra_config=True)
    for cfg in (shared, new):
        cfg.hydra.job.override_dirname = ""  # names folders of sweeps only
    assert shared.data.path == "/data/2.h5"
    assert OmegaConf.to_container(shared) == OmegaConf.to_container(new)


def test_files_of_a_test_are_read_again(tmp_path):
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(tmp_path)):
        for value in (1, 2):
            (tmp_path / "numbers.yaml").write_text(f"value: {value}\n")
            assert compose_once("numbers", []).value == value
