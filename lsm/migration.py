"""Descriptions in checkpoints of older schemas, in the present one. Weights keep their names and need no migration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Options whose default has another meaning since schema 7, and what it was.
_FORMER_DEFAULTS: dict[str, dict[str, Any]] = {
    "lsm2": {"periodic": False, "supervision": 0.5},
    "fno": {"padding": 8},
    "ffno": {"padding": 8},
}

#: What the reader of Plasticity was in schema 1; it is an ordinary grid reader now.
_PLASTICITY = {
    "name": "grid",
    "inputs": ["die"],
    "targets": ["deformation"],
    "components": {"deformation": ["x", "y", "u_x", "u_y"]},
    "axes": ["x", "y", "time"],
}


def migrate(described: Mapping[str, Any]) -> dict[str, Any]:
    """The ``lsm`` entry of a checkpoint in the present schema.

    Args:
        described: the entry as it was written, schema 1 to 8.
    """
    described = dict(described)
    steps = (
        *(_from_schema_1, _from_schema_2, _from_schema_3, _from_schema_4),
        *(_from_schema_5, _from_schema_6, _from_schema_7),
    )
    for schema, migrate_once in enumerate(steps, start=1):
        if described["schema"] == schema:
            described = {**migrate_once(described), "schema": schema + 1}
    return described


def _from_schema_7(old: Mapping[str, Any]) -> Mapping[str, Any]:
    """In schema 7 the code of a cloud was not normalised."""
    if not old["spec"].get("code"):
        return old
    new, config = {**old, "solver": _without_code_statistics(old["solver"])}, old["run"].get("config") or {}
    if "data" in config:
        new["run"] = {**old["run"], "config": {**config, "data": _without_code_statistics(config["data"])}}
    return new


def _without_code_statistics(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {**owner, "normalization": {**(owner.get("normalization") or {}), "code": "none"}}


def _from_schema_6(old: Mapping[str, Any]) -> Mapping[str, Any]:
    """In schema 6 fields were periodic for a model that was told so, and LSM-2 predicted at every scale."""
    for option, value in _FORMER_DEFAULTS.get(_family(old), {}).items():
        old = _with_option(old, option, value)
    return old


def _from_schema_5(old: Mapping[str, Any]) -> Mapping[str, Any]:
    """In schema 5 every roll-out was taken as periodic in space. Own data are if their model is, which the user said."""
    if old["spec"].get("frames") is None:
        return old
    provenance, model = (old.get("data") or {}).get("provenance") or {}, old["solver"]["model"]
    options = {} if isinstance(model, str) else model
    if provenance.get("source") == "file":
        periodic = options.get("periodic") is True or options.get("padding") == 0
        return {**old, "spec": {**old["spec"], "periodic": periodic}}
    new, config = {**old, "spec": {**old["spec"], "periodic": True}}, old["run"].get("config") or {}
    if benchmark := config.get("benchmark"):
        benchmark = {**benchmark, "reader": {**benchmark["reader"], "periodic": True}}
        new["run"] = {**old["run"], "config": {**config, "benchmark": benchmark}}
    return new


def _from_schema_4(old: Mapping[str, Any]) -> Mapping[str, Any]:
    """In schema 4 LSM-2 had spectral blocks on the points of every cloud."""
    fits = _family(old) == "lsm2" and old["spec"].get("geometry") == "points"
    return _with_option(old, "point_blocks", True) if fits else old


def _from_schema_3(old: Mapping[str, Any]) -> Mapping[str, Any]:
    """In schema 3 Transolver and FLARE knew no coordinates on the lattice of a mesh."""
    fits = _family(old) in ("transolver", "flare") and old["spec"].get("geometry") == "mesh"
    return _with_option(old, "lattice_coordinates", False) if fits else old


def _from_schema_2(old: Mapping[str, Any]) -> Mapping[str, Any]:
    """In schema 2 LSM-2 predicted every roll-out as changes from the last frame."""
    fits = _family(old) == "lsm2" and old["spec"].get("frames") is not None
    return _with_option(old, "predict_change", True) if fits else old


def _family(described: Mapping[str, Any]) -> str:
    model = described["solver"]["model"]
    return model if isinstance(model, str) else model["name"]


def _with_option(old: Mapping[str, Any], option: str, value: Any) -> Mapping[str, Any]:
    """With an option of the model that is not given, in the solver and in the run's configuration if it has one."""
    model, config = old["solver"]["model"], old["run"].get("config")
    model = {"name": model} if isinstance(model, str) else model
    new = {**old, "solver": {**old["solver"], "model": {option: value, **model}}}
    if config:
        new["run"] = {**old["run"], "config": {**config, "model": {option: value, **config["model"]}}}
    return new


def _from_schema_1(old: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "solver": {"model": _model(old["config"]["model"]), "normalization": _normalization(old["config"])},
        "spec": _spec(old["spec"]),
        # Schema 1 did not keep the options that the user typed, from which a resumed run is composed.
        "run": {"config": _config(old["run"]), "overrides": None, "choices": dict(old["run"].get("choices", {}))},
        "data": dict(old.get("data", {})),
    }


def _normalization(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 took the coordinates of a point cloud as they were."""
    return {**old["normalization"], "coords": "none"}


def _model(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 knew one family, whose trunk was a part of its own and whose projection was named."""
    projection = {name: value for name, value in old["projection"].items() if name != "name" and value is not None}
    return {
        "name": "lsm",
        "width": old["width"],
        "patch": list(old["patch"]),
        "num_scales": old["trunk"].get("num_scales", 5),
        "block": dict(old["block"]),
        "projection": projection,
    }


def _spec(old: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 had a channel ``FIELD at frame N`` for each frame of a roll-out, and facts for pictures in between."""
    inputs, targets, frames = old["inputs"], old["targets"], None
    if old["autoregressive"]:
        frames = {"inputs": len(inputs), "targets": len(targets)}
        field = {**targets[0], "name": targets[0]["name"].partition(" at frame ")[0]}
        inputs = targets = [field]
    kept = {name: old[name] for name in ("geometry", "sites", "axes", "code", "mask")}
    return {**kept, "inputs": inputs, "targets": targets, "parameters": [], "frames": frames, "space": 2}


def _config(old: Mapping[str, Any]) -> dict[str, Any]:
    """What evaluation and pictures read of a run's configuration."""
    if not old:
        return {}
    benchmark = old["benchmark"]
    return {
        "benchmark": {"name": benchmark["name"], "reader": _reader(benchmark["reader"]), "symmetries": []},
        "preset": old["preset"],
        "seed": old["seed"],
        "data": {"num_workers": 0, "in_memory": None, "on_device": False, **old["data"]},
        "metrics": ["relative_l2"],
    }


def _reader(old: Mapping[str, Any]) -> dict[str, Any]:
    if old["name"] == "plasticity":
        return _PLASTICITY
    reader = {name: value for name, value in old.items() if name != "window"}
    if old["name"] == "frames":
        reader["targets"] = [reader.pop("field")]
    return reader
