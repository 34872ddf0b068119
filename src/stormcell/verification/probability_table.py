"""Counts of pixels by class of the forecast probability."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# A little more than 1000, so that rounding to float32 does not move a class's lowest probability below it.
_THOUSAND = np.float32(1000.00012)


class ProbabilityTable(NamedTuple):
    """Forecast probabilities and observed events of one threshold, by class of the probability.

    Attributes:
        pixels: int64 ``(class,)``: pixels with a probability in the class.
        events: int64 ``(class,)``: those with an observed event.
        probability: float64 ``(class,)``: Σ of their probabilities.
        brier: Σ (probability − event)² over all classes, from the probabilities themselves.
    """

    pixels: NDArray[np.int64]
    events: NDArray[np.int64]
    probability: NDArray[np.float64]
    brier: float


def probability_table(
    probability: NDArray[np.float32], events: NDArray[np.bool_], classes: tuple[float, ...]
) -> ProbabilityTable:
    """Count pixels by class of their probability.

    Args:
        probability: 0 to 1, ``(pixel,)``.
        events: Pixels with an observed event, ``(pixel,)``.
        classes: The lowest probability of each class, ascending from 0, multiples of 0.001.

    Example:
        >>> table = probability_table(np.float32([0, 0.5, 0.5, 1]), np.array([0, 0, 1, 1], bool), (0, 0.5, 1))
        >>> table.pixels.tolist(), table.events.tolist(), table.probability.tolist(), table.brier
        ([1, 2, 1], [0, 1, 1], [0.0, 1.0, 1.0], 0.5)
    """
    size = len(classes)
    # Most pixels are dry with a probability near 0; only the others are looked up.
    chosen = np.flatnonzero(probability >= np.float32(classes[1]))
    some, event = probability[chosen], events[chosen]
    position = _class_of_thousandth(classes)[(some * _THOUSAND).astype(np.int64)]
    both = np.bincount(position + size * event, minlength=2 * size).reshape(2, size)
    total = np.bincount(position, weights=some, minlength=size).astype(np.float64)
    both[:, 0] += (
        len(events) - np.count_nonzero(events) - np.count_nonzero(~event),
        np.count_nonzero(events) - np.count_nonzero(event),
    )
    total[0] += probability.sum(dtype=np.float64) - some.sum(dtype=np.float64)
    brier = np.square(np.subtract(probability, events, dtype=np.float64)).sum()
    return ProbabilityTable(both.sum(axis=0), both[1].copy(), total, float(brier))


def _class_of_thousandth(classes: tuple[float, ...]) -> NDArray[np.int64]:
    edges = np.round(np.array(classes) * 1000)
    return np.searchsorted(edges, np.arange(1001), side="right") - 1
