"""Darcy flow: the pressure in a porous medium of given permeability.

Owns the discretisation and its linear solve. It knows no file and draws no random number.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from data_prep.solvers.dissection import nested_dissection


def assemble(permeability: np.ndarray) -> sparse.csc_array:
    """The operator ``-div(a grad u)`` on the unit square with ``u = 0`` on the boundary.

    Five-point scheme of order 2 on ``n x n`` cells of size ``h = 1/n``; unknowns and permeability at the cell centres
    ``(i + 1/2) h``; a face between two cells has their arithmetic mean, and the boundary lies half a cell outside the
    outermost centres.

    Args:
        permeability: ``(n, n)``, positive.
    Returns:
        ``(n^2, n^2)``, symmetric positive definite, for unknowns in row-major order.
    """
    num_cells = len(permeability)
    faces = num_cells**2 * (permeability[1:] + permeability[:-1]) / 2
    cross = num_cells**2 * (permeability[:, 1:] + permeability[:, :-1]) / 2
    diagonal = np.zeros_like(permeability)
    diagonal[1:] += faces
    diagonal[:-1] += faces
    diagonal[:, 1:] += cross
    diagonal[:, :-1] += cross
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        diagonal[edge] += 2 * num_cells**2 * permeability[edge]
    # Neighbours along the second axis are one unknown apart, but not across the end of a row.
    along_rows = np.pad(cross, ((0, 0), (0, 1))).ravel()[:-1]
    along_columns = faces.ravel()
    return sparse.diags_array(
        [diagonal.ravel(), -along_rows, -along_rows, -along_columns, -along_columns],
        offsets=[0, 1, -1, num_cells, -num_cells],
        format="csc",
    )


@lru_cache(maxsize=4)
def _elimination_order(num_cells: int) -> np.ndarray:
    return nested_dissection((num_cells, num_cells))


def solve(permeability: np.ndarray, source: np.ndarray | float = 1.0) -> tuple[np.ndarray, float]:
    """Solve ``-div(a grad u) = f``, ``u = 0`` on the boundary, by a sparse direct method in double precision.

    Args:
        permeability: ``(n, n)`` at the cell centres, positive.
        source: ``f``, a number or ``(n, n)``.
    Returns:
        The pressure ``(n, n)`` at the cell centres, and the relative residual ``|A u - f| / |f|``.
    Raises:
        ValueError: the permeability is not square or not positive.
    """
    if permeability.ndim != 2 or permeability.shape[0] != permeability.shape[1]:
        raise ValueError(f"permeability has shape {permeability.shape}, expected a square grid")
    if not np.all(permeability > 0):
        raise ValueError(f"permeability must be positive everywhere, its minimum is {permeability.min()}")
    matrix = assemble(permeability.astype(np.float64))
    right = np.broadcast_to(np.asarray(source, dtype=np.float64), permeability.shape).ravel()
    order = _elimination_order(len(permeability))
    factors = splu(
        matrix[order][:, order].tocsc(), permc_spec="NATURAL", diag_pivot_thresh=0, options={"SymmetricMode": True}
    )
    pressure = np.empty_like(right)
    pressure[order] = factors.solve(right[order])
    residual = np.linalg.norm(matrix @ pressure - right) / np.linalg.norm(right)
    return pressure.reshape(permeability.shape), float(residual)
