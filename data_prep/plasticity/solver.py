"""Forging of an elastoplastic block by a rigid, frictionless die: explicit dynamics in plane stress.

Owns the solver's interface, its options and the energy balance. It reads and writes no file and draws no random number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from annotated_types import Interval, MultipleOf

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
from lsm.registry import Count, Options, Positive, Share

__all__ = ["Die", "Energies", "Forging", "ForgingOptions", "Material", "solve_forging"]


@dataclass(frozen=True)
class ForgingOptions(Options):
    """Geometry, loading and numerical options.

    Args:
        columns, rows: cells along the block and over its height.
        cell: edge of a square cell, mm.
        speed: constant speed of the die, mm / s.
        frames: number of frames kept, the undeformed block included.
        interval: time between frames, s.
        material: constants of the material and of the element.
        courant: time step as a fraction of the stable one.
        floor: shortest stable step that a cell may impose, as a fraction of the undeformed one; cells that would need a
            shorter one are made heavier. 0 leaves the mass alone. The default saves a third of the steps and moves the
            displacements by up to 0.2 %.
    """

    columns: Annotated[int, Interval(ge=LANES, lt=PITCH), MultipleOf(LANES)] = 100
    rows: Count = 30
    cell: Positive = 0.5
    speed: Positive = 3000.0
    frames: Count = 20
    interval: Positive = 1e-4
    material: Material = field(default_factory=Material)
    courant: Annotated[float, Interval(gt=0, lt=1)] = 0.95
    floor: Share = 0.85

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
    """Energies at each frame, ``(frames,)``, mJ for a block that is 1 mm thick.

    Args:
        external: work of the die on the block.
        kinetic, elastic: energy in the block.
        plastic: dissipated by plastic flow.
        hourglass, viscous: taken up by the element's stabilisation.
    """

    external: np.ndarray
    kinetic: np.ndarray
    elastic: np.ndarray
    plastic: np.ndarray
    hourglass: np.ndarray
    viscous: np.ndarray

    @property
    def imbalance(self) -> float:
        """Part of the external work that the other energies do not account for at the last frame; 0 without work."""
        stored = self.kinetic + self.elastic + self.plastic + self.hourglass + self.viscous
        return abs(float(self.external[-1] - stored[-1])) / float(self.external[-1]) if self.external[-1] else 0.0


@dataclass(frozen=True)
class Forging:
    """Solution; nodal and cell arrays run upwards in the row and rightwards in the column.

    Args:
        positions: ``(frames, rows + 1, columns + 1, 2)``, mm; x = 0 in the middle of the block, y = 0 at its bottom.
        stress: ``(frames, rows, columns, 3)``, Cauchy stress xx, yy, xy, MPa.
        plastic_strain: ``(frames, rows, columns)``, equivalent plastic strain.
        thickness: ``(frames, rows, columns)``, mm; 1 at first.
        energies: energy balance.
        steps: time steps taken.
        added_mass: largest mass that the step's floor added at any time, relative to the block's.
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
        """Displacement from the first frame, in the shape of ``positions``, mm."""
        return self.positions - self.positions[:1]

    @property
    def von_mises(self) -> np.ndarray:
        """Von Mises stress in plane stress, ``(frames, rows, columns)``, MPa."""
        xx, yy, xy = np.moveaxis(self.stress, -1, 0)
        return np.sqrt(xx * xx - xx * yy + yy * yy + 3.0 * xy * xy)


def solve_forging(die: Die, options: ForgingOptions = ForgingOptions()) -> Forging:
    """Press a die into a block of an elastic, perfectly plastic material.

    ``rho u_tt = div(stress)`` in the moving block, plane stress, with the Jaumann rate of stress ``C : (D - D_p)`` and
    associated von Mises flow; the die moves down at constant speed from its height at time 0. The bottom cannot move
    vertically and slides freely, the sides are free, and the die is frictionless.

    Central differences in time; bilinear quadrilaterals with one quadrature point; the contact corrects the predicted
    positions. Second order in space and time where the solution is smooth.

    Args:
        die: its height is measured from the bottom of the block.
        options: see ``ForgingOptions``.
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
    """Copies what a ``Forging`` keeps out of the running block, frame by frame."""

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
        """Copy the present state as a frame."""
        block = self.block
        for n, offset in enumerate((X, Y)):
            self.positions[frame, ..., n] = block.node_field(offset)
        for n, offset in enumerate((STRESS_XX, STRESS_YY, STRESS_XY)):
            self.stress[frame, ..., n] = block.cell_field(offset)
        self.plastic_strain[frame] = block.cell_field(PLASTIC_STRAIN)
        self.thickness[frame] = block.cell_field(THICKNESS)
        # Plastic flow keeps the volume, and elastic changes of it are below 0.1 %: the first volume serves throughout.
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
        """All frames recorded."""
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
