"""What the flows of a TrajGRU move, and what its gates are given of it: a convolution by 1×1.

What is moved is L times as much as the state, so it is made for some pixels at a time, multiplied at
once, and made again for the gradient.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from stormcell.nn.ops import compiler
from stormcell.nn.ops.pieces import pieces
from stormcell.nn.ops.pixels import like
from stormcell.nn.ops.terms import TrajGRUWeights
from stormcell.nn.ops.warp import Warp


class Moved(Protocol):
    """A state moved along flows, and multiplied."""

    def forward(self, h: Tensor, flows: Tensor) -> Tensor:
        """Return what the gates are given.

        Args:
            h: (B, H, W, C), the state.
            flows: (P, 2L), of all pixels: L pairs dx, dy, in pixels.

        Returns:
            (P, 3C).
        """
        ...

    def backward(self, d_z: Tensor, h: Tensor, flows: Tensor, d_h: Tensor, needs_weight: bool) -> Tensor:
        """Return the gradient of the flows, add to that of the state, and to the weight's if asked for."""
        ...

    def d_weight(self) -> Tensor:
        """Return the gradient of the weight, ``(3C, L·C, 1, 1)``, summed up."""
        ...


class Compiled:
    """By a compiled pass over the pixels."""

    def __init__(self, w: TrajGRUWeights, real: torch.dtype, warp: Warp) -> None:
        self._weight, self._bias = w.weight_hh.flatten(1).to(real), _bias(w, real)
        self._warp = warp
        self._room = self._weight.new_empty(0)
        self._d_weight = torch.zeros_like(w.weight_hh).flatten(1)

    def forward(self, h: Tensor, flows: Tensor) -> Tensor:
        """See :class:`Moved`."""
        z = like(flows, len(self._weight))
        for some, room in self._pieces(flows):
            self._warp.forward(h, some.start, flows[some], room)
            torch.addmm(self._bias, room, self._weight.T, out=z[some])
        return z

    def backward(self, d_z: Tensor, h: Tensor, flows: Tensor, d_h: Tensor, needs_weight: bool) -> Tensor:
        """See :class:`Moved`."""
        d_flows = like(flows, flows.shape[-1])
        for some, room in self._pieces(flows):
            torch.mm(d_z[some], self._weight, out=room)
            d_flows[some] = self._warp.backward(h, some.start, flows[some], room, d_h)
            if needs_weight:  # the room now has what was moved, once more
                self._d_weight += d_z[some].T @ room
        return d_flows

    def d_weight(self) -> Tensor:
        """See :class:`Moved`."""
        return self._d_weight[..., None, None]

    def _pieces(self, flows: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield pixels to be worked through together, and room for what is moved into them."""
        wide = self._weight.shape[1]
        for some in pieces(len(flows), wide * flows.itemsize):
            size = (some.stop - some.start) * wide
            if self._room.numel() < size:
                self._room = self._room.new_empty(size)
            yield some, self._room[:size].view(-1, wide)


class Sampled:
    """By PyTorch's sampler, channels first."""

    def __init__(self, w: TrajGRUWeights, real: torch.dtype, align_corners: bool) -> None:
        channels = len(w.weight_hh) // 3
        # Of what is moved each channel's flows lie side by side here.
        self._weight = w.weight_hh.view(3 * channels, -1, channels).transpose(1, 2).flatten(1).to(real)
        self._bias, self._align_corners = _bias(w, real), align_corners
        self._d_weight = w.weight_hh.new_zeros(self._weight.shape)

    def forward(self, h: Tensor, flows: Tensor) -> Tensor:
        """See :class:`Moved`."""
        z = like(flows, len(self._weight)).view(len(h), -1, len(self._weight))
        images = h.movedim(-1, 1).contiguous()
        for some, grid in self._grids(h, flows):
            seen = self._seen(images[some[0]], grid)
            torch.baddbmm(self._bias, seen.mT, self._weight.T.expand(len(seen), -1, -1), out=z[some])
        return z.flatten(0, 1)

    def backward(self, d_z: Tensor, h: Tensor, flows: Tensor, d_h: Tensor, needs_weight: bool) -> Tensor:
        """See :class:`Moved`."""
        d_flows = torch.empty_like(flows).view(len(h), -1, flows.shape[1])
        d_z, images = d_z.view(len(h), -1, d_z.shape[1]), h.movedim(-1, 1).contiguous()
        d_images = torch.zeros_like(images)
        for some, grid in self._grids(h, flows):
            d, image = d_z[some], images[some[0]]
            if needs_weight:
                self._d_weight += torch.matmul(d.mT, self._seen(image, grid).mT).sum(0)
            d_seen = torch.matmul(self._weight.T, d.mT).to(h.dtype)
            d_seen = d_seen.view(*image.shape[:2], *grid.shape[1:3])
            asked = [True, True]
            found = torch.ops.aten.grid_sampler_2d_backward(d_seen, image, grid, 0, 0, False, asked)
            d_images[some[0]] += found[0]
            d_place = found[1] * self._stretch(h)
            d_flows[some] = d_place.neg_().transpose(1, 2).flatten(2)
        d_h += d_images.movedim(1, -1)
        return d_flows.flatten(0, 1)

    def d_weight(self) -> Tensor:
        """See :class:`Moved`."""
        channels = len(self._weight) // 3
        parts = self._d_weight.view(3 * channels, channels, -1)
        return parts.transpose(1, 2).flatten(1)[..., None, None]

    def _seen(self, images: Tensor, grid: Tensor) -> Tensor:
        """Return what pixels see of images ``(B', C, H, W)``, ``(B', C·L, P')``."""
        seen = F.grid_sample(images, grid, align_corners=False)  # (B', C, L, P')
        return seen.flatten(1, 2).to(self._weight.dtype)

    def _grids(self, h: Tensor, flows: Tensor) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Yield which images and which of their pixels are worked through together, and where those look.

        That is ``(B', L, P', 2)``, as the reference tells :func:`torch.nn.functional.grid_sample`.
        """
        count, height, width, _ = h.shape
        area, size = height * width, self._weight.shape[1] * h.itemsize
        numbers = torch.arange(area, device=h.device)
        place = torch.stack([numbers % width, numbers // width], dim=1).to(h.dtype)
        flows, stretch = flows.view(count, area, -1, 2), self._stretch(h)
        first = (stretch / 2 if self._align_corners else 0.0) - 1  # where the first pixel is
        for images in pieces(count, area * size):
            rows = [slice(0, area)] if images.stop - images.start > 1 else pieces(area, size)
            for pixels in rows:
                sources = place[pixels] - flows[images, pixels].to(h.dtype).transpose(1, 2)
                yield (images, pixels), sources * stretch + first

    def _stretch(self, h: Tensor) -> Tensor:
        """Return how far it is from a pixel to the next, where an image reaches from -1 to 1."""
        size = h.new_tensor([h.shape[2], h.shape[1]])
        return 2 / (size if self._align_corners else (size - 1).clamp(min=1))


def moved(w: TrajGRUWeights, align_corners: bool, real: torch.dtype) -> Moved:
    """Return the fastest way here for convolutions of a type; ``align_corners`` as in the form."""
    compiled = compiler.library(real)
    if compiled is None:
        return Sampled(w, real, align_corners)
    return Compiled(w, real, Warp(compiled, align_corners))


def _bias(w: TrajGRUWeights, real: torch.dtype) -> Tensor:
    return w.weight_hh.new_zeros(len(w.weight_hh), dtype=real) if w.bias_hh is None else w.bias_hh.to(real)
