"""The contingency table: hits, misses, false alarms and correct negatives of events above a threshold.

Works on NumPy arrays and on PyTorch tensors alike, and does not import PyTorch.
"""

from typing import Any, NamedTuple

import numpy as np


class Contingency(NamedTuple):
    """Counts of pixels: integers, or integer arrays of one shape.

    Attributes:
        hits: Event forecast and observed.
        misses: Event observed, but not forecast.
        false_alarms: Event forecast, but not observed.
        correct_negatives: Event neither forecast nor observed.
    """

    hits: Any
    misses: Any
    false_alarms: Any
    correct_negatives: Any


def contingency(
    forecast: Any, observation: Any, mask: Any, threshold: Any, axis: tuple[int, ...] | None = None
) -> Contingency:
    """Count events in a forecast and its observation; an event is a value at or above the threshold.

    Args:
        forecast: Values of any shape, an array or a tensor; NaN is not an event.
        observation: Values of the same shape.
        mask: Pixels to count, boolean, of the same shape.
        threshold: In the unit of the values.
        axis: Axes to count over; None counts over all.

    Example:
        >>> forecast, observation = np.float32([2, 0, 2, 0, 9]), np.float32([2, 2, 0, 0, np.nan])
        >>> [int(count) for count in contingency(forecast, observation, observation >= 0, 1.0)]
        [1, 1, 1, 1]
    """
    return count_events((forecast >= threshold) & mask, (observation >= threshold) & mask, mask, axis)


def count_events(forecast: Any, observed: Any, mask: Any, axis: tuple[int, ...] | None = None) -> Contingency:
    """Count as :func:`contingency` does, from the events themselves.

    Args:
        forecast: Pixels with a forecast event, boolean; none outside the mask.
        observed: Pixels with an observed event, boolean; none outside the mask.
        mask: Pixels to count, boolean.
        axis: Axes to count over; None counts over all.
    """
    hits = _count(forecast & observed, axis)
    misses, false_alarms = _count(observed, axis) - hits, _count(forecast, axis) - hits
    return Contingency(hits, misses, false_alarms, _count(mask, axis) - hits - misses - false_alarms)


def _count(pixels: Any, axis: tuple[int, ...] | None) -> Any:
    if isinstance(pixels, np.ndarray):
        return np.count_nonzero(pixels, axis=axis)  # many times faster than a sum of booleans
    return pixels.sum(axis)
