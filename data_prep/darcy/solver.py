"""Darcy flow: the pressure in a porous medium of given permeability, for batches of samples, on any device.

Equation: ``-div(a grad u) = f`` on the unit square, ``u = 0`` on the boundary. Scheme: cell-centred, five points, order 2,
solved by preconditioned conjugate gradients in double precision. Owns the discretisation and its linear solver. It knows
no file and draws no random number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

#: The iteration stops when the recursively updated ``|A u - f| / |f|`` is below this value.
STOP = 2e-11

MAX_ITERATIONS = 500


@dataclass(frozen=True)
class Solution:
    """Solved samples.

    Args:
        pressure: ``(b, n, n)`` at the cell centres, float64.
        residual: ``(b,)``, the relative residual ``|A u - f| / |f|`` of each sample, recomputed from its pressure.
        iterations: ``(b,)``, steps of the conjugate gradient method.
    """

    pressure: Tensor
    residual: Tensor
    iterations: Tensor


def make_operator(permeability: Tensor) -> Callable[[Tensor], Tensor]:
    """The operator ``-div(a grad u)`` on the unit square with ``u = 0`` on the boundary.

    Five-point scheme of order 2 on ``n x n`` cells of size ``h = 1/n``. Unknowns and permeability are at the cell centres
    ``(i + 1/2) h``; the permeability of a face is the arithmetic mean of its two cells; the boundary is half a cell
    outside the outermost centres.

    Args:
        permeability: ``(b, n, n)``, positive.
    Returns:
        A linear, symmetric and positive definite map from ``(b, n, n)`` to ``(b, n, n)``.
    """
    x_faces, y_faces = _faces(permeability), _faces(permeability.mT).mT

    def apply(u: Tensor) -> Tensor:
        x_flux = x_faces * functional.pad(u, (0, 0, 1, 1)).diff(dim=1)
        y_flux = y_faces * functional.pad(u, (1, 1)).diff(dim=2)
        return -x_flux.diff(dim=1) - y_flux.diff(dim=2)

    return apply


def _faces(permeability: Tensor) -> Tensor:
    """Permeability over ``h^2`` on the faces normal to axis 1, ``(b, n + 1, n)``.

    At the boundary the distance is half a cell, hence the factor 2.
    """
    inner = (permeability[:, 1:] + permeability[:, :-1]) / 2
    faces = torch.cat([2 * permeability[:, :1], inner, 2 * permeability[:, -1:]], dim=1)
    return faces * permeability.shape[-1] ** 2


@lru_cache(maxsize=4)
def _sine_basis(num_cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Eigenvectors and inverse eigenvalues of the operator of a uniform medium, in single precision.

    Returns:
        ``(n, n)``, the eigenvectors along one axis, in columns; ``(n, n)``, one over the eigenvalue of each mode of the grid.
    """
    cells = torch.arange(num_cells, dtype=torch.float64, device=device)
    modes = cells + 1
    vectors = torch.sin(torch.pi * (cells[:, None] + 0.5) * modes / num_cells)
    vectors = vectors / vectors.norm(dim=0)
    values = (2 * num_cells * torch.sin(torch.pi * modes / (2 * num_cells))) ** 2
    return vectors.float(), (1 / (values[:, None] + values)).float()


def _precondition(residual: Tensor) -> Tensor:
    """Solve the problem of a uniform medium by sine transforms in single precision, which is enough for a preconditioner.

    The transforms are products with a dense matrix: for a few hundred cells per side these are faster than fast
    transforms on every device.
    """
    basis, inverse = _sine_basis(residual.shape[-1], residual.device)
    modes = basis.T @ residual.float() @ basis
    return (basis @ (modes * inverse) @ basis.T).double()


def solve(permeability: Tensor, source: Tensor | float = 1.0, samples_together: int | None = None) -> Solution:
    """Solve ``-div(a grad u) = f``, ``u = 0`` on the boundary, in double precision.

    Conjugate gradients preconditioned by the operator of a uniform medium. The number of steps grows with the square root
    of the contrast of the permeability and does not depend on the resolution (Concus and Golub, SIAM J. Numer. Anal. 10,
    1973). A sample that has not converged after ``MAX_ITERATIONS`` steps has a larger ``residual``.

    Args:
        permeability: ``(b, n, n)`` at the cell centres, positive; the computation runs on its device.
        source: ``f``, a number or an array ``(n, n)`` or ``(b, n, n)``.
        samples_together: number of samples solved as one batch; None means all on an accelerator and one on a CPU. On a
            CPU a batch is not faster, and the bits of a single sample cannot depend on how matrix products treat a batch.
    Raises:
        ValueError: the permeability is not square or not positive.
    """
    if permeability.ndim != 3 or permeability.shape[1] != permeability.shape[2]:
        raise ValueError(f"permeability has shape {tuple(permeability.shape)}, expected square grids (b, n, n)")
    if not (permeability > 0).all():
        raise ValueError(f"permeability must be positive everywhere, its minimum is {permeability.min().item():g}")
    permeability = permeability.double()
    right = torch.as_tensor(source, dtype=torch.float64, device=permeability.device).expand(permeability.shape)
    together = samples_together or (1 if permeability.device.type == "cpu" else len(permeability))
    batches = zip(permeability.split(together), right.split(together), strict=True)
    solved = zip(*(_solve_together(*batch) for batch in batches), strict=True)
    return Solution(*(torch.cat(values) for values in solved))


def _solve_together(permeability: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pressure, residual and iterations of samples solved as one batch."""
    operator = make_operator(permeability)
    pressure, iterations = _conjugate_gradients(operator, right)
    residual = (operator(pressure) - right).norm(dim=(1, 2)) / right.norm(dim=(1, 2))
    return pressure, residual, iterations


def _conjugate_gradients(operator: Callable[[Tensor], Tensor], right: Tensor) -> tuple[Tensor, Tensor]:
    """Iterate until every sample has converged.

    A converged sample is no longer changed, so that its solution does not depend on the other samples of the batch.
    """
    solution, residual = torch.zeros_like(right), right
    target = STOP * _dot(right, right).sqrt()
    direction = preconditioned = _precondition(residual)
    slope = _dot(residual, preconditioned)
    iterations = torch.zeros_like(target, dtype=torch.int64)
    active = target > 0
    for _ in range(MAX_ITERATIONS):
        if not active.any():
            break
        iterations += active
        image = operator(direction)
        step = torch.where(active, slope / _dot(direction, image), 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        active = active & (_dot(residual, residual).sqrt() > target)
        preconditioned = _precondition(residual)
        slope, before = _dot(residual, preconditioned), slope
        direction = preconditioned + torch.where(active, slope / before, 0.0) * direction
    return solution, iterations.flatten()


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dim=(1, 2), keepdim=True)
