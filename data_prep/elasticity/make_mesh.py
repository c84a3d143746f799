"""Create the base mesh of the elasticity benchmark, ``mesh.npz``, with gmsh, which only this module needs.

``python -m data_prep.elasticity.make_mesh`` recreates the stored mesh. The mesh is a file of the project, so that samples
do not depend on the version of gmsh.
"""

from __future__ import annotations

from pathlib import Path

import gmsh
import numpy as np

SIZE = 0.1
HOLE_RADIUS = 0.3
FRONTAL_DELAUNAY = 6
BLOSSOM = 1
QUAD9 = 10


def _outline() -> None:
    """Unit square with a circular hole of four arcs; all points prescribe the same element size."""
    geo = gmsh.model.geo
    corners = [geo.addPoint(x, y, 0.0, SIZE) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    sides = [geo.addLine(corners[i], corners[(i + 1) % 4]) for i in range(4)]
    centre = geo.addPoint(0.5, 0.5, 0.0, SIZE)
    # Written without cosines, so that the points are exactly on the axes of symmetry.
    compass = ((1, 0), (0, 1), (-1, 0), (0, -1))
    rim = [geo.addPoint(0.5 + HOLE_RADIUS * x, 0.5 + HOLE_RADIUS * y, 0.0, SIZE) for x, y in compass]
    arcs = [geo.addCircleArc(rim[i], centre, rim[(i + 1) % 4]) for i in range(4)]
    surface = geo.addPlaneSurface([geo.addCurveLoop(sides), geo.addCurveLoop(arcs)])
    geo.synchronize()
    gmsh.model.mesh.setRecombine(2, surface)


def _snap(nodes: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """Move the nodes of the outer sides to exactly 0 and 1, and those of the hole to its circle."""
    snapped = np.where(np.abs(nodes) < 1e-9, 0.0, np.where(np.abs(nodes - 1) < 1e-9, 1.0, nodes))
    # An edge that belongs to only one element is on the boundary; its middle node identifies it.
    edges = elements[:, [[0, 1, 4], [1, 2, 5], [2, 3, 6], [3, 0, 7]]].reshape(-1, 3)
    middles, counts = np.unique(edges[:, 2], return_counts=True)
    boundary = np.unique(edges[np.isin(edges[:, 2], middles[counts == 1])])
    outer = ((snapped == 0) | (snapped == 1)).any(1)
    hole = boundary[~outer[boundary]]
    offset = snapped[hole] - 0.5
    snapped[hole] = 0.5 + HOLE_RADIUS * offset / np.hypot(*offset.T)[:, None]
    return snapped


def make() -> tuple[np.ndarray, np.ndarray]:
    """Mesh the unit square with a hole of radius 0.3 by nine-node quadrilaterals.

    Returns:
        ``(nodes, elements)``: coordinates ``(n, 2)``, and node indices ``(m, 9)`` in the order of gmsh (four corners
        counterclockwise, the four midpoints of the sides, the centre).
    Raises:
        RuntimeError: the mesh contains elements other than nine-node quadrilaterals.
    """
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("General.NumThreads", 1)
        gmsh.option.setNumber("Mesh.Algorithm", FRONTAL_DELAUNAY)
        gmsh.option.setNumber("Mesh.RecombinationAlgorithm", BLOSSOM)
        gmsh.option.setNumber("Mesh.MeshSizeMin", SIZE)
        gmsh.option.setNumber("Mesh.MeshSizeMax", SIZE)
        _outline()
        gmsh.model.mesh.generate(2)
        gmsh.model.mesh.setOrder(2)
        tags, coordinates, _ = gmsh.model.mesh.getNodes()
        kinds, _, connectivity = gmsh.model.mesh.getElements(2)
    finally:
        gmsh.finalize()
    if list(kinds) != [QUAD9]:
        raise RuntimeError(
            f"gmsh made elements of types {list(kinds)}, expected nine-node quadrilaterals ({QUAD9}) only"
        )
    used, elements = np.unique(connectivity[0].reshape(-1, 9), return_inverse=True)
    order = np.argsort(tags)
    rows = order[np.searchsorted(tags[order], used)]
    elements = elements.reshape(-1, 9).astype(np.int32)
    return _snap(coordinates.reshape(-1, 3)[rows, :2], elements), elements


if __name__ == "__main__":
    nodes, elements = make()
    np.savez(Path(__file__).with_name("mesh.npz"), nodes=nodes, elements=elements)
