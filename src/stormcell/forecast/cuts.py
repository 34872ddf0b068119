"""Cuts that the forecast's own probabilities suggest."""

import numpy as np
from numpy.typing import NDArray

from stormcell.forecast.rain_distribution import RainDistribution

_CLASSES = 256  # of probabilities, from which the best cut is chosen
_LEAST_EVENTS = 1.0  # expected number of pixels below which the cut is a half


def best_cuts(rain: RainDistribution) -> NDArray[np.float32]:
    """Return the cuts with the highest expected critical success index, ``(threshold,)``.

    If the probabilities are right, the pixels with a probability of at least c have an expected number of
    hits, the sum of their probabilities, and so have misses and false alarms. The best cut depends on how
    certain a forecast is: it is nearly CSI / (1 + CSI), thus below one half.

    Example:
        >>> probability = np.array([[0.9, 0.4, 0.1, 0.0]], np.float32)
        >>> rain = RainDistribution([0.1, 1.0], np.stack([probability, probability]))
        >>> [round(float(cut), 1) for cut in best_cuts(rain)]
        [0.4, 0.4]
    """
    cuts = np.full(len(rain.thresholds), 0.5, np.float32)
    for number, field in enumerate(rain.exceedance):
        expected = float(np.nansum(field, dtype=np.float64))
        if expected < _LEAST_EVENTS:
            continue
        known = field[field >= 1 / _CLASSES]  # no cut is lower
        places = np.minimum((known * _CLASSES).astype(np.int32), _CLASSES - 1)
        pixels, events = (
            np.bincount(places, weights, minlength=_CLASSES)[::-1].cumsum()[::-1] for weights in (None, known)
        )
        # Forecast events and observed ones, less those that are both.
        index = events / (pixels + expected - events)
        # The last of equal ones: the probability of a pixel that reaches the cut.
        best = _CLASSES - 1 - int(index[::-1].argmax())
        cuts[number] = max(best, 1) / _CLASSES
    return cuts
