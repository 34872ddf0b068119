"""Slopes by which the logits of a network are multiplied, from how it forecast the newest frame.

For each threshold, the logistic regression of what was observed on the logits of a forecast gives a slope:
above 1 if the probabilities were too near the middle, below 1 if too near 0 and 1. The longer the lead time,
the less a forecast of some minutes says about it, and the nearer to 1 is its slope.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

MINUTES = 10.0  # lead time of the forecast of the newest frame, in whole time steps
HALF_LIFE = 30.0  # minutes after which a slope is half as far from 1
BOUNDS = (0.5, 2.0)  # of a slope

_PRIOR = 2000.0  # pixels that a threshold needs for a slope that is half its own, and half that of all
_LEAST_PIXELS = 20  # that reach a threshold, for a slope of its own
_LEAST_LOGIT = -11.5  # of a probability of 1e-5: below, it is certainly dry
_CLOSE = 1e-3  # to the slope that is searched
_STEPS = 12  # of Newton's method


def slopes_at(slopes: Tensor, minutes: float) -> Tensor:
    """Return the slopes at a lead time, given those of the forecast of the newest frame.

    Example:
        >>> slopes_at(torch.tensor([1.2]), minutes=40)
        tensor([1.1000])
    """
    part: float = min(1.0, 0.5 ** ((minutes - MINUTES) / HALF_LIFE))
    return 1 + (slopes - 1) * part


def joined_slopes(logits: Tensor, rates: Tensor, thresholds: Sequence[float], share: float = 1.0) -> Tensor:
    """Return the slope of each threshold; of few pixels, it is nearer to that of all thresholds.

    Args:
        logits: Logits of exceedance ``(K, pixels)``.
        rates: Observed rain rates in mm/h ``(pixels,)``.
        thresholds: Rain rates in mm/h.
        share: Number of pixels that each of these stands for.
    """
    own, counts = np.ones(len(logits)), np.zeros(len(logits))
    for number, (given, threshold) in enumerate(zip(logits, thresholds, strict=True)):
        live = given > _LEAST_LOGIT
        reached = (rates[live] >= threshold).double()
        if _LEAST_PIXELS <= reached.sum() <= len(reached) - _LEAST_PIXELS:
            own[number] = min(max(regression_slope(given[live].double(), reached), BOUNDS[0]), BOUNDS[1])
            counts[number] = float(reached.sum()) * share
    if not counts.any():
        return torch.ones(len(logits))
    # Neighbouring pixels are not independent: twice as many do not count twice as much.
    common = np.average(own, weights=np.sqrt(counts))
    return torch.from_numpy((counts * own + _PRIOR * common) / (counts + _PRIOR)).float()


def regression_slope(logits: Tensor, reached: Tensor) -> float:
    """Return the slope of the logistic regression of events on logits, beside which there is a shift.

    Args:
        logits: ``(pixels,)``, float64.
        reached: 1 where the event was observed, else 0, float64.

    Example:
        >>> logits = torch.linspace(-4, 4, 10_000, dtype=torch.float64)
        >>> chances = torch.rand(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> round(regression_slope(logits, (chances < torch.sigmoid(2 * logits)).double()), 1)
        2.0
    """
    slope, shift = 1.0, 0.0
    for _ in range(_STEPS):
        chances = torch.sigmoid(slope * logits + shift)
        weights, errors = chances * (1 - chances), reached - chances
        total, first, second = (
            float((weights * power).sum()) for power in (torch.ones_like(logits), logits, logits.square())
        )
        by_slope, by_shift = float((errors * logits).sum()), float(errors.sum())
        determinant = second * total - first**2
        if determinant <= 1e-9 * second * total:  # a logit alone separates the events, or all are the same
            break
        change = (total * by_slope - first * by_shift) / determinant
        slope += min(max(change, -0.5), 0.5)
        shift += min(max((second * by_shift - first * by_slope) / determinant, -1.0), 1.0)
        if abs(change) < _CLOSE:
            break
    return slope
