"""What a panel shows: a scalar field in the plane or along a line, in colours, the lines of a mesh, a tool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.tri import Triangulation

#: Colour maps: of a field, of one with both signs, of absolute errors.
COLOURS, SIGNED_COLOURS, ERROR_COLOURS = "viridis", "RdBu_r", "magma_r"

#: Share of its largest value up to which the other sign of a field counts as a numerical wiggle.
WIGGLES = 0.01

LINE_COLOUR = "C0"
TOOL_COLOUR, TOOL_EDGE = "0.8", "0.3"

MeshLines = tuple[np.ndarray, np.ndarray]


def paint(
    axis: Axes, values: np.ma.MaskedArray, coords: np.ndarray | None, scale: dict[str, Any], finest: float = 0.0
) -> Any:
    """Draw one scalar field, blank where it is masked; return what a colour bar needs.

    Args:
        axis: the panel.
        values: ``(*sites)``: of one axis for a line or a cloud, of two for a lattice or mesh.
        coords: ``(*sites, d)``, or None on a regular lattice, which is drawn on the unit interval or square.
        scale: limits and colours.
        finest: distance of mesh lines below which only some of them are used; see :class:`lsm.plotting.layout.View`.
    """
    if is_line(values, coords):
        axis.set_ylim(*_with_margin(scale["vmin"], scale["vmax"]))
        return axis.plot(abscissa(values, coords), values, color=LINE_COLOUR)[0]
    axis.set_aspect("equal")
    if coords is None:
        return axis.imshow(values.T, origin="lower", extent=(0, 1, 0, 1), interpolation="nearest", **scale)
    if values.ndim == 2:
        # Matplotlib shades smoothly only what has no gap.
        kept = np.ix_(*spread_lines(coords, finest))
        values, coords = values[kept], coords[kept]
        shading: Literal["nearest", "gouraud"] = "nearest" if np.ma.is_masked(values) else "gouraud"
        return axis.pcolormesh(coords[..., 0], coords[..., 1], values, shading=shading, rasterized=True, **scale)
    triangles = triangulate(coords)
    if triangles is None:
        return axis.scatter(coords[:, 0], coords[:, 1], c=values, s=12, rasterized=True, **scale)
    if np.ma.is_masked(values):
        touched = np.ma.getmaskarray(values)[triangles.triangles].any(axis=1)
        triangles.set_mask(touched if triangles.mask is None else touched | triangles.mask)
    return axis.tripcolor(triangles, values.filled(0.0), shading="gouraud", rasterized=True, **scale)


def is_line(values: np.ndarray, coords: np.ndarray | None) -> bool:
    """Whether a field ``(*sites)`` lies along one axis, not in a plane; ``coords`` are ``(*sites, d)``."""
    return values.ndim == 1 and (coords is None or coords.shape[-1] == 1)


def abscissa(values: np.ndarray, coords: np.ndarray | None) -> np.ndarray:
    """``(n,)``, positions of the sites along a line."""
    return np.linspace(0, 1, len(values)) if coords is None else coords[:, 0]


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def triangulate(coords: np.ndarray, widest: float = 3.0) -> Triangulation | None:
    """Triangles between the points of a cloud, with holes left blank; None where all points lie on a line.

    No point lies within the circumscribed circle of a Delaunay triangle, so a triangle that spans a hole has a circle as wide
    as the hole.

    Args:
        coords: ``(n, 2)``.
        widest: triangles whose circle is wider than this many times the median are left out.
    """
    extents = np.linalg.svd(coords - coords.mean(axis=0), compute_uv=False)
    if len(coords) < 3 or extents[1] <= 1e-6 * extents[0]:
        return None
    triangulation = Triangulation(coords[:, 0], coords[:, 1])
    corners = coords[triangulation.triangles].astype(np.float64)
    sides = corners - np.roll(corners, 1, axis=1)
    area = 0.5 * np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    with np.errstate(divide="ignore"):
        radius = np.linalg.norm(sides, axis=-1).prod(axis=1) / (4.0 * area)
    triangulation.set_mask(radius > widest * np.median(radius))
    return triangulation


def colour_scale(truths: Sequence[np.ndarray], predictions: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """Common limits and colours of fields ``(*sites)``; masked sites do not count.

    If the truth has values of both signs, the colours diverge and the limits are symmetric about zero, else they are
    sequential. A prediction only widens the limits: that it undershoots a positive field must not change its colours.
    """
    low, high = _limits([*truths, *predictions])
    if _is_signed(*_limits(truths)):
        return {"vmin": -max(-low, high), "vmax": max(-low, high), "cmap": SIGNED_COLOURS}
    return {"vmin": low, "vmax": high, "cmap": COLOURS}


def _is_signed(low: float, high: float) -> bool:
    """Whether a field has values of both signs, apart from wiggles about zero."""
    return min(-low, high) > WIGGLES * max(-low, high)


def error_scale(errors: Sequence[np.ndarray]) -> dict[str, Any]:
    """Common limits from zero, and colours, of absolute errors ``(*sites)``."""
    return {"vmin": 0.0, "vmax": _limits(errors)[1], "cmap": ERROR_COLOURS}


def _limits(fields: Sequence[np.ndarray]) -> tuple[float, float]:
    values = np.ma.concatenate([np.ma.ravel(field) for field in fields]).compressed()
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def spread_lines(coords: np.ndarray, spacing: float, within: np.ndarray | None = None) -> MeshLines:
    """Lines of a structured mesh that are far enough apart to be distinguished, among those that pass through the shown part.

    Args:
        coords: ``(m, n, 2)``.
        spacing: least distance of neighbouring lines, on average.
        within: ``(m, n)``, which sites are shown; all by default.
    Returns:
        Indices of the lines along the first and along the second axis, the outermost ones included.
    """
    seen = np.ones(coords.shape[:2], dtype=bool) if within is None else within
    chosen = []
    for way, shown in ((coords, seen), (coords.swapaxes(0, 1), seen.T)):
        apart = np.linalg.norm(np.diff(way, axis=0), axis=-1)[shown[1:] & shown[:-1]]
        gap = apart.mean() if apart.size else spacing
        stride = max(1, round(spacing / max(gap, spacing / len(way)))) if spacing else 1
        passing = np.flatnonzero(shown.any(axis=1))
        chosen.append(np.union1d(passing[::stride], passing[-1:]))
    return chosen[0], chosen[1]


def draw_mesh(axis: Axes, coords: np.ndarray, lines: MeshLines, **style: Any) -> None:
    """Draw the lines that :func:`spread_lines` chose of a structured mesh ``(m, n, 2)``, in a style of matplotlib."""
    first, second = lines
    axis.add_collection(LineCollection([*coords[first], *coords[:, second].swapaxes(0, 1)], **style))


def draw_tool(axis: Axes, underside: np.ndarray) -> None:
    """Draw a rigid body above its underside ``(n, 2)``, which is extended along straight lines to the edges of the panel."""
    x, y = underside.T
    (left, right), top = axis.get_xlim(), axis.get_ylim()[1]
    slopes = (y[1] - y[0]) / (x[1] - x[0]), (y[-1] - y[-2]) / (x[-1] - x[-2])
    x = np.concatenate([[left], x, [right]])
    y = np.concatenate([[y[0] + slopes[0] * (left - x[1])], y, [y[-1] + slopes[1] * (right - x[-2])]])
    axis.fill_between(x, y, max(top, y.max()), facecolor=TOOL_COLOUR, edgecolor=TOOL_EDGE, linewidth=0.8)
