"""Several solvers of the same fields as one: the mean of their predictions, and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lsm.errors import InputError
from lsm.fields import FieldBatch
from lsm.solver import NeuralSolver


class Ensemble(nn.Module):
    """Solvers that differ in their seed, say; they predict the mean of their members.

    Args:
        solvers: at least one, of the same fields and sites.
    Raises:
        InputError: the solvers predict other fields, or take other inputs, than the first.

    Example:
        >>> from lsm.fields import Channel, FieldSpec
        >>> from lsm.solver import build_solver
        >>> spec = FieldSpec("grid", (16, 16), ("x", "y"), (Channel("permeability"),), (Channel("pressure", "Pa"),))
        >>> members = [build_solver({"model": {"name": "unet", "width": 8}}, spec) for _ in range(3)]
        >>> mean, spread = Ensemble(members).predict_with_spread(inputs=np.ones((5, 16, 16, 1)))
        >>> mean.shape, spread.shape
        ((5, 16, 16, 1), (5, 16, 16, 1))
    """

    def __init__(self, solvers: Sequence[NeuralSolver]) -> None:
        super().__init__()
        self.members = nn.ModuleList(solvers)  # moves them with the ensemble
        self.solvers = tuple(solvers)
        self.spec, self.ranges = solvers[0].spec, solvers[0].ranges
        self.config = {"model": {"name": "ensemble", "members": [solver.config for solver in solvers]}}
        for solver in solvers[1:]:
            before, now = self.spec.to_dict(), solver.spec.to_dict()
            if changed := [f"{name} {before[name]} and {now[name]}" for name in now if before[name] != now[name]]:
                raise InputError(
                    f"the solvers of an ensemble need the same fields and sites, these differ in {changed[0]}; leave one out"
                )

    def forward(self, batch: FieldBatch) -> Tensor:
        """Mean prediction ``(b, *sites, c_out)``, in physical units."""
        return torch.stack([solver(batch) for solver in self.solvers]).mean(dim=0)

    def predict_with_spread(self, **given: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members, ``([b,] *sites, c_out)``, from arrays.

        Args:
            given: arguments of :meth:`lsm.solver.NeuralSolver.predict`.
        Returns:
            The spread is the sample standard deviation (divisor: members less one); it is zero for a single member.
        """
        fields = np.stack([solver.predict(**given) for solver in self.solvers])
        spread = fields.std(axis=0, ddof=1) if len(fields) > 1 else np.zeros_like(fields[0])
        return fields.mean(axis=0), spread
