"""Probabilities of exceeding rain rates, as logits that fall from threshold to threshold."""

from collections.abc import Sequence

import torch
from torch import Tensor

THRESHOLDS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.5, 5.0, 8.0, 12.0, 20.0, 30.0)
"""Rain rates in mm/h whose probabilities of exceedance are forecast."""

LOGISTIC = 1.702  # a logistic distribution with this slope is within 0.01 of the normal distribution


def log_thresholds(
    correction: Tensor,  # (B, K, H, W)
    thresholds: Sequence[float] = THRESHOLDS,
) -> Tensor:  # (B, K, H, W), rising along K
    """Return the logarithms of the thresholds, corrected so that they still rise.

    The correction of the first threshold is subtracted from it. The distances from threshold to threshold are
    multiplied by 1 + c for a correction c > 0, and divided by 1 - c for c < 0.

    Example:
        >>> log_thresholds(torch.tensor([0.5, 1.0, -1.0]).reshape(1, 3, 1, 1), (1.0, 10.0, 100.0)).flatten()
        tensor([-0.5000,  1.5000,  2.0000])
    """
    at = torch.log10(correction.new_tensor(thresholds))
    shift = correction[:, 1:]
    # The slope at zero, where training begins, is 1. A pair of relu would have none there.
    factors = torch.where(shift > 0, 1 + shift, 1 / (1 - shift.clamp_max(0)))
    distances = (at[1:] - at[:-1])[:, None, None] * factors
    corrected = [at[0] - correction[:, 0]]
    for distance in distances.unbind(dim=1):  # faster than a cumulative sum along channels
        corrected.append(corrected[-1] + distance)
    return torch.stack(corrected, dim=1)


def exceedance_logits(
    mean: Tensor,  # (B, 1, H, W) of logarithmic rain
    deviation: Tensor,  # (B, 1, H, W), > 0
    at: Tensor,  # (B, K, H, W): logarithms of the thresholds
) -> Tensor:  # (B, K, H, W), falling along K where the thresholds rise
    """Return the logits of exceeding thresholds, if logarithmic rain has a normal distribution, nearly.

    Example:
        >>> one = torch.ones(1, 1, 1, 1)
        >>> exceedance_logits(one, one, torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)).flatten()
        tensor([1.7020, 0.0000])
    """
    return (mean - at) * (LOGISTIC / deviation)
