"""Q2-Q1 elements: shape functions, Gauss points, and the element sums of residual and Jacobian.

Owns the weak form of the steady incompressible Navier-Stokes equations; it knows neither boundary conditions nor Newton's
method. With test functions ``w`` (velocity, Q2) and ``q`` (pressure, Q1) the residual is

    R(w) = int  nu grad u : grad w + ((u . grad) u) . w - p div w - f . w,        R(q) = - int q div u.

Four Gauss points per axis integrate it exactly on the mesh of a bent pipe (vertical sections, constant Jacobian
determinant), where the convective term is of degree 7 along the pipe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit

from data_prep.generation.failure import SolverFailure
from data_prep.pipe.mesh import FloatArray, IndexArray

#: Body force: positions ``x, y`` of any shape -> its two components at these positions.
BodyForce = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]

GAUSS_POINTS_PER_AXIS = 4


def quadratic_shapes(t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The three Q2 shape functions of one axis and their derivatives at ``t`` in [-1, 1]; both ``(points, 3)``."""
    values = np.stack([t * (t - 1.0) / 2.0, 1.0 - t * t, t * (t + 1.0) / 2.0], axis=1)
    slopes = np.stack([t - 0.5, -2.0 * t, t + 0.5], axis=1)
    return values, slopes


def linear_shapes(t: FloatArray) -> FloatArray:
    """The two Q1 shape functions of one axis at ``t`` in [-1, 1]; ``(points, 2)``."""
    return np.stack([1.0 - t, 1.0 + t], axis=1) / 2.0


class ElementTables(NamedTuple):
    """Shape functions of all elements at their Gauss points, in physical coordinates.

    Args:
        velocity: ``(points, 9)``, Q2 shape functions.
        pressure: ``(points, 4)``, Q1 shape functions.
        gradient: ``(elements, points, 2, 9)``, physical gradient of the Q2 shape functions.
        weight: ``(elements, points)``, Gauss weight times the Jacobian determinant.
    """

    velocity: FloatArray
    pressure: FloatArray
    gradient: FloatArray
    weight: FloatArray


def tabulate(x: FloatArray, y: FloatArray, element_nodes: IndexArray) -> ElementTables:
    """Map the reference element to every isoparametric element.

    Args:
        x, y: node coordinates ``(n, n)``.
        element_nodes: ``(elements, 9)`` flat node indices.
    Raises:
        SolverFailure: an element is folded: its Jacobian determinant is not positive at a Gauss point.
    """
    points, weights = np.polynomial.legendre.leggauss(GAUSS_POINTS_PER_AXIS)
    q2, dq2 = quadratic_shapes(points)
    q1 = linear_shapes(points)
    along, across = np.kron(dq2, q2), np.kron(q2, dq2)
    x_nodes, y_nodes = x.ravel()[element_nodes], y.ravel()[element_nodes]
    x_along, x_across = x_nodes @ along.T, x_nodes @ across.T
    y_along, y_across = y_nodes @ along.T, y_nodes @ across.T
    determinant = x_along * y_across - x_across * y_along
    if determinant.min() <= 0.0:
        raise SolverFailure(f"folded mesh: smallest Jacobian determinant {determinant.min():.3e}, expected above 0")
    gradient = np.empty((*determinant.shape, 2, 9))
    gradient[:, :, 0] = (y_across / determinant)[..., None] * along - (y_along / determinant)[..., None] * across
    gradient[:, :, 1] = (x_along / determinant)[..., None] * across - (x_across / determinant)[..., None] * along
    return ElementTables(np.kron(q2, q2), np.kron(q1, q1), gradient, np.kron(weights, weights) * determinant)


def load_vector(
    x: FloatArray, y: FloatArray, dofs: IndexArray, tables: ElementTables, force: BodyForce, size: int
) -> FloatArray:
    """Load vector ``(size,)``, ``int f . w``, of a body force; arguments as in :func:`tabulate` and :func:`add_residual`."""
    nodes = dofs[:, :9] // 2
    components = force(x.ravel()[nodes] @ tables.velocity.T, y.ravel()[nodes] @ tables.velocity.T)
    load = np.zeros(size)
    for component, columns in zip(components, (slice(0, 9), slice(9, 18)), strict=True):
        np.add.at(load, dofs[:, columns], (tables.weight * component) @ tables.velocity)
    return load


@njit(cache=True, error_model="numpy")
def _flow_at(tables: ElementTables, e: int, q: int, local: FloatArray) -> tuple[float, ...]:
    """``u, v, u_x, u_y, v_x, v_y`` at Gauss point ``q`` of element ``e`` with unknowns ``local`` (22)."""
    u = v = u_x = u_y = v_x = v_y = 0.0
    for a in range(9):
        n_a, x_a, y_a = tables.velocity[q, a], tables.gradient[e, q, 0, a], tables.gradient[e, q, 1, a]
        u += n_a * local[a]
        u_x += x_a * local[a]
        u_y += y_a * local[a]
        v += n_a * local[9 + a]
        v_x += x_a * local[9 + a]
        v_y += y_a * local[9 + a]
    return u, v, u_x, u_y, v_x, v_y


@njit(cache=True, error_model="numpy")
def add_residual(
    state: FloatArray, dofs: IndexArray, tables: ElementTables, viscosity: float, residual: FloatArray
) -> None:
    """Add the residual of all elements to a full vector.

    Args:
        state: full vector of unknowns.
        dofs: ``(elements, 22)``, full indices of the unknowns of each element: nine ``u``, nine ``v``, four pressures.
        tables: shape functions of the elements.
        viscosity: kinematic viscosity.
        residual: full vector, modified in place.
    """
    for e in range(dofs.shape[0]):
        local = state[dofs[e]]
        sums = np.zeros(22)
        for q in range(tables.velocity.shape[0]):
            u, v, u_x, u_y, v_x, v_y = _flow_at(tables, e, q, local)
            w, p = tables.weight[e, q], 0.0
            for k in range(4):
                p += tables.pressure[q, k] * local[18 + k]
            convection_u, convection_v = w * (u * u_x + v * u_y), w * (u * v_x + v * v_y)
            stress_xx, stress_xy = w * (viscosity * u_x - p), w * viscosity * u_y
            stress_yx, stress_yy = w * viscosity * v_x, w * (viscosity * v_y - p)
            for a in range(9):
                n_a, x_a, y_a = tables.velocity[q, a], tables.gradient[e, q, 0, a], tables.gradient[e, q, 1, a]
                sums[a] += stress_xx * x_a + stress_xy * y_a + convection_u * n_a
                sums[9 + a] += stress_yx * x_a + stress_yy * y_a + convection_v * n_a
            for k in range(4):
                sums[18 + k] -= w * (u_x + v_y) * tables.pressure[q, k]
        for a in range(22):
            residual[dofs[e, a]] += sums[a]


@njit(cache=True, error_model="numpy")
def add_jacobian(
    state: FloatArray, dofs: IndexArray, tables: ElementTables, viscosity: float, slots: IndexArray, data: FloatArray
) -> None:
    """Add the derivative of :func:`add_residual` to the entries of a sparse matrix.

    Args:
        state, dofs, tables, viscosity: as in :func:`add_residual`.
        slots: ``(elements, 22, 22)``, position in ``data`` of the entries of each element.
        data: matrix entries, modified in place.
    """
    block = np.empty((22, 22))
    for e in range(dofs.shape[0]):
        local = state[dofs[e]]
        block[:] = 0.0
        for q in range(tables.velocity.shape[0]):
            u, v, u_x, u_y, v_x, v_y = _flow_at(tables, e, q, local)
            w = tables.weight[e, q]
            for a in range(9):
                n_a = w * tables.velocity[q, a]
                x_a, y_a = w * tables.gradient[e, q, 0, a], w * tables.gradient[e, q, 1, a]
                transport_x, transport_y = viscosity * x_a + n_a * u, viscosity * y_a + n_a * v
                for b in range(9):
                    n_ab = n_a * tables.velocity[q, b]
                    diagonal = transport_x * tables.gradient[e, q, 0, b] + transport_y * tables.gradient[e, q, 1, b]
                    block[a, b] += diagonal + n_ab * u_x
                    block[a, 9 + b] += n_ab * u_y
                    block[9 + a, b] += n_ab * v_x
                    block[9 + a, 9 + b] += diagonal + n_ab * v_y
                for k in range(4):
                    block[a, 18 + k] -= x_a * tables.pressure[q, k]
                    block[9 + a, 18 + k] -= y_a * tables.pressure[q, k]
        block[18:, :18] = block[:18, 18:].T
        for a in range(22):
            for b in range(22):
                data[slots[e, a, b]] += block[a, b]
