"""Probabilities that agree with the area of rain in the newest frame.

A network learns the probabilities of its training. Radars differ, most of all in light rain. But in
coordinates that move with the rain, the area at or above most thresholds an hour ahead is within some ten
per cent of that in the newest frame. So where the expected area, the sum of the probabilities, is farther
from it, the logits of a threshold are shifted by one number for the whole frame.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

BOUNDS = (0.9, 1.1)  # smallest and largest ratio of the expected area to that of the newest frame

_SAMPLES = 2**15  # pixels that suffice to find the shifts
_LEAST_EVENTS = 10  # of these pixels: a smaller area says nothing
_LARGEST_SHIFT = 2.0
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


def shifts(
    logits: Tensor,  # (K, H, W), -inf where it is certainly dry
    newest: Tensor,  # (H, W) mm/h, NaN where not observed
    thresholds: Sequence[float],
) -> Tensor:  # (K,)
    """Return the numbers that the logits of each threshold are to be shifted by.

    Example:
        >>> logits = torch.zeros(1, 64, 64)                             # an expected area of one half
        >>> newest = (torch.arange(64) < 16).float().expand(64, 64)     # a quarter is wet
        >>> round(torch.sigmoid(shifts(logits, newest, [0.5])).item(), 3)
        0.275
    """
    every = sample_step(newest.numel())
    newest = newest[::every, ::every]
    observed = newest.isfinite()
    known, rates = logits[:, ::every, ::every][:, observed], newest[observed]
    areas = torch.stack([(rates >= threshold).sum() for threshold in thresholds]).to(known.dtype)
    expected = torch.sigmoid(known).sum(dim=1)
    wanted = torch.minimum(torch.maximum(expected, BOUNDS[0] * areas), BOUNDS[1] * areas)
    found = torch.zeros_like(areas)
    for _ in range(_STEPS):
        chances = torch.sigmoid(known + found[:, None])
        slope = (chances * (1 - chances)).sum(dim=1)
        found = found - ((chances.sum(dim=1) - wanted) / slope.clamp_min(1e-6)).clamp(-1.0, 1.0)
    found = found.clamp(-_LARGEST_SHIFT, _LARGEST_SHIFT)
    return torch.where((areas >= _LEAST_EVENTS) & (expected > 0), found, torch.zeros_like(found))


def shift_(logits: Tensor, by: Tensor) -> Tensor:
    """Shift logits in place, such that they still fall from threshold to threshold.

    Args:
        logits: ``(K, rows, cols)``.
        by: ``(K,)``.

    Example:
        >>> shift_(torch.tensor([1.0, 0.0, -1.0]).reshape(3, 1, 1), torch.tensor([0.0, 2.0, 0.5])).flatten()
        tensor([ 1.0000,  1.0000, -0.5000])
    """
    logits += by[:, None, None]
    for lower, higher in itertools.pairwise(logits):
        torch.minimum(lower, higher, out=higher)
    return logits
