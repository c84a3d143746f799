"""Explicit time stepping of the block under the die: central differences with an adaptive time step.

Owns the state of a running computation and the work of the die. It knows no frames and no other energies.
"""

from __future__ import annotations

import math

import numpy as np

from data_prep.generation.failure import SolverFailure
from data_prep.plasticity.die import Die
from data_prep.plasticity.kernels import (
    MASS,
    ROW_SIZE,
    THICKNESS,
    Material,
    X,
    Y,
    march,
    row_field,
    stable_steps,
)

#: Steps between two estimates of the stable step. The die travels less than a hundredth of a cell in that time.
STEPS_PER_ESTIMATE = 20
#: A cell counts as collapsed if its stable step is below this fraction of that of an undeformed cell.
COLLAPSED = 0.01


class Block:
    """State of the block during time stepping; initially undeformed and at rest.

    Args:
        columns, rows: number of cells along the block and over its height.
        cell: edge of a square cell, mm.
        material: constants.
        courant: time step as a fraction of the stable step.
        floor: the mass of a cell is increased if its stable step would be below this fraction of that of an undeformed
            cell, so that a few flattened cells do not determine the time step.

    Attributes:
        nodes, cells: rows in the layout of ``kernels.py``; x = 0 is the middle of the block, y = 0 its bottom.
        time: s; the die is at its initial height at time 0.
        steps: number of time steps.
        work: work of the die on the block, mJ.
        added_mass: largest mass added by the floor at any time, relative to the mass of the block.
    """

    def __init__(self, columns: int, rows: int, cell: float, material: Material, courant: float, floor: float) -> None:
        self.columns, self.material, self.courant = columns, material, courant
        self.cell_mass = material.density * cell**2
        self.nodes = np.zeros((rows + 1, ROW_SIZE))
        self.cells = np.zeros((rows, ROW_SIZE))
        self.node_field(X)[:] = cell * (np.arange(columns + 1) - 0.5 * columns)
        self.node_field(Y)[:] = cell * np.arange(rows + 1)[:, None]
        self.cell_field(THICKNESS)[:] = 1.0
        self.time = self.work = self.added_mass = 0.0
        self.steps = 0
        self._step = 0.0
        self._stable = np.empty((rows, columns))
        stable_steps(self.nodes, self.cells, material, self.cell_mass, self._stable)
        self._undeformed = float(self._stable.min())
        self._floor = floor * self._undeformed
        self._weigh()

    def node_field(self, offset: int) -> np.ndarray:
        """View ``(rows + 1, columns + 1)`` of a nodal quantity, such as ``VELOCITY_X``."""
        return row_field(self.nodes, offset, self.columns + 1)

    def cell_field(self, offset: int) -> np.ndarray:
        """View ``(rows, columns)`` of a quantity of the cells, such as ``STRESS_XX``."""
        return row_field(self.cells, offset, self.columns)

    def advance(self, until: float, die: Die, speed: float) -> None:
        """Advance to the time ``until``, s, with a die that moves down at ``speed``, mm / s.

        Raises:
            SolverFailure: a cell collapsed or turned inside out.
        """
        left = 1
        while left:
            longest = self.courant * self._weigh()
            left = math.ceil((until - self.time) / longest)
            count = min(left, STEPS_PER_ESTIMATE)
            step = (until - self.time) / left
            impulse = march(
                self.nodes, self.cells, self.columns, self.material, die.heights, die.slopes, die.width,
                speed, self.time, self._step, step, count,
            )  # fmt: skip
            self.work += speed * impulse
            self.steps += count
            self.time += count * step
            self._step = step
            left -= count
        self.time = until

    def _weigh(self) -> float:
        """Set the masses of the nodes, increased around cells below the floor; return the largest stable step, s."""
        stable_steps(self.nodes, self.cells, self.material, self.cell_mass, self._stable)
        if not self._stable.min() > COLLAPSED * self._undeformed:
            raise SolverFailure(f"a cell collapsed at {self.time:.3e} s, after {self.steps} steps")
        growth = np.maximum(1.0, self._floor / self._stable) ** 2
        corners = np.pad(0.25 * self.cell_mass * growth, 1)
        beside = corners[:, :-1] + corners[:, 1:]
        self.node_field(MASS)[:] = beside[:-1] + beside[1:]
        self.added_mass = max(self.added_mass, float(growth.mean()) - 1.0)
        return max(self._floor, float(self._stable.min()))
