"""Forging of an elastoplastic block by a rigid, frictionless die: explicit dynamics in plane stress.

Owns the interface of the solver, its options and the energy balance; time stepping is in ``block.py``, the arithmetic in
``kernels.py``. It knows no file and draws no random number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Gt, Interval, Lt, MultipleOf

from data_prep.plasticity.block import Block
from data_prep.plasticity.die import Die
from data_prep.plasticity.kernels import (
    HOURGLASS_ENERGY,
    LANES,
    MASS,
    PITCH,
    PLASTIC_STRAIN,
    STRESS_XX,
    STRESS_XY,
    STRESS_YY,
    THICKNESS,
    VELOCITY_X,
    VELOCITY_Y,
    VISCOUS_ENERGY,
    Material,
    X,
    Y,
)
from lsm.registry import Count, Options, Positive

__all__ = ["Die", "Energies", "Forging", "ForgingOptions", "Material", "solve_forging"]


#: Numbers of columns that the compiled loops can process.
Columns = Annotated[int, Interval(ge=LANES, le=(PITCH - 1) // LANES * LANES), MultipleOf(LANES)]


@dataclass(frozen=True)
class ForgingOptions(Options):
    """Geometry, loading and numerical options.

    Args:
        columns, rows: number of cells along the block and over its height.
        cell: edge of a square cell, mm.
        speed: constant speed of the die, mm / s.
        frames: number of frames, including the undeformed block.
        interval: time between frames, s.
        material: constants of the material and of the element.
        courant: time step as a fraction of the stable step.
        floor: smallest stable step of a cell as a fraction of that of an undeformed cell; the mass of cells with a smaller
            stable step is increased. 0 adds no mass. The default saves a third of the steps and changes the displacements
            by up to 0.2 %.
    """

    columns: Columns = 100
    rows: Count = 30
    cell: Positive = 0.5
    speed: float = 3000.0
    frames: Count = 20
    interval: Positive = 1e-4
    material: Material = field(default_factory=Material)
    courant: Annotated[float, Gt(0), Lt(1)] = 0.95
    floor: Annotated[float, Interval(ge=0, le=1)] = 0.85

    @property
    def width(self) -> float:
        """Width of the undeformed block, mm."""
        return self.columns * self.cell

    @property
    def height(self) -> float:
        """Height of the undeformed block, mm."""
        return self.rows * self.cell


@dataclass(frozen=True)
class Energies:
    """Energies in each frame, ``(frames,)``, mJ for a block of 1 mm thickness.

    Args:
        external: work of the die on the block.
        kinetic, elastic: energy of the block.
        plastic: energy dissipated by plastic flow.
        hourglass, viscous: energy absorbed by the stabilisation of the element.
    """

    external: np.ndarray
    kinetic: np.ndarray
    elastic: np.ndarray
    plastic: np.ndarray
    hourglass: np.ndarray
    viscous: np.ndarray

    @property
    def imbalance(self) -> float:
        """Relative difference of the external work and the sum of the other energies in the last frame; 0 without work."""
        stored = self.kinetic + self.elastic + self.plastic + self.hourglass + self.viscous
        return abs(float(self.external[-1] - stored[-1])) / float(self.external[-1]) if self.external[-1] else 0.0


@dataclass(frozen=True)
class Forging:
    """Solution; rows of nodes and cells are ordered upwards, columns from left to right.

    Args:
        positions: ``(frames, rows + 1, columns + 1, 2)``, mm; x = 0 in the middle of the block, y = 0 at its bottom.
        stress: ``(frames, rows, columns, 3)``, Cauchy stress xx, yy, xy, MPa.
        plastic_strain: ``(frames, rows, columns)``, equivalent plastic strain.
        thickness: ``(frames, rows, columns)``, mm; initially 1.
        energies: energy balance.
        steps: number of time steps.
        added_mass: largest mass added by the floor of the stable step at any time, relative to the mass of the block.
    """

    positions: np.ndarray
    stress: np.ndarray
    plastic_strain: np.ndarray
    thickness: np.ndarray
    energies: Energies
    steps: int
    added_mass: float

    @property
    def displacements(self) -> np.ndarray:
        """Displacement relative to the first frame, in the shape of ``positions``, mm."""
        return self.positions - self.positions[:1]

    @property
    def von_mises(self) -> np.ndarray:
        """Von Mises stress in plane stress, ``(frames, rows, columns)``, MPa."""
        xx, yy, xy = np.moveaxis(self.stress, -1, 0)
        return np.sqrt(xx * xx - xx * yy + yy * yy + 3.0 * xy * xy)


def solve_forging(die: Die, options: ForgingOptions = ForgingOptions()) -> Forging:
    """Press a die into a block of an elastic, perfectly plastic material.

    ``rho u_tt = div(stress)`` in the deforming block, plane stress, with the Jaumann rate of stress ``C : (D - D_p)`` and
    associated von Mises flow. The die moves down at constant speed from its height at time 0. At the bottom ``u_y = 0``
    without friction; the sides are free; the die is frictionless.

    Central differences in time; bilinear quadrilaterals with one quadrature point; the contact corrects the predicted
    positions. Second order in space and time for smooth solutions.

    Args:
        die: the die, with heights above the bottom of the block.
        options: see :class:`ForgingOptions`.
    Raises:
        SolverFailure: a cell collapsed.
    """
    block = Block(options.columns, options.rows, options.cell, options.material, options.courant, options.floor)
    history = _History(options, block)
    for frame in range(1, options.frames):
        block.advance(frame * options.interval, die, options.speed)
        history.record(frame)
    return history.forging()


class _History:
    """Collects the frames of a ``Forging`` from the running block."""

    def __init__(self, options: ForgingOptions, block: Block) -> None:
        frames, rows, columns = options.frames, options.rows, options.columns
        self.options, self.block = options, block
        self.positions = np.empty((frames, rows + 1, columns + 1, 2))
        self.stress = np.empty((frames, rows, columns, 3))
        self.plastic_strain = np.empty((frames, rows, columns))
        self.thickness = np.empty((frames, rows, columns))
        self.energies = np.empty((frames, 6))
        self.record(0)

    def record(self, frame: int) -> None:
        """Store the current state as a frame."""
        block = self.block
        for n, offset in enumerate((X, Y)):
            self.positions[frame, ..., n] = block.node_field(offset)
        for n, offset in enumerate((STRESS_XX, STRESS_YY, STRESS_XY)):
            self.stress[frame, ..., n] = block.cell_field(offset)
        self.plastic_strain[frame] = block.cell_field(PLASTIC_STRAIN)
        self.thickness[frame] = block.cell_field(THICKNESS)
        # The initial volume is used, since plastic flow preserves it and elastic changes are below 0.1 %.
        volume = self.options.cell**2
        self.energies[frame] = (
            block.work,
            self._kinetic(),
            volume * self._elastic_density(frame).sum(),
            volume * self.options.material.yield_stress * self.plastic_strain[frame].sum(),
            block.cell_field(HOURGLASS_ENERGY).sum(),
            block.cell_field(VISCOUS_ENERGY).sum(),
        )

    def _kinetic(self) -> float:
        mass, vx, vy = (self.block.node_field(offset) for offset in (MASS, VELOCITY_X, VELOCITY_Y))
        return 0.5 * float((mass * (vx * vx + vy * vy)).sum())

    def _elastic_density(self, frame: int) -> np.ndarray:
        material = self.options.material
        xx, yy, xy = np.moveaxis(self.stress[frame], -1, 0)
        squared = xx * xx + yy * yy - 2.0 * material.poisson * xx * yy + 2.0 * (1.0 + material.poisson) * xy * xy
        return squared / (2.0 * material.young)

    def forging(self) -> Forging:
        """The solution with all recorded frames."""
        energies = Energies(*(np.ascontiguousarray(column) for column in self.energies.T))
        return Forging(
            self.positions,
            self.stress,
            self.plastic_strain,
            self.thickness,
            energies,
            self.block.steps,
            self.block.added_mass,
        )
