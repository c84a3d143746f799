"""Darcy by a matrix written out entry by entry and a sparse direct solve: the oracle of the iterative solver."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve


def assemble(permeability: np.ndarray) -> sparse.csc_array:
    """Matrix ``(n^2, n^2)`` of the five-point scheme, for unknowns in row-major order."""
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


def solve_directly(permeability: np.ndarray) -> np.ndarray:
    """Pressure ``(n, n)`` for the source 1."""
    return spsolve(assemble(permeability), np.ones(permeability.size)).reshape(permeability.shape)
