"""The gate arithmetic of a ConvLSTM step: compiled, or in PyTorch's operations. For GPUs see Triton's.

Images are pixels ``(P, C)`` with contiguous channels. ``z`` holds the results of the convolutions, with 4C
numbers per pixel for the gates i, f, g, o.
"""

import ctypes
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from stormcell.nn.ops.chunking import in_pixel_blocks
from stormcell.nn.ops.kernels import Kernel
from stormcell.nn.ops.layout import SUM_BLOCK, addresses, empty_sums

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


class StepImages(NamedTuple):
    """The images which a step reads and writes, besides its gates."""

    c_old: Tensor  # (P, C), read
    c_new: Tensor  # (P, C), written
    h: Tensor  # (P, C), written
    next_h: Tensor  # (P, C), written: h once more, in the input of the next step's convolution


class Pointwise(Protocol):
    """The gate arithmetic of a step, forward and backward."""

    name: ClassVar[str]  # what computes it

    def forward(self, z: Tensor, w: Tensor, images: StepImages, saved: Tensor | None = None) -> None:
        """Write the new state.

        Args:
            z: (P, 4C), the results of the convolutions.
            w: (3, C), the peepholes.
            images: The old state, and memory for the new one.
            saved: (P, 4C), memory for a copy of ``z`` for the backward pass, or None.
        """
        ...

    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        d_h: Tensor,
        d_c: Tensor,
        h: Tensor,
    ) -> Tensor:
        """Replace ``z`` and ``d_c`` by the gradients which the step passes back.

        Args:
            z: (P, 4C), as saved by :meth:`forward`; on return its gradient.
            c_old: (P, C).
            c_new: (P, C).
            w: (3, C).
            d_output: (P, C), the gradient of the output.
            d_h: (P, C), the gradient of h from the next step.
            d_c: (P, C), the gradient of the new c; on return that of the old c.
            h: (P, C), where the new h is written again.

        Returns:
            (7, C): the gradients of the bias, gate by gate, and of the peepholes.
        """
        ...


def native_images(images: StepImages, w: Tensor) -> ctypes.Array[ctypes.c_int64]:
    """Return the ``lstm_images`` of ``native/lstm.h``."""
    return (ctypes.c_int64 * 9)(*addresses(*images), w.data_ptr())


class NativePointwise:
    """One compiled pass over the pixels. See :class:`Pointwise`."""

    name: ClassVar = "compiled"

    def __init__(self, library: ctypes.CDLL) -> None:
        self._forward, self._backward = Kernel(library, "lstm_forward"), Kernel(library, "lstm_backward")

    def forward(self, z: Tensor, w: Tensor, images: StepImages, saved: Tensor | None = None) -> None:
        """See :class:`Pointwise`."""
        (pixels, channels), native = images.c_old.shape, native_images(images, w)
        self._forward(pixels, channels, *addresses(z, saved), ctypes.addressof(native))

    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        d_h: Tensor,
        d_c: Tensor,
        h: Tensor,
    ) -> Tensor:
        """See :class:`Pointwise`."""
        sums = empty_sums(d_c, 7)
        images = addresses(z, c_old, c_new, d_output, d_h, d_c, h)
        self._backward(len(sums), *c_old.shape, SUM_BLOCK, *images, w.data_ptr(), sums.data_ptr())
        return sums.sum(0)


class TorchPointwise:
    """PyTorch's operations, in place as far as possible. See :class:`Pointwise`.

    In float32 and float64 ``z`` and ``saved`` hold the gates after :meth:`forward`. In bfloat16 they hold the
    arguments of the gates, which are computed again for the gradient: a rounded o near 1 would leave hardly
    any digits of 1 - o.

    Args:
        peepholes: Whether there are peepholes; otherwise they are zeros.
    """

    name: ClassVar = "PyTorch"

    def __init__(self, *, peepholes: bool = True) -> None:
        self._peepholes = peepholes

    @in_pixel_blocks
    def forward(self, z: Tensor, w: Tensor, images: StepImages, saved: Tensor | None = None) -> None:
        """See :class:`Pointwise`."""
        c_old, c_new, h, next_h = images
        gates = z.to(w.dtype)
        if saved is not None and gates is not z:
            saved.copy_(z)
        i, f, g = self._input_gates(gates, w, c_old)
        torch.mul(f, c_old, out=c_new).addcmul_(i, g)
        o = self._output_gate(gates, w, c_new)
        next_h.copy_(torch.mul(o, c_new.tanh(), out=h) if h.dtype == o.dtype else h.copy_(o * c_new.tanh()))
        if saved is not None and gates is z:
            saved.copy_(gates)

    @in_pixel_blocks
    def backward(
        self,
        z: Tensor,
        c_old: Tensor,
        c_new: Tensor,
        w: Tensor,
        d_output: Tensor,
        d_h: Tensor,
        d_c: Tensor,
        h: Tensor,
    ) -> Tensor:
        """See :class:`Pointwise`."""
        gates = z.to(w.dtype)
        if gates is not z:
            self._input_gates(gates, w, c_old)
            self._output_gate(gates, w, c_new)
        i, f, g, o = gates.chunk(4, dim=-1)
        w_ci, w_cf, w_co = w
        tanh_c = c_new.tanh()
        h.copy_(o * tanh_c)
        d_new_h = d_output.to(d_c.dtype) + d_h
        d_c.add_(tanh_backward(d_new_h * o, tanh_c))
        # From here on the gates are replaced by their gradients, one by one.
        sigmoid_backward(d_new_h.mul_(tanh_c), o, grad_input=o)
        if self._peepholes:
            d_c.addcmul_(w_co, o)
        d_f, d_g = d_c * c_old, d_c * i
        sigmoid_backward(g.mul(d_c), i, grad_input=i)
        tanh_backward(d_g, g, grad_input=g)
        d_c.mul_(f)
        sigmoid_backward(d_f, f, grad_input=f)
        sums = d_c.new_zeros(7, len(w_ci))
        torch.sum(gates, 0, out=sums[:4].view(-1))
        if self._peepholes:
            d_c.addcmul_(w_ci, i).addcmul_(w_cf, f)
            for row, (gate, c) in enumerate(((i, c_old), (f, c_old), (o, c_new)), 4):
                torch.sum(gate * c, 0, out=sums[row])
        if gates is not z:
            z.copy_(gates)
        return sums

    def _input_gates(self, gates: Tensor, w: Tensor, c_old: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gates i, f, g in place."""
        i, f, g, _ = gates.chunk(4, dim=-1)
        if self._peepholes:
            i.addcmul_(w[0], c_old)
            f.addcmul_(w[1], c_old)
        return i.sigmoid_(), f.sigmoid_(), g.tanh_()

    def _output_gate(self, gates: Tensor, w: Tensor, c_new: Tensor) -> Tensor:
        """Compute the gate o in place."""
        o = gates.chunk(4, dim=-1)[3]
        if self._peepholes:
            o.addcmul_(w[2], c_new)
        return o.sigmoid_()
