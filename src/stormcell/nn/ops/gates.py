"""What a ConvLSTM step does between its convolutions: compiled, or else in PyTorch's own operations.

Images lie channels last, ``(B, H, W, C)``; what makes a pixel's gates i, f, g, o are 4C numbers in a row.
"""

import ctypes
from typing import Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import compiler

_REALS = {torch.float32: "FLOAT32", torch.bfloat16: "BFLOAT16", torch.float64: "FLOAT64"}
_BLOCK = 256  # pixels whose gradients are summed in a row, before the sums are summed


class Gates(Protocol):
    """The arithmetic of a step, forwards and backwards."""

    def forward(self, z: Tensor, c_old: Tensor, w: Tensor, c_new: Tensor, h: Tensor, output: Tensor) -> None:
        """Write the new c, and the new h twice.

        Args:
            z: (B, H, W, 4C), what the convolutions gave.
            c_old: (B, H, W, C).
            w: (3, C), the peepholes.
            c_new: (B, H, W, C).
            h: (B, H, W, C), what the next step sees.
            output: (B, H, W, C).
        """
        ...

    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        dh: Tensor,
        dc: Tensor,
        h: Tensor,
    ) -> Tensor:
        """Turn what the convolutions gave into its gradient, and that of the new c into that of the old one.

        Args:
            z: (B, H, W, 4C), what the convolutions gave; on return its gradient.
            c_old: (B, H, W, C).
            c_new: (B, H, W, C).
            w: (3, C).
            d_output: (B, H, W, C), the gradient of the output.
            dh: (B, H, W, C), that of h, from the step after.
            dc: (B, H, W, C), that of the new c; on return that of the old one.
            h: (B, H, W, C), where the new h is written once more.

        Returns:
            (7, C): the gradients of the bias, gate by gate, and of the peepholes.
        """
        ...


class Compiled:
    """The arithmetic in one compiled pass over the pixels."""

    def __init__(self, library: ctypes.CDLL) -> None:
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        self._forward, self._backward = library.forward, library.backward
        self._forward.argtypes = [size, size, *[pointer] * 5, size, pointer]
        self._backward.argtypes = (
            [size] * 3 + [pointer] * 5 + [size, pointer, size, pointer, pointer, pointer, size]
        )
        self._forward.restype = self._backward.restype = None

    def forward(self, z: Tensor, c_old: Tensor, w: Tensor, c_new: Tensor, h: Tensor, output: Tensor) -> None:
        """See :class:`Gates`."""
        channels = w.shape[1]
        self._forward(
            z.numel() // (4 * channels),
            channels,
            z.data_ptr(),
            c_old.data_ptr(),
            w.data_ptr(),
            c_new.data_ptr(),
            h.data_ptr(),
            apart(h),
            output.data_ptr(),
        )

    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        dh: Tensor,
        dc: Tensor,
        h: Tensor,
    ) -> Tensor:
        """See :class:`Gates`."""
        channels = w.shape[1]
        pixels = z.numel() // (4 * channels)
        sums = dc.new_empty((pixels + _BLOCK - 1) // _BLOCK, 7, channels)
        self._backward(
            pixels,
            channels,
            _BLOCK,
            z.data_ptr(),
            c_old.data_ptr(),
            c_new.data_ptr(),
            w.data_ptr(),
            d_output.data_ptr(),
            apart(d_output),
            dh.data_ptr(),
            apart(dh),
            dc.data_ptr(),
            sums.data_ptr(),
            h.data_ptr(),
            apart(h),
        )
        return sums.sum(0)


class Plain:
    """The arithmetic in PyTorch's operations, as few and as much in place as may be."""

    def forward(self, z: Tensor, c_old: Tensor, w: Tensor, c_new: Tensor, h: Tensor, output: Tensor) -> None:
        """See :class:`Gates`."""
        z_i, z_f, z_g, z_o = z.chunk(4, dim=-1)
        w_ci, w_cf, w_co = w
        i = torch.addcmul(z_i, w_ci, c_old).sigmoid_()
        f = torch.addcmul(z_f, w_cf, c_old).sigmoid_()
        torch.mul(f, c_old, out=c_new).addcmul_(i, z_g.to(w.dtype).tanh())
        o = torch.addcmul(z_o, w_co, c_new).sigmoid_()
        output.copy_(o * c_new.tanh())
        h.copy_(output)

    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        dh: Tensor,
        dc: Tensor,
        h: Tensor,
    ) -> Tensor:
        """See :class:`Gates`."""
        z_i, z_f, z_g, z_o = z.chunk(4, dim=-1)
        w_ci, w_cf, w_co = w
        i = torch.addcmul(z_i, w_ci, c_old).sigmoid_()
        f = torch.addcmul(z_f, w_cf, c_old).sigmoid_()
        g = z_g.to(w.dtype).tanh()
        o = torch.addcmul(z_o, w_co, c_new).sigmoid_()
        t = c_new.tanh()
        h.copy_(o * t)
        d_h = d_output.to(dc.dtype) + dh
        dz_o = d_h * t * o * (1 - o)
        d_c = dc.add_(d_h * o * (1 - t * t)).addcmul_(w_co, dz_o)
        dz_i = d_c * g * i * (1 - i)
        dz_f = d_c * c_old * f * (1 - f)
        dz_g = d_c * i * (1 - g * g)
        torch.mul(d_c, f, out=dc).addcmul_(w_ci, dz_i).addcmul_(w_cf, dz_f)
        for part, gradient in zip((z_i, z_f, z_g, z_o), (dz_i, dz_f, dz_g, dz_o), strict=True):
            part.copy_(gradient)
        sums = (dz_i, dz_f, dz_g, dz_o, dz_i * c_old, dz_f * c_old, dz_o * c_new)
        return torch.stack([each.flatten(0, 2).sum(0) for each in sums])


def gates(dtype: torch.dtype) -> Gates:
    """Return the fastest arithmetic that there is here for activations of this type."""
    compiled = compiler.library(_REALS[dtype])
    return Plain() if compiled is None else Compiled(compiled)


def apart(images: Tensor) -> int:
    """Return how far a pixel is from the next, in images (B, H, W, C) where that is the same everywhere."""
    return next((images.stride(axis) for axis in (2, 1, 0) if images.shape[axis] > 1), images.shape[3])
