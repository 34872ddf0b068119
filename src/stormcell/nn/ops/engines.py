"""Convolutions of images that lie channels last: forwards, to what was seen, to the weights.

All have stride 1 and leave the image its size; kernels have odd sizes.
"""

import functools
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.nn.ops import winograd
from stormcell.nn.ops.onednn import Convolution, weight_gradient
from stormcell.nn.ops.pixels import channels_first, channels_last, pixels


class Engine(Protocol):
    """A convolution by one weight, ``(C_out, C_in, *k)``, again and again."""

    def forward(self, seen: Tensor, bias: Tensor | None) -> Tensor:
        """Return what images ``(B, *space, C_in)`` come to: ``(B, *space, C_out)``."""
        ...

    def to_input(self, d_z: Tensor) -> Tensor:
        """Return the gradient of what was seen, ``(B, *space, C)``, from the channel asked for on."""
        ...

    def to_weight(self, d_z: Tensor, seen: Tensor) -> None:
        """Add to the gradient of the weight."""
        ...

    def d_weight(self) -> Tensor:
        """Return the gradient of the weight, ``(C_out, C_in, *k)``, summed up."""
        ...


def engine(weight: Tensor, first: int = 0) -> "Direct | Matrix | winograd.Winograd":
    """Return the fastest way to convolve; of inputs the gradient is asked for from ``first`` on."""
    if weight.shape[2:] == (1,):
        return Matrix(weight, first)
    if winograd.pays(weight):
        return winograd.Winograd(weight, first)
    return Direct(weight, first)


class _Sum:
    """A sum in single precision at least, whatever is added."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def add(self, found: Tensor) -> None:
        if self._total is None:
            self._total = found.to(torch.promote_types(found.dtype, torch.float32))
        else:
            self._total += found

    def total(self) -> Tensor:
        assert self._total is not None
        return self._total


class Direct:
    """By PyTorch's convolutions."""

    def __init__(self, weight: Tensor, first: int = 0) -> None:
        self._weight, self._first = weight, first
        self._forwards = Convolution(weight)
        self._sum = _Sum()
        self._padding = [k // 2 for k in weight.shape[2:]]

    def forward(self, seen: Tensor, bias: Tensor | None, rows: slice | None = None) -> Tensor:
        """See :class:`Engine`; of what comes out some rows, or all."""
        height, around = seen.shape[1], self._padding[0]
        rows = rows or slice(0, height)
        start, stop = max(rows.start - around, 0), min(rows.stop + around, height)
        inside = start == rows.start - around and stop == rows.stop + around
        padding = [0 if inside else around, *self._padding[1:]]
        z = self._forwards(channels_first(seen[:, start:stop]), bias, padding)
        # At the edge of the image there is padding on both sides: what is beyond the rows is wrong.
        return channels_last(z if inside else z[:, :, rows.start - start : rows.stop - start])

    def to_input(self, d_z: Tensor) -> Tensor:
        """See :class:`Engine`."""
        return channels_last(self._backwards(channels_first(d_z), None, self._padding))

    def to_weight(self, d_z: Tensor, seen: Tensor) -> None:
        """See :class:`Engine`."""
        self._sum.add(weight_gradient(channels_first(d_z), channels_first(seen), self._weight))

    def d_weight(self) -> Tensor:
        """See :class:`Engine`."""
        return self._sum.total()

    @functools.cached_property
    def _backwards(self) -> Convolution:
        # What a pixel gave is brought back to it: the same kernel the other way around, each way.
        turned = self._weight[:, self._first :].transpose(0, 1)
        return Convolution(turned.flip(tuple(range(2, turned.dim()))))


class Matrix:
    """By products of matrices, where a kernel is a single number: so vectors come, as lines of one pixel."""

    def __init__(self, weight: Tensor, first: int = 0) -> None:
        self._weight, self._first = weight.flatten(1), first
        self._sum = _Sum()

    def forward(self, seen: Tensor, bias: Tensor | None, rows: slice | None = None) -> Tensor:
        """See :class:`Engine`; of what comes out some rows, or all."""
        return F.linear(seen if rows is None else seen[:, rows], self._weight, bias)

    def to_input(self, d_z: Tensor) -> Tensor:
        """See :class:`Engine`."""
        return d_z @ self._weight[:, self._first :]

    def to_weight(self, d_z: Tensor, seen: Tensor) -> None:
        """See :class:`Engine`."""
        self._sum.add(pixels(d_z).T @ pixels(seen))

    def d_weight(self) -> Tensor:
        """See :class:`Engine`."""
        return self._sum.total().unsqueeze(-1)
