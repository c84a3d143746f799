"""GMRES with right preconditioning (Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 1986).

Owns the linear iteration; it knows no flow. The preconditioned directions are stored, which saves the application of the
preconditioner to the solution.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_prep.airfoil.mesh import FloatArray

Operator = Callable[[FloatArray], FloatArray]

#: Largest number of search directions; the flow solver needs about ten.
MAX_DIRECTIONS = 40


def solve_roughly(
    apply: Operator, precondition: Operator, right: FloatArray, tolerance: float
) -> tuple[FloatArray, int]:
    """Solve a linear system to a relative residual of ``tolerance``, with at most ``MAX_DIRECTIONS`` directions.

    Args:
        apply: product of the matrix and a vector.
        precondition: approximate solution of the system for a right-hand side.
        right: right-hand side, not zero; all vectors have its shape.
        tolerance: relative residual, Euclidean norm.
    Returns:
        Solution, and number of directions.
    Raises:
        FloatingPointError: a product is not finite.
    """
    size = float(np.linalg.norm(right))
    basis = np.empty((MAX_DIRECTIONS + 1, right.size))
    basis[0] = right.ravel() / size
    directions = np.empty((MAX_DIRECTIONS, right.size))
    hessenberg = np.zeros((MAX_DIRECTIONS + 1, MAX_DIRECTIONS))
    for k in range(MAX_DIRECTIONS):
        direction = precondition(basis[k].reshape(right.shape))
        directions[k] = direction.ravel()
        image = apply(direction).ravel()
        if not np.isfinite(image).all():
            raise FloatingPointError("the product with the preconditioned matrix is not finite")
        # The projection is repeated, since one is not accurate enough.
        for _ in range(2):
            shares = basis[: k + 1] @ image
            image = image - shares @ basis[: k + 1]
            hessenberg[: k + 1, k] += shares
        hessenberg[k + 1, k] = length = np.linalg.norm(image)
        target = np.zeros(k + 2)
        target[0] = size
        small = hessenberg[: k + 2, : k + 1]
        weights = np.linalg.lstsq(small, target, rcond=None)[0]
        if np.linalg.norm(target - small @ weights) <= tolerance * size or length == 0.0:
            break
        basis[k + 1] = image / length
    return (weights @ directions[: k + 1]).reshape(right.shape), k + 1
