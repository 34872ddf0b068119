"""Images moved along flows, compiled.

Images lie channels last, ``(B, H, W, C)``, and their pixels are numbered in a row; a pixel's L flows are
pairs dx, dy in pixels, and it sees flow by flow what comes along them: L·C numbers.
"""

import ctypes
from typing import Any

from torch import Tensor

_BLOCK = 16  # channels whose part in a flow's gradient is summed apart: BLOCK in native/warp.c


class _About(ctypes.Structure):
    """The ``warp`` of ``native/warp.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("height", "width", "channels", "flows")),
        ("stretch", ctypes.c_double * 2),
        ("shift", ctypes.c_double),
    )


class Warp:
    """Bilinear sampling, zeros beyond the edge, and the way back, each in one pass over the pixels."""

    def __init__(self, library: ctypes.CDLL, align_corners: bool) -> None:
        self._forward, self._backward = library.warp_forward, library.warp_backward
        self._align_corners = align_corners
        size, at = ctypes.c_int64, ctypes.c_void_p
        given: list[Any] = [ctypes.POINTER(_About), size, size, at, at, size, at]
        self._forward.argtypes, self._backward.argtypes = given, [*given, at, at]
        self._forward.restype = self._backward.restype = None

    def forward(self, h: Tensor, first: int, flow: Tensor, warped: Tensor) -> None:
        """Write what pixels see.

        Args:
            h: (B, H, W, C).
            first: The first of these pixels.
            flow: (P, 2L), of as many pixels from there on.
            warped: (P, L·C), in one piece.
        """
        self._forward(self._about(h, flow), *_located(h, first, flow, warped))

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


def _located(h: Tensor, first: int, flow: Tensor, warped: Tensor) -> tuple[int, ...]:
    return first, len(flow), h.data_ptr(), flow.data_ptr(), flow.stride(0), warped.data_ptr()
