"""A distribution that knows how much rain the newest frame suggests, and its single forecast."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stormcell.forecast.anchored_logits import sample_step
from stormcell.forecast.anchoring import anchored_cuts
from stormcell.forecast.contract import Field
from stormcell.forecast.cuts import best_cuts
from stormcell.forecast.pareto_pieces import TAIL_SLOPE
from stormcell.forecast.rain_distribution import Probabilities, RainDistribution

# Smallest and largest ratio of the forecast area of rain to that of the newest frame that lasts.
AREA_BOUNDS = (1.0, 1.1)

# Of large fields, every second row and column suffices to find the cuts; of larger ones, _ENOUGH pixels.
_SMALL, _ENOUGH = 2**16, 2**21

# Where rain comes from unknown places, probabilities hardly differ from place to place. With a lower cut, a
# whole region could reach a rate that is unlikely in all of it; with a higher one, it might reach none.
_UNKNOWN_CUTS = (0.2, 0.5)
_UNKNOWN_BOUNDS = (0.0, AREA_BOUNDS[1])  # of the ratio of the area there to the sum of the probabilities


class AnchoredRain(RainDistribution):
    """A distribution with the area that rain had in the newest frame, where that is known.

    Args:
        thresholds: As for a :class:`~stormcell.forecast.rain_distribution.RainDistribution`.
        exceedance: Likewise, and not checked: those of a network fall from threshold to threshold.
        areas: Expected number of pixels at or above each threshold: those of the newest frame that last,
            moved to the lead time.
        among: Pixels that the areas were counted among ``(y, x)``: those whose rain does not come from where
            nothing was observed; None for all.
        tail_slope: As for a :class:`~stormcell.forecast.rain_distribution.RainDistribution`.

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
        *,
        tail_slope: float = TAIL_SLOPE,
    ) -> None:
        super().__init__(thresholds, exceedance, tail_slope=tail_slope, checked=True)
        self.areas, self.among = areas, among

    def single(self) -> Field:
        """Return the single forecast: one field for all thresholds.

        It reaches a rate where the probability of that rate reaches its cut. The cuts are those with the
        highest expected critical success index, changed where the area of rain would not be within
        :data:`AREA_BOUNDS`. Where rain comes from unknown places, they are not below 0.2, not above 0.5,
        and as high as necessary in between for an area of up to 1.1 of the sum of the probabilities there.

        Returns:
            Rain rates in mm/h ``(y, x)``, NaN where the forecast is undefined.
        """
        pixels = math.prod(self.shape)
        every = 1 if pixels <= _SMALL else max(2, sample_step(pixels, _ENOUGH))
        nth = slice(None, None, every)
        among = np.ones(self.shape, np.bool_) if self.among is None else self.among
        row, col = np.nonzero(among[nth, nth])
        sample = self._at((row * self.shape[1] + col) * every)
        areas = [area / every**2 for area in self.areas]
        cuts = anchored_cuts(sample, best_cuts(sample).tolist(), areas, AREA_BOUNDS)
        single = self.rates_at_cuts(cuts.tolist())
        unknown = np.flatnonzero(~among & np.isfinite(self.exceedance[0]))
        if len(unknown):
            there = self._at(unknown)
            expected = there.exceedance.sum(axis=(1, 2), dtype=np.float64)
            cuts = anchored_cuts(there, np.clip(cuts, *_UNKNOWN_CUTS).tolist(), expected, _UNKNOWN_BOUNDS)
            cuts = np.minimum(cuts, np.float32(_UNKNOWN_CUTS[1]))
            single.reshape(-1)[unknown] = there.rates_at_cuts(cuts.tolist())[0]
        return single

    def _at(self, pixels: NDArray[np.intp]) -> RainDistribution:
        """Return the distribution of some pixels in one row, in float32, given their numbers."""
        return self._with(self.exceedance.reshape(len(self.thresholds), -1).take(pixels, axis=1)[:, None])
