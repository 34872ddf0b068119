"""Convolution over any number of spatial axes from none to three, padded as TensorFlow and Keras pad."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

_CONVOLUTION: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_MODE = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}
PADDING_MODES = tuple(_MODE)


class Convolution(NamedTuple):
    """What a convolution's arguments say beside its weights; empty tuples are ones."""

    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = "same"  # "same", "valid", or pixels on either side of each axis
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
        before = [low for low, _ in sides]
        # An exporter's sizes are symbols: asking whether two are equal would tie the export to the answer.
        even = all(isinstance(low, int) and low == high for low, high in sides)
        if self.padding_mode != "zeros" or not even:
            # F.pad counts axes from the last. It copies the image, so it is used only where it must be.
            around = [side for pair in reversed(sides) for side in pair]
            x, before = F.pad(x, around, _MODE[self.padding_mode]), [0] * len(kernel)
        return _CONVOLUTION[len(kernel)](x, weight, bias, stride, before, dilation)

    def size(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """Return the size of the image that comes out, for one of this size that goes in."""
        ones = (1,) * len(kernel)
        sides = self._sides(size, kernel)
        return tuple(
            (n + low + high - d * (k - 1) - 1) // s + 1
            for n, (low, high), k, s, d in zip(
                size, sides, kernel, self.stride or ones, self.dilation or ones, strict=True
            )
        )

    def fits(self, size: Sequence[int], kernel: Sequence[int]) -> bool:
        """Tell whether the image has the pixels that it is padded with."""
        if self.padding_mode not in ("reflect", "circular"):
            return True
        most = 1 if self.padding_mode == "reflect" else 0  # the pixel at the edge is not its own reflection
        return all(max(pair) <= n - most for pair, n in zip(self._sides(size, kernel), size, strict=True))

    def _sides(self, size: Sequence[int], kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Return the padding before and after, per axis."""
        if self.padding == "valid":
            return [(0, 0)] * len(kernel)
        if not isinstance(self.padding, str):
            return [(p, p) for p in self.padding]
        ones = (1,) * len(kernel)
        sides = []
        for n, k, s, d in zip(size, kernel, self.stride or ones, self.dilation or ones, strict=True):
            # As many pixels come out as there are strides begun, and the last of them begins (n - 1) % s
            # before the last pixel. What its kernel lacks goes around evenly, and the odd one after.
            needed = d * (k - 1) if s == 1 else max(d * (k - 1) - (n - 1) % s, 0)
            sides.append((needed // 2, needed - needed // 2))
        return sides
