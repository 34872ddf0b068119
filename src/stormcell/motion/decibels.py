"""Decibels of the rain rate: the scale in which rain is moved and divided into bands.

Between pixels, decibels are interpolated, as pysteps does. Rates would make the edges of showers wider.
"""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

# As in pysteps's own examples: rain begins at 0.1 mm/h (-10 dB), and dry is -15 dB.
LEAST_RAIN = 0.1
LEAST_DB, DRY_DB = -10.0, -15.0

# Relative. Decibels in float32 give rates up to 1000 mm/h back to less than a millionth. In some products
# they are multiples of 0.1 mm/h, so that many are at a threshold: none may come back below it.
_ABOVE = 1e-6


def to_decibels(rates: Field) -> Field:
    """Return 10 times the logarithm of rain rates.

    Args:
        rates: mm/h of any shape, NaN where not observed.

    Returns:
        dB of 1 mm/h; −15 below 0.1 mm/h, NaN where not observed.

    Example:
        >>> to_decibels(np.array([0, 0.1, 10, np.nan], np.float32)).tolist()
        [-15.0, -10.0, 10.0, nan]
    """
    decibels = np.log10(np.maximum(rates, np.float32(LEAST_RAIN)))
    decibels *= np.float32(10)
    decibels[rates < np.float32(LEAST_RAIN)] = DRY_DB
    return decibels


def from_decibels(decibels: Field, least: float = LEAST_DB) -> Field:
    """Return rain rates in mm/h, 0 below the least decibels, NaN where not observed.

    No rate is less than that which the decibels are of; it is up to 3 millionths more.

    Example:
        >>> from_decibels(np.array([-15, 0, np.nan], np.float32)).round(3).tolist()
        [0.0, 1.0, nan]
    """
    rates: Field = decibels * np.float32(np.log(10) / 10)
    rates += np.float32(_ABOVE)
    np.exp(rates, out=rates)
    rates[decibels < np.float32(least)] = 0
    return rates


def from_moved_decibels(decibels: Field) -> Field:
    """Return rain rates in mm/h of frames that were moved, 0 only where it is dry all around.

    At the edge of a shower, the interpolation between dry and wet pixels gives rates below 0.1 mm/h. They
    tell where the edge is between two pixels.

    Example:
        >>> from_moved_decibels(np.array([-15, -12, 0], np.float32)).astype(float).round(3).tolist()
        [0.0, 0.063, 1.0]
    """
    return from_decibels(decibels, np.nextafter(np.float32(DRY_DB), np.float32(0)))
