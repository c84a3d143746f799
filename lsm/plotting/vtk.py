"""Samples as files for ParaView: truth, prediction and error at each site, one file for each time.

A lattice or mesh becomes a structured grid, ``.vts``; a cloud its points, in the plane with triangles between them, ``.vtu``.
Each file holds one time; those of fields in motion are listed in a ``.pvd`` file, which ParaView opens as an animation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from torch import Tensor

from lsm.conformal import Band
from lsm.data.structured_vtk import write_structured
from lsm.extras import require
from lsm.fields import FieldBatch, FieldSpec
from lsm.files import whole_file, write_whole
from lsm.plotting.display import Display
from lsm.plotting.painting import triangulate


def save_fields(
    path: Path,
    spec: FieldSpec,
    display: Display,
    sample: FieldBatch,
    predictions: Tensor | Mapping[str, Tensor],
    band: Band | None = None,
) -> list[Path]:
    """Write the fields ``(*sites, c)`` of one sample.

    Args:
        path: the file to make, without its suffix.
        spec, display, sample, predictions, band: as in :func:`lsm.plotting.draw_sample`.
    Returns:
        The file; of fields in motion the ``.pvd`` file, then one file for each time.
    Raises:
        InputError: meshio is not installed.
    """
    require("meshio", "vtk", "writing files for ParaView")
    named = {"": predictions} if isinstance(predictions, Tensor) else predictions
    values = {"truth": sample.targets, **{f"prediction_{name}".rstrip("_"): field for name, field in named.items()}}
    values |= {f"error_{name}".rstrip("_"): field - sample.targets for name, field in named.items()}
    if band is not None:
        values["half_width"] = values["truth"].new_tensor(band.half_width).expand_as(sample.targets)
    times, suffix = spec.frame_names, ".vtu" if spec.geometry == "points" else ".vts"
    if not times:
        return [_write(path.with_suffix(suffix), spec, display, sample, _arrays(spec, values, sample.inputs, None))]
    files = []
    for index in range(len(times)):
        arrays = _arrays(spec, values, sample.inputs, index)
        files.append(_write(path.with_name(f"{path.name}_{index:03d}{suffix}"), spec, display, sample, arrays, index))
    return [_write_collection(path.with_suffix(".pvd"), files), *files]


def _arrays(spec: FieldSpec, values: Mapping[str, Tensor], inputs: Tensor, time: int | None) -> dict[str, np.ndarray]:
    """Each field ``(*sites)`` at one time, by names such as ``pressure_truth``; inputs keep their names."""
    arrays = {
        f"{channel.name}_{name}": _at(spec, field, time)[..., number].numpy()
        for number, channel in enumerate(spec.targets)
        for name, field in values.items()
    }
    if spec.frames is None:
        given = _at(spec, inputs, time)
        arrays |= {channel.name: given[..., number].numpy() for number, channel in enumerate(spec.inputs)}
    return arrays


def _at(spec: FieldSpec, field: Tensor, time: int | None) -> Tensor:
    """Fields ``(*sites, c)`` of one time, without the axis of time."""
    if time is None:
        return field
    if spec.frames is not None:
        return field.unflatten(-1, (spec.frames.targets, -1))[..., time, :]
    return field.select(spec.axes.index("time"), time)


def _write(
    path: Path,
    spec: FieldSpec,
    display: Display,
    sample: FieldBatch,
    arrays: Mapping[str, np.ndarray],
    time: int | None = None,
) -> Path:
    meshio = require("meshio", "vtk", "writing files for ParaView")
    places = _places(spec, display.restricted_to(spec), sample, arrays, time)
    # A structured grid numbers its points with the first axis fastest.
    flat = np.stack([values.flatten(order="F") for values in np.moveaxis(places, -1, 0)], axis=-1)
    points = np.pad(flat, ((0, 0), (0, 3 - flat.shape[1]))).astype(np.float64)
    data = {name: values.flatten(order="F") for name, values in arrays.items()}
    with whole_file(path) as file:
        if spec.geometry == "points":
            meshio.write(Path(file.name), meshio.Mesh(points, _cloud(flat), point_data=data), file_format="vtu")
        else:
            write_structured(Path(file.name), places.shape[:-1], points, data)
    return path


def _places(
    spec: FieldSpec, display: Display, sample: FieldBatch, arrays: Mapping[str, np.ndarray], time: int | None
) -> np.ndarray:
    """Where the sites lie ``(*sites, d)`` at one time: a mesh that moves at its true positions, a lattice on the unit cube."""
    if display.positions is not None:
        return np.stack([arrays[f"{name}_truth"] for name in display.positions], axis=-1)
    if sample.coords is None:
        sites = [size for size, name in zip(spec.sites, spec.axes, strict=True) if name != "time"]
        return np.stack(np.meshgrid(*(np.linspace(0, 1, size) for size in sites), indexing="ij"), axis=-1)
    coords = sample.coords if time is None or "time" not in spec.axes else _at(spec, sample.coords, time)
    return coords.numpy()


def _cloud(points: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Triangles between points in the plane, unless they lie on a line; else each point for itself."""
    triangles = triangulate(points) if points.shape[1] == 2 else None
    if triangles is not None:
        return [("triangle", triangles.get_masked_triangles())]
    return [("vertex", np.arange(len(points))[:, None])]


def _write_collection(path: Path, files: list[Path]) -> Path:
    root = ElementTree.Element("VTKFile", type="Collection", version="0.1")
    collection = ElementTree.SubElement(root, "Collection")
    for index, file in enumerate(files):
        ElementTree.SubElement(collection, "DataSet", timestep=str(index), part="0", file=file.name)
    write_whole(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    return path
