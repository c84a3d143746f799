"""A trained or untrained neural solver: physical fields in, physical fields out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lsm.data.normalize import Normalizer
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
        if not self.spec.autoregressive:
            return self.step(batch.inputs, batch.coords, batch.code)
        frames = rollout(
            lambda window: self.step(window, batch.coords, batch.code), batch.inputs, num_steps=len(self.spec.targets)
        )
        return torch.cat(list(frames), dim=-1)


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
