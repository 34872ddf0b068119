"""Kernels of different or even size, padded with zeros to one odd size.

A convolution by the padded kernel equals one by the original, with TensorFlow's ``"same"`` padding.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def common_size(*shapes: Sequence[int]) -> list[int]:
    """Return the smallest odd kernel size which holds the kernels of all weights of these shapes."""
    return [max(sizes) // 2 * 2 + 1 for sizes in zip(*(shape[2:] for shape in shapes), strict=True)]


def to_odd(weight: Tensor) -> Tensor:
    """Return the weight with a kernel of odd size."""
    return pad(weight, common_size(weight.shape))


def pad(weight: Tensor, kernel: Sequence[int]) -> Tensor:
    """Return the weight ``(C_out, C_in, *k)`` with a kernel of this size."""
    margins = _margins(weight, kernel)
    return F.pad(weight, margins) if any(margins) else weight


def crop_gradient(d_weight: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of the original weight, given that of the padded one."""
    margins = _margins(weight, d_weight.shape[2:])
    return F.pad(d_weight, [-n for n in margins]) if any(margins) else d_weight


def join(*weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight of one convolution of concatenated images: the sum of the convolutions of each."""
    kernel = common_size(*(w.shape for w in weights))
    return torch.cat([pad(w.to(dtype), kernel) for w in weights], dim=1)


def split_gradient(d_weight: Tensor, *weights: Tensor) -> list[Tensor]:
    """Return the gradients of the original weights, given that of the joined one."""
    parts = torch.split(d_weight, [w.shape[1] for w in weights], dim=1)
    return [crop_gradient(d, w) for d, w in zip(parts, weights, strict=True)]


def keeps_size(padding: tuple[int, ...] | str, kernel: tuple[int, ...]) -> bool:
    """Return whether the padding equals ``"same"`` for this kernel size."""
    return padding == "same" or (padding == tuple(k // 2 for k in kernel) and all(k % 2 for k in kernel))


def is_wasteful(*shapes: Sequence[int]) -> bool:
    """Return whether a convolution by the joined weight costs over a quarter more than separate ones."""
    separate = sum(math.prod(shape[1:]) for shape in shapes)
    return math.prod(common_size(*shapes)) * sum(shape[1] for shape in shapes) > 1.25 * separate


def _margins(weight: Tensor, kernel: Sequence[int]) -> list[int]:
    """Return the zeros to add, in the order of F.pad: last axis first, before and after."""
    # An even kernel has one more element after its centre than before it, as in TensorFlow.
    before = [n // 2 - (k - 1) // 2 for n, k in zip(kernel, weight.shape[2:], strict=True)]
    after = [n - k - b for n, k, b in zip(kernel, weight.shape[2:], before, strict=True)]
    return [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
