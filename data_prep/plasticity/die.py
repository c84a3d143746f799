"""The rigid die: a profile through a few knots.

Owns the die's shape. It knows no contact and draws nothing at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.plasticity.kernels import die_height


@dataclass(frozen=True, eq=False)
class Die:
    """Cubic spline through equally spaced knots, continued beyond the outer knots along its tangents.

    With the natural end condition the curvature vanishes there, so the whole profile has a continuous curvature and no
    vertex that could push a node sideways.

    Args:
        heights: ``(n,)``, mm; the underside of the die over the knots, at time 0.
        slopes: ``(n,)``, dimensionless.
        width: distance of the outer knots, mm; the profile is centred at x = 0.
    """

    heights: np.ndarray
    slopes: np.ndarray
    width: float

    @classmethod
    def natural(cls, heights: np.ndarray, width: float) -> Die:
        """Natural cubic spline, whose ends are free to turn; reflecting the knots reflects it bit for bit.

        Raises:
            ValueError: fewer than three knots, or a height that is not finite.
        """
        heights = np.asarray(heights, dtype=np.float64)
        if heights.ndim != 1 or heights.size < 3 or not np.isfinite(heights).all():
            raise ValueError(f"a die needs a vector of at least 3 finite knot heights, not {heights}")
        spacing = width / (heights.size - 1)
        slopes = 0.5 * (_natural_slopes(heights, spacing) - _natural_slopes(heights[::-1], spacing)[::-1])
        return cls(heights, slopes, width)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Height of the underside at time 0 over the positions ``x``, mm."""
        return np.array([die_height(value, self.heights, self.slopes, self.width) for value in np.ravel(x)])

    def raised(self, by: float) -> Die:
        """The same die, higher by ``by`` mm."""
        return Die(self.heights + by, self.slopes, self.width)

    def mirrored(self) -> Die:
        """The die reflected at x = 0."""
        return Die(self.heights[::-1].copy(), -self.slopes[::-1], self.width)


def _natural_slopes(heights: np.ndarray, spacing: float) -> np.ndarray:
    """Slopes at the knots that make the second derivative continuous, and zero at the ends."""
    size = heights.size
    matrix = 4.0 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)
    matrix[0, 0] = matrix[-1, -1] = 2.0
    secants = np.diff(heights) / spacing
    return np.linalg.solve(matrix, 3.0 * (np.append(secants, 0.0) + np.append(0.0, secants)))
