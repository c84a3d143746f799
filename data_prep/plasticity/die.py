"""The rigid die: a profile through a few knots.

Owns the shape of the die. It knows no contact and draws no random number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.plasticity.kernels import die_height


@dataclass(frozen=True, eq=False)
class Die:
    """Cubic spline through equally spaced knots; the die ends at the outer knots.

    Args:
        heights: ``(n,)``, mm; heights of the underside of the die at the knots, at time 0.
        slopes: ``(n,)``, dimensionless; slopes at the knots.
        width: distance of the outer knots, mm; the profile is centred at x = 0.
    """

    heights: np.ndarray
    slopes: np.ndarray
    width: float

    @classmethod
    def through(cls, heights: np.ndarray, width: float, end_curvature: float = 0.0) -> Die:
        """Cubic spline with a given second derivative at both ends; reflected knots give exactly the reflected spline.

        Args:
            heights: ``(n,)``, mm.
            width: distance of the outer knots, mm.
            end_curvature: second derivative at both ends, 1 / mm; 0 gives the natural spline.
        Raises:
            ValueError: fewer than three knots, or a height that is not finite.
        """
        heights = np.asarray(heights, dtype=np.float64)
        if heights.ndim != 1 or heights.size < 3 or not np.isfinite(heights).all():
            raise ValueError(f"knot heights are {heights}, expected a vector of at least 3 finite numbers")
        rightwards, leftwards = (_slopes(knots, width, end_curvature) for knots in (heights, heights[::-1]))
        return cls(heights, 0.5 * (rightwards - leftwards[::-1]), width)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Height of the underside at time 0 at the positions ``x``, mm; infinite beyond the ends."""
        return np.array([die_height(value, self.heights, self.slopes, self.width) for value in np.ravel(x)])

    def raised(self, by: float) -> Die:
        """The same die, higher by ``by`` mm."""
        return Die(self.heights + by, self.slopes, self.width)

    def mirrored(self) -> Die:
        """The die reflected at x = 0."""
        return Die(self.heights[::-1].copy(), -self.slopes[::-1], self.width)


def _slopes(heights: np.ndarray, width: float, end_curvature: float) -> np.ndarray:
    """Slopes at the knots for which the second derivative is continuous, and equal to ``end_curvature`` at the ends."""
    size = heights.size
    spacing = width / (size - 1)
    matrix = 4.0 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)
    matrix[0, 0] = matrix[-1, -1] = 2.0
    secants = np.diff(heights) / spacing
    right = 3.0 * (np.append(secants, 0.0) + np.append(0.0, secants))
    right[[0, -1]] += 0.5 * spacing * end_curvature * np.array([-1.0, 1.0])
    return np.linalg.solve(matrix, right)
