"""Radar echoes as grey pixels, the way the two Hong Kong papers keep them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stormcell.data.quantity import rate_from_dbz
from stormcell.errors import ArgumentError

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Reflectivity:
    """Grey pixels 0…1 that stand for reflectivity, and through Z = a R^b for rain.

    Attributes:
        a: Of Z = a R^b, with Z in mm⁶ m⁻³ and R in mm/h.
        b: Its exponent.
        lowest: dBZ of a pixel of 0.
        highest: dBZ of a pixel of 1.

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
        """Reflectivity in dBZ of pixels, any shape."""
        span = self.highest - self.lowest
        return np.asarray(np.asarray(pixel, np.float64) * span + self.lowest)

    def rate(self, pixel: ArrayLike) -> NDArray[np.float64]:
        """Rain rate in mm/h of pixels, any shape; above 0 for a pixel of 0, as the papers have it."""
        return rate_from_dbz(self.dbz(pixel), (self.a, self.b))

    def pixel(self, rate: ArrayLike) -> Pixels:
        """Pixels, 0…1, of rain rates in mm/h, any shape; no rain is 0, NaN stays NaN.

        Worked out in float64 and rounded once, so that a rate on a threshold has the threshold's very pixel.
        """
        with np.errstate(divide="ignore"):  # of no rain: −inf dBZ, clipped to the lowest
            dbz = 10 * np.log10(self.a) + 10 * self.b * np.log10(np.asarray(rate, np.float64))
        scaled = (dbz - self.lowest) / (self.highest - self.lowest)
        return np.asarray(np.clip(scaled, 0, 1), np.float32)
