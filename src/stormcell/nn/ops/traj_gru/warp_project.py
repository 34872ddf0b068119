"""The states warped along the flows of a TrajGRU, and their 1×1 convolution, which gives terms of the gates.

The warped states are L times as large as the state. They are computed for a chunk of pixels, multiplied at
once, and computed again for the gradient.
"""

from collections.abc import Iterator
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from stormcell.nn.ops import compiler
from stormcell.nn.ops.chunking import chunks_by_bytes
from stormcell.nn.ops.layout import empty_images
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
    """PyTorch's ``grid_sample``, with channels first, and matrix products. See :class:`WarpProject`."""

    name: ClassVar = "PyTorch"

    def __init__(self, w: TrajGRUWeights, dtype: torch.dtype, align_corners: bool) -> None:
        channels = len(w.weight_hh) // 3
        # Warped states are ordered channel by channel here, with the flows of a channel side by side.
        self._weight = w.weight_hh.view(3 * channels, -1, channels).transpose(1, 2).flatten(1).to(dtype)
        self._bias, self._align_corners = _bias(w, dtype), align_corners
        self._d_weight = w.weight_hh.new_zeros(self._weight.shape)

    def forward(self, h: Tensor, flows: Tensor) -> Tensor:
        """See :class:`WarpProject`."""
        z = empty_images(flows, len(self._weight)).view(len(h), -1, len(self._weight))
        images = h.movedim(-1, 1).contiguous()
        for chunk, grid in self._chunks(h, flows):
            warped = self._warp(images[chunk[0]], grid)
            torch.baddbmm(self._bias, warped.mT, self._weight.T.expand(len(warped), -1, -1), out=z[chunk])
        return z.flatten(0, 1)

    def backward(self, d_z: Tensor, h: Tensor, flows: Tensor, d_h: Tensor, needs_weight: bool) -> Tensor:
        """See :class:`WarpProject`."""
        d_flows = torch.empty_like(flows).view(len(h), -1, flows.shape[1])
        d_z, images = d_z.view(len(h), -1, d_z.shape[1]), h.movedim(-1, 1).contiguous()
        d_images, mask = torch.zeros_like(images), [True, True]
        for chunk, grid in self._chunks(h, flows):
            d, image = d_z[chunk], images[chunk[0]]
            if needs_weight:
                self._d_weight += torch.matmul(d.mT, self._warp(image, grid).mT).sum(0)
            d_warped = torch.matmul(self._weight.T, d.mT).to(h.dtype)
            d_warped = d_warped.view(*image.shape[:2], *grid.shape[1:3])
            gradients = torch.ops.aten.grid_sampler_2d_backward(d_warped, image, grid, 0, 0, False, mask)
            d_images[chunk[0]] += gradients[0]
            d_grid = gradients[1] * self._pixel_distance(h)
            d_flows[chunk] = d_grid.neg_().transpose(1, 2).flatten(2)
        d_h += d_images.movedim(1, -1)
        return d_flows.flatten(0, 1)

    def weight_gradient(self) -> Tensor:
        """See :class:`WarpProject`."""
        channels = len(self._weight) // 3
        parts = self._d_weight.view(3 * channels, channels, -1)
        return parts.transpose(1, 2).flatten(1)[..., None, None]

    def _warp(self, images: Tensor, grid: Tensor) -> Tensor:
        """Return the warped states of images ``(B', C, H, W)``, ``(B', C·L, P')``."""
        warped = F.grid_sample(images, grid, align_corners=False)  # (B', C, L, P')
        return warped.flatten(1, 2).to(self._weight.dtype)

    def _chunks(self, h: Tensor, flows: Tensor) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Yield chunks, as slices of samples and pixels, and their sampling grid ``(B', L, P', 2)``."""
        count, height, width, _ = h.shape
        area, pixel_bytes = height * width, self._weight.shape[1] * h.itemsize
        indices = torch.arange(area, device=h.device)
        places = torch.stack([indices % width, indices // width], dim=1).to(h.dtype)
        flows, distance = flows.view(count, area, -1, 2), self._pixel_distance(h)
        first = (distance / 2 if self._align_corners else 0.0) - 1  # the coordinate of the first pixel
        for samples in chunks_by_bytes(count, area * pixel_bytes):
            is_single = samples.stop - samples.start == 1
            for pixels in chunks_by_bytes(area, pixel_bytes) if is_single else [slice(0, area)]:
                sources = places[pixels] - flows[samples, pixels].to(h.dtype).transpose(1, 2)
                yield (samples, pixels), sources * distance + first

    def _pixel_distance(self, h: Tensor) -> Tensor:
        """Return the distance of neighbouring pixels in the sampler's coordinates, -1 to 1."""
        size = h.new_tensor([h.shape[2], h.shape[1]])
        return 2 / (size if self._align_corners else (size - 1).clamp(min=1))


def fastest_warp_project(w: TrajGRUWeights, align_corners: bool, dtype: torch.dtype) -> WarpProject:
    """Return the fastest warp for convolutions of this dtype."""
    library = compiler.library(dtype)
    if library is None:
        return TorchWarpProject(w, dtype, align_corners)
    return NativeWarpProject(w, dtype, Warp(library, align_corners))


def _bias(w: TrajGRUWeights, dtype: torch.dtype) -> Tensor:
    return w.weight_hh.new_zeros(len(w.weight_hh), dtype=dtype) if w.bias_hh is None else w.bias_hh.to(dtype)
