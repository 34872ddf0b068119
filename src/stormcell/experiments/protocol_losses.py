"""The losses of the published protocols.

Every loss takes ``(B, T, …)``, sums over a frame, and is a mean over sequences. If a batch is split evenly
between processes, its loss is the mean of their losses.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.experiments.protocols.hko7 import WEIGHTS, pixel_thresholds


def cross_entropy(
    logits: Tensor,  # (B, T, …)
    truth: Tensor,  # (B, T, …), pixels 0…1
) -> Tensor:  # scalar, nats per sequence
    """Return the cross-entropy in nats per sequence: summed over frames and pixels, averaged over the batch.

    −Σ T log σ(z) + (1 − T) log(1 − σ(z)), as in table 1 of arXiv:1506.04214, §4.1.

    Example:
        >>> round(cross_entropy(torch.zeros(2, 10, 1, 8, 8), torch.rand(2, 10, 1, 8, 8)).item(), 2)
        443.61
    """
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / len(truth)


def squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the squared error summed over a frame, the mean over frames: OpenSTL's MSE, arXiv:2306.11249.

    OpenSTL itself trains on the mean over pixels: this loss divided by the number of pixels in a frame.

    Args:
        prediction: ``(B, T, …)``, pixels.
        truth: Pixels of the same shape.

    Returns:
        A scalar.

    Example:
        >>> squared_error(torch.full((2, 10, 1, 64, 64), 0.5), torch.zeros(2, 10, 1, 64, 64)).item()
        1024.0
    """
    return F.mse_loss(prediction, truth, reduction="sum") / truth.shape[:2].numel()


def absolute_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the absolute error summed over a frame, the mean over frames: OpenSTL's MAE, arXiv:2306.11249.

    Args:
        prediction: ``(B, T, …)``, pixels.
        truth: Pixels of the same shape.

    Returns:
        A scalar.

    Example:
        >>> absolute_error(torch.full((2, 10, 1, 64, 64), 0.5), torch.zeros(2, 10, 1, 64, 64)).item()
        2048.0
    """
    return F.l1_loss(prediction, truth, reduction="sum") / truth.shape[:2].numel()


def balanced_error(
    prediction: Tensor,
    truth: Tensor,
    mask: Tensor | None = None,
    *,
    squared: float = 1.0,
    absolute: float = 1.0,
    frame_growth: float = 0.0,
) -> Tensor:
    """Return HKO-7's balanced loss: ``squared`` · B-MSE + ``absolute`` · B-MAE, arXiv:1706.03458.

    B-MSE and B-MAE are Σ w (P − T)² and Σ w |P − T| over a frame's pixels. The weight w depends on the rain
    rate of the truth: 1 below 2 mm/h, 2 below 5, 5 below 10, 10 below 30, otherwise 30. Frame t = 0, 1, … of
    the forecast has the weight 1 + ``frame_growth`` · t; the loss is the mean over frames and sequences. The
    published runs scale it by 5e-5 (Hzzone, with a frame growth of 0.01 in the README's run) or 1e-5 (HKO-7).
    The scale matters only for Adam's ε and for gradient clipping.

    Args:
        prediction: ``(B, T, …)``, pixels, 0…1 for −10…60 dBZ.
        truth: Pixels of the same shape; NaN only where the mask is False.
        mask: True for pixels that count, the truth's shape; None for all.
        squared: Weight of the B-MSE.
        absolute: Weight of the B-MAE.
        frame_growth: Increase of the weight from each frame to the next.

    Returns:
        A scalar.

    Example:
        >>> from stormcell.experiments.protocols.hko7 import REFLECTIVITY
        >>> truth = torch.from_numpy(REFLECTIVITY.pixel([[[12.0, 12.0]]]))  # 10 times the weight of drizzle
        >>> mask = torch.tensor([[[True, False]]])
        >>> round(balanced_error(truth + 0.1, truth, mask, absolute=0).item(), 4)
        0.1
    """
    inside = torch.ones_like(truth, dtype=torch.bool) if mask is None else mask
    truth = truth.where(inside, 0.0)
    # Thresholds remain in float32: there a rate equal to a threshold has exactly the threshold's pixel.
    thresholds = torch.from_numpy(pixel_thresholds()).to(truth.device)
    weights = torch.tensor(WEIGHTS, dtype=truth.dtype, device=truth.device)
    weight = weights[torch.bucketize(truth.float(), thresholds, right=True)]
    growth = 1 + frame_growth * torch.arange(truth.shape[1], dtype=truth.dtype, device=truth.device)
    weight = weight * inside * growth.view(-1, *[1] * (truth.ndim - 2))
    error = (prediction - truth).where(inside, 0.0)
    total = (weight * (squared * error.square() + absolute * error.abs())).sum()
    return total / truth.shape[:2].numel()
