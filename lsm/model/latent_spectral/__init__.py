"""The Latent Spectral Model: its parts, the import of published weights, and a look into its latent space.

Source: Wu, Hu, Luo, Wang, Long, "Solving High-Dimensional PDEs with Latent Spectral Models", ICML 2023.
"""

from lsm.model.latent_spectral.model import LatentSpectralModel

__all__ = ["LatentSpectralModel"]
