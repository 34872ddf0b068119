"""The loss of a nowcaster."""

import torch
from torch import Tensor
from torch.nn.functional import relu

from stormcell.data.scaling import LogScaling

_HEAVIEST = 30.0  # mm/h: weights do not grow above it, because higher rates may be clutter


def rain_loss(
    forecast: Tensor,  # scaled; below zero is dry
    target: Tensor,  # mm/h, NaN where not observed
    scaling: LogScaling,
    *,
    heavy_rain_weight: float,
    pixels: Tensor | None = None,
    crop_weights: Tensor | None = None,
) -> Tensor:  # scalar
    """Return the weighted squared error of scaled rain, the mean over observed pixels.

    Where the target is dry, a forecast at or below zero has no error. A pixel with R mm/h has the weight
    1 + ``heavy_rain_weight`` · min(R, 30), because a plain squared error learns to forecast too little of
    rare rain (the balanced loss of HKO-7 has the same aim and the same range, arXiv:1706.03458).

    Args:
        forecast: Scaled rain, of any shape.
        target: Rain rates in mm/h, of the same shape.
        scaling: Conversion from mm/h to scaled rain.
        heavy_rain_weight: Weight of each mm/h.
        pixels: Number of pixels to divide by; None for the observed pixels of ``target``, at least 1.
        crop_weights: Weight of each crop ``(B,)``, the first dimension of ``target``; None for equal weights.

    Example:
        >>> import torch
        >>> forecast, target = torch.tensor([-3.0, 1.0, 0.2]), torch.tensor([0.0, 100.0, float("nan")])
        >>> rain_loss(forecast, target, LogScaling(top=100.0), heavy_rain_weight=1.0).item()
        0.0
    """
    observed = target.isfinite()
    target = target.where(observed, 0.0)
    error = (forecast - scaling.forward(target)).where(target > 0, relu(forecast))
    weight = (1 + heavy_rain_weight * target.clamp_max(_HEAVIEST)) * observed
    if crop_weights is not None:
        weight = weight * crop_weights.reshape(-1, *[1] * (target.ndim - 1))
    count = observed_pixels(observed) if pixels is None else pixels
    return (weight * error.square()).sum() / count


def observed_pixels(observed: Tensor) -> Tensor:
    """Return the number of True pixels, at least 1."""
    return torch.clamp_min(observed.sum(), 1)
