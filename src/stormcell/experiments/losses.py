"""What the published protocols make small.

Every loss takes ``(B, T, …)``, sums over a frame, and is a mean over sequences: the loss of a batch that is
shared out evenly over processes is the mean of theirs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.experiments.protocols.hko7 import WEIGHTS, pixel_thresholds


def cross_entropy(
    logits: Tensor,  # (B, T, …)
    truth: Tensor,  # (B, T, …), pixels 0…1
) -> Tensor:  # scalar, nats per sequence
    """Cross-entropy in nats, summed over the frames and pixels of a sequence: arXiv:1506.04214, §4.1.

    −Σ T log σ(z) + (1 − T) log(1 − σ(z)), the mean over the batch; the number of the paper's table 1.

    Example:
        >>> round(cross_entropy(torch.zeros(2, 10, 1, 8, 8), torch.rand(2, 10, 1, 8, 8)).item(), 2)
        443.61
    """
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / len(truth)


def squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Squared error summed over a frame, the mean over frames: OpenSTL's MSE, arXiv:2306.11249.

    OpenSTL itself trains on the mean over pixels, which is this divided by a frame's pixels.

    Args:
        prediction: ``(B, T, …)``, pixels.
        truth: The same.

    Returns:
        A scalar.

    Example:
        >>> squared_error(torch.full((2, 10, 1, 64, 64), 0.5), torch.zeros(2, 10, 1, 64, 64)).item()
        1024.0
    """
    return F.mse_loss(prediction, truth, reduction="sum") / truth.shape[:2].numel()


def absolute_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Absolute error summed over a frame, the mean over frames: OpenSTL's MAE, arXiv:2306.11249.

    Args:
        prediction: ``(B, T, …)``, pixels.
        truth: The same.

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
    """HKO-7's balanced loss: ``squared`` · B-MSE + ``absolute`` · B-MAE, arXiv:1706.03458.

    Σ w (P − T)² and Σ w |P − T| over a frame's pixels, w by the rain rate of the truth: 1 below 2 mm/h, 2
    below 5, 5 below 10, 10 below 30, 30 from there on. Frame t = 0, 1, … of the forecast counts 1 +
    ``frame_growth`` · t; the mean over frames and sequences. The published runs scale it by 5e-5 (Hzzone,
    whose README's run lets frames grow by 0.01) or 1e-5 (HKO-7): only Adam's ε and clipped gradients notice.

    Args:
        prediction: ``(B, T, …)``, pixels, 0…1 for −10…60 dBZ.
        truth: The same; NaN only where the mask is False.
        mask: Boolean, the truth's shape: what counts. None for all.
        squared: Weight of the B-MSE.
        absolute: Weight of the B-MAE.
        frame_growth: How much more each frame counts than the one before.

    Returns:
        A scalar.

    Example:
        >>> from stormcell.experiments.protocols.hko7 import REFLECTIVITY
        >>> truth = torch.from_numpy(REFLECTIVITY.pixel([[[12.0, 12.0]]]))  # 10 times what drizzle counts
        >>> mask = torch.tensor([[[True, False]]])
        >>> round(balanced_error(truth + 0.1, truth, mask, absolute=0).item(), 4)
        0.1
    """
    inside = torch.ones_like(truth, dtype=torch.bool) if mask is None else mask
    truth = truth.where(inside, 0.0)
    # To torch and not to the truth's dtype: a rate on a threshold has the threshold's pixel in float32.
    thresholds = torch.from_numpy(pixel_thresholds()).to(truth.device)
    weights = torch.tensor(WEIGHTS, dtype=truth.dtype, device=truth.device)
    weight = weights[torch.bucketize(truth.float(), thresholds, right=True)]
    growth = 1 + frame_growth * torch.arange(truth.shape[1], dtype=truth.dtype, device=truth.device)
    weight = weight * inside * growth.view(-1, *[1] * (truth.ndim - 2))
    error = (prediction - truth).where(inside, 0.0)
    total = (weight * (squared * error.square() + absolute * error.abs())).sum()
    return total / truth.shape[:2].numel()
