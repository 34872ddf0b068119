"""The states warped along the flows of a TrajGRU, and their 1×1 convolution, which gives terms of the gates.

The warped states are L times as large as the state. They are computed for a chunk of pixels, multiplied at
once, and computed again for the gradient.
"""

from collections.abc import Iterator
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import kernels
from stormcell.nn.ops.chunking import chunks_by_bytes
from stormcell.nn.ops.layout import empty_images
from stormcell.nn.ops.traj_gru.sampling import sample
from stormcell.nn.ops.traj_gru.warp import Warp
from stormcell.nn.ops.types import TrajGRUWeights


class WarpProject(Protocol):
    """The warp of a state along flows, and the product with a weight."""

    name: ClassVar[str]  # what computes it

    def forward(self, h: Tensor, flows: Tensor) -> Tensor:
        """Return the hidden state's terms of the gates.

        Args:
            h: (B, H, W, C), the state.
            flows: (P, 2L), of all pixels: L pairs dx, dy, in pixels.

        Returns:
            (P, 3C).
        """
        ...

    def backward(self, d_z: Tensor, h: Tensor, flows: Tensor, d_h: Tensor, needs_weight: bool) -> Tensor:
        """Return the gradient of the flows; add to that of the state and, if needed, to the weight's.

        Args:
            d_z: (P, 3C), the gradient of the terms.
            h: (B, H, W, C), the state.
            flows: (P, 2L).
            d_h: (B, H, W, C), the gradient of the state, which is added to.
            needs_weight: Whether to compute the gradient of the weight.

        Returns:
            (P, 2L).
        """
        ...

    def weight_gradient(self) -> Tensor:
        """Return the sum of all weight gradients added so far, ``(3C, L·C, 1, 1)``."""
        ...


class NativeWarpProject:
    """A compiled warp and matrix products. See :class:`WarpProject`."""

    name: ClassVar = "compiled"

    def __init__(self, w: TrajGRUWeights, dtype: torch.dtype, warp: Warp) -> None:
        self._weight, self._bias = w.weight_hh.flatten(1).to(dtype), _bias(w, dtype)
        self._warp = warp
        self._memory = self._weight.new_empty(0)
        self._d_weight = torch.zeros_like(w.weight_hh).flatten(1)

    def forward(self, h: Tensor, flows: Tensor) -> Tensor:
        """See :class:`WarpProject`."""
        z = empty_images(flows, len(self._weight))
        for pixels, warped in self._chunks(flows):
            self._warp.forward(h, pixels.start, flows[pixels], warped)
            torch.addmm(self._bias, warped, self._weight.T, out=z[pixels])
        return z

    def backward(self, d_z: Tensor, h: Tensor, flows: Tensor, d_h: Tensor, needs_weight: bool) -> Tensor:
        """See :class:`WarpProject`."""
        d_flows = empty_images(flows, flows.shape[-1])
        for pixels, warped in self._chunks(flows):
            torch.mm(d_z[pixels], self._weight, out=warped)
            d_flows[pixels] = self._warp.backward(h, pixels.start, flows[pixels], warped, d_h)
            if needs_weight:  # the memory holds the warped states again
                self._d_weight += d_z[pixels].T @ warped
        return d_flows

    def weight_gradient(self) -> Tensor:
        """See :class:`WarpProject`."""
        return self._d_weight[..., None, None]

    def _chunks(self, flows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield chunks of pixels, and memory for their warped states."""
        width = self._weight.shape[1]
        for pixels in chunks_by_bytes(len(flows), width * flows.itemsize):
            size = (pixels.stop - pixels.start) * width
            if self._memory.numel() < size:
                self._memory = self._memory.new_empty(size)
            yield pixels, self._memory[:size].view(-1, width)


class TorchWarpProject:
    """PyTorch's operations: the reference's sampling, and matrix products. See :class:`WarpProject`."""

    name: ClassVar = "PyTorch"

    def __init__(self, w: TrajGRUWeights, dtype: torch.dtype, align_corners: bool) -> None:
        self._weight, self._bias = w.weight_hh.flatten(1).to(dtype), _bias(w, dtype)
        self._align_corners = align_corners
        self._d_weight = torch.zeros_like(w.weight_hh).flatten(1)

    def forward(self, h: Tensor, flows: Tensor) -> Tensor:
        """See :class:`WarpProject`."""
        z = empty_images(flows, len(self._weight))
        for pixels, images, first in self._chunks(h, flows):
            warped = self._warp(h[images], flows[pixels].to(h.dtype), first)
            torch.addmm(self._bias, warped.to(z.dtype), self._weight.T, out=z[pixels])
        return z

    def backward(self, d_z: Tensor, h: Tensor, flows: Tensor, d_h: Tensor, needs_weight: bool) -> Tensor:
        """See :class:`WarpProject`."""
        d_flows = empty_images(flows, flows.shape[-1])
        for pixels, images, first in self._chunks(h, flows):
            with torch.enable_grad():
                sources = h[images].detach().requires_grad_(), flows[pixels].to(h.dtype).requires_grad_()
                warped = self._warp(*sources, first)
            d_warped = torch.mm(d_z[pixels], self._weight).to(h.dtype)
            d_images, d_flows[pixels] = torch.autograd.grad(warped, sources, d_warped)
            d_h[images] += d_images
            if needs_weight:
                self._d_weight += d_z[pixels].T @ warped.detach().to(d_z.dtype)
        return d_flows

    def weight_gradient(self) -> Tensor:
        """See :class:`WarpProject`."""
        return self._d_weight[..., None, None]

    def _warp(self, images: Tensor, flows: Tensor, first: int) -> Tensor:
        """Return the warped states of pixels from the first on, ``(P', L·C)``."""
        return sample(images, flows.reshape(len(flows), -1, 2), self._align_corners, first).flatten(1)

    def _chunks(self, h: Tensor, flows: Tensor) -> Iterator[tuple[slice, slice, int]]:
        """Yield chunks of pixels, the images in which they are, and where they begin in these images."""
        area = h.shape[1] * h.shape[2]
        for pixels in chunks_by_bytes(len(flows), self._weight.shape[1] * h.itemsize):
            images = slice(pixels.start // area, -(-pixels.stop // area))
            yield pixels, images, pixels.start - images.start * area


def fastest_warp_project(w: TrajGRUWeights, align_corners: bool, dtype: torch.dtype) -> WarpProject:
    """Return the fastest warp for convolutions of this dtype."""
    library = kernels.library(dtype)
    if library is None:
        return TorchWarpProject(w, dtype, align_corners)
    return NativeWarpProject(w, dtype, Warp(library, align_corners))


def _bias(w: TrajGRUWeights, dtype: torch.dtype) -> Tensor:
    return w.weight_hh.new_zeros(len(w.weight_hh), dtype=dtype) if w.bias_hh is None else w.bias_hh.to(dtype)
