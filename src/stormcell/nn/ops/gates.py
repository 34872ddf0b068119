"""What a ConvLSTM step does between its convolutions: compiled, or else in PyTorch's own operations.

Images are pixels in a row, ``(P, C)``, each in one piece; what makes its gates i, f, g, o is 4C numbers.
"""

import ctypes
import functools
import logging
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import compiler
from stormcell.nn.ops.blocks import in_blocks
from stormcell.nn.ops.pixels import BLOCK, located, room_for_sums

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class Images(NamedTuple):
    """What a step reads and writes beside its gates."""

    c_old: Tensor  # (P, C)
    c_new: Tensor  # (P, C)
    h: Tensor  # (P, C)
    seen: Tensor  # (P, C), by the next step: h once more


class Gates(Protocol):
    """The arithmetic of a step, forwards and backwards."""

    def forward(self, z: Tensor, w: Tensor, images: Images, kept: Tensor | None = None) -> None:
        """Write the new state.

        Args:
            z: (P, 4C), what the convolutions gave.
            w: (3, C), the peepholes.
            images: Of which ``c_old`` is read, the others are written.
            kept: (P, 4C), where ``z`` is written once more, if it is to be.
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


class NativeImages(ctypes.Structure):
    """The ``lstm_images`` of ``native/lstm.h``."""

    _fields_ = (
        *(
            (name + apart, ctypes.c_int64 if apart else ctypes.c_void_p)
            for name in Images._fields
            for apart in ("", "_apart")
        ),
        ("w", ctypes.c_void_p),
    )


def native_images(images: Images, w: Tensor) -> NativeImages:
    """Return, for compiled code, where images and peepholes are."""
    return NativeImages(*located(*images), w.data_ptr())


class Compiled:
    """The arithmetic in one compiled pass over the pixels."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._forward, self._backward = library.lstm_forward, library.lstm_backward
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        image = (pointer, size)  # where it is, and how far a pixel is from the next
        self._forward.argtypes = (size, size, *image * 2, pointer)
        self._backward.argtypes = (size, size, size, *image * 7, pointer, pointer)
        self._forward.restype = self._backward.restype = None

    def forward(self, z: Tensor, w: Tensor, images: Images, kept: Tensor | None = None) -> None:
        """See :class:`Gates`."""
        about = native_images(images, w)
        self._forward(*images.c_old.shape, *located(z, kept), ctypes.byref(about))

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
    """The arithmetic in PyTorch's operations, as few and as much in place as may be.

    In single precision the gates themselves are kept. Of rounded ones little of 1 - o would be left when o
    is near 1, so that in bfloat16 they are made again of what made them.

    Args:
        peepholes: Whether there are any: else they are zeros.
    """

    def __init__(self, *, peepholes: bool = True) -> None:
        self._peepholes = peepholes

    @in_blocks
    def forward(self, z: Tensor, w: Tensor, images: Images, kept: Tensor | None = None) -> None:
        """See :class:`Gates`; of single precision ``z`` and ``kept`` then hold the gates."""
        c_old, c_new, h, seen = images
        gates = z.to(w.dtype)
        if kept is not None and gates is not z:
            kept.copy_(z)
        i, f, g = self._open(gates, w, c_old)
        torch.mul(f, c_old, out=c_new).addcmul_(i, g)
        o = self._output(gates, w, c_new)
        seen.copy_(torch.mul(o, c_new.tanh(), out=h) if h.dtype == o.dtype else h.copy_(o * c_new.tanh()))
        if kept is not None and gates is z:
            kept.copy_(gates)

    @in_blocks
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
        """See :class:`Gates`; of single precision ``z`` are the gates."""
        gates = z.to(w.dtype)
        if gates is not z:
            self._open(gates, w, c_old)
            self._output(gates, w, c_new)
        i, f, g, o = gates.chunk(4, dim=-1)
        w_ci, w_cf, w_co = w
        t = c_new.tanh()
        h.copy_(o * t)
        d_h = d_output.to(dc.dtype) + dh
        dc.add_(tanh_backward(d_h * o, t))
        sigmoid_backward(d_h.mul_(t), o, grad_input=o)  # from here on o, then i, f, g, are their gradients
        if self._peepholes:
            dc.addcmul_(w_co, o)
        d_f, d_g = dc * c_old, dc * i
        sigmoid_backward(g.mul(dc), i, grad_input=i)
        tanh_backward(d_g, g, grad_input=g)
        dc.mul_(f)
        sigmoid_backward(d_f, f, grad_input=f)
        sums = dc.new_zeros(7, len(w_ci))
        torch.sum(gates, 0, out=sums[:4].view(-1))
        if self._peepholes:
            dc.addcmul_(w_ci, i).addcmul_(w_cf, f)
            for at, (gate, c) in enumerate(((i, c_old), (f, c_old), (o, c_new)), 4):
                torch.sum(gate * c, 0, out=sums[at])
        if gates is not z:
            z.copy_(gates)
        return sums

    def _open(self, gates: Tensor, w: Tensor, c_old: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn what makes the gates i, f, g into them, in place."""
        i, f, g, _ = gates.chunk(4, dim=-1)
        if self._peepholes:
            i.addcmul_(w[0], c_old)
            f.addcmul_(w[1], c_old)
        return i.sigmoid_(), f.sigmoid_(), g.tanh_()

    def _output(self, gates: Tensor, w: Tensor, c_new: Tensor) -> Tensor:
        """Turn what makes the gate o into it, in place."""
        o = gates.chunk(4, dim=-1)[3]
        if self._peepholes:
            o.addcmul_(w[2], c_new)
        return o.sigmoid_()


def gates(dtype: torch.dtype, device: torch.device, *, peepholes: bool) -> Gates:
    """Return the fastest arithmetic that there is here for activations of this type, on this device.

    Peepholes are given in any case; whether there are any tells if they may be taken for zeros.
    """
    if device.type != "cpu":
        return _triton(device) or Plain(peepholes=peepholes)
    compiled = compiler.library(dtype)
    return Plain(peepholes=peepholes) if compiled is None else Compiled(compiled)


@functools.cache
def _triton(device: torch.device) -> Gates | None:
    """Return the arithmetic as Triton compiles it; None, and a line in the log, if that cannot be."""
    try:
        # PyTorch for CUDA brings Triton along, elsewhere there is none.
        from stormcell.nn.ops.triton_gates import Triton

        # It also needs a C compiler, and a GPU that it knows: one pixel shows whether it has them.
        z, w, *images = (torch.zeros(*shape, device=device) for shape in ((1, 4), (3, 1), *[(1, 1)] * 4))
        found = Triton()
        found.forward(z, w, Images(*images))
    except Exception as error:  # what compilers and drivers raise is listed nowhere
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        said = "ConvLSTM is slower on %s than it could be: %s"
        logging.getLogger("stormcell").warning(said, device, reason)
        return None
    return found
