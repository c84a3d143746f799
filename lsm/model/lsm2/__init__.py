"""LSM-2: a pyramid of convolutions on lattices, a stream of points on clouds, and one global spectral block for both."""

from lsm.model.lsm2.model import LatentSpectralModel2

__all__ = ["LatentSpectralModel2"]
