"""Images moved along flows: compiled, or else by PyTorch's sampler.

Images lie channels last, ``(B, H, W, C)``, and their pixels are numbered in a row; a pixel's L flows are
pairs dx, dy in pixels, and it sees flow by flow what comes along them: L·C numbers.
"""

import ctypes
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from stormcell.nn.ops import compiler

_BLOCK = 16  # channels whose part in a flow's gradient is summed apart: BLOCK in native/warp.c


class Warp(Protocol):
    """Bilinear sampling, zeros beyond the edge, and what takes its gradient back."""

    def forward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor) -> None:
        """Write what pixels see.

        Args:
            h: (B, H, W, C).
            first: The first of these pixels.
            flow: (P, 2L), of as many pixels from there on.
            warped: (P, L·C), in one piece.
        """
        ...

    def backward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor, d_h: Tensor) -> Tensor:
        """Return the gradient of the flow and add to that of the image.

        Args:
            h: (B, H, W, C).
            first: The first of these pixels.
            flow: (P, 2L).
            warped: (P, L·C), the gradient of what is seen; on return what is seen, once more.
            d_h: (B, H, W, C), to be added to.

        Returns:
            (P, 2L).
        """
        ...


class _About(ctypes.Structure):
    """The ``warp`` of ``native/warp.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("height", "width", "channels", "flows")),
        ("stretch", ctypes.c_double * 2),
        ("shift", ctypes.c_double),
    )


class Compiled:
    """In one compiled pass over the pixels."""

    def __init__(self, library: ctypes.CDLL, align_corners: bool) -> None:
        self._forward, self._backward = library.warp_forward, library.warp_backward
        self._align_corners = align_corners
        size, at = ctypes.c_int64, ctypes.c_void_p
        given: list[Any] = [ctypes.POINTER(_About), size, size, at, at, size, at]
        self._forward.argtypes, self._backward.argtypes = given, [*given, at, at]
        self._forward.restype = self._backward.restype = None

    def forward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor) -> None:
        """See :class:`Warp`."""
        self._forward(self._about(h, flow), *_located(h, first, flow, warped))

    def backward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor, d_h: Tensor) -> Tensor:
        """See :class:`Warp`."""
        d_flow = h.new_empty(-(-h.shape[-1] // _BLOCK), *flow.shape)
        where = *_located(h, first, flow, warped), d_h.data_ptr(), d_flow.data_ptr()
        self._backward(self._about(h, flow), *where)
        return d_flow.sum(0)

    def _about(self, h: Tensor, flow: Tensor) -> _About:
        height, width, channels = h.shape[1:]
        # As the reference has it. What does not mean the pixels' centres is off, but in an image's middle.
        stretch = [0.0 if self._align_corners or n == 1 else 1 / (n - 1) for n in (height, width)]
        shift = 0.0 if self._align_corners else -0.5
        return _About(height, width, channels, flow.shape[1] // 2, tuple(stretch), shift)


class Plain:
    """By PyTorch's sampler, image by image."""

    def __init__(self, align_corners: bool) -> None:
        self._align_corners = align_corners

    def forward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor) -> None:
        """See :class:`Warp`."""
        for image, part, pixels in _images(h, first, len(flow)):
            warped[part] = self._sampled(h[image], pixels, flow[part].to(h.dtype))

    def backward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor, d_h: Tensor) -> Tensor:
        """See :class:`Warp`."""
        d_flow = h.new_empty(flow.shape)
        for image, part, pixels in _images(h, first, len(flow)):
            asked = h[image].detach().requires_grad_(), flow[part].to(h.dtype).detach().requires_grad_()
            with torch.enable_grad():
                seen = self._sampled(asked[0], pixels, asked[1])
            d_image, d_flow[part] = torch.autograd.grad(seen, asked, warped[part].to(h.dtype))
            d_h[image] += d_image
            warped[part] = seen.detach()
        return d_flow

    def _sampled(self, image: Tensor, pixels: Tensor, flow: Tensor) -> Tensor:
        """Return what these pixels of an image ``(H, W, C)`` see, as the reference does."""
        size = image.new_tensor([image.shape[1], image.shape[0]])
        place = torch.stack([pixels % image.shape[1], pixels // image.shape[1]], dim=1).unsqueeze(1)
        place = place - flow.view(len(flow), -1, 2)  # (P, L, 2)
        grid = (2 * place + 1) / size - 1 if self._align_corners else 2 * place / (size - 1).clamp(min=1) - 1
        seen = F.grid_sample(image.movedim(-1, 0)[None], grid[None], align_corners=False)  # (1, C, P, L)
        return seen[0].permute(1, 2, 0).flatten(1)


def warp(dtype: torch.dtype, align_corners: bool) -> Warp:
    """Return the fastest way here to warp for convolutions of this type; ``align_corners`` as in the form."""
    compiled = compiler.library(dtype)
    return Plain(align_corners) if compiled is None else Compiled(compiled, align_corners)


def _located(h: Tensor, first: int, flow: Tensor, warped: Tensor) -> tuple[int, ...]:
    return first, len(flow), h.data_ptr(), flow.data_ptr(), flow.stride(0), warped.data_ptr()


def _images(h: Tensor, first: int, count: int) -> Iterator[tuple[int, slice, Tensor]]:
    """Yield of which images pixels are, which of the pixels those are, and their numbers in the image."""
    area = h.shape[1] * h.shape[2]
    numbers = torch.arange(first, first + count, device=h.device)
    for image in range(first // area, (first + count - 1) // area + 1):
        part = slice(max(image * area - first, 0), (image + 1) * area - first)
        yield image, part, numbers[part] - image * area
