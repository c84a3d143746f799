"""Weights trained with the public reference code (thuml/Latent-Spectral-Models) -> weights of this model.

Owns the names of the reference's state dicts, as they are stored; shares none of its code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lsm.errors import InputError
from lsm.model.latent_spectral.model import LatentSpectralModel

# Patterns of reference names -> names here.
_GRID = {
    r"fc0\.(weight|bias)": r"projection.lift.\1",
    r"inc\.double_conv\.(.+)": r"trunk.down.0.\1",
    r"outc\.conv\.(weight|bias)": r"trunk.mix.\1",
    r"fc1\.(weight|bias)": r"head.0.\1",
    r"fc2\.(weight|bias)": r"head.2.\1",
    r"fftproject_(in|out)\.weights1": r"projection.weights_\1.nonnegative",
    r"fftproject_(in|out)\.weights2": r"projection.weights_\1.negative",
    r"convproject_in\.(weight|bias)": r"projection.grid_bias.\1",
    r"convproject_out\.(weight|bias)": r"projection.point_bias.\1",
}
_DEFORMATION = {
    r"fc0\.(weight|bias)": r"projection.deformation.position.\1",
    r"fc_code\.(weight|bias)": r"projection.deformation.code.\1",
    r"fc_no_code\.(weight|bias)": r"projection.deformation.no_code.\1",
    r"fc4\.(weight|bias)": r"projection.deformation.out.\1",
}
_BLOCK = {
    "weights": "spectral.weights",
    "latent": "tokens",
    "encoder_attn.weight": "to_kv.weight",
    "encoder_attn.bias": "to_kv.bias",
    "decoder_attn.weight": "to_q.weight",
    "decoder_attn.bias": "to_q.bias",
}


def import_state(
    model: nn.Module, state: Mapping[str, Tensor], deformation: Mapping[str, Tensor] | None = None
) -> None:
    """Load reference weights into a model.

    Args:
        model: a Latent Spectral Model of the same sizes.
        state: the reference network's state dict; 1x1 convolutions ``(out, in, 1)`` become linear layers ``(out, in)``.
        deformation: for point clouds, the state dict of the reference's deformation network.
    Raises:
        InputError: the model is of another family, or names or sizes do not fit it; the message says which.
    """
    if not isinstance(model, LatentSpectralModel):
        raise InputError(f"the reference's weights are those of a Latent Spectral Model, not of {type(model).__name__}")
    num_scales = len(model.trunk.down)
    renamed = {_rename(name, num_scales): value for name, value in state.items()}
    renamed |= {_rename_deformation(name): value for name, value in (deformation or {}).items()}
    expected = model.state_dict()
    if "projection.deformation.code.weight" in expected:
        # The reference's deformation has a layer for samples without a code beside the one for samples with it.
        renamed = {name: value for name, value in renamed.items() if ".no_code." not in name}
    elif "projection.deformation.no_code.weight" in expected:
        renamed = {name: value for name, value in renamed.items() if ".deformation.code." not in name}
    if problem := _find_problem(renamed, expected):
        raise InputError(*problem)
    model.load_state_dict({name: value.reshape(expected[name].shape) for name, value in renamed.items()})


def _find_problem(renamed: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]] | None:
    """Why weights do not fit a model, and the arguments that matter; 1x1 convolutions may be linear layers there."""
    missing, unknown = sorted(set(expected) - set(renamed)), sorted(set(renamed) - set(expected))
    if missing or unknown:
        cloud = any("deformation" in name for name in missing)
        hint = "; a point cloud also needs its deformation network" if cloud else ""
        sentence = f"the weights do not fit this model: {_some(missing)} missing, {_some(unknown)} unknown{hint}"
        return sentence, ("deformation",) if cloud else ()
    for name, value in renamed.items():
        found, wanted = value.shape, expected[name].shape
        if found != wanted and value.squeeze().shape != expected[name].squeeze().shape:
            sentence = (
                f"{name} has shape {tuple(found)} in the file, {tuple(wanted)} in the model; check width and patch"
            )
            return sentence, ("width", "patch")
    return None


def _rename(name: str, num_scales: int) -> str:
    if match := re.fullmatch(r"process(\d+)\.(.+)", name):
        return f"trunk.blocks.{int(match[1]) - 1}.{_BLOCK.get(match[2], match[2])}"
    if match := re.fullmatch(r"down(\d+)\.maxpool_conv\.1\.double_conv\.(.+)", name):
        return f"trunk.down.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"up(\d+)\.conv\.double_conv\.(.+)", name):
        return f"trunk.up.{num_scales - 1 - int(match[1])}.{match[2]}"
    return _by_table(name, _GRID)


def _rename_deformation(name: str) -> str:
    if match := re.fullmatch(r"fc([123])\.(weight|bias)", name):
        return f"projection.deformation.hidden.{int(match[1]) - 1}.{match[2]}"
    return _by_table(name, _DEFORMATION)


def _by_table(name: str, table: Mapping[str, str]) -> str:
    for pattern, replacement in table.items():
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "none"


def only_state(content: object, where: str) -> dict[str, Tensor]:
    """Check that a file held nothing but a state dict.

    Raises:
        InputError: it held something else.
    """
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(
            f"{where} holds no state dict; save the reference's weights with torch.save(model.state_dict(), FILE)"
        )
    return {str(name): torch.as_tensor(value) for name, value in content.items()}
