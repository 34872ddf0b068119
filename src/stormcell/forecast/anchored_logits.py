"""Probabilities that agree with the area of rain in the newest frame.

A network learns the probabilities of its training. Radars differ, most of all in light rain, and rare rates
are learned badly. But in coordinates that move with the rain, the area at or above most thresholds an hour
ahead is near the part of that in the newest frame that lasts. So where the expected area, the sum of the
probabilities, differs from it by more than some showers, the logits of a threshold are shifted by one number
for the whole frame. They may also be made steeper or flatter, which leaves the area as it is.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHOWER = 4.0  # km², the area that comes and goes at once

# If a rate covers less than a shower now, the next higher threshold covers .2 and the one after it .02 of its
# area some minutes later: means of six events, whose neighbouring thresholds have a ratio of 1.5 to 1.7.
_FALL = 4.0

_SAMPLES = 2**15  # pixels that suffice to find the shifts
_LARGEST_SHIFT = 3.0
_STEPS = 8  # of Newton's method


def sample_step(pixels: int, enough: int = _SAMPLES) -> int:
    """Return n, such that every n-th row and column suffice; by default, to find the shifts.

    Args:
        pixels: Number of pixels.
        enough: Number of them that suffices.

    Example:
        >>> sample_step(1000 * 1000)
        6
    """
    return max(1, math.ceil(math.sqrt(pixels / enough)))


def area_bounds(
    areas: NDArray[np.float64], thresholds: Sequence[float], shower: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and largest area at or above each threshold that an expected one allows.

    A number n of showers may become n ± (√n + 1). But of the last shower, only a part reaches higher rates:
    its area falls with the fourth power of the rate.

    Args:
        areas: Area at or above each threshold, in any unit.
        thresholds: Ascending rain rates in mm/h.
        shower: Area of a shower, in this unit.

    Example:
        >>> least, most = area_bounds(np.array([9000.0, 0.0, 0.0]), [1.0, 5.0, 10.0], shower=10)
        >>> least.tolist(), most.tolist()
        ([8690.0, 0.0, 0.0], [9310.0, 10.0, 0.625])
    """
    change = np.sqrt(shower * areas)
    least, most = np.maximum(areas - change - shower, 0.0), areas + change + shower
    for number in range(1, len(most)):
        part = most[number - 1] * (thresholds[number - 1] / thresholds[number]) ** _FALL
        most[number] = areas[number] + change[number] + min(part, shower)
    return least, most


@dataclass(frozen=True)
class Correction:
    """A slope and a shift of the logits of each threshold.

    Attributes:
        slopes: What the logits of each threshold are multiplied by ``(K,)``, > 0.
        shifts: What is then added to them ``(K,)``.
    """

    slopes: Tensor
    shifts: Tensor

    def apply_(self, logits: Tensor) -> Tensor:
        """Change logits in place, such that they still fall from threshold to threshold.

        Args:
            logits: ``(K, rows, cols)``.

        Example:
            >>> correction = Correction(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([0.0, 2.0, 0.5]))
            >>> correction.apply_(torch.tensor([1.0, 0.0, -1.0]).reshape(3, 1, 1)).flatten()
            tensor([ 1.0000,  1.0000, -1.5000])
        """
        logits *= self.slopes[:, None, None]
        logits += self.shifts[:, None, None]
        for lower, higher in itertools.pairwise(logits):
            torch.minimum(lower, higher, out=higher)
        return logits


def correction_to(
    logits: Tensor,  # (K, H, W), -inf where it is certainly dry
    observed: Tensor,  # (H, W) of bool
    least: Tensor,  # (K,), parts of the area that was observed
    most: Tensor,  # (K,)
    slopes: Tensor,  # (K,), > 0
) -> Correction:
    """Return the correction of logits with which the expected areas are within bounds.

    The slopes alone do not change the areas: the shifts are those with which they are as before, or at the
    nearer bound.

    Example:
        >>> logits, observed = torch.zeros(1, 64, 64), torch.ones(64, 64, dtype=torch.bool)
        >>> least, most = torch.tensor([0.2]), torch.tensor([0.3])
        >>> correction = correction_to(logits, observed, least, most, slopes=torch.ones(1))
        >>> round(torch.sigmoid(correction.shifts).item(), 3)                # one half of it before
        0.3
    """
    known = logits[:, observed]
    expected = torch.sigmoid(known).sum(dim=1)
    wanted = torch.minimum(torch.maximum(expected, least * known.shape[1]), most * known.shape[1])
    steeper, shifts = known * slopes[:, None], torch.zeros_like(expected)
    for _ in range(_STEPS):
        chances = torch.sigmoid(steeper + shifts[:, None])
        rise = (chances * (1 - chances)).sum(dim=1)
        shifts = shifts - ((chances.sum(dim=1) - wanted) / rise.clamp_min(1e-6)).clamp(-1.0, 1.0)
    shifts = shifts.clamp(-_LARGEST_SHIFT, _LARGEST_SHIFT)
    return Correction(slopes, torch.where(expected > 0, shifts, torch.zeros_like(shifts)))
