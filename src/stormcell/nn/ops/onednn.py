"""PyTorch's convolutions, as its oneDNN does them fast: images ``(B, C, *space)``, by stride 1.

Three things PyTorch by itself does not do. A weight is laid out once, and not at every call; in single
precision volumes come to oneDNN at all; and lines come to it as images.
"""

import functools
from typing import Any

import torch
from torch import Tensor


class Convolution:
    """The convolution by one weight ``(C_out, C_in, *k)``.

    Laying out is not among what PyTorch promises to keep: where it is missing, or oneDNN is, or the weight is
    of another type, PyTorch's own convolution does.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._laid_out: Tensor | None = None

    def __call__(self, images: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
        """Convolve.

        Args:
            images: (B, C_in, *space).
            bias: (C_out,), or None.
            padding: Zeros on either side, for each axis.

        Returns:
            (B, C_out, *space).
        """
        ones, zeros = [1] * len(padding), [0] * len(padding)
        if not torch.backends.mkldnn.enabled or not _knows(images.device, self._weight.dtype):
            weight = self._channels_last
            return torch.convolution(images, weight, bias, ones, padding, ones, False, zeros, 1)
        line = len(padding) == 1
        if line:
            images, padding = images.unsqueeze(-2), [0, *padding]
        if self._laid_out is None:
            self._laid_out = _lay_out(self._weight.unsqueeze(-2) if line else self._weight, images, padding)
        found = _convolve(images, self._laid_out, bias, padding)
        return found.squeeze(-2) if line else found

    @functools.cached_property
    def _channels_last(self) -> Tensor:
        return self._weight.movedim(1, -1).contiguous().movedim(-1, 1)


def weight_gradient(d_z: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a weight, which is asked for its shape alone, by that of what it gave."""
    if weight.dim() == 3:
        lines = (each.unsqueeze(-2) for each in (d_z, images, weight))
        return weight_gradient(*lines).squeeze(-2)
    if weight.dim() == 5 and weight.dtype == torch.float32 and _knows(images.device, weight.dtype):
        return _by_planes(d_z, images, weight)
    padding = [k // 2 for k in weight.shape[2:]]
    ones, zeros, asked = [1] * len(padding), [0] * len(padding), [False, True, False]
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        d_z, images, weight, None, ones, padding, ones, False, zeros, 1, asked
    )
    return found[1]


def _by_planes(d_z: Tensor, volumes: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a weight over volumes: that of each plane of it, between planes of theirs."""
    depth, planes = volumes.shape[2], weight.shape[2]
    found = torch.zeros_like(weight)
    for plane in range(planes):
        ahead = plane - planes // 2  # of what was given is what was seen
        first, last = max(0, -ahead), depth - max(0, ahead)
        if first < last:
            seen = volumes[:, :, first + ahead : last + ahead].transpose(1, 2).flatten(0, 1)
            given = d_z[:, :, first:last].transpose(1, 2).flatten(0, 1)
            found[:, :, plane] = weight_gradient(given, seen, weight[:, :, plane])
    return found


def _lay_out(weight: Tensor, images: Tensor, padding: list[int]) -> Tensor:
    lay_out = getattr(torch._C._nn, f"mkldnn_reorder_conv{len(padding)}d_weight")
    ones = [1] * len(padding)
    # The shape of the images only helps to choose: by what is laid out for one, others are convolved as well.
    found: Tensor = lay_out(weight.contiguous().to_mkldnn(), padding, ones, ones, 1, list(images.shape))
    return found


def _convolve(images: Tensor, laid_out: Tensor, bias: Tensor | None, padding: list[int]) -> Tensor:
    ones = [1] * len(padding)
    convolve: Any = torch.ops.mkldnn._convolution_pointwise
    found: Tensor = convolve(images, laid_out, bias, padding, ones, ones, 1, "none", [], "")
    return found


@functools.cache
def _knows(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether oneDNN does weights of a type, and PyTorch lets it lay them out: by trying."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        for axes in (2, 3):
            one = torch.ones([1] * (axes + 2), dtype=dtype)
            _convolve(one, _lay_out(one, one, [0] * axes), None, [0] * axes)
    except (AttributeError, RuntimeError, TypeError):  # there is no such function, library, or argument
        return False
    return True
