"""Radar echoes as grey pixels, as in the two Hong Kong papers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stormcell.data.quantity import rate_from_dbz
from stormcell.errors import ArgumentError

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Reflectivity:
    """Conversion between grey pixels 0…1, reflectivity, and rain rate by Z = a R^b.

    Attributes:
        a: Factor in Z = a R^b, with Z in mm⁶ m⁻³ and R in mm/h.
        b: Exponent in Z = a R^b.
        lowest: Reflectivity in dBZ of a pixel of 0.
        highest: Reflectivity in dBZ of a pixel of 1.

    Raises:
        ArgumentError: a or b is not above 0, or ``highest`` is not above ``lowest``.

    Example:
        >>> hko7 = Reflectivity(a=58.53, b=1.56)
        >>> [round(float(pixel), 4) for pixel in hko7.pixel([0.0, 0.5, 30.0])]
        [0.0, 0.3283, 0.7245]
        >>> round(float(hko7.rate(hko7.pixel(5.0))), 4)
        5.0
    """

    a: float
    b: float
    lowest: float = -10.0
    highest: float = 60.0

    def __post_init__(self) -> None:
        if not (self.a > 0 and self.b > 0 and self.highest > self.lowest):
            raise ArgumentError(f"reflectivity: expected a, b > 0 and lowest < highest, found {self}")

    def dbz(self, pixel: ArrayLike) -> NDArray[np.float64]:
        """Return the reflectivity in dBZ of pixels, any shape."""
        span = self.highest - self.lowest
        return np.asarray(np.asarray(pixel, np.float64) * span + self.lowest)

    def rate(self, pixel: ArrayLike) -> NDArray[np.float64]:
        """Return the rain rate in mm/h of pixels, any shape; as in the papers, above 0 for a pixel of 0."""
        return rate_from_dbz(self.dbz(pixel), (self.a, self.b))

    def pixel(self, rate: ArrayLike) -> Pixels:
        """Return pixels, 0…1, of rain rates in mm/h, any shape; a dry pixel is 0, NaN remains NaN.

        The result is computed in float64 and rounded once, so that a rate equal to a threshold has exactly
        the threshold's pixel.
        """
        with np.errstate(divide="ignore"):  # no rain: −inf dBZ, clipped to the lowest
            dbz = 10 * np.log10(self.a) + 10 * self.b * np.log10(np.asarray(rate, np.float64))
        scaled = (dbz - self.lowest) / (self.highest - self.lowest)
        return np.asarray(np.clip(scaled, 0, 1), np.float32)
