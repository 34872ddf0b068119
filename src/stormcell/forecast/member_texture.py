"""The texture of members: the noise's power by wavelength, adjusted until members are as rough as rain is.

A member is a quantile of the distribution at every pixel, so its texture is that of the noise and of the
distribution together. Noise with the spectrum of rain makes members rougher than rain where the distribution
is wide, and smoother where it is narrow. So the first member of every lead time is compared with the newest
frame, octave by octave, and the noise of the next lead time has more power where the member had less.

Only differences between octaves count: the power of all of them together follows from how much rain there is,
which the distribution says. Members stay draws from it, because the noise keeps its variance.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stormcell.forecast.contract import Field
from stormcell.motion.band_power import band_power
from stormcell.motion.decibels import LEAST_RAIN

Values = NDArray[np.float64]

OCTAVES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # pixels
LONGEST = 0.25  # of the side of the frame: of longer waves there are too few to compare
LARGEST_SIDE = 1024  # pixels: of a larger frame, the part around the middle of its rain is compared
LARGEST_FACTOR = 4.0  # of the power of an octave, and 1 / 4 is the smallest


class MemberTexture:
    """Factors of the power of the noise, lead time by lead time.

    Args:
        newest: Rain rates of the newest frame in mm/h ``(y, x)``, NaN where not observed.

    Attributes:
        frequencies: Cycles per pixel ``(n,)``, ascending: the middles of the octaves.
        powers: Factors of the power of the noise ``(n,)``, with the geometric mean 1 unless one is limited.

    Example:
        >>> from stormcell.data.synthetic import generate
        >>> newest = generate(seed=1, steps=1).rainfall_rate.values[0]
        >>> texture = MemberTexture(newest)
        >>> smoother = (newest + np.roll(newest, 1, axis=0) + np.roll(newest, 1, axis=1)) / 3
        >>> texture.compare(smoother), bool(texture.powers[-1] > 1 > texture.powers[0])
        (True, True)
    """

    def __init__(self, newest: Field) -> None:
        self._part = _around_rain(newest)
        compared = newest[self._part]
        self._observed = np.isfinite(compared)
        longest = LONGEST * min(compared.shape)
        self._edges = tuple(edge for edge in OCTAVES if edge <= longest)
        self._power = band_power(compared, self._observed, self._edges)
        middles = [np.sqrt(short * long) for short, long in pairwise(self._edges)]
        self.frequencies = 1 / np.array(middles[::-1])
        self.powers = np.ones(len(middles))

    def compare(self, member: Field) -> bool:
        """Adjust the powers by a member at the newest lead time.

        Args:
            member: Rain rates in mm/h ``(y, x)``.

        Returns:
            Whether they could be compared: there are two octaves or more, and rain in both fields.
        """
        rates = member[self._part]
        power = band_power(rates, self._observed & np.isfinite(rates), self._edges)
        if len(power) < 2 or not ((power > 0) & (self._power > 0)).all():
            return False
        logs = np.log(self.powers) + np.log(self._power / power)[::-1]
        limit = np.log(LARGEST_FACTOR)
        self.powers = np.exp(np.clip(logs - logs.mean(), -limit, limit))
        return True


def _around_rain(newest: Field) -> tuple[slice, slice]:
    """Return the rows and columns around the middle of the rain."""
    wet = newest >= np.float32(LEAST_RAIN)
    return _around_middle(wet.sum(axis=1)), _around_middle(wet.sum(axis=0))


def _around_middle(wet: NDArray[np.int_]) -> slice:
    length, total = len(wet), int(wet.sum())
    middle = int(wet @ np.arange(length)) // total if total else length // 2
    size = min(length, LARGEST_SIDE)
    first = min(max(middle - size // 2, 0), length - size)
    return slice(first, first + size)
