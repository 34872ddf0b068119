"""Levels: rain rates and probabilities as whole numbers from 0 to 255, a byte each.

Level 0 is below the smallest value: observed dry, or a probability of nearly 0. Levels 1 to 254 are values
from the smallest to the greatest, and 255 is not observed.

A value at or above the smallest takes the nearest level. A value below it takes level 0, however near it is:
a pixel has rain if its rate is 0.1 mm/h or more, and this must be the same in the levels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stormcell.errors import ArgumentError

Levels = NDArray[np.uint8]

BELOW = 0
LAST = 254
MISSING = 255
_ROUNDING = 1e-5  # of probabilities: sums of float32
_AT_ONCE = 2**15  # values


@dataclass(frozen=True)
class Scale:
    """Levels of a quantity.

    Attributes:
        name: Name of the quantity, for errors.
        spacing: Whether neighbouring levels have the same ratio (``log``) or difference (``linear``).
        minimum: Value of level 1.
        maximum: Value of level 254.
        units: Unit of the values.
        limited: Whether values above the maximum are impossible. Otherwise they take level 254.

    Example:
        >>> RATE.encode([np.nan, 0, 0.09, 0.1, 1, 150, 1000]).tolist()
        [255, 0, 0, 1, 81, 254, 254]
        >>> RATE.decode([0, 1, 81, 254, 255]).round(2).tolist()
        [0.0, 0.10000000149011612, 1.0099999904632568, 150.0, nan]
    """

    name: str
    spacing: Literal["log", "linear"]
    minimum: float
    maximum: float
    units: str
    limited: bool

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """The value of each level, ``(256,)``: 0 at level 0, NaN at level 255."""
        between = np.geomspace if self.spacing == "log" else np.linspace
        rising = between(self.minimum, self.maximum, LAST)
        values = np.array([0.0, *rising, np.nan], np.float32)
        values.flags.writeable = False
        return values

    def encode(self, values: ArrayLike) -> Levels:
        """Return the levels of values of any shape; NaN is not observed.

        Raises:
            ArgumentError: A value is negative, infinite, or a probability above 1.
        """
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
            found = np.asarray(values, np.float32)
        self._expect_possible(found)
        levels = np.empty(found.shape, np.uint8)
        # Some at a time, because they stay in the processor's cache: in a third of the time.
        flat, flat_levels = found.reshape(-1), levels.reshape(-1)  # the second is a view
        for start in range(0, flat.size, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            flat_levels[some] = self._levels(flat[some])
        return levels

    def decode(self, levels: ArrayLike) -> NDArray[np.float32]:
        """Return the values of levels of any shape, NaN where not observed."""
        return self.values[np.asarray(levels, np.uint8)]

    def _levels(self, values: NDArray[np.float32]) -> Levels:
        low, high = np.float32(self.minimum), np.float32(self.maximum)
        share = np.fmin(np.fmax(values, low), high)  # NaN becomes the minimum
        if self.spacing == "log":
            share /= low
            np.log(share, out=share)
            share /= np.log(high / low)
        else:
            share -= low
            share /= high - low
        share *= np.float32(LAST - 1)
        levels = np.rint(share, out=share).astype(np.uint8) + np.uint8(1)
        levels[values < low] = BELOW
        levels[np.isnan(values)] = MISSING
        return levels

    def _expect_possible(self, values: NDArray[np.float32]) -> None:
        if not values.size:
            return
        highest = self.maximum + _ROUNDING if self.limited else np.finfo(np.float32).max
        lowest_found, highest_found = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
        if lowest_found < 0 or highest_found > highest:
            expected = f"from 0 to {self.maximum:g}" if self.limited else "of 0 or more, not infinite"
            worst = lowest_found if lowest_found < 0 else highest_found
            raise ArgumentError(f"{self.name}: expected values {expected}, found {worst:g} {self.units}")


RATE = Scale("rain rate", "log", 0.1, 150.0, "mm/h", limited=False)
PROBABILITY = Scale("probability", "linear", 0.01, 1.0, "1", limited=True)
