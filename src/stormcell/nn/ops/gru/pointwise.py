"""The gate arithmetic of a GRU step, and its compiled form. PyTorch's is in :mod:`.torch_pointwise`.

Images are pixels ``(P, C)`` with contiguous channels; each of the gates r, z, n has C numbers. With the reset
gate after the convolution a step is one pass over the pixels, with the reset gate before it two passes.
"""

import ctypes
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import kernels
from stormcell.nn.ops.gru.torch_pointwise import TorchPointwise
from stormcell.nn.ops.kernels import Kernel
from stormcell.nn.ops.layout import SUM_BLOCK, addresses, empty_sums


class Pointwise(Protocol):
    """The gate arithmetic of a step, forward and backward.

    With x_r, x_z, x_n and h_r, h_z, h_n the results of the convolutions of input and hidden state::

        r = σ(x_r + h_r)
        z = σ(x_z + h_z)
        n = φ(x_n + r ∘ h_n), or φ(x_n + h_n) with h_n computed from r ∘ h
        h = (1 - z) ∘ n + z ∘ h

    φ is tanh or, in the first form only, the leaky ReLU. Tensors which convolutions read or write have the
    dtype of the convolutions ("conv" below); states and their gradients have that of the weights ("state").
    """

    name: ClassVar[str]  # what computes it

    def forward(self, x: Tensor, h: Tensor, h_old: Tensor, h_new: Tensor, saved: Tensor | None) -> None:
        """Write the new state, with the reset gate after the convolution.

        Args:
            x: (P, 3C), x_r, x_z, x_n; zeros without an input; conv.
            h: (P, 3C), h_r, h_z, h_n; conv.
            h_old: (P, C), state.
            h_new: (P, C), written; state.
            saved: (P, 4C), memory for x_r + h_r, x_z + h_z, x_n, h_n, or None; conv.
        """
        ...

    def backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        d_h: Tensor,
    ) -> Tensor:
        """Compute the gradients of :meth:`forward`. That of the new h is d_output + d_conv + d_state.

        Args:
            saved: (P, 4C), as written by :meth:`forward`; conv.
            h_old: (P, C), state.
            d_output: (P, C), the gradient of the output; state.
            d_conv: (P, C), the gradient of the new h from the next step's convolution; conv.
            d_state: (P, C), its remaining gradient; on return the gradient of the old h, except for what
                passes through the convolution; state.
            d_x: (P, 3C), where the gradient of x is written; conv.
            d_h: (P, 3C), where the gradient of h is written; conv.

        Returns:
            (4, C): the sums over the pixels of the gradients of x_r, x_z, x_n and h_n, for the biases.
        """
        ...

    def reset(self, x: Tensor, h: Tensor, h_old: Tensor, reset_h: Tensor) -> None:
        """Write r ∘ h, the input of the second convolution, with the reset gate before it.

        Args:
            x: (P, 3C), x_r, x_z, x_n; conv.
            h: (P, 2C), h_r, h_z; conv.
            h_old: (P, C), state.
            reset_h: (P, C), written; conv.
        """
        ...

    def update(
        self, x: Tensor, h: Tensor, h_n: Tensor, h_old: Tensor, h_new: Tensor, saved: Tensor | None
    ) -> None:
        """Write the new state, after the second convolution.

        Args:
            x: (P, 3C), x_r, x_z, x_n; conv.
            h: (P, 2C), h_r, h_z; conv.
            h_n: (P, C), conv.
            h_old: (P, C), state.
            h_new: (P, C), written; state.
            saved: (P, 3C), memory for the sums x_r + h_r, x_z + h_z, x_n + h_n, or None; conv.
        """
        ...

    def update_backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_sums: Tensor,
    ) -> None:
        """Compute the gradients of :meth:`update`. That of the new h is d_output + d_conv + d_state.

        Args:
            saved: (P, 3C), as written by :meth:`update`; conv.
            h_old: (P, C), state.
            d_output: (P, C), the gradient of the output; state.
            d_conv: (P, C), the gradient of the new h from the next step's convolutions; conv.
            d_state: (P, C), its remaining gradient; on return the gradient of the old h, except for what
                passes through the convolutions; state.
            d_sums: (P, 3C), where the gradients of the sums for z and n are written; conv.
        """
        ...

    def reset_backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_reset_h: Tensor,
        d_state: Tensor,
        d_sums: Tensor,
        reset_h: Tensor,
    ) -> Tensor:
        """Compute the gradients of :meth:`reset`.

        Args:
            saved: (P, 3C), as written by :meth:`update`; conv.
            h_old: (P, C), state.
            d_reset_h: (P, C), the gradient of r ∘ h; conv.
            d_state: (P, C), the gradient of the old h, to which that from r ∘ h is added; state.
            d_sums: (P, 3C), as written by :meth:`update_backward`; that of the sum for r is added; conv.
            reset_h: (P, C), where r ∘ h is written again; conv.

        Returns:
            (3, C): the sums of the gradients over the pixels, for the biases.
        """
        ...


class NativePointwise:
    """Compiled passes over the pixels. See :class:`Pointwise`."""

    name: ClassVar = "compiled"

    def __init__(self, library: ctypes.CDLL, leaky: bool = False) -> None:
        self._leaky = leaky
        self._forward, self._backward = Kernel(library, "gru_forward"), Kernel(library, "gru_backward")
        self._reset, self._update = Kernel(library, "gru_reset"), Kernel(library, "gru_update")
        self._update_backward = Kernel(library, "gru_update_backward")
        self._reset_backward = Kernel(library, "gru_reset_backward")

    def forward(self, x: Tensor, h: Tensor, h_old: Tensor, h_new: Tensor, saved: Tensor | None) -> None:
        """See :class:`Pointwise`."""
        self._forward(*h_old.shape, self._leaky, *addresses(x, h, h_old, h_new, saved))

    def backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        d_h: Tensor,
    ) -> Tensor:
        """See :class:`Pointwise`."""
        images = addresses(saved, h_old, d_output, d_conv, d_state, d_x, d_h)
        sums = empty_sums(h_old, 4)
        self._backward(len(sums), *h_old.shape, SUM_BLOCK, self._leaky, *images, sums.data_ptr())
        return sums.sum(0)

    def reset(self, x: Tensor, h: Tensor, h_old: Tensor, reset_h: Tensor) -> None:
        """See :class:`Pointwise`."""
        self._reset(*h_old.shape, *addresses(x, h, h_old, reset_h))

    def update(
        self, x: Tensor, h: Tensor, h_n: Tensor, h_old: Tensor, h_new: Tensor, saved: Tensor | None
    ) -> None:
        """See :class:`Pointwise`."""
        self._update(*h_old.shape, *addresses(x, h, h_n, h_old, h_new, saved))

    def update_backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_sums: Tensor,
    ) -> None:
        """See :class:`Pointwise`."""
        self._update_backward(*h_old.shape, *addresses(saved, h_old, d_output, d_conv, d_state, d_sums))

    def reset_backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_reset_h: Tensor,
        d_state: Tensor,
        d_sums: Tensor,
        reset_h: Tensor,
    ) -> Tensor:
        """See :class:`Pointwise`."""
        images = addresses(saved, h_old, d_reset_h, d_state, d_sums, reset_h)
        sums = empty_sums(h_old, 3)
        self._reset_backward(len(sums), *h_old.shape, SUM_BLOCK, *images, sums.data_ptr())
        return sums.sum(0)


def fastest_pointwise(dtype: torch.dtype, *, leaky: bool = False) -> Pointwise:
    """Return the fastest gate arithmetic for this dtype of convolutions; φ is a leaky ReLU or tanh."""
    native = kernels.library(dtype)
    return TorchPointwise(leaky) if native is None else NativePointwise(native, leaky)
