"""A distribution that knows how much rain the newest frame suggests, and its single forecast."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stormcell.forecast.anchored_logits import sample_step
from stormcell.forecast.anchoring import anchored_cuts
from stormcell.forecast.contract import Field
from stormcell.forecast.cuts import best_cuts
from stormcell.forecast.rain_distribution import Probabilities, RainDistribution

# Smallest and largest ratio of the forecast area of rain to that of the newest frame that lasts.
AREA_BOUNDS = (1.0, 1.1)

# Of large fields, every second row and column suffices to find the cuts; of larger ones, _ENOUGH pixels.
_SMALL, _ENOUGH = 2**16, 2**21


class AnchoredRain(RainDistribution):
    """A distribution with the area that rain had in the newest frame, where that is known.

    Args:
        thresholds: As for a :class:`~stormcell.forecast.rain_distribution.RainDistribution`.
        exceedance: Likewise, and not checked: those of a network fall from threshold to threshold.
        areas: Expected number of pixels at or above each threshold: those of the newest frame that last,
            moved to the lead time.
        among: Pixels that the areas were counted among ``(y, x)``, such as those whose rain does not come
            from outside the grid; None for all.

    Example:
        >>> probability = np.linspace(0.01, 0.8, 100, dtype=np.float32).reshape(10, 10)
        >>> rain = AnchoredRain([0.1, 1.0], np.stack([probability, probability / 2]), [40, 10])
        >>> single = rain.single()
        >>> [int((single >= threshold).sum()) for threshold in (0.1, 1.0)]
        [44, 11]
    """

    def __init__(
        self,
        thresholds: Sequence[float],
        exceedance: Probabilities,
        areas: Sequence[float],
        among: NDArray[np.bool_] | None = None,
    ) -> None:
        super().__init__(thresholds, exceedance, checked=True)
        self.areas, self.among = areas, among

    def single(self) -> Field:
        """Return the single forecast: one field for all thresholds.

        It reaches a rate where the probability of that rate reaches its cut. The cuts are those with the
        highest expected critical success index, changed where the area of rain would not be within
        :data:`AREA_BOUNDS`.

        Returns:
            Rain rates in mm/h ``(y, x)``, NaN where the forecast is undefined.
        """
        pixels = math.prod(self.shape)
        every = 1 if pixels <= _SMALL else max(2, sample_step(pixels, _ENOUGH))
        nth = slice(None, None, every)
        sample = self.part(nth, nth)
        sample.exceedance = np.ascontiguousarray(sample.exceedance, np.float32)  # it is read several times
        areas = [area / every**2 for area in self.areas]
        among = None if self.among is None else np.ascontiguousarray(self.among[nth, nth])
        cuts = anchored_cuts(sample, best_cuts(sample).tolist(), areas, AREA_BOUNDS, among=among)
        return self.rates_at_cuts(cuts.tolist())
