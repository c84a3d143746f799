"""Model families by name: what a model is, and the registry that finds it.

A family is one module in this package (or a package, as the Latent Spectral Model) that registers a class::

    @MODELS.register("mine")
    class MyModel(nn.Module):
        geometries = GRIDS

        def __init__(self, spec: FieldSpec, *, width: Count = 32) -> None: ...
        def forward(self, inputs, coords=None, code=None): ...

Channel counts, rank and sites come from the specification; keyword-only parameters are the family's options. A family with
``ragged = True`` takes clouds with different numbers of points: its ``forward`` has an argument ``mask`` ``(b, n)``, True where a
point exists, and no prediction depends on the other points. One with ``takes_code = True`` uses the vector ``code`` of a cloud.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from lsm.errors import InputError
from lsm.fields import FieldSpec, Geometry
from lsm.registry import Registry

#: Geometries whose sites form a lattice.
GRIDS: frozenset[Geometry] = frozenset({"grid", "mesh"})

ANY_GEOMETRY: frozenset[Geometry] = GRIDS | {"points"}

MODELS: Registry[Any] = Registry("model", home="lsm.model")


class Model(Protocol):
    """A map from a normalised field ``(b, *sites, c_in)`` to one at the same sites, ``(b, *sites, c_out)``.

    The solver normalises, rolls out and masks; a model sees neither physical units nor time.
    """

    #: Where the sites may lie.
    geometries: ClassVar[frozenset[Geometry]]

    def __call__(self, inputs: Tensor, coords: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``.

        Args:
            inputs: normalised fields, ``(b, *sites, spec.in_channels)``.
            coords: ``(b, *sites, d)``, where the sites lie: of a mesh in physical units, of a cloud in the unit cube, unless its
                coordinates are not normalised.
            code: ``(b, k)``, a vector that describes the whole sample.
        Returns:
            ``(b, *sites, spec.out_channels)``, normalised.
        """


@runtime_checkable
class MultiscaleModel(Protocol):
    """A model that can predict at several scales, so that training can compare each of them with the truth.

    Attributes:
        supervision: weight in training of the loss of each coarser scale.
    """

    supervision: float

    def at_scales(self, inputs: Tensor, coords: Tensor | None = None, code: Tensor | None = None) -> list[Tensor]:
        """Map ``(b, *sites, c_in)`` to predictions ``(b, *sites_s, c_out)``, finest first.

        The sites of scale ``s`` are every ``2^s``-th site along each axis; the finest prediction is that of the model.
        """


def families_with(trait: str) -> list[str]:
    """Names of the families that state a trait, such as ``ragged``.

    Example:
        >>> families_with("takes_code")
        ['lsm']
    """
    return [name for name in MODELS.names() if getattr(MODELS[name], trait, False)]


def require_ragged(model: Any) -> None:
    """Check that a family, or a model of it, takes clouds with different numbers of points.

    Raises:
        InputError: it does not; the message names the families that do.
    """
    if not getattr(model, "ragged", False):
        raise InputError(
            "this family needs the same number of points in every cloud; families that take different numbers: "
            f"{', '.join(families_with('ragged'))}",
            options=("model",),
        )


def geometries_of(family: Any) -> frozenset[Geometry]:
    """The geometries that a family supports: those that it names, else all."""
    return getattr(family, "geometries", ANY_GEOMETRY)


def require_geometry(geometries: frozenset[Geometry], spec: FieldSpec, what: str) -> None:
    """Check that a family or a part of it supports the geometry of some fields.

    Raises:
        InputError: it does not; the message names the families that do.
    """
    if spec.geometry not in geometries:
        fitting = [name for name in MODELS.names() if spec.geometry in geometries_of(MODELS[name])]
        raise InputError(f"{what} does not support {spec.geometry!r} sites; models that do: {', '.join(fitting)}")
