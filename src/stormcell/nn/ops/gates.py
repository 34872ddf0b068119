"""What a ConvLSTM step does between its convolutions: compiled, or else in PyTorch's own operations.

Images are pixels in a row, ``(P, C)``, each in one piece; what makes its gates i, f, g, o is 4C numbers.
"""

import ctypes
import functools
import logging
from typing import Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import compiler
from stormcell.nn.ops.pixels import BLOCK, located, room_for_sums


class Gates(Protocol):
    """The arithmetic of a step, forwards and backwards."""

    def forward(self, z: Tensor, c_old: Tensor, w: Tensor, c_new: Tensor, h: Tensor) -> None:
        """Write the new state.

        Args:
            z: (P, 4C), what the convolutions gave.
            c_old: (P, C).
            w: (3, C), the peepholes.
            c_new: (P, C).
            h: (P, C).
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
            z: (P, 4C), what the convolutions gave; on return its gradient.
            c_old: (P, C).
            c_new: (P, C).
            w: (3, C).
            d_output: (P, C), the gradient of the output.
            dh: (P, C), that of h, from the step after.
            dc: (P, C), that of the new c; on return that of the old one.
            h: (P, C), where the new h is written once more.

        Returns:
            (7, C): the gradients of the bias, gate by gate, and of the peepholes.
        """
        ...


class Compiled:
    """The arithmetic in one compiled pass over the pixels."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._forward, self._backward = library.lstm_forward, library.lstm_backward
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        image = (pointer, size)  # where it is, and how far a pixel is from the next
        self._forward.argtypes = (size, size, *image * 4, pointer)
        self._backward.argtypes = (size, size, size, *image * 7, pointer, pointer)
        self._forward.restype = self._backward.restype = None

    def forward(self, z: Tensor, c_old: Tensor, w: Tensor, c_new: Tensor, h: Tensor) -> None:
        """See :class:`Gates`."""
        self._forward(*c_old.shape, *located(z, c_old, c_new, h), w.data_ptr())

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
        sums = room_for_sums(dc, 7)
        images = located(z, c_old, c_new, d_output, dh, dc, h)
        self._backward(*c_old.shape, BLOCK, *images, w.data_ptr(), sums.data_ptr())
        return sums.sum(0)


class Plain:
    """The arithmetic in PyTorch's operations, as few and as much in place as may be."""

    def forward(self, z: Tensor, c_old: Tensor, w: Tensor, c_new: Tensor, h: Tensor) -> None:
        """See :class:`Gates`."""
        z_i, z_f, z_g, z_o = z.chunk(4, dim=-1)
        w_ci, w_cf, w_co = w
        i = torch.addcmul(z_i, w_ci, c_old).sigmoid_()
        f = torch.addcmul(z_f, w_cf, c_old).sigmoid_()
        torch.mul(f, c_old, out=c_new).addcmul_(i, z_g.to(w.dtype).tanh())
        o = torch.addcmul(z_o, w_co, c_new).sigmoid_()
        h.copy_(o * c_new.tanh())

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
        return torch.stack([each.sum(0) for each in sums])


def gates(dtype: torch.dtype, device: torch.device) -> Gates:
    """Return the fastest arithmetic that there is here for activations of this type, on this device."""
    if device.type != "cpu":
        return _triton(device) or Plain()
    compiled = compiler.library(dtype)
    return Plain() if compiled is None else Compiled(compiled)


@functools.cache
def _triton(device: torch.device) -> Gates | None:
    """Return the arithmetic as Triton compiles it; None, and a line in the log, if that cannot be."""
    try:
        # PyTorch for CUDA brings Triton along, elsewhere there is none.
        from stormcell.nn.ops.triton_gates import Triton

        # It also needs a C compiler, and a GPU that it knows: one pixel shows whether it has them.
        z, w, *images = (torch.zeros(*shape, device=device) for shape in ((1, 4), (3, 1), *[(1, 1)] * 3))
        found = Triton()
        found.forward(z, images[0], w, *images[1:])
    except Exception as error:  # what compilers and drivers raise is listed nowhere
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        said = "ConvLSTM is slower on %s than it could be: %s"
        logging.getLogger("stormcell").warning(said, device, reason)
        return None
    return found
