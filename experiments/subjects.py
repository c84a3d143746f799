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
from experiments.evaluations import predict_sample
from experiments.folders import find_checkpoints, labels_of, run_of
from experiments.runs import load_run, load_trained
from lsm.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from lsm.conformal import Band
    from lsm.data.datamodule import FieldDataModule
    from lsm.evaluation import Evaluation
    from lsm.fields import FieldBatch, FieldSpec
    from lsm.plotting import Display
    from lsm.solver import NeuralSolver
    from lsm.spectra import Spectrum

#: Samples that are drawn unless some are named.
_FEW = 3


class Drawn(NamedTuple):
    """The arguments of :func:`lsm.plotting.draw_sample` for one sample."""

    spec: FieldSpec
    display: Display
    sample: FieldBatch
    predictions: Tensor | dict[str, Tensor]
    title: str
    band: Band | None

    @property
    def note(self) -> str:
        """The errors, as in the title."""
        return self.title.partition(": ")[2]

    @property
    def error(self) -> float:
        """Relative L2 error of the only prediction."""
        return float(self.note.rpartition(" ")[2])


@dataclass(frozen=True)
class Subject:
    """Samples and solvers.

    Args:
        cfg: options of the command.
        solvers: by the name of the checkpoint, all of the same fields.
        data: of the first one.
        name: of the benchmark.
        run: folder of the first one's run.
        band: around the predictions of a single solver.
    """

    cfg: DictConfig
    solvers: dict[str, NeuralSolver]
    data: FieldDataModule
    name: str
    run: Path
    band: Band | None

    @property
    def solver(self) -> NeuralSolver:
        """The first one."""
        return next(iter(self.solvers.values()))

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
        errors = []
        for label, solver in self.solvers.items():
            sample, prediction, error = predict_sample(solver, self.data, self.cfg.split, index, device)
            found[label] = prediction
            errors.append(f"{label} {error:.4f}" if len(self.solvers) > 1 else f"{error:.4f}")
        title = f"{self.name}, {self.cfg.split} sample {index}: relative L2 error {', '.join(errors)}"
        predictions = found if len(found) > 1 else found.popitem()[1]
        return Drawn(self.data.spec, self.display, sample, predictions, title, self.band)

    def measure(self) -> tuple[Evaluation, dict[str, Spectrum]]:
        """Errors of all samples of the split, and of fields on a grid the spectra by the name of the field."""
        from lsm.evaluation import measure
        from lsm.spectra import measure_spectra

        device, batches = choose_device(self.cfg.device), self.data.batches
        evaluation = measure(self.solver, batches(self.cfg.split), device)
        if self.data.spec.geometry != "grid":
            return evaluation, {}
        return evaluation, measure_spectra(self.solver, batches(self.cfg.split), self.data.spec, device)


def load_subject(cfg: DictConfig) -> Subject:
    """The checkpoints and the data of the first one.

    Raises:
        InputError: two checkpoints predict other fields, or others sites.
    """
    paths = find_checkpoints(cfg.checkpoint)
    solvers: dict[str, NeuralSolver] = {}
    for label, path in zip(labels_of(paths), paths, strict=True):
        one = cfg.copy()
        one.checkpoint = str(path)
        if solvers:
            solvers[label] = load_trained(one).solver
        else:
            checkpoint, data = load_run(one)
            solvers[label], name = checkpoint.solver, checkpoint.run["config"]["benchmark"]["name"]
        if solvers[label].spec != checkpoint.solver.spec:
            raise InputError(f"{path} predicts other fields or sites than {paths[0]}; only like models can be compared")
    return Subject(cfg, solvers, data, name, run_of(paths[0]), band_of(cfg, checkpoint.solver))
