"""LSM-2: a pyramid of convolutions with a global spectral block, on lattices and, by interpolation, on clouds."""

from lsm.model.lsm2.model import LatentSpectralModel2

__all__ = ["LatentSpectralModel2"]
