"""Cuts that are anchored: with them, the area of forecast rain is close to an expected one.

A single field is made from a distribution by cuts: it reaches a rate where the probability of that rate
reaches its cut (:meth:`~stormcell.forecast.rain_distribution.RainDistribution.rates_at_cuts`). Cuts that were
best on average give too much rain in some scenes and too little in others. Anchoring shifts a scene's cuts,
so that the area at or above each threshold lies within bounds around the area that the scene suggests, such
as the area of the newest frame.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stormcell.errors import ArgumentError
from stormcell.forecast.contract import Field
from stormcell.forecast.rain_distribution import RainDistribution

BOUNDS = (0.9, 1.2)
LEAST_CUT = 1e-3  # a pixel with a smaller probability is never given the rate
NEVER = 1.0

# Of eleven events, the median change of the area at or above 5 mm/h was -7 % in 30 minutes and -14 % in 60.
_HEAVY, _LIFETIME = 5.0, 450.0


def areas_of(rates: Field, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """Return the number of pixels at or above each threshold.

    Args:
        rates: Rain rates in mm/h, NaN where unknown.
        thresholds: Ascending rain rates in mm/h.

    Example:
        >>> areas_of(np.array([0.0, 0.5, 1.0, np.nan], np.float32), [0.5, 1.0, 2.0])
        array([2., 1., 0.])
    """
    rising = np.asarray(thresholds, rates.dtype)
    raining = rates[rates >= rising[0]]
    return np.array([np.count_nonzero(raining >= threshold) for threshold in rising], np.float64)


def lasting_areas(
    areas: Sequence[float] | NDArray[np.float64], thresholds: Sequence[float], minutes: float
) -> NDArray[np.float64]:
    """Return how much of the area at or above each threshold lasts for some time, on average.

    Light rain covers nearly the same area an hour later; heavy rain becomes rarer, because it is found at the
    height of its life.

    Args:
        areas: Number of pixels now, one for each threshold.
        thresholds: Rain rates in mm/h.
        minutes: Lead time.

    Example:
        >>> lasting_areas([100, 100], [0.5, 5.0], 60).round().tolist()
        [100.0, 88.0]
    """
    pace = np.maximum(np.log10(thresholds), 0) / np.log10(_HEAVY)
    lasting: NDArray[np.float64] = np.asarray(areas, np.float64) * np.exp(-pace * minutes / _LIFETIME)
    return lasting


def anchored_cuts(
    rain: RainDistribution,
    cuts: Sequence[float],
    expected: Sequence[float] | NDArray[np.float64],
    bounds: tuple[float, float] = BOUNDS,
) -> NDArray[np.float32]:
    """Return cuts with which the forecast area of each threshold lies within bounds of an expected area.

    A cut that already gives such an area is kept. Others become the probability of the pixel that reaches the
    nearer bound. A cut is never below 0.001. Where many pixels have the same probability, the area is the
    largest that does not exceed the upper bound, even if it is below the lower one.

    Args:
        rain: The distribution.
        cuts: A probability for each threshold, above 0 and up to 1.
        expected: Expected number of pixels at or above each threshold, ≥ 0; NaN keeps the cut.
        bounds: Smallest and largest ratio of the forecast area to the expected one.

    Returns:
        ``(threshold,)``, above 0 and up to 1.

    Raises:
        ArgumentError: A number of values is wrong, a value is invalid, or the bounds are not in order.

    Example:
        >>> probability = np.linspace(0.01, 0.8, 100, dtype=np.float32).reshape(10, 10)
        >>> rain = RainDistribution([0.1, 1.0], np.stack([probability, probability / 2]))
        >>> cuts = anchored_cuts(rain, [0.5, 0.5], [50, 10])
        >>> field = rain.rates_at_cuts(cuts)
        >>> [int((field >= threshold).sum()) for threshold in (0.1, 1.0)]
        [45, 9]
    """
    given, areas = np.array(cuts, np.float32), np.asarray(expected, np.float64)
    if given.shape != areas.shape or given.shape != rain.thresholds.shape:
        raise ArgumentError(
            f"cuts and areas: expected {len(rain.thresholds)} each, found {given.shape} and {areas.shape}"
        )
    if not ((given > 0) & (given <= 1)).all() or (areas < 0).any():
        raise ArgumentError(
            f"cuts and areas: expected above 0 and up to 1, and ≥ 0, found {given} and {areas}"
        )
    if not 0 <= bounds[0] <= 1 <= bounds[1]:
        raise ArgumentError(f"bounds: expected a ratio up to 1 and one from 1, found {bounds}")
    higher = np.zeros(rain.shape, np.bool_)  # pixels that reach a higher threshold
    # From the highest threshold down: a pixel that reaches one reaches the lower ones, too.
    for number in range(len(given) - 1, -1, -1):
        probability = rain.exceedance[number]
        reached = higher | (probability >= given[number])
        if not np.isnan(areas[number]):
            area = np.count_nonzero(reached)
            least, most = int(np.ceil(bounds[0] * areas[number])), int(bounds[1] * areas[number])
            least = min(least, most)
            if not least <= area <= most:
                wanted = least if area < least else most
                given[number] = _cut_for(probability, higher, wanted, most)
                reached = higher | (probability >= given[number])
        higher = reached
    return given


def _cut_for(probability: Field, higher: NDArray[np.bool_], wanted: int, most: int) -> np.float32:
    """Return the cut with which a wanted number of pixels reach a threshold or a higher one."""
    more = wanted - int(np.count_nonzero(higher))
    others = probability[~higher & (probability >= np.float32(LEAST_CUT))]
    if more <= 0 or not len(others):
        # As few as possible: the pixels of the higher threshold.
        return np.float32(min(np.nextafter(others.max(initial=LEAST_CUT), np.float32(2)), NEVER))
    place = int(max(len(others) - more, 0))
    cut = np.float32(np.partition(others, place)[place])
    if np.count_nonzero(others >= cut) + np.count_nonzero(higher) > most:
        return np.float32(others[others > cut].min(initial=NEVER))
    return cut
