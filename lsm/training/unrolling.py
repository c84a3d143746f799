"""What a training step predicts of a roll-out, by name in :data:`UNROLLINGS`: frames fed back, or from true frames.

An unrolling maps a solver, a batch, the share of the training that is done when this epoch ends and a generator of random numbers
to predictions at the scales of the model, ``(b, *sites_s, c_out)`` in physical units, finest first. Fields at rest are predicted
by one call. One that predicts from true frames has a method ``feeds_back``, which says at which share it no longer does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from annotated_types import Ge
from einops import rearrange
from torch import Tensor

from lsm.device import generator_on
from lsm.fields import FieldBatch
from lsm.model.batch_norm import batch_norms
from lsm.registry import Registry, Share
from lsm.solver import NeuralSolver

Unrolling = Callable[[NeuralSolver, FieldBatch, float, torch.Generator], list[Tensor]]
"""Maps a solver, a batch ``(b, *sites, c)``, the share of the training that is done when this epoch ends and random numbers to
predictions ``(b, *sites_s, c)`` at the scales of the model."""

UNROLLINGS: Registry = Registry("unrolling")

#: Shares of a training that differ by less are equal.
_ROUNDING = 1e-9


@UNROLLINGS.register("fed_back")
class FedBack:
    """Every frame ``(b, *sites, c)`` is predicted from predicted ones, as in evaluation; gradients flow through all steps."""

    def __call__(self, solver: NeuralSolver, batch: FieldBatch, done: float, random: torch.Generator) -> list[Tensor]:
        """Predictions at the model's scales."""
        return solver.at_scales(batch)


@UNROLLINGS.register("teacher_forcing")
class TeacherForcing:
    """Every frame ``(b, *sites, c)`` is predicted from true ones, with noise on them; the last part of a training is fed back.

    The frames of a sample are independent calls of the model in one batch. Normal noise stands for the errors of frames that
    are fed back in a prediction.

    While frames are fed back, batch norms use the running statistics of the true frames and leave them as they are: the
    statistics of a batch differ from step to step of a roll-out, and a prediction does not use them.

    Args:
        finish: share of the training, at its end, in which frames are fed back; the epoch in which it begins counts as a whole.
        noise: std of the noise, as a multiple of the normaliser's std of each channel.
    """

    def __init__(self, *, finish: Share = 0.1, noise: Annotated[float, Ge(0)] = 0.0) -> None:
        self.finish, self.noise = finish, noise

    def feeds_back(self, done: float) -> bool:
        """Whether predicted frames are fed back in an epoch at whose end this share of the training is done."""
        return self.finish == 1 or done > 1 - self.finish + _ROUNDING

    def __call__(self, solver: NeuralSolver, batch: FieldBatch, done: float, random: torch.Generator) -> list[Tensor]:
        """Predictions at the model's scales."""
        if solver.spec.frames is None:
            return solver.at_scales(batch)
        if self.feeds_back(done):
            if self.finish < 1:  # else no true frames came before
                for norm in batch_norms(solver):
                    norm.eval()
            return solver.at_scales(batch)
        count = solver.spec.frames.targets
        windows = true_windows(batch, count)
        if self.noise:
            draw = torch.randn(
                windows.shape,
                generator=generator_on(windows.device, random),
                dtype=windows.dtype,
                device=windows.device,
            )
            windows = windows + self.noise * solver.input_normalizer.deviation * draw
        # Each sample's code and parameters go with all of its windows.
        rest = batch.map(lambda tensor: tensor.repeat_interleave(count, dim=0))
        scales = solver.step_at_scales(windows, rest.coords, rest.code, rest.parameters, rest.mask)
        return [rearrange(frames, "(b t) ... c -> b ... (t c)", t=count) for frames in scales]


def true_windows(batch: FieldBatch, count: int) -> Tensor:
    """The true frames before each target frame.

    Args:
        batch: samples of a roll-out, ``(b, *sites, c)``; channels are ordered by frame, then by field.
        count: number of target frames ``t``.
    Returns:
        ``(b * t, *sites, c_in)``, the windows of a sample one after the other.
    """
    frames = torch.cat([batch.inputs, batch.targets], dim=-1)
    step = batch.targets.shape[-1] // count
    windows = frames.unfold(-1, batch.inputs.shape[-1], step)[..., :count, :]
    return rearrange(windows, "b ... t c -> (b t) ... c")
