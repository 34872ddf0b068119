"""The loss of a nowcaster: how well its probabilities describe the rain that was observed."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

CRPS_SHARE = 0.5  # weight of the CRPS beside the cross-entropy


def exceedance_loss(
    logits: Tensor,  # (B, K, H, W)
    target: Tensor,  # (B, H, W) mm/h, NaN where not observed
    thresholds: Sequence[float],
    *,
    pixels: Tensor | None = None,
    crop_weights: Tensor | None = None,
) -> Tensor:  # scalar
    """Return the loss of probabilities of exceedance, the mean over observed pixels.

    It is a weighted mean of the binary cross-entropies of the thresholds, plus a share of the continuous
    ranked probability score as a sum over thresholds. The first has strong gradients where rain is rare; its
    weights are the roots of the intervals between thresholds in mm/h. The second is what is verified. Both
    are proper scores, so that the best forecast is the true probability (Gneiting & Raftery 2007,
    doi:10.1198/016214506000001437).

    Args:
        logits: Logits of rates at or above each threshold.
        target: Rain rates.
        thresholds: Rain rates in mm/h, ascending.
        pixels: Number of pixels to divide by; None for the observed pixels of ``target``, at least 1.
        crop_weights: Weight of each crop ``(B,)``; None for equal weights.

    Example:
        >>> logits = torch.tensor([4.0, -4.0]).reshape(1, 2, 1, 1)
        >>> right, wrong = torch.full((1, 1, 1), 1.0), torch.full((1, 1, 1), 20.0)
        >>> bool(exceedance_loss(logits, right, (0.5, 10)) < exceedance_loss(logits, wrong, (0.5, 10)))
        True
    """
    rates = logits.new_tensor(thresholds)[:, None, None]
    events = (target.nan_to_num(0.0)[:, None] >= rates).to(logits.dtype)
    widths = intervals(thresholds).to(logits)[:, None, None]
    importance = widths.sqrt() / widths.sqrt().mean()
    entropy = binary_cross_entropy_with_logits(logits, events, reduction="none")
    each = (importance * entropy).mean(dim=1)
    each = each + CRPS_SHARE * (widths * (torch.sigmoid(logits) - events).square()).sum(dim=1)
    return _weighted_mean(each, target.isfinite(), pixels, crop_weights)


def squared_loss(
    logits: Tensor,  # (B, K, H, W)
    target: Tensor,  # (B, H, W) mm/h, NaN where not observed
    thresholds: Sequence[float],
    *,
    pixels: Tensor | None = None,
    crop_weights: Tensor | None = None,
) -> Tensor:  # scalar, mm²/h²
    """Return the squared error of the mean of the distribution, the mean over observed pixels.

    It is there for comparison: the best forecast by it is the expected rain, whatever the distribution. The
    arguments are those of :func:`exceedance_loss`.

    Example:
        >>> logits = torch.full((1, 2, 1, 1), 20.0)  # the rain certainly exceeds both thresholds
        >>> squared_loss(logits, torch.ones(1, 1, 1), (0.5, 1.0)).round(decimals=3)
        tensor(0.0620)
    """
    widths = intervals(thresholds).to(logits)[:, None, None]
    mean = (widths * torch.sigmoid(logits)).sum(dim=1)
    error = (mean - target.nan_to_num(0.0).clamp_max(thresholds[-1])).square()
    return _weighted_mean(error, target.isfinite(), pixels, crop_weights)


def threshold_crps(
    logits: Tensor,  # (B, K, H, W)
    target: Tensor,  # (B, H, W) mm/h, NaN where not observed
    thresholds: Sequence[float],
) -> Tensor:  # scalar, mm/h
    """Return the sum over observed pixels of the CRPS, integrated over the thresholds' intervals."""
    observed = target.isfinite()
    rates = logits.new_tensor(thresholds)[:, None, None]
    events = (target.nan_to_num(0.0)[:, None] >= rates).to(logits.dtype)
    error = (torch.sigmoid(logits) - events).square() * intervals(thresholds).to(logits)[:, None, None]
    return (error.sum(dim=1) * observed).sum()


def intervals(thresholds: Sequence[float]) -> Tensor:
    """Return the interval of rain rates in mm/h that each threshold stands for.

    The borders between them are halfway; the first interval begins at zero.

    Example:
        >>> intervals((0.5, 1.0, 2.0)).tolist()
        [0.75, 0.75, 1.0]
    """
    rates = torch.tensor(thresholds, dtype=torch.float64)
    borders = torch.cat([rates.new_zeros(1), (rates[1:] + rates[:-1]) / 2])
    last = borders[-1:] + rates[-1:] - rates[-2:-1]
    return torch.diff(torch.cat([borders, last])).float()


def observed_pixels(observed: Tensor) -> Tensor:
    """Return the number of True pixels, at least 1."""
    return torch.clamp_min(observed.sum(), 1)


def _weighted_mean(
    each: Tensor, observed: Tensor, pixels: Tensor | None, crop_weights: Tensor | None
) -> Tensor:
    """Return the mean over observed pixels, or the sum divided by a number of pixels."""
    weight = observed.to(each.dtype)
    if crop_weights is not None:
        weight = weight * crop_weights[:, None, None]
    return (weight * each).sum() / (observed_pixels(observed) if pixels is None else pixels)
