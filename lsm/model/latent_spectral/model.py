"""The Latent Spectral Model: project, solve on a grid, project back, read out. No branch on the geometry.

Source: Wu, Hu, Luo, Wang, Long, "Solving High-Dimensional PDEs with Latent Spectral Models", ICML 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lsm.errors import option_group
from lsm.fields import FieldSpec
from lsm.model import ANY_GEOMETRY, MODELS, require_geometry
from lsm.model.grid import FeedForward, per_axis
from lsm.model.latent_spectral.parts import BLOCKS, PROJECTIONS, Projection
from lsm.model.latent_spectral.patches import PATCH
from lsm.model.latent_spectral.trunk import MultiscaleTrunk
from lsm.registry import Config, Count, Registry, Scales


@MODELS.register("lsm")
class LatentSpectralModel(nn.Module):
    """Predict a field from a field by neural spectral blocks at several scales.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``, both normalised.

    Args:
        spec: the fields.
        width: channels at the finest scale.
        patch: sites of a patch along each axis, the same at every scale.
        num_scales: number of scales; each halves the sites.
        block: block on the patches of every scale: a name of :data:`BLOCKS` and its options.
        projection: options of the projection to the trunk's grid; its name follows from the geometry.
        head_width: channels inside the head.
    Raises:
        OptionError: an option does not fit the fields.

    Example:
        >>> import torch
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (40, 40), ("x", "y"), (Channel("a"),), (Channel("u"),))
        >>> model = LatentSpectralModel(spec, width=16, patch=[4, 4], num_scales=3)
        >>> model(torch.zeros(2, 40, 40, 1)).shape
        torch.Size([2, 40, 40, 1])
    """

    geometries = ANY_GEOMETRY
    ragged = True
    takes_code = True
    projection: Projection

    def __init__(
        self,
        spec: FieldSpec,
        *,
        width: Count = 32,
        patch: Sequence[Count] | None = None,
        num_scales: Scales = 5,
        block: Config | None = None,
        projection: Config | None = None,
        head_width: Count = 128,
    ) -> None:
        super().__init__()
        rank = spec.space_dim
        sizes = tuple(per_axis("patch", patch or PATCH, rank))
        name = "fourier" if spec.geometry == "points" else "grid"
        options = {"name": name, **(projection or {})}
        require_geometry(PROJECTIONS[options["name"]].geometries, spec, f"projection {options['name']}")
        self.add_module("projection", _make("projection", PROJECTIONS, options, spec, width))
        make_block = {"name": "neural_spectral", **(block or {})}
        self.trunk = MultiscaleTrunk(
            rank, width, sizes, lambda channels: _make("block", BLOCKS, make_block, channels), num_scales
        )
        self.head = FeedForward(width, head_width, spec.out_channels)

    def forward(
        self,
        inputs: Tensor,
        coords: Tensor | None = None,
        code: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Map a normalised field to a normalised field.

        Args:
            inputs: ``(b, *sites, c_in)``.
            coords: ``(b, *sites, d)``, for projections that use the positions of the sites.
            code: ``(b, k)``, for projections that take a shape code.
            mask: ``(b, n)``, True where a point of a cloud exists; None if all do.
        Returns:
            ``(b, *sites, c_out)``.
        """
        given = (inputs, coords, code) if mask is None else (inputs, coords, code, mask)
        features, sites = self.projection.project(*given)
        return self.head(self.projection.unproject(self.trunk(features), sites))


def _make(group: str, registry: Registry, config: Mapping[str, Any], *context: Any) -> nn.Module:
    """A nested part; a wrong option is named ``GROUP.OPTION``."""
    with option_group(group):
        return registry.make(config, *context)
