"""Kernels of unlike or even size as kernels of one odd size, with zeros around what they are."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def common(*weights: Tensor) -> list[int]:
    """Return the size of the smallest kernel, of odd size, that holds those of all these weights."""
    return [max(sizes) // 2 * 2 + 1 for sizes in zip(*(w.shape[2:] for w in weights), strict=True)]


def odd(weight: Tensor) -> Tensor:
    """Return a weight with a kernel of odd size."""
    return padded(weight, common(weight))


def padded(weight: Tensor, kernel: list[int]) -> Tensor:
    """Return a weight ``(C_out, C_in, *k)`` with a kernel so large."""
    around = _around(weight, kernel)
    return F.pad(weight, around) if any(around) else weight


def cut(d_weight: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a weight, by that of the :func:`padded` one."""
    kernel = list(d_weight.shape[2:])
    around = _around(weight, kernel)
    return F.pad(d_weight, [-n for n in around]) if any(around) else d_weight


def joined(*weights: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the weight of the one convolution, of images side by side, that is the sum of those by each."""
    kernel = common(*weights)
    return torch.cat([padded(w.to(dtype), kernel) for w in weights], dim=1)


def parted(d_weight: Tensor, *weights: Tensor) -> list[Tensor]:
    """Return the gradients of the weights, by that of the :func:`joined` one."""
    each = zip(torch.split(d_weight, [w.shape[1] for w in weights], dim=1), weights, strict=True)
    return [cut(d, w) for d, w in each]


def same(padding: tuple[int, ...] | str, kernel: tuple[int, ...]) -> bool:
    """Tell whether an image keeps its size, each pixel its place."""
    return padding == "same" or (padding == tuple(k // 2 for k in kernel) and all(k % 2 for k in kernel))


def wasteful(*weights: Tensor) -> bool:
    """Tell whether one convolution, by all these side by side, is a quarter more work than one by each."""
    needed = sum(w[0].numel() for w in weights)
    return math.prod(common(*weights)) * sum(w.shape[1] for w in weights) > 1.25 * needed


def _around(weight: Tensor, kernel: list[int]) -> list[int]:
    """Return how many zeros make a kernel as large, as F.pad has them: last axis first, before and after."""
    # Of an even kernel's pixels one more lies after the middle than before it, as TensorFlow has it.
    before = [n // 2 - (k - 1) // 2 for n, k in zip(kernel, weight.shape[2:], strict=True)]
    after = [n - k - b for n, k, b in zip(kernel, weight.shape[2:], before, strict=True)]
    return [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
