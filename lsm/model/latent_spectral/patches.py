"""Grid <-> patches as sets of points: the only place that names the axes of a grid."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

# Per rank: a grid's axes, each as "number of patches, sites in a patch"; the patches; the points of one patch.
_AXES = {
    1: ("(n0 p0)", "n0", "p0"),
    2: ("(n0 p0) (n1 p1)", "n0 n1", "p0 p1"),
    3: ("(n0 p0) (n1 p1) (n2 p2)", "n0 n1 n2", "p0 p1 p2"),
}


#: Sites of a patch along each axis if none is given, as many as published for Navier-Stokes.
PATCH = 4


def to_patches(grid: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Cut a grid into patches, each a set of points.

    Args:
        grid: ``(b, c, *n)`` whose axes are multiples of ``patch``.
        patch: sites of a patch along each axis.
    Returns:
        ``(b * patches, points, c)``.
    """
    axes, patches, points = _AXES[len(patch)]
    sizes = {f"p{axis}": size for axis, size in enumerate(patch)}
    return rearrange(grid, f"b c {axes} -> (b {patches}) ({points}) c", **sizes)


def from_patches(points: Tensor, patch: tuple[int, ...], grid: tuple[int, ...]) -> Tensor:
    """Put patches back together: the inverse of :func:`to_patches`.

    Args:
        points: ``(b * patches, points, c)``.
        patch: sites of a patch along each axis.
        grid: sites of the grid along each axis.
    Returns:
        ``(b, c, *grid)``.
    """
    axes, patches, inside = _AXES[len(patch)]
    sizes = {f"p{axis}": size for axis, size in enumerate(patch)}
    sizes |= {f"n{axis}": total // size for axis, (total, size) in enumerate(zip(grid, patch, strict=True))}
    return rearrange(points, f"(b {patches}) ({inside}) c -> b c {axes}", **sizes)
