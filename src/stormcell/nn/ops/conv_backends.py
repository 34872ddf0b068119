"""The convolution back ends of the fused recurrences: forward, input gradient and weight gradient.

Images are channels last, ``(B, *space, C)``. All convolutions have stride 1 and keep the size of the images;
kernel sizes are odd.
"""

import functools
from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stormcell.nn.ops import bfloat16_probe, buffer_pool
from stormcell.nn.ops.layout import as_pixels, channels_first, channels_last
from stormcell.nn.ops.onednn import OneDNNConvolution, conv_weight_gradient
from stormcell.nn.ops.winograd import Winograd, cost_share, is_faster


class ConvBackend(Protocol):
    """Convolutions by one weight, ``(C_out, C_in, *k)``."""

    def forward(self, images: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve images ``(B, *space, C_in)`` and return ``(B, *space, C_out)``."""
        ...

    def input_gradient(self, d_z: Tensor) -> Tensor:
        """Return the gradient of the images, from ``first_channel`` on, given that of the output."""
        ...

    def add_weight_gradient(self, d_z: Tensor, images: Tensor) -> None:
        """Add to the gradient of the weight, given the gradient of the output."""
        ...

    def weight_gradient(self) -> Tensor:
        """Return the sum of all weight gradients added so far, ``(C_out, C_in, *k)``."""
        ...


def conv_backend(weight: Tensor, first_channel: int = 0) -> "Direct | InFloat32 | Matrix | Winograd":
    """Return the fastest back end for a weight.

    Args:
        weight: (C_out, C_in, *k).
        first_channel: Input gradients are computed from this input channel on.
    """
    if _is_faster_in_float32(weight):
        return InFloat32(weight, first_channel)
    return _back_end(weight)(weight, first_channel)


def _back_end(weight: Tensor) -> "type[Direct | Matrix | Winograd]":
    """Return the class of the fastest back end in the weight's own dtype."""
    if weight.shape[2:] == (1,):
        return Matrix
    return Winograd if is_faster(weight) else Direct


def _is_faster_in_float32(weight: Tensor) -> bool:
    """Return whether the processor is so slow in bfloat16 that this convolution is faster in float32."""
    if weight.dtype != torch.bfloat16 or weight.device.type != "cpu" or weight.shape[2:] == (1,):
        return False
    probe, single = bfloat16_probe.measured(), weight.float()
    share = cost_share(single) if is_faster(single) else None
    return probe.prefers_float32(1 if share is None else share)


def describe(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the name of the back end of each convolution, given its weight."""
    return {f"convolution of {what}": _name(weight) for what, weight in weights.items()}


def _name(weight: Tensor) -> str:
    return f"{_name(weight.float())}, in float32" if _is_faster_in_float32(weight) else _back_end(weight).name


class _Sum:
    """A sum in float32 or better, whatever the dtype of its terms."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def add(self, term: Tensor) -> None:
        if self._total is None:
            self._total = term.to(torch.promote_types(term.dtype, torch.float32))
        else:
            self._total += term

    def total(self) -> Tensor:
        assert self._total is not None
        return self._total


class Direct:
    """PyTorch's convolutions. See :class:`ConvBackend`."""

    name: ClassVar = "PyTorch"

    def __init__(self, weight: Tensor, first_channel: int = 0) -> None:
        self._weight, self._first_channel = weight, first_channel
        self._convolution = OneDNNConvolution(weight)
        self._sum = _Sum()
        self._padding = [k // 2 for k in weight.shape[2:]]

    def forward(self, images: Tensor, bias: Tensor | None, rows: slice | None = None) -> Tensor:
        """See :class:`ConvBackend`. Compute some rows of the output, or all."""
        height, margin = images.shape[1], self._padding[0]
        rows = rows or slice(0, height)
        start, stop = max(rows.start - margin, 0), min(rows.stop + margin, height)
        is_inside = start == rows.start - margin and stop == rows.stop + margin
        padding = [0 if is_inside else margin, *self._padding[1:]]
        z = self._convolution(channels_first(images[:, start:stop]), bias, padding)
        # At the edge of the image both sides were padded: rows outside the range are wrong.
        return channels_last(z if is_inside else z[:, :, rows.start - start : rows.stop - start])

    def input_gradient(self, d_z: Tensor) -> Tensor:
        """See :class:`ConvBackend`."""
        return channels_last(self._transposed(channels_first(d_z), None, self._padding))

    def add_weight_gradient(self, d_z: Tensor, images: Tensor) -> None:
        """See :class:`ConvBackend`."""
        self._sum.add(conv_weight_gradient(channels_first(d_z), channels_first(images), self._weight))

    def weight_gradient(self) -> Tensor:
        """See :class:`ConvBackend`."""
        return self._sum.total()

    @functools.cached_property
    def _transposed(self) -> OneDNNConvolution:
        """The input gradient is a convolution by the kernel flipped along every axis."""
        kernel = self._weight[:, self._first_channel :].transpose(0, 1)
        return OneDNNConvolution(kernel.flip(tuple(range(2, kernel.dim()))))


class Matrix:
    """Matrix products, for kernels of one element on lines: vectors are lines of one pixel."""

    name: ClassVar = "matrix product"

    def __init__(self, weight: Tensor, first_channel: int = 0) -> None:
        self._weight, self._first_channel = weight.flatten(1), first_channel
        self._sum = _Sum()

    def forward(self, images: Tensor, bias: Tensor | None, rows: slice | None = None) -> Tensor:
        """See :class:`ConvBackend`. Compute some rows of the output, or all."""
        return F.linear(images if rows is None else images[:, rows], self._weight, bias)

    def input_gradient(self, d_z: Tensor) -> Tensor:
        """See :class:`ConvBackend`."""
        return d_z @ self._weight[:, self._first_channel :]

    def add_weight_gradient(self, d_z: Tensor, images: Tensor) -> None:
        """See :class:`ConvBackend`."""
        self._sum.add(as_pixels(d_z).T @ as_pixels(images))

    def weight_gradient(self) -> Tensor:
        """See :class:`ConvBackend`."""
        return self._sum.total().unsqueeze(-1)


class InFloat32:
    """Convolutions of bfloat16 images in float32, rounded at the end. See :class:`ConvBackend`.

    They are for processors that are slow in bfloat16.
    """

    def __init__(self, weight: Tensor, first_channel: int = 0) -> None:
        single = weight.float()
        self._inner, self._margin = _back_end(single)(single, first_channel), weight.shape[2] // 2

    def forward(self, images: Tensor, bias: Tensor | None, rows: slice | None = None) -> Tensor:
        """See :class:`ConvBackend`. Compute some rows of the output, or all."""
        rows = rows or slice(0, images.shape[1])
        start, stop = max(rows.start - self._margin, 0), rows.stop + self._margin
        z = self._inner.forward(_single(images[:, start:stop]), None if bias is None else bias.float())
        # The rows beyond the range lack neighbours: they are wrong.
        return buffer_pool.copy(z[:, rows.start - start : rows.stop - start], images.dtype)

    def input_gradient(self, d_z: Tensor) -> Tensor:
        """See :class:`ConvBackend`."""
        return buffer_pool.copy(self._inner.input_gradient(_single(d_z)), d_z.dtype)

    def add_weight_gradient(self, d_z: Tensor, images: Tensor) -> None:
        """See :class:`ConvBackend`."""
        self._inner.add_weight_gradient(_single(d_z), _single(images))

    def weight_gradient(self) -> Tensor:
        """See :class:`ConvBackend`."""
        return self._inner.weight_gradient()


def _single(images: Tensor) -> Tensor:
    return buffer_pool.copy(images, torch.float32)
