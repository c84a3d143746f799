"""A trained or untrained neural solver: physical fields in, physical fields out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from lsm.data.normalize import (
    BoundingBox,
    CodeNormalization,
    CoordinateNormalization,
    Normalization,
    Normalizer,
    RangeMeter,
    Ranges,
)
from lsm.device import named_device
from lsm.errors import InputError, option_group
from lsm.fields import FieldBatch, FieldSpec, every_site
from lsm.given_arrays import as_samples
from lsm.model import MODELS, MultiscaleModel, require_ragged
from lsm.model.batch_norm import evaluation_mode
from lsm.registry import Count, check_options, check_value
from lsm.resize import through_training_grid
from lsm.rollout import rollout


class Normalizers(NamedTuple):
    """Normalisers of a solver's inputs, targets, scalar parameters, and of the coordinates and the code of a point cloud."""

    inputs: Normalizer
    targets: Normalizer
    parameters: Normalizer | None = None
    coords: BoundingBox | None = None
    code: Normalizer | None = None

    @classmethod
    def for_spec(
        cls,
        spec: FieldSpec,
        inputs: Normalization = "channel",
        targets: Normalization = "channel",
        coords: CoordinateNormalization = "box",
        code: CodeNormalization = "channel",
    ) -> Normalizers:
        """Normalisers of these kinds for fields ``(b, *sites, c)``, not yet fitted; parameters are normalised one by one.

        All frames of a roll-out, inputs and targets, share one mean and deviation of each field, since predicted frames return
        as inputs.
        """
        boxed = coords == "box" and spec.geometry == "points"
        return cls(
            Normalizer(inputs, spec.sites, spec.input_channels),
            Normalizer(targets, spec.sites, spec.out_channels),
            Normalizer("channel", (), len(spec.parameters)) if spec.parameters else None,
            BoundingBox(spec.space) if boxed else None,
            Normalizer("channel", (), spec.code) if spec.code and code == "channel" else None,
        )


class NeuralSolver(nn.Module):
    """A model between the normalisers of its inputs and targets.

    It maps physical fields ``(b, *sites, c_in)`` to physical fields ``(b, *sites, c_out)``; the model inside sees neither units
    nor time.

    Args:
        model: any model that follows :class:`lsm.model.Model`.
        normalizers: of inputs, targets and parameters.
        spec: the fields.
        config: the plain description from which :func:`build_solver` makes the same solver, kept in checkpoints.
    Attributes:
        ranges: smallest and largest value of each channel of the training samples' ``inputs``, ``parameters`` and ``code``; empty
            if not known.

    Example:
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (32, 32), ("x", "y"), (Channel("permeability"),), (Channel("pressure", "Pa"),))
        >>> solver = build_solver({"model": {"name": "unet", "width": 8}}, spec)
        >>> solver.predict(np.ones((5, 32, 32, 1))).shape
        (5, 32, 32, 1)
    """

    def __init__(
        self, model: nn.Module, normalizers: Normalizers, spec: FieldSpec, config: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.model, self.spec, self.config = model, spec, dict(config or {})
        self.input_normalizer, self.target_normalizer = normalizers.inputs, normalizers.targets
        self.parameter_normalizer, self.coordinate_normalizer = normalizers.parameters, normalizers.coords
        self.code_normalizer = normalizers.code
        self.ranges: Ranges = {}

    def fit_normalizers(self, batches: Callable[[], Iterable[FieldBatch]]) -> None:
        """Compute the statistics of inputs, targets, parameters, coordinates and codes, and the ranges of what is given.

        Args:
            batches: returns, each time it is called, every training sample once, in batches ``(b, *sites, c)``.
        Raises:
            InputError: there are fewer than two samples, or a value is not finite.
        """
        inputs = RangeMeter(batch.real(batch.inputs) for batch in batches())
        if self.spec.frames is None:
            self.input_normalizer.fit(inputs)
            self.target_normalizer.fit(batch.real(batch.targets) for batch in batches())
        else:
            self.input_normalizer.fit(self._frames(batches()))
            self.target_normalizer.fit(self._frames(batches()))
        self.ranges = {"inputs": inputs.finish()}
        if self.parameter_normalizer is not None:
            scalars = RangeMeter(batch.parameters for batch in batches() if batch.parameters is not None)
            self.parameter_normalizer.fit(scalars)
            self.ranges["parameters"] = scalars.finish()
        if self.coordinate_normalizer is not None:
            self.coordinate_normalizer.fit(batch.real(batch.coords) for batch in batches() if batch.coords is not None)
        if self.spec.code:
            codes = RangeMeter(batch.code for batch in batches() if batch.code is not None)
            if self.code_normalizer is not None:
                self.code_normalizer.fit(codes)
            self.ranges["code"] = codes.finish()

    def _frames(self, batches: Iterable[FieldBatch]) -> Iterator[Tensor]:
        """All frames of a roll-out as samples ``(b t, *sites, c)``: those that it starts from and those that it predicts."""
        for batch in batches:
            for fields in (batch.inputs, batch.targets):
                yield rearrange(batch.real(fields), "b ... (t c) -> (b t) ... c", c=self.spec.out_channels)

    def encode(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        parameters: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What one call of the model receives.

        Args:
            inputs: ``(b, *sites, c_in)``, in physical units.
            coords: ``(b, *sites, d)``, in physical units.
            code: ``(b, k)``, in physical units.
            parameters: ``(b, p)``, in physical units.
        Returns:
            Normalised inputs and parameters, ``(b, *sites, spec.in_channels)``, normalised coordinates, and normalised code.
        """
        if self.coordinate_normalizer is not None and coords is not None:
            coords = self.coordinate_normalizer.encode(coords)
        if self.code_normalizer is not None and code is not None:
            code = self.code_normalizer.encode(code)
        return self._features(inputs, parameters), coords, code

    def _features(self, inputs: Tensor, parameters: Tensor | None) -> Tensor:
        """Normalised inputs, and the normalised parameters as constant channels."""
        features = self.input_normalizer.encode(inputs)
        if self.parameter_normalizer is None or parameters is None:
            return features
        scalars = self.parameter_normalizer.encode(parameters)
        scalars = scalars.unflatten(0, (-1, *([1] * (inputs.dim() - 2))))
        return torch.cat([features, scalars.expand(*inputs.shape[:-1], -1)], dim=-1)

    def step(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        parameters: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """One call of the model in physical units: ``(b, *sites, c_in)`` to ``(b, *sites, out_channels)``."""
        return self._decoded(self._called(self.model, inputs, coords, code, parameters, mask), inputs, mask)

    def _called(
        self,
        function: Callable[..., Any],
        inputs: Tensor,
        coords: Tensor | None,
        code: Tensor | None,
        parameters: Tensor | None,
        mask: Tensor | None,
    ) -> Any:
        """What the model, or a method of it, returns; not every family takes the mask of ragged clouds."""
        encoded = self.encode(inputs, coords, code, parameters)
        if mask is None:
            return function(*encoded)
        require_ragged(self.model)
        return function(*encoded, mask=mask)

    def _decoded(self, outputs: Tensor, inputs: Tensor, mask: Tensor | None, stride: int = 1) -> Tensor:
        """Outputs of the model at every ``stride``-th site in physical units, and zero outside masks.

        Raises:
            InputError: the model gave outputs of other axes or channels.
        """
        if outputs.dim() != inputs.dim() or outputs.shape[-1] != self.spec.out_channels:
            raise InputError(
                f"{type(self.model).__name__} gave outputs of shape {tuple(outputs.shape)} for inputs of shape "
                f"{tuple(inputs.shape)}, expected {self.spec.out_channels} channels on the same sites"
            )
        outputs = self.target_normalizer.decode(outputs, stride)
        if mask is not None:
            outputs = outputs.masked_fill(~mask[:, ::stride, None], 0.0)
        if self.spec.mask is None:
            return outputs
        return outputs * every_site(inputs[..., self.spec.mask, None], stride)

    def step_at_scales(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        parameters: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> list[Tensor]:
        """One call of the model as :meth:`step`, at every scale at which it predicts.

        Returns:
            ``(b, *sites_s, out_channels)`` for each scale ``s``, finest first, at every ``2^s``-th site along each axis.
        """
        if not isinstance(self.model, MultiscaleModel):
            return [self.step(inputs, coords, code, parameters, mask)]
        scales = self._called(self.model.at_scales, inputs, coords, code, parameters, mask)
        return [self._decoded(outputs, inputs, mask, 2**scale) for scale, outputs in enumerate(scales)]

    def forward(self, batch: FieldBatch) -> Tensor:
        """Predict all target channels, ``(b, *sites, c_out)``, in physical units; the batch's targets are not read."""
        return self.solve(batch.inputs, *_beside_inputs(batch))

    def at_scales(self, batch: FieldBatch) -> list[Tensor]:
        """Predict as :meth:`forward`, ``(b, *sites_s, c_out)`` at every scale ``s`` of the model; see :meth:`step_at_scales`."""
        rest = _beside_inputs(batch)
        if self.spec.frames is None:
            return self.step_at_scales(batch.inputs, *rest)
        steps: list[list[Tensor]] = []

        def step(window: Tensor) -> Tensor:
            steps.append(self.step_at_scales(window, *rest))
            return steps[-1][0]

        for _ in rollout(step, batch.inputs, num_steps=self.spec.frames.targets):
            pass
        return [torch.cat(frames, dim=-1) for frames in zip(*steps, strict=True)]

    def solve(self, inputs: Tensor, *rest: Tensor | None) -> Tensor:
        """Predict as :meth:`forward` from tensors: inputs ``(b, *sites, c_in)``, coordinates, code, parameters, mask."""
        if self.spec.frames is None:
            return self.step(inputs, *rest)
        frames = rollout(lambda window: self.step(window, *rest), inputs, num_steps=self.spec.frames.targets)
        return torch.cat(list(frames), dim=-1)

    @torch.inference_mode()
    def predict(
        self,
        inputs: Any = None,
        coords: Any = None,
        code: Any = None,
        parameters: Any = None,
        mask: Any = None,
        *,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        training_grid: bool = False,
    ) -> np.ndarray:
        """Predict the fields of one sample or of several from arrays, in evaluation mode and without gradients.

        A solver in training mode is in training mode again afterwards.

        Args:
            inputs: ``([b,] *sites, c_in)``, in physical units; an array or tensor of any type, on any device. On meshes and point
                clouds the first ``d`` channels are the coordinates; inputs without them, or None if there are no others, are
                completed by ``coords``.
            coords: ``([b,] *sites, d)``, where the sites lie, for meshes and point clouds.
            code: ``([b,] k)``, the shape code, for solvers that take one.
            parameters: ``([b,] p)``, scalars of the sample, for solvers that take them; of one sample a number if ``p`` is 1.
            mask: ``([b,] n)``, True where a point of clouds with different numbers of points exists; the other points have no
                influence, and their prediction is zero.
            batch_size: samples to predict at once; all of them by default.
            device: where to compute, "auto" for the fastest device; the solver moves there. By default it stays where it is.
            training_grid: whether fields on another grid than that of the training are interpolated to it, and predictions back.
        Returns:
            ``([b,] *sites, c_out)``, in physical units; ``float32`` as the solver's parameters.
        Raises:
            InputError: an array is missing, empty, or has other axes, sites or channels than the solver was made for or than the
                others; the device is not there; the batch size is no whole number of at least 1; or ``training_grid`` is asked
                of a solver for point clouds.
        """
        check_value("batch_size", batch_size, Count | None)
        if device is not None:
            self.to(named_device(str(device)))
        given = {"inputs": inputs, "coords": coords, "code": code, "parameters": parameters, "mask": mask}
        tensors = {name: None if value is None else torch.as_tensor(value) for name, value in given.items()}
        samples, single = as_samples(tensors, self.spec)
        solve = self.solve_on_training_grid if training_grid else self.solve
        with evaluation_mode(self):
            fields = self._in_batches(solve, samples, batch_size)
        return fields[0] if single else fields

    def solve_on_training_grid(self, inputs: Tensor, coords: Tensor | None = None, *rest: Tensor | None) -> Tensor:
        """As :meth:`solve`; fields on other sites than those of the training are interpolated to these, and the prediction back.

        Raises:
            InputError: the sites are points without order.
        """
        return through_training_grid(lambda *fields: self.solve(*fields, *rest), inputs, (coords,), self.spec)

    def _in_batches(
        self, solve: Callable[..., Tensor], tensors: Sequence[Tensor | None], batch_size: int | None
    ) -> np.ndarray:
        like = next(parameter for parameter in self.parameters() if parameter.is_floating_point())

        def batches(tensor: Tensor | None) -> Iterable[Any]:
            return repeat(None) if tensor is None else tensor.split(batch_size or len(tensor))

        fields = []
        for inputs, *rest, mask in zip(*map(batches, tensors), strict=False):
            parts = [None if part is None else part.to(like) for part in rest]
            mask = None if mask is None else mask.to(like.device, torch.bool)
            fields.append(solve(inputs.to(like), *parts, mask).cpu())
        return torch.cat(fields).numpy()


def _beside_inputs(batch: FieldBatch) -> tuple[Tensor | None, ...]:
    """What a solver takes of a batch beside the inputs, in its order."""
    return batch.coords, batch.code, batch.parameters, batch.mask


def _normalization(
    *, inputs: Normalization, targets: Normalization, coords: CoordinateNormalization, code: CodeNormalization
) -> None:
    """Signature of a configuration's normalisation, for its check."""


def _require_channel_statistics(kinds: Mapping[str, Any]) -> None:
    if "site" in (kinds["inputs"], kinds["targets"]):
        raise InputError(
            "clouds with different numbers of points have no site in common; normalise by channel",
            options=("normalization",),
        )


def build_solver(config: Mapping[str, Any], spec: FieldSpec) -> NeuralSolver:
    """An untrained solver of fields ``(b, *sites, c)`` from plain data, as a configuration or a checkpoint holds them.

    Args:
        config: ``model``, a name of :data:`lsm.model.MODELS` and the family's options, and ``normalization``, the kinds of
            ``inputs`` and ``targets`` ("none", "channel" or "site") and of a cloud's ``coords`` ("none" or "box") and
            ``code`` ("none" or "channel").
        spec: the fields.
    Raises:
        InputError: a name is unknown, an option does not fit, or the family does not support these fields.
    """
    if "model" not in config:
        raise InputError(
            f"the configuration has {', '.join(config) or 'nothing'}, expected model, such as {{'name': 'lsm'}}"
        )
    kinds: dict[str, Any] = {"inputs": "channel", "targets": "channel", "coords": "box", "code": "channel"}
    kinds |= dict(config.get("normalization") or {})
    with option_group("normalization"):
        check_options(_normalization, kinds)
    if spec.ragged:
        _require_channel_statistics(kinds)
    with option_group("model"):
        model = MODELS.make(config["model"], spec)
    if spec.ragged:
        require_ragged(model)
    return NeuralSolver(model, Normalizers.for_spec(spec, **kinds), spec, {**config, "normalization": kinds})
