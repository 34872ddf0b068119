"""The fall of the area of rain beyond the last threshold, from the newest frame."""

import numpy as np

from stormcell.forecast.contract import Field

# Beyond 30 mm/h, it is 3 to 4 in five of eight events, about 2 in two whose products keep the reflectivity of
# hail, and 8 in one.
_USUAL = 3.5
_WEIGHT = 100.0  # km² of rain that count as much


def tail_slope(newest: Field, threshold: float, largest: float, kilometres: float) -> float:
    """Return the power with which the area of rain falls beyond a rate.

    It is the mean of the shape of a Pareto distribution, given the pixels of the newest frame that exceed the
    rate (Hill 1975, doi:10.1214/aos/1176343247) and a Gamma distribution of what is usual.

    Args:
        newest: Rain rates in mm/h ``(y, x)``, NaN where not observed.
        threshold: The rate in mm/h.
        largest: Higher rates count as this one.
        kilometres: Width of a pixel.

    Example:
        >>> rates = 30 * np.linspace(0.01, 0.99, 2500, dtype=np.float32).reshape(50, 50) ** (-1 / 2)
        >>> dry = np.zeros((50, 50), np.float32)
        >>> [round(tail_slope(frame, 30.0, 200.0, kilometres=1.0), 1) for frame in (dry, rates)]
        [3.5, 2.1]
    """
    heavy = newest[newest >= np.float32(threshold)]
    logs = np.log(np.minimum(heavy, np.float32(largest)) / np.float32(threshold)).sum(dtype=np.float64)
    usual = _WEIGHT / kilometres**2
    return float((usual + len(heavy)) / (usual / _USUAL + logs))
