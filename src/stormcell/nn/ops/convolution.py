"""Convolution over zero to three spatial axes, with the padding of TensorFlow and Keras."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_CONVOLUTION: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_PAD_MODE = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
PADDING_MODES = tuple(_PAD_MODE)


class Convolution(NamedTuple):
    """The options of a convolution; an empty tuple stands for ones."""

    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = "same"  # "same", "valid", or pixels on both sides of each axis
    dilation: tuple[int, ...] = ()
    padding_mode: str = "zeros"

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve ``x``, ``(B, C_in, *space)``, with ``weight``, ``(C_out, C_in, *kernel)``."""
        kernel = weight.shape[2:]
        if not kernel:
            return F.linear(x, weight, bias)
        ones = (1,) * len(kernel)
        stride, dilation = self.stride or ones, self.dilation or ones
        sides = self._sides(x.shape[2:], kernel)
        padding = [before for before, _ in sides]
        # An exporter's sizes are symbols: comparing two would restrict the exported graph to the outcome.
        symmetric = all(isinstance(before, int) and before == after for before, after in sides)
        if self.padding_mode != "zeros" or not symmetric:
            # F.pad takes the last axis first. It copies the image, so it is used only if necessary.
            margins = [side for pair in reversed(sides) for side in pair]
            x, padding = F.pad(x, margins, _PAD_MODE[self.padding_mode]), [0] * len(kernel)
        return _CONVOLUTION[len(kernel)](x, weight, bias, stride, padding, dilation)

    def size(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the output, given that of the input."""
        ones = (1,) * len(kernel)
        sides = self._sides(size, kernel)
        return tuple(
            (n + before + after - d * (k - 1) - 1) // s + 1
            for n, (before, after), k, s, d in zip(
                size, sides, kernel, self.stride or ones, self.dilation or ones, strict=True
            )
        )

    def fits(self, size: Sequence[int], kernel: Sequence[int]) -> bool:
        """Return whether the image is large enough to be padded with its own pixels."""
        if self.padding_mode not in ("reflect", "circular"):
            return True
        edge = 1 if self.padding_mode == "reflect" else 0  # reflection does not repeat the pixel at the edge
        return all(max(pair) <= n - edge for pair, n in zip(self._sides(size, kernel), size, strict=True))

    def _sides(self, size: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Return the padding before and after the image, per axis."""
        if self.padding == "valid":
            return [(0, 0)] * len(kernel)
        if not isinstance(self.padding, str):
            return [(p, p) for p in self.padding]
        ones = (1,) * len(kernel)
        sides = []
        for n, k, s, d in zip(size, kernel, self.stride or ones, self.dilation or ones, strict=True):
            # The output has ceil(n / s) pixels, and the last one starts (n - 1) % s pixels before the last
            # input pixel. The missing pixels are split evenly, with an odd one at the end.
            missing = d * (k - 1) if s == 1 else max(d * (k - 1) - (n - 1) % s, 0)
            sides.append((missing // 2, missing - missing // 2))
        return sides


SAME = Convolution()


def gate_term(
    convolution: Convolution,
    x: Tensor,  # (B, C_in, *)
    weight: Tensor,  # (gates·C, C_in, *k)
    bias: Tensor | None,  # (gates·C,) or (gates·C, *)
    scale: Tensor | None,  # the same; normalise if given
    norm: str | None,
    dropout: Tensor | None,  # (gates, B, C_in, *)
    gates: int,
) -> Tensor:
    """Return one term ``W * X + b`` of the gates, stacked: ``(B, gates·C, *)``; with a scale, normalised."""
    if dropout is not None:  # each gate has its own dropout mask
        pairs = zip(dropout, weight.chunk(gates), strict=True)
        z = torch.cat([convolution(x * mask, rows) for mask, rows in pairs], dim=1)
    elif scale is None:
        return convolution(x, weight, bias)
    else:
        z = convolution(x, weight)
    dtype = z.dtype  # the steps below may raise it above the convolution's
    if scale is not None:
        groups = gates if norm == "group" else 1
        # torch.nn.functional.group_norm rejects a group of one value in a batch of one.
        z = torch.group_norm(z, groups) * over_space(scale, z.dim() - 1)
    if bias is not None:
        z = z + over_space(bias, z.dim() - 1)
    return z.to(dtype)


def over_space(weights: Tensor, axes: int) -> Tensor:
    """Append spatial axes of size 1 to weights per channel; weights per pixel already have their axes."""
    return weights.reshape(*weights.shape, *(1,) * (axes - weights.dim()))
