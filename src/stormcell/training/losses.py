"""What training makes small."""

from torch import Tensor
from torch.nn.functional import relu

from stormcell.data.scaling import LogScaling

_HEAVIEST = 30.0  # mm/h: above it a pixel counts no more, for what is higher yet may be clutter


def rain_loss(
    forecast: Tensor,  # scaled; below zero is dry
    truth: Tensor,  # mm/h, NaN where not observed
    scaling: LogScaling,
    *,
    heavy_rain_weight: float,
) -> Tensor:  # scalar
    """Weighted squared error of scaled rain, over observed pixels only.

    How far below zero a forecast of dry weather lies is no error when it stays dry. A pixel with R mm/h
    counts 1 + ``heavy_rain_weight`` · min(R, 30), for a plain squared error learns to forecast too little
    of what is rare (HKO-7's balanced loss has the same aim and the same range, arXiv:1706.03458).

    Example:
        >>> import torch
        >>> forecast, truth = torch.tensor([-3.0, 1.0, 0.2]), torch.tensor([0.0, 100.0, float("nan")])
        >>> rain_loss(forecast, truth, LogScaling(top=100.0), heavy_rain_weight=1.0).item()
        0.0
    """
    observed = truth.isfinite()
    truth = truth.where(observed, 0.0)
    error = (forecast - scaling.forward(truth)).where(truth > 0, relu(forecast))
    weight = (1 + heavy_rain_weight * truth.clamp_max(_HEAVIEST)) * observed
    return (weight * error.square()).sum() / observed.sum().clamp_min(1)
