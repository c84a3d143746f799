"""A trained or untrained neural solver: physical fields in, physical fields out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lsm.data.normalize import Normalizer
from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.model.build import build_model
from lsm.rollout import rollout


class NeuralSolver(nn.Module):
    """A model between the normalisers of its inputs and targets.

    Args:
        config: plain description of the solver: ``model`` (see :func:`lsm.model.build.build_model`) and ``normalization``
            (``inputs`` and ``targets``, see :class:`lsm.data.normalize.Normalizer`).
        spec: the fields.
    """

    def __init__(self, config: Mapping[str, Any], spec: FieldSpec) -> None:
        super().__init__()
        self.config = {"model": config["model"], "normalization": config["normalization"]}
        self.spec = spec
        self.model = build_model(config["model"], spec)
        kinds = config["normalization"]
        self.input_normalizer = Normalizer(kinds["inputs"], spec.sites, spec.in_channels)
        # Frames of a roll-out go back in as inputs: they are one field with one scale.
        self.target_normalizer = Normalizer(kinds["targets"], spec.sites, spec.out_channels)

    def fit_normalizers(self, batches: Callable[[], Iterable[FieldBatch]]) -> None:
        """Measure the statistics of inputs and targets.

        Args:
            batches: gives, each time it is called, every training sample once.
        """
        self.input_normalizer.fit(batch.inputs for batch in batches())
        self.target_normalizer.fit(self._model_outputs(batch.targets) for batch in batches())

    def _model_outputs(self, targets: Tensor) -> Tensor:
        """Targets as single calls of the model give them: the frames of a roll-out become samples of one channel."""
        return targets.movedim(-1, 1).flatten(0, 1).unsqueeze(-1) if self.spec.autoregressive else targets

    def step(self, inputs: Tensor, coords: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """One call of the model in physical units: ``(b, *sites, c_in)`` to ``(b, *sites, out_channels)``."""
        outputs = self.target_normalizer.decode(self.model(self.input_normalizer.encode(inputs), coords, code))
        return outputs if self.spec.mask is None else outputs * inputs[..., self.spec.mask, None]

    def forward(self, batch: FieldBatch) -> Tensor:
        """Predict all target channels, ``(b, *sites, c_out)``, in physical units; the batch's targets are not looked at."""
        return self._solve(batch.inputs, batch.coords, batch.code)

    def _solve(self, inputs: Tensor, coords: Tensor | None, code: Tensor | None) -> Tensor:
        if not self.spec.autoregressive:
            return self.step(inputs, coords, code)
        frames = rollout(lambda window: self.step(window, coords, code), inputs, num_steps=len(self.spec.targets))
        return torch.cat(list(frames), dim=-1)

    @torch.inference_mode()
    def predict(self, inputs: Any, coords: Any = None, code: Any = None) -> np.ndarray:
        """Predict the fields of one sample or of several from arrays, without gradients.

        Args:
            inputs: ``([b,] *sites, c_in)``, in physical units; an array or tensor of any type, on any device.
            coords: ``([b,] *sites, d)``, where the sites lie, for meshes and point clouds.
            code: ``([b,] k)``, the shape code, for solvers that take one.
        Returns:
            ``([b,] *sites, c_out)``, in physical units; ``float32`` as the solver's parameters.
        Raises:
            InputError: an array is missing, or has other axes or channels than the solver was made for.
        """
        like = next(parameter for parameter in self.parameters() if parameter.is_floating_point())
        tensors = [None if given is None else torch.as_tensor(given).to(like) for given in (inputs, coords, code)]
        alone = tensors[0] is not None and tensors[0].dim() == len(self.spec.sites) + 1
        batch = [tensor[None] if alone and tensor is not None else tensor for tensor in tensors]
        fields = self._solve(*self._checked(*batch)).cpu().numpy()
        return fields[0] if alone else fields

    def _checked(self, *batch: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Inputs, coordinates and code of several samples; what this solver takes none of is left out."""
        spec, sites = self.spec, ["sites"] * len(self.spec.sites)
        coords = [*sites, spec.space_dim] if spec.geometry != "grid" else None
        expected = {"inputs": [*sites, spec.in_channels], "coords": coords, "code": [spec.code] if spec.code else None}
        checked: list[Any] = []
        for (name, axes), tensor in zip(expected.items(), batch, strict=True):
            if axes is not None and (tensor is None or tensor.dim() != len(axes) + 1 or tensor.shape[-1] != axes[-1]):
                found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
                one = ", ".join(map(str, axes))
                raise InputError(
                    f"{name}: expected ({one}) of one sample or (samples, {one}) of several, they are {found}"
                )
            checked.append(None if axes is None else tensor)
        return checked[0], checked[1], checked[2]


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of the batch at hand, and leave their running ones as they are.

    The published Navier-Stokes script evaluates in this way by never leaving training mode; this exists to measure the effect.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, training, tracking in before:
            norm.training, norm.track_running_stats = training, tracking
