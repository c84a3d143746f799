"""Compiled loops of the transonic flow: second-order residual and first-order Jacobian of the Euler equations.

Owns the arithmetic of the flow. States at the nodes are primitive, ``(N, 4)``: density, velocity x and y, pressure; fluxes are
those of mass, momentum x and y, and energy. The residual is the net outflow of a control volume; it is zero for steady flow.

Sources: Roe, J. Comput. Phys. 43 (1981) for the flux; Steger and Warming, J. Comput. Phys. 40 (1981) for the far field.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

GAMMA = 1.4

#: Weight of the nodal gradient relative to the difference along an edge. With 1/3 the mean of the two slopes of the limiter is
#: of third order in one dimension; each slope alone is of second order.
BETA = 1.0 / 3.0

#: Entropy fix (Harten): the damping of acoustic waves slower than this fraction of the speed of sound is increased; that of waves
#: at rest is the one of waves with half this speed.
ENTROPY_FIX = 0.05

#: Step of the one-sided differences of a flux, for states of order one.
FLUX_STEP = 1e-7


@njit(cache=True, error_model="numpy", inline="always")
def _roe(rl, ul, vl, pl, rr, ur, vr, pr, nx, ny):  # type: ignore[no-untyped-def]
    """Roe's flux through a face of normal ``(nx, ny)`` times length, from the left to the right state."""
    length = math.sqrt(nx * nx + ny * ny)
    nx, ny = nx / length, ny / length
    hl = GAMMA / (GAMMA - 1.0) * pl / rl + 0.5 * (ul * ul + vl * vl)
    hr = GAMMA / (GAMMA - 1.0) * pr / rr + 0.5 * (ur * ur + vr * vr)
    wl, wr = rl * (ul * nx + vl * ny), rr * (ur * nx + vr * ny)

    root = math.sqrt(rr / rl)
    share = 1.0 / (1.0 + root)
    r = root * rl
    u, v, h = (ul + root * ur) * share, (vl + root * vr) * share, (hl + root * hr) * share
    kinetic = 0.5 * (u * u + v * v)
    c2 = (GAMMA - 1.0) * (h - kinetic)
    c = math.sqrt(c2)
    un, ut = u * nx + v * ny, v * nx - u * ny

    dp, dun = pr - pl, (ur - ul) * nx + (vr - vl) * ny
    dut = (vr - vl) * nx - (ur - ul) * ny
    slow, fast, middle = abs(un - c), abs(un + c), abs(un)
    least = ENTROPY_FIX * c
    if slow < least:
        slow = 0.5 * (slow * slow / least + least)
    if fast < least:
        fast = 0.5 * (fast * fast / least + least)
    back = slow * (dp - r * c * dun) / (2.0 * c2)
    ahead = fast * (dp + r * c * dun) / (2.0 * c2)
    entropy = middle * (rr - rl - dp / c2)
    shear = middle * r * dut

    every, acoustic = back + ahead + entropy, c * (ahead - back)
    half = 0.5 * length
    mass = half * (wl + wr - every)
    momentum_x = half * (wl * ul + wr * ur + (pl + pr - acoustic) * nx - every * u + shear * ny)
    momentum_y = half * (wl * vl + wr * vr + (pl + pr - acoustic) * ny - every * v - shear * nx)
    energy = half * (wl * hl + wr * hr - (back + ahead) * h - acoustic * un - entropy * kinetic - shear * ut)
    return mass, momentum_x, momentum_y, energy


@njit(cache=True, error_model="numpy", inline="always")
def _split(r, u, v, p, w, nx, ny, sign):  # type: ignore[no-untyped-def]
    """Flux of the conserved vector ``w`` by the outgoing (sign 1) or incoming (-1) waves of the state ``r, u, v, p``."""
    length = math.sqrt(nx * nx + ny * ny)
    nx, ny = nx / length, ny / length
    c2 = GAMMA * p / r
    c, kinetic = math.sqrt(c2), 0.5 * (u * u + v * v)
    un, ut = u * nx + v * ny, v * nx - u * ny
    h = c2 / (GAMMA - 1.0) + kinetic
    pressure = (GAMMA - 1.0) * (kinetic * w[0] - u * w[1] - v * w[2] + w[3])
    normal = nx * w[1] + ny * w[2] - un * w[0]
    shear = (nx * w[2] - ny * w[1] - ut * w[0]) * max(sign * un, 0.0)
    back = (pressure - c * normal) / (2.0 * c2) * max(sign * (un - c), 0.0)
    ahead = (pressure + c * normal) / (2.0 * c2) * max(sign * (un + c), 0.0)
    entropy = (w[0] - pressure / c2) * max(sign * un, 0.0)
    every, acoustic = back + ahead + entropy, c * (ahead - back)
    scale = sign * length
    return (
        scale * every,
        scale * (every * u + acoustic * nx - shear * ny),
        scale * (every * v + acoustic * ny + shear * nx),
        scale * ((back + ahead) * h + acoustic * un + entropy * kinetic + shear * ut),
    )


@njit(cache=True, error_model="numpy", inline="always")
def _conserved(r, u, v, p):  # type: ignore[no-untyped-def]
    return r, r * u, r * v, p / (GAMMA - 1.0) + 0.5 * r * (u * u + v * v)


@njit(cache=True, error_model="numpy", inline="always")
def _far_flux(r, u, v, p, free, nx, ny):  # type: ignore[no-untyped-def]
    """Outward Steger-Warming flux at the far field; for the state ``free`` both parts add up to its exact flux."""
    leaving = _split(r, u, v, p, _conserved(r, u, v, p), nx, ny, 1.0)
    entering = _split(r, u, v, p, free, nx, ny, -1.0)
    return leaving[0] + entering[0], leaving[1] + entering[1], leaving[2] + entering[2], leaving[3] + entering[3]


@njit(cache=True, error_model="numpy", inline="always")
def _limited(difference, gradient):  # type: ignore[no-untyped-def]
    """Half the minmod of the difference along an edge and of its upwind-biased estimate."""
    other = (1.0 - 4.0 * BETA) * difference + 4.0 * BETA * gradient
    if difference * other <= 0.0:
        return 0.0
    if abs(difference) < abs(other):
        return 0.5 * difference
    return 0.5 * other


@njit(cache=True, error_model="numpy")
def add_gradients(state, edges, weights, gradient):  # type: ignore[no-untyped-def]
    """Add the least-squares gradients of the state to ``gradient``, ``(N, 8)``: four x, then four y derivatives."""
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        for k in range(4):
            difference = state[b, k] - state[a, k]
            for axis in range(2):
                gradient[a, 4 * axis + k] += weights[e, 0, axis] * difference
                gradient[b, 4 * axis + k] += weights[e, 1, axis] * difference


@njit(cache=True, error_model="numpy")
def add_face_fluxes(state, gradient, edges, points, normals, residual):  # type: ignore[no-untyped-def]
    """Add Roe's fluxes between states reconstructed with limited slopes; of first order where the gradients are 0."""
    left, right = np.empty(4), np.empty(4)
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        dx, dy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
        for k in range(4):
            difference = state[b, k] - state[a, k]
            left[k] = state[a, k] + _limited(difference, gradient[a, k] * dx + gradient[a, 4 + k] * dy)
            right[k] = state[b, k] - _limited(difference, gradient[b, k] * dx + gradient[b, 4 + k] * dy)
        flux = _roe(
            left[0], left[1], left[2], left[3], right[0], right[1], right[2], right[3], normals[e, 0], normals[e, 1]
        )
        for k in range(4):
            residual[a, k] += flux[k]
            residual[b, k] -= flux[k]


@njit(cache=True, error_model="numpy")
def add_boundary_fluxes(state, free, wall_normals, far_normals, residual):  # type: ignore[no-untyped-def]
    """Add the pressure on the section and the far-field flux; ``free``, ``(4,)``, is the conserved free stream."""
    for n in range(len(state)):
        residual[n, 1] += state[n, 3] * wall_normals[n, 0]
        residual[n, 2] += state[n, 3] * wall_normals[n, 1]
        if far_normals[n, 0] != 0.0 or far_normals[n, 1] != 0.0:
            flux = _far_flux(
                state[n, 0], state[n, 1], state[n, 2], state[n, 3], free, far_normals[n, 0], far_normals[n, 1]
            )
            for k in range(4):
                residual[n, k] += flux[k]


@njit(cache=True, error_model="numpy")
def face_jacobian(state, edges, normals, diagonal, coupling):  # type: ignore[no-untyped-def]
    """First-order Jacobian with respect to primitive variables, by differences of each flux.

    Args:
        diagonal: ``(N, 4, 4)``, added to: residual of a node by its own state.
        coupling: ``(E, 2, 4, 4)``, overwritten: residual of an edge's first node by the state of its second; the reverse.
    """
    pair = np.empty(8)
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        nx, ny = normals[e, 0], normals[e, 1]
        for k in range(4):
            pair[k], pair[4 + k] = state[a, k], state[b, k]
        flux = _roe(pair[0], pair[1], pair[2], pair[3], pair[4], pair[5], pair[6], pair[7], nx, ny)
        for m in range(8):
            kept = pair[m]
            pair[m] = kept + FLUX_STEP
            other = _roe(pair[0], pair[1], pair[2], pair[3], pair[4], pair[5], pair[6], pair[7], nx, ny)
            pair[m] = kept
            for k in range(4):
                slope = (other[k] - flux[k]) / FLUX_STEP
                if m < 4:
                    diagonal[a, k, m] += slope
                    coupling[e, 1, k, m] = -slope
                else:
                    diagonal[b, k, m - 4] -= slope
                    coupling[e, 0, k, m - 4] = slope


@njit(cache=True, error_model="numpy")
def add_boundary_jacobian(state, free, wall_normals, far_normals, diagonal):  # type: ignore[no-untyped-def]
    """Add the derivative of :func:`add_boundary_fluxes` by primitive variables, ``(N, 4, 4)``, to ``diagonal``."""
    own = np.empty(4)
    for n in range(len(state)):
        diagonal[n, 1, 3] += wall_normals[n, 0]
        diagonal[n, 2, 3] += wall_normals[n, 1]
        nx, ny = far_normals[n, 0], far_normals[n, 1]
        if nx != 0.0 or ny != 0.0:
            for k in range(4):
                own[k] = state[n, k]
            flux = _far_flux(own[0], own[1], own[2], own[3], free, nx, ny)
            for m in range(4):
                own[m] += FLUX_STEP
                other = _far_flux(own[0], own[1], own[2], own[3], free, nx, ny)
                own[m] = state[n, m]
                for k in range(4):
                    diagonal[n, k, m] += (other[k] - flux[k]) / FLUX_STEP


@njit(cache=True, error_model="numpy")
def time_terms(state, edges, normals):  # type: ignore[no-untyped-def]
    """Derivative of conserved by primitive variables, times the sum of wave speeds over the inner faces of a volume.

    Returns:
        ``(N, 4, 4)``; over a Courant number it is the pseudo-time term of the linear system.
    """
    count = len(state)
    speeds, terms = np.zeros(count), np.zeros((count, 4, 4))
    for e in range(len(edges)):
        length = math.hypot(normals[e, 0], normals[e, 1])
        for n in edges[e]:
            through = abs(state[n, 1] * normals[e, 0] + state[n, 2] * normals[e, 1])
            speeds[n] += through + length * math.sqrt(GAMMA * state[n, 3] / state[n, 0])
    for n in range(count):
        r, u, v = state[n, 0], state[n, 1], state[n, 2]
        terms[n, 0, 0] = 1.0
        terms[n, 1, 0], terms[n, 1, 1] = u, r
        terms[n, 2, 0], terms[n, 2, 2] = v, r
        terms[n, 3, 0], terms[n, 3, 1], terms[n, 3, 2] = 0.5 * (u * u + v * v), r * u, r * v
        terms[n, 3, 3] = 1.0 / (GAMMA - 1.0)
        terms[n] *= speeds[n]
    return terms
