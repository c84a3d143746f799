"""A U-Net: the convolutional trunk of the Latent Spectral Model without its spectral blocks.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015; here with
batch norm, linear up-sampling, and any rank from 1 to 3.
"""

from __future__ import annotations

from torch import Tensor, nn

from lsm.fields import FieldSpec
from lsm.model import GRIDS, MODELS, require_geometry
from lsm.model.grid import FeedForward, append_coordinates
from lsm.model.latent_spectral.spectral_block import IdentityBlock
from lsm.model.latent_spectral.trunk import MultiscaleTrunk
from lsm.model.precision import InputLinear
from lsm.registry import Count, Scales


@MODELS.register("unet")
class UNet(nn.Module):
    """U-Net on a lattice: lift, double convolutions at several scales with skip connections, read out.

    It maps ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``.

    Args:
        spec: the fields, on a grid or mesh of rank 1 to 3.
        width: channels at the finest scale; they double from scale to scale but for the last one.
        num_scales: number of scales; each halves the sites.
        head_width: channels inside the head.

    Example:
        >>> import torch
        >>> from lsm.fields import Channel
        >>> spec = FieldSpec("grid", (20, 30), ("x", "y"), (Channel("a"),), (Channel("u"), Channel("p")))
        >>> UNet(spec, width=8, num_scales=3)(torch.zeros(4, 20, 30, 1)).shape
        torch.Size([4, 20, 30, 2])
    """

    geometries = GRIDS

    def __init__(self, spec: FieldSpec, *, width: Count = 32, num_scales: Scales = 5, head_width: Count = 128) -> None:
        super().__init__()
        require_geometry(self.geometries, spec, "model unet")
        rank = len(spec.sites)
        self.lift = InputLinear(spec.in_channels + rank, width)
        self.trunk = MultiscaleTrunk(rank, width, (1,) * rank, IdentityBlock, num_scales)
        self.head = FeedForward(width, head_width, spec.out_channels)

    def forward(self, inputs: Tensor, coords: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c_in)`` to ``(b, *sites, c_out)``; coordinates and code are not used."""
        features = self.lift(append_coordinates(inputs)).movedim(-1, 1)
        return self.head(self.trunk(features).movedim(1, -1))
