"""Compiled loops of the forging: plane-stress J2 plasticity in one-point quadrilaterals, contact, and time stepping.

Owns all compiled code. It is one long file for a reason: the cache of a numba function is only invalidated by changes of
the file of this function, not of the files of the functions that it calls. With several files, an edit of one could leave
outdated machine code of another in the cache.

Units are mm, tonne and s, hence N, MPa and mJ. Nodal arrays are indexed ``[row, column]``, rows from the bottom of the
block to the top, columns from left to right; the corners of a cell are a, b, c, d, counterclockwise from the lower left.

The arithmetic has two special properties:

- The compiler must vectorise the loops, which it does not do if it has to prove that dozens of arrays do not overlap.
  Therefore all fields of a row of cells, and of a row of nodes, are in one array at constant offsets.
- Reflection of the block at a vertical line reflects all intermediate results exactly. Products that are exchanged by the
  reflection are only added or subtracted, and a node sums the forces of the cells on its right and on its left separately.
  ``fastmath`` would destroy this property.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

#: Number of cells per vectorised loop; the number of columns is a multiple of it. The compiler only vectorises loops of
#: a length known at compile time.
LANES = 20

#: Distance between the fields of a row, and therefore the largest number of nodes in a row. An odd number of cache lines.
PITCH = 216

#: Offsets in a row of cells: Cauchy stress in MPa, thickness in mm, hourglass force in N, equivalent plastic strain, and
#: the energies in mJ absorbed by the hourglass stiffness and by the bulk viscosity.
STRESS_XX, STRESS_YY, STRESS_XY, THICKNESS, HOURGLASS_X, HOURGLASS_Y = (n * PITCH for n in range(6))
PLASTIC_STRAIN, HOURGLASS_ENERGY, VISCOUS_ENERGY = (n * PITCH for n in range(6, 9))

#: Offsets in a row of nodes: position in mm, velocity in mm/s, mass in tonne, and the forces in N of the cells on the
#: right and on the left of the node.
X, Y, VELOCITY_X, VELOCITY_Y, MASS, RIGHT_X, RIGHT_Y, LEFT_X, LEFT_Y = (n * PITCH for n in range(9))

ROW_SIZE = 9 * PITCH

#: Projections onto the die per step; the second removes the remaining penetration due to the curvature of the die.
NUM_PROJECTIONS = 2

#: Added to a denominator that is zero in an unstressed cell; much smaller than any relevant squared stress.
TINY = 1e-30


class Material(NamedTuple):
    """Constants of the material and of the element's numerical stabilisation.

    Args:
        young: Young's modulus, MPa.
        poisson: Poisson's ratio.
        yield_stress: uniaxial yield stress, MPa; there is no hardening.
        density: tonne / mm^3.
        hourglass: stiffness of the hourglass mode, relative to the shear modulus. It multiplies the sum of the corner
            displacements with alternating signs; in codes that use their mean, the same number is 16 times softer.
        linear_viscosity, quadratic_viscosity: coefficients of the bulk viscosity.
    """

    young: float = 2.0e5
    poisson: float = 0.3
    yield_stress: float = 70.0
    density: float = 7.85e-9
    hourglass: float = 0.01
    linear_viscosity: float = 0.06
    quadratic_viscosity: float = 1.2


def row_field(rows: np.ndarray, offset: int, length: int) -> np.ndarray:
    """View ``(num_rows, length)`` of a quantity, given its offset in a row, such as ``STRESS_XX`` or ``VELOCITY_Y``."""
    return rows[:, offset : offset + length]


@njit(cache=True, error_model="numpy", forceinline=True)
def return_to_yield(
    xx: float, yy: float, xy: float, yield_stress: float, volumetric: float, deviatoric: float
) -> tuple[float, float, float, float]:
    """Backward-Euler plane-stress return of a trial stress to the von Mises yield surface.

    With ``p = xx + yy`` and ``q = xx - yy``, the flow rule ``d(strain) = m P stress`` scales ``p`` by ``1 / (1 + m
    volumetric)`` and ``q``, ``xy`` by ``1 / (1 + m deviatoric)``, so that one scalar equation remains,
    ``p^2/4 + 3 q^2/4 + 3 xy^2 = yield_stress^2``. Newton's method is applied to the reciprocal of the equivalent stress,
    which is nearly linear in ``m``. A final radial scaling removes the remaining error, so that the stress never exceeds
    the yield stress.

    Args:
        xx, yy, xy: trial stress, MPa.
        yield_stress: MPa.
        volumetric: ``E / (3 (1 - nu))``, MPa.
        deviatoric: ``E / (1 + nu)``, MPa.
    Returns:
        The stress, and the plastic multiplier ``m`` in 1 / MPa, which is 0 where the trial stress is elastic.
    Source:
        Simo and Hughes, Computational Inelasticity (1998), section 3.4.
    """
    per_yield_stress = 1.0 / yield_stress
    half_p = 0.5 * (xx + yy)
    half_q = 0.5 * (xx - yy)
    spherical = half_p * half_p
    distortional = 3.0 * (half_q * half_q + xy * xy)
    multiplier = 0.0
    scale_p = 1.0
    scale_q = 1.0
    for _ in range(2):
        part_p = spherical * scale_p * scale_p
        part_q = distortional * scale_q * scale_q
        excess = math.sqrt(part_p + part_q) * per_yield_stress - 1.0
        slope = volumetric * part_p * scale_p + deviatoric * part_q * scale_q + TINY
        multiplier = max(0.0, multiplier + (part_p + part_q) * excess / slope)
        grown_p = 1.0 + multiplier * volumetric
        grown_q = 1.0 + multiplier * deviatoric
        per_both = 1.0 / (grown_p * grown_q)
        scale_p = grown_q * per_both
        scale_q = grown_p * per_both
    equivalent = math.sqrt(spherical * scale_p * scale_p + distortional * scale_q * scale_q + TINY)
    onto_surface = min(1.0, yield_stress / equivalent)
    half_p *= scale_p * onto_surface
    half_q *= scale_q * onto_surface
    return half_p + half_q, half_p - half_q, xy * scale_q * onto_surface, multiplier


@njit(cache=True, error_model="numpy", forceinline=True)
def cayley_rotation(angle: float) -> tuple[float, float]:
    """Cosine and sine of the rotation ``(1 - W/2)^-1 (1 + W/2)`` given by the midpoint spin ``W`` of a step.

    Exact for rigid rotations of any size (Hughes and Winget, 1980); the Jaumann rate alone would accumulate an error.
    """
    quarter = 0.25 * angle * angle
    scale = 1.0 / (1.0 + quarter)
    return (1.0 - quarter) * scale, angle * scale


@njit(cache=True, error_model="numpy", forceinline=True)
def rotate_tensor(xx: float, yy: float, xy: float, cosine: float, sine: float) -> tuple[float, float, float]:
    """Components of a symmetric tensor after a rotation with the material."""
    cc = cosine * cosine
    ss = sine * sine
    cs = cosine * sine
    return (
        (cc * xx + ss * yy) - 2.0 * cs * xy,
        (ss * xx + cc * yy) + 2.0 * cs * xy,
        cs * (xx - yy) + (cc - ss) * xy,
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def update_stress(cells, i, exx, eyy, gamma, cosine, sine, material):  # type: ignore[no-untyped-def]
    """Update the stress and the thickness of cell ``i`` for the rotation and the strains of a step; return both.

    The strain normal to the plane changes the thickness: its elastic part is ``-nu / E`` times the change of ``xx + yy``,
    its plastic part is minus the plastic area strain, since plastic flow preserves the volume.
    """
    young = material.young
    poisson = material.poisson
    plane = young / (1.0 - poisson * poisson)
    shear = 0.5 * young / (1.0 + poisson)
    xx, yy, xy = rotate_tensor(cells[STRESS_XX + i], cells[STRESS_YY + i], cells[STRESS_XY + i], cosine, sine)
    trace = xx + yy
    xx, yy, xy, multiplier = return_to_yield(
        xx + plane * (exx + poisson * eyy),
        yy + plane * (eyy + poisson * exx),
        xy + shear * gamma,
        material.yield_stress,
        young / (3.0 * (1.0 - poisson)),
        young / (1.0 + poisson),
    )
    ezz = -(poisson / young) * ((xx + yy) - trace) - multiplier * (xx + yy) * (1.0 / 3.0)
    thickness = cells[THICKNESS + i] * (1.0 + ezz + 0.5 * ezz * ezz)
    cells[STRESS_XX + i] = xx
    cells[STRESS_YY + i] = yy
    cells[STRESS_XY + i] = xy
    cells[THICKNESS + i] = thickness
    cells[PLASTIC_STRAIN + i] += multiplier * material.yield_stress * (2.0 / 3.0)
    return xx, yy, xy, thickness


@njit(cache=True, error_model="numpy", forceinline=True)
def warp(low, high, at):  # type: ignore[no-untyped-def]
    """Hourglass combination a - b + c - d of a nodal field, with ``at`` the offset of its value at corner a."""
    return (low[at] + high[at + 1]) - (low[at + 1] + high[at])


@njit(cache=True, error_model="numpy", forceinline=True)
def update_hourglass(cells, i, gx, gy, stiffness, cosine, sine):  # type: ignore[no-untyped-def]
    """Rotate the hourglass force of cell ``i`` and add ``stiffness`` times the hourglass displacement.

    Returns:
        The force, which acts on the corners with alternating signs.
    """
    old_x = cosine * cells[HOURGLASS_X + i] - sine * cells[HOURGLASS_Y + i]
    old_y = sine * cells[HOURGLASS_X + i] + cosine * cells[HOURGLASS_Y + i]
    new_x = old_x + stiffness * gx
    new_y = old_y + stiffness * gy
    cells[HOURGLASS_X + i] = new_x
    cells[HOURGLASS_Y + i] = new_y
    cells[HOURGLASS_ENERGY + i] += 0.5 * ((old_x + new_x) * gx + (old_y + new_y) * gy)
    return new_x, new_y


@njit(cache=True, error_model="numpy", forceinline=True)
def viscous_tension(area_rate: float, length: float, sound_speed: float, material: Material) -> float:
    """Bulk viscosity, as an isotropic in-plane tension in MPa: ``rho L r (b1 c - b2^2 L min(r, 0))``.

    ``r`` is the rate of area strain, since the thickness can change freely; the quadratic term acts only in compression.
    """
    quadratic = material.quadratic_viscosity * material.quadratic_viscosity * length * min(area_rate, 0.0)
    return material.density * length * area_rate * (material.linear_viscosity * sound_speed - quadratic)


@njit(cache=True, error_model="numpy", forceinline=True)
def step_gradient(x31, x42, y31, y42, u31, u42, v31, v42):  # type: ignore[no-untyped-def]
    """Displacement gradient of a step in the midpoint configuration, from the final diagonals and their changes.

    Returns:
        ``du/dx, du/dy, dv/dx, dv/dy``, twice the final area and its reciprocal; both areas need only one division.
    """
    mx31 = x31 - 0.5 * u31
    mx42 = x42 - 0.5 * u42
    my31 = y31 - 0.5 * v31
    my42 = y42 - 0.5 * v42
    half_way_area = mx31 * my42 - mx42 * my31
    twice_area = x31 * y42 - x42 * y31
    per_both = 1.0 / (half_way_area * twice_area)
    per_half_way_area = twice_area * per_both
    ux = (my42 * u31 - my31 * u42) * per_half_way_area
    uy = (mx31 * u42 - mx42 * u31) * per_half_way_area
    vx = (my42 * v31 - my31 * v42) * per_half_way_area
    vy = (mx31 * v42 - mx42 * v31) * per_half_way_area
    return ux, uy, vx, vy, twice_area, half_way_area * per_both


@njit(cache=True, error_model="numpy", forceinline=True)
def add_force(low, high, i, right, left, a, b, warp_force):  # type: ignore[no-untyped-def]
    """Add one component of the force of cell ``i`` to its corners: ``a``, ``b`` at two corners, ``-a``, ``-b`` opposite.

    ``right`` and ``left`` are the offsets of the forces of the cells on the right and on the left of a node.
    """
    low[right + i] += a - warp_force
    low[left + i + 1] += b + warp_force
    high[right + i] = warp_force - b
    high[left + i + 1] = -a - warp_force


@njit(cache=True, error_model="numpy")
def update_lanes(cells: np.ndarray, low: np.ndarray, high: np.ndarray, material: Material, dt: float) -> None:
    """Update ``LANES`` cells of a row after the step ``dt``, and the forces on the nodes below and above them.

    One-point quadrature: the displacement gradient of the step is evaluated at the cell centre in the midpoint
    configuration, the forces in the final configuration. Hourglass shape vectors after Flanagan and Belytschko (1981).
    """
    sound_speed = math.sqrt(material.young / ((1.0 - material.poisson * material.poisson) * material.density))
    shear_stiffness = 0.5 * material.hourglass * material.young / (1.0 + material.poisson)
    per_dt = 1.0 / dt
    half_dt = 0.5 * dt
    for i in range(LANES):
        # Diagonals c - a and d - b, and the hourglass combination a - b + c - d, of position and displacement.
        x31 = high[X + i + 1] - low[X + i]
        x42 = high[X + i] - low[X + i + 1]
        y31 = high[Y + i + 1] - low[Y + i]
        y42 = high[Y + i] - low[Y + i + 1]
        u31 = dt * (high[VELOCITY_X + i + 1] - low[VELOCITY_X + i])
        u42 = dt * (high[VELOCITY_X + i] - low[VELOCITY_X + i + 1])
        v31 = dt * (high[VELOCITY_Y + i + 1] - low[VELOCITY_Y + i])
        v42 = dt * (high[VELOCITY_Y + i] - low[VELOCITY_Y + i + 1])
        hx = warp(low, high, X + i)
        hy = warp(low, high, Y + i)
        half_hu = half_dt * warp(low, high, VELOCITY_X + i)
        half_hv = half_dt * warp(low, high, VELOCITY_Y + i)

        ux, uy, vx, vy, twice_area, per_twice_area = step_gradient(x31, x42, y31, y42, u31, u42, v31, v42)
        cosine, sine = cayley_rotation(0.5 * (vx - uy))
        xx, yy, xy, thickness = update_stress(cells, i, ux, vy, uy + vx, cosine, sine, material)

        # Hourglass displacement: the part of the corner displacements that is not affine.
        gx = 2.0 * half_hu - ((hx - half_hu) * ux + (hy - half_hv) * uy)
        gy = 2.0 * half_hv - ((hx - half_hu) * vx + (hy - half_hv) * vy)
        squared_diagonals = (x31 * x31 + x42 * x42) + (y31 * y31 + y42 * y42)
        stiffness = shear_stiffness * thickness * squared_diagonals * per_twice_area
        warp_x, warp_y = update_hourglass(cells, i, gx, gy, stiffness, cosine, sine)

        tension = viscous_tension((ux + vy) * per_dt, math.sqrt(0.5 * twice_area), sound_speed, material)
        cells[VISCOUS_ENERGY + i] += tension * (ux + vy) * (0.5 * twice_area * thickness)

        # Stress times half the thickness, minus the part of the hourglass force that resists affine motions.
        half = 0.5 * thickness
        scaled_x = warp_x * per_twice_area
        scaled_y = warp_y * per_twice_area
        sxx = half * (xx + tension) - scaled_x * hx
        sxy = half * xy - scaled_x * hy
        syx = half * xy - scaled_y * hx
        syy = half * (yy + tension) - scaled_y * hy
        add_force(low, high, i, RIGHT_X, LEFT_X, y42 * sxx - x42 * sxy, x31 * sxy - y31 * sxx, warp_x)
        add_force(low, high, i, RIGHT_Y, LEFT_Y, y42 * syx - x42 * syy, x31 * syy - y31 * syx, warp_y)


@njit(cache=True, error_model="numpy")
def update_cells(cells: np.ndarray, nodes: np.ndarray, columns: int, material: Material, dt: float) -> None:
    """Update all cells after the step ``dt`` of the nodes, and set the internal forces of the nodes.

    Args:
        cells: ``(rows, ROW_SIZE)``, modified.
        nodes: ``(rows + 1, ROW_SIZE)``; their forces are overwritten, except those from the missing cells to the left of
            the first column and to the right of the last, which must be 0.
        columns: number of columns of cells, a multiple of ``LANES`` below ``PITCH``.
        material: constants.
        dt: length of the step, s.
    """
    nodes[0, RIGHT_X:] = 0.0
    for row in range(cells.shape[0]):
        for first in range(0, columns, LANES):
            update_lanes(cells[row, first:], nodes[row, first:], nodes[row + 1, first:], material, dt)


@njit(cache=True, error_model="numpy")
def die_interval(x: float, last: int, width: float) -> tuple[int, float, float]:
    """Interval of the spline that contains ``x``, and the fractions of it to the right and to the left of ``x``."""
    spacing = width / last
    interval = min(int((x + 0.5 * width) / spacing), last - 1)
    if x < interval * spacing - 0.5 * width:
        # The sum was rounded up to the knot.
        interval -= 1
    # Each fraction is computed from its own knot, so that a reflection exchanges them exactly.
    return (
        interval,
        ((interval + 1) * spacing - 0.5 * width - x) / spacing,
        (x - (interval * spacing - 0.5 * width)) / spacing,
    )


@njit(cache=True, error_model="numpy")
def die_height(x: float, heights: np.ndarray, slopes: np.ndarray, width: float) -> float:
    """Height of a ``Die`` at ``x`` and time 0, infinite beyond its ends; exact at the knots, from both intervals."""
    if abs(x) > 0.5 * width:
        return math.inf
    last = heights.size - 1
    n, a, b = die_interval(x, last, width)
    spacing = width / last
    from_left = a * a * ((1.0 + 2.0 * b) * heights[n] + spacing * b * slopes[n])
    from_right = b * b * ((1.0 + 2.0 * a) * heights[n + 1] - spacing * a * slopes[n + 1])
    return from_left + from_right


@njit(cache=True, error_model="numpy")
def die_slope(x: float, heights: np.ndarray, slopes: np.ndarray, width: float) -> float:
    """Slope of a ``Die`` at ``x``; exact at the knots, from both intervals."""
    last = heights.size - 1
    n, a, b = die_interval(x, last, width)
    secant = (heights[n + 1] - heights[n]) / (width / last)
    return 6.0 * (a * b) * secant + (a * (a - 2.0 * b) * slopes[n] + b * (b - 2.0 * a) * slopes[n + 1])


@njit(cache=True, error_model="numpy")
def push_node(row, k, heights, slopes, width, travel, dt):  # type: ignore[no-untyped-def]
    """Move node ``k`` of a row out of the die along the normal of the die; return the vertical impulse on it, N s.

    Displacement and velocity are corrected as if a constant contact force had acted during the step.
    """
    impulse = 0.0
    for _ in range(NUM_PROJECTIONS):
        depth = row[Y + k] - (die_height(row[X + k], heights, slopes, width) - travel)
        if depth <= 0.0:
            break
        slope = die_slope(row[X + k], heights, slopes, width)
        down = depth / (1.0 + slope * slope)
        row[X + k] += slope * down
        row[Y + k] -= down
        row[VELOCITY_X + k] += slope * down / dt
        row[VELOCITY_Y + k] -= down / dt
        impulse -= row[MASS + k] * down / dt
    return impulse


@njit(cache=True, error_model="numpy")
def push_block(
    nodes: np.ndarray, columns: int, heights: np.ndarray, slopes: np.ndarray, width: float, travel: float, dt: float
) -> float:
    """Move the nodes of the top and the sides, except the bottom, out of the die; return the impulse on them, N s."""
    top = nodes.shape[0] - 1
    impulse = 0.0
    for k in range(columns + 1):
        impulse += push_node(nodes[top], k, heights, slopes, width, travel, dt)
    for row in range(1, top):
        impulse += push_node(nodes[row], 0, heights, slopes, width, travel, dt)
        impulse += push_node(nodes[row], columns, heights, slopes, width, travel, dt)
    return impulse


@njit(cache=True, error_model="numpy")
def stable_steps(nodes: np.ndarray, cells: np.ndarray, material: Material, cell_mass: float, steps: np.ndarray) -> None:
    """Largest stable step of central differences for each cell, s; NaN if a cell has turned inside out.

    The largest frequency ``w`` of the mesh is at most that of its stiffest cell, which is known in closed form for
    one-point quadrature: ``w^2 = 4 volume / cell_mass * l`` with ``l`` the largest eigenvalue of ``C B B^T``. The linear
    bulk viscosity reduces the step ``2 / w`` by the factor ``sqrt(1 + z^2) - z`` with the damping ratio ``z``.

    Args:
        steps: ``(rows, columns)``, overwritten.
    """
    plane = material.young / (1.0 - material.poisson * material.poisson)
    viscosity = material.density * material.linear_viscosity * math.sqrt(plane / material.density)
    for row in range(steps.shape[0]):
        low = nodes[row]
        high = nodes[row + 1]
        for i in range(steps.shape[1]):
            x31 = high[X + i + 1] - low[X + i]
            x42 = high[X + i] - low[X + i + 1]
            y31 = high[Y + i + 1] - low[Y + i]
            y42 = high[Y + i] - low[Y + i + 1]
            twice_area = x31 * y42 - x42 * y31
            # Trace and determinant of the Gram matrix of the two rows of B.
            half_trace = ((x31 * x31 + x42 * x42) + (y31 * y31 + y42 * y42)) / (twice_area * twice_area)
            determinant = 4.0 / (twice_area * twice_area)
            # The maximum protects against rounding: for a square without lateral coupling both eigenvalues are equal.
            discriminant = half_trace * half_trace - (1.0 - material.poisson * material.poisson) * determinant
            root = math.sqrt(max(discriminant, 0.0))
            per_mass = 2.0 * twice_area * cells[row, THICKNESS + i] / cell_mass
            frequency = math.sqrt(per_mass * plane * (half_trace + root))
            damping = per_mass * viscosity * math.sqrt(0.5 * twice_area) * half_trace / frequency
            steps[row, i] = 2.0 / frequency * (math.sqrt(1.0 + damping * damping) - damping)


@njit(cache=True, error_model="numpy")
def advance_nodes(nodes: np.ndarray, columns: int, kick: float, drift: float) -> None:
    """Update velocities with the forces over the time ``kick``, then positions over ``drift``; ``u_y = 0`` at the bottom."""
    for n in range(nodes.shape[0]):
        row = nodes[n]
        for k in range(columns + 1):
            per_mass = kick / row[MASS + k]
            velocity_x = row[VELOCITY_X + k] + per_mass * (row[RIGHT_X + k] + row[LEFT_X + k])
            velocity_y = row[VELOCITY_Y + k] + per_mass * (row[RIGHT_Y + k] + row[LEFT_Y + k])
            if n == 0:
                velocity_y = 0.0
            row[VELOCITY_X + k] = velocity_x
            row[VELOCITY_Y + k] = velocity_y
            row[X + k] += drift * velocity_x
            row[Y + k] += drift * velocity_y


@njit(cache=True, error_model="numpy")
def march(nodes, cells, columns, material, heights, slopes, width, speed, time, last, step, count):  # type: ignore[no-untyped-def]
    """Take ``count`` steps of length ``step`` from ``time``, after a step of length ``last``; return the die's impulse."""
    impulse = 0.0
    for n in range(count):
        advance_nodes(nodes, columns, 0.5 * (last + step), step)
        impulse -= push_block(nodes, columns, heights, slopes, width, speed * (time + (n + 1) * step), step)
        update_cells(cells, nodes, columns, material, step)
        last = step
    return impulse
