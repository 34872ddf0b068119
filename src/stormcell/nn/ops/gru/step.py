"""The steps of a fused ConvGRU, given the input's terms of the gates, with the reset gate after or before.

Images are ``(B, *space, channels)``, those of several steps ``(T, B, *space, channels)``.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import kernel_padding
from stormcell.nn.ops.conv_backends import conv_backend
from stormcell.nn.ops.gru.pointwise import fastest_pointwise
from stormcell.nn.ops.layout import as_pixels, empty_images


class Steps(Protocol):
    """Steps forward, one by one, and backward, several at once."""

    saved_per_channel: ClassVar[int]  # numbers saved of each step, per channel
    bias_rows: ClassVar[list[int]]  # the rows of ``sums`` which are the gradient of ``bias_hh``
    sums: Tensor  # (n, C), added up over all backward steps; the first three are the gradient of ``bias_ih``

    def forward(self, x: Tensor, old: Tensor, new: Tensor, saved: Tensor | None) -> None:
        """Take a step.

        Args:
            x: The input's terms of the gates.
            old: The state before the step.
            new: Memory for the state after it.
            saved: Memory for what the backward pass needs, or None.
        """
        ...

    def backward(
        self,
        saved: Tensor,
        old: Sequence[Tensor],
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        needs_weight: bool,
    ) -> Tensor:
        """Pass gradients back through several steps.

        Args:
            saved: What :meth:`forward` saved of each of them.
            old: The states before each of them.
            d_output: The gradients of their outputs.
            d_conv: The gradient of the last state from the next step's convolutions.
            d_state: The rest of that gradient; on return the gradient of the first state, except for what
                passes through the convolutions.
            d_x: Memory for the gradient of the input's terms.
            needs_weight: Whether to compute the gradient of the weight.

        Returns:
            The gradient of the first state from the convolutions.
        """
        ...

    def weight_gradient(self) -> Tensor:
        """Return the sum of all weight gradients added so far."""
        ...


class ResetAfter:
    """The reset gate is applied after the convolution: one for all gates. See :class:`Steps`."""

    saved_per_channel: ClassVar = 4
    bias_rows: ClassVar = [0, 1, 3]

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.sums = weight.new_zeros(4, weight.shape[1])
        self._weight, self._bias, self._dtype = weight, None if bias is None else bias.to(dtype), dtype
        self._pointwise = fastest_pointwise(dtype)
        self._convolution = conv_backend(kernel_padding.to_odd(weight).to(dtype))

    def forward(self, x: Tensor, old: Tensor, new: Tensor, saved: Tensor | None) -> None:
        """See :class:`Steps`."""
        h = self._convolution.forward(old.to(self._dtype), self._bias)
        saved = None if saved is None else as_pixels(saved)
        self._pointwise.forward(as_pixels(x), as_pixels(h), as_pixels(old), as_pixels(new), saved)

    def backward(
        self,
        saved: Tensor,
        old: Sequence[Tensor],
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        needs_weight: bool,
    ) -> Tensor:
        """See :class:`Steps`."""
        d_h = empty_images(d_x[0], d_x.shape[-1])
        for t in reversed(range(len(saved))):
            images = (saved[t], old[t], d_output[t], d_conv, d_state, d_x[t], d_h)
            self.sums += self._pointwise.backward(*map(as_pixels, images))
            if needs_weight:
                self._convolution.add_weight_gradient(d_h, old[t].to(self._dtype))
            d_conv = self._convolution.input_gradient(d_h)
        return d_conv

    def weight_gradient(self) -> Tensor:
        """See :class:`Steps`."""
        return kernel_padding.crop_gradient(self._convolution.weight_gradient(), self._weight)


class ResetBefore:
    """The reset gate is applied before the convolution for n, which is separate. See :class:`Steps`."""

    saved_per_channel: ClassVar = 3
    bias_rows: ClassVar = [0, 1, 2]

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        channels = weight.shape[1]
        self._rz, self._n = slice(2 * channels), slice(2 * channels, None)
        self.sums = weight.new_zeros(3, channels)
        self._weight, self._dtype = weight, dtype
        self._pointwise = fastest_pointwise(dtype)
        padded = kernel_padding.to_odd(weight).to(dtype)
        self._conv_rz, self._conv_n = conv_backend(padded[self._rz]), conv_backend(padded[self._n])
        self._bias_rz = None if bias is None else bias[self._rz].to(dtype)
        self._bias_n = None if bias is None else bias[self._n].to(dtype)

    def forward(self, x: Tensor, old: Tensor, new: Tensor, saved: Tensor | None) -> None:
        """See :class:`Steps`."""
        h = self._conv_rz.forward(old.to(self._dtype), self._bias_rz)
        reset_h = empty_images(h, old.shape[-1])
        self._pointwise.reset(*map(as_pixels, (x, h, old, reset_h)))
        h_n = self._conv_n.forward(reset_h, self._bias_n)
        saved = None if saved is None else as_pixels(saved)
        self._pointwise.update(
            as_pixels(x), as_pixels(h), as_pixels(h_n), as_pixels(old), as_pixels(new), saved
        )

    def backward(
        self,
        saved: Tensor,
        old: Sequence[Tensor],
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        needs_weight: bool,
    ) -> Tensor:
        """See :class:`Steps`."""
        reset_h = empty_images(d_state, d_state.shape[-1], self._dtype)
        for t in reversed(range(len(saved))):
            d_rz, d_n = d_x[t, ..., self._rz], d_x[t, ..., self._n]
            images = (saved[t], old[t], d_output[t], d_conv, d_state, d_x[t])
            self._pointwise.update_backward(*map(as_pixels, images))
            images = (saved[t], old[t], self._conv_n.input_gradient(d_n), d_state, d_x[t], reset_h)
            self.sums += self._pointwise.reset_backward(*map(as_pixels, images))
            if needs_weight:
                self._conv_n.add_weight_gradient(d_n, reset_h)
                self._conv_rz.add_weight_gradient(d_rz, old[t].to(self._dtype))
            d_conv = self._conv_rz.input_gradient(d_rz)
        return d_conv

    def weight_gradient(self) -> Tensor:
        """See :class:`Steps`."""
        d_weight = torch.cat([self._conv_rz.weight_gradient(), self._conv_n.weight_gradient()])
        return kernel_padding.crop_gradient(d_weight, self._weight)


def fastest_steps(reset: str, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Steps:
    """Return the steps with the reset gate ``"before"`` or ``"after"`` the convolution."""
    return (ResetAfter if reset == "after" else ResetBefore)(weight, bias, dtype)
