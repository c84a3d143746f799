"""What ``lsm-visualize`` draws: the samples of a split, and the predictions of one or several solvers for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from experiments.bands import band_of
from experiments.device import choose_device
from experiments.evaluations import measure_errors, named_in_title, predict_sample, predictor_of
from experiments.folders import find_checkpoints, labels_of, run_of
from experiments.runs import load_run, load_trained, require_same_samples, with_checkpoint
from lsm.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from lsm.checkpoint import Checkpoint
    from lsm.conformal import Band
    from lsm.data.datamodule import FieldDataModule
    from lsm.evaluation import Evaluation, Predictor
    from lsm.fields import FieldBatch, FieldSpec
    from lsm.plotting import Display
    from lsm.solver import NeuralSolver
    from lsm.spectra import Spectrum

#: Samples that are drawn unless some are named.
_FEW = 3


class Drawn(NamedTuple):
    """What is drawn of a sample, and the relative L2 error of the first prediction."""

    spec: FieldSpec
    display: Display
    sample: FieldBatch
    predictions: Tensor | dict[str, Tensor]
    title: str
    band: Band | None
    error: float

    @property
    def picture(self) -> tuple[Any, ...]:
        """The arguments of :func:`lsm.plotting.draw_sample`."""
        return self.spec, self.display, self.sample, self.predictions, self.title, self.band

    @property
    def note(self) -> str:
        """The errors, as in the title."""
        return self.title.partition(": ")[2]


@dataclass(frozen=True)
class Subject:
    """Samples and solvers.

    Args:
        cfg: options of the command.
        checkpoints: the solvers by the name of the checkpoint, all of the same fields.
        data: of the first one.
        name: of the benchmark.
        run: folder of the first one's run.
        band: around the predictions of a single solver.
    """

    cfg: DictConfig
    checkpoints: dict[str, Checkpoint]
    data: FieldDataModule
    name: str
    run: Path
    band: Band | None

    @property
    def solver(self) -> NeuralSolver:
        """The first one."""
        return next(iter(self.checkpoints.values())).solver

    @cached_property
    def predictors(self) -> dict[str, Predictor]:
        """What each predicts, with the transforms that are asked for."""
        return {label: predictor_of(self.cfg, one, self.data) for label, one in self.checkpoints.items()}

    @property
    def title(self) -> str:
        """Headline of what is drawn of the whole split."""
        return f"{self.name}, {self.cfg.split} split{named_in_title(self.cfg.transforms)}"

    @cached_property
    def display(self) -> Display:
        """How to draw the fields."""
        from lsm.plotting import Display

        return Display.from_dict(self.data.display)

    def positions(self, everything: bool = False) -> Sequence[int]:
        """The samples that are asked for, or else the first few or all of them.

        Raises:
            InputError: one is not in the split.
        """
        split, available = self.cfg.split, len(self.data.dataset(self.cfg.split))
        if self.cfg.samples is None:
            return range(available if everything else min(_FEW, available))
        wrong = [index for index in self.cfg.samples if index >= available]
        if wrong:
            raise InputError(f"samples {wrong} are not in the {split} split, which has 0 to {available - 1}")
        return list(self.cfg.samples)

    def drawn(self, index: int) -> Drawn:
        """A sample, what each solver predicts for it, and a headline with the errors."""
        device = choose_device(self.cfg.device)
        found: dict[str, Any] = {}
        errors: dict[str, float] = {}
        for label, predict in self.predictors.items():
            sample, found[label], errors[label] = predict_sample(predict, self.data, self.cfg.split, index, device)
        told = ", ".join(
            f"{label} {error:.4g}" if len(errors) > 1 else f"{error:.4g}" for label, error in errors.items()
        )
        changed = named_in_title(self.cfg.transforms)
        title = f"{self.name}, {self.cfg.split} sample {index}{changed}: relative L2 error {told}"
        first = next(iter(errors.values()))
        predictions = found if len(found) > 1 else found.popitem()[1]
        return Drawn(self.data.spec, self.display, sample, predictions, title, self.band, first)

    def measure(self) -> tuple[Evaluation, dict[str, Spectrum]]:
        """Errors of all samples of the split, and of fields on a grid the spectra by the name of the field."""
        from lsm.spectra import measure_spectra

        label, checkpoint = next(iter(self.checkpoints.items()))
        evaluation = measure_errors(self.cfg, checkpoint, self.data)
        if self.data.spec.geometry != "grid":
            return evaluation, {}
        batches, device = self.data.batches(self.cfg.split), choose_device(self.cfg.device)
        return evaluation, measure_spectra(self.predictors[label], batches, self.data.spec, device)


def load_subject(cfg: DictConfig) -> Subject:
    """The checkpoints and the data of the first one.

    Raises:
        InputError: two checkpoints predict different fields, or at different sites, or may know each other's samples.
    """
    paths = find_checkpoints(cfg.checkpoint)
    checkpoints: dict[str, Checkpoint] = {}
    for label, path in zip(labels_of(paths), paths, strict=True):
        one = with_checkpoint(cfg, path)
        if checkpoints:
            checkpoints[label] = load_trained(one)
        else:
            first, data = load_run(one)
            checkpoints[label], name = first, first.run["config"]["benchmark"]["name"]
        if checkpoints[label].solver.spec != first.solver.spec:
            raise InputError(f"{path} predicts other fields or sites than {paths[0]}; only like models can be compared")
    require_same_samples(checkpoints, data, [cfg.split])
    return Subject(cfg, checkpoints, data, name, run_of(paths[0]), band_of(cfg, first.solver))
