"""The compiled warp of images along flows.

Images are channels last, ``(B, H, W, C)``. The pixels of all images are numbered in sequence. Each has L
flows, pairs dx, dy in pixels, and L·C warped numbers, flow by flow.
"""

import ctypes

from torch import Tensor

from stormcell.nn.ops.kernels import Kernel
from stormcell.nn.ops.layout import addresses

_BLOCK = 16  # channels per partial sum of a flow's gradient: BLOCK in native/warp.c


class _NativeWarp(ctypes.Structure):
    """The ``warp`` of ``native/warp.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("height", "width", "channels", "flows")),
        ("stretch", ctypes.c_double * 2),
        ("shift", ctypes.c_double),
    )


class Warp:
    """Bilinear sampling with zeros outside the image, and its gradient, each in one pass over the pixels."""

    def __init__(self, library: ctypes.CDLL, align_corners: bool) -> None:
        self._forward, self._backward = Kernel(library, "warp_forward"), Kernel(library, "warp_backward")
        self._align_corners = align_corners

    def forward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor) -> None:
        """Write the warped image of some pixels.

        Args:
            h: (B, H, W, C).
            first: The number of the first pixel.
            flow: (P, 2L), of P pixels from that pixel on.
            warped: (P, L·C), written; contiguous.
        """
        about = self._describe(h, flow)
        self._forward(len(flow), ctypes.addressof(about), first, *_pointers(h, flow, warped))

    def backward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor, d_h: Tensor) -> Tensor:
        """Return the gradient of the flow, and add to the gradient of the image.

        Args:
            h: (B, H, W, C).
            first: The number of the first pixel.
            flow: (P, 2L).
            warped: (P, L·C), the gradient of the warped image; on return the warped image.
            d_h: (B, H, W, C), added to.

        Returns:
            (P, 2L).
        """
        about, (height, width, channels) = self._describe(h, flow), h.shape[1:]
        d_flow = h.new_empty(-(-channels // _BLOCK), *flow.shape)
        images = (first + len(flow) - 1) // (height * width) + 1 - first // (height * width)
        pointers = *_pointers(h, flow, warped), d_h.data_ptr(), d_flow.data_ptr()
        self._backward(images * len(d_flow), ctypes.addressof(about), first, len(flow), *pointers)
        return d_flow.sum(0)

    def _describe(self, h: Tensor, flow: Tensor) -> _NativeWarp:
        height, width, channels = h.shape[1:]
        # See the reference: without align_corners places are off except in the middle of the image.
        stretch = [0.0 if self._align_corners or n == 1 else 1 / (n - 1) for n in (height, width)]
        shift = 0.0 if self._align_corners else -0.5
        return _NativeWarp(height, width, channels, flow.shape[1] // 2, tuple(stretch), shift)


def _pointers(h: Tensor, flow: Tensor, warped: Tensor) -> tuple[int, ...]:
    return h.data_ptr(), *addresses(flow), warped.data_ptr()
