"""The gate arithmetic of a GRU step in PyTorch's operations."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from stormcell.nn.activations import LEAKY_SLOPE, leaky_relu
from stormcell.nn.ops.chunking import in_pixel_blocks

sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
leaky_relu_backward = torch.ops.aten.leaky_relu_backward


class TorchPointwise:
    """PyTorch's operations. See :class:`.pointwise.Pointwise`.

    In float32 and float64 ``saved`` holds the gates themselves. In bfloat16 it holds their arguments, from
    which they are computed again: a rounded z near 1 would leave hardly any digits of 1 - z.
    """

    name: ClassVar = "PyTorch"

    def __init__(self, leaky: bool = False) -> None:
        self._leaky = leaky
        self._activation: Callable[[Tensor], Tensor] = leaky_relu if leaky else torch.tanh

    @in_pixel_blocks
    def forward(self, x: Tensor, h: Tensor, h_old: Tensor, h_new: Tensor, saved: Tensor | None) -> None:
        """See :class:`.pointwise.Pointwise`."""
        channels, in_state_dtype = h_old.shape[1], saved is not None and saved.dtype == h_old.dtype
        x, h_n = x.to(h_old.dtype), h[:, 2 * channels :]
        both = torch.add(x[:, : 2 * channels], h[:, : 2 * channels])
        if saved is not None and not in_state_dtype:
            _write((both, x[:, 2 * channels :], h_n), saved)
        r, z = both.sigmoid_().chunk(2, dim=-1)
        n = self._activation(torch.addcmul(x[:, 2 * channels :], r, h_n))
        torch.lerp(n, h_old, z, out=h_new)
        if saved is not None and in_state_dtype:
            _write((both, n, h_n), saved)

    @in_pixel_blocks
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
        """See :class:`.pointwise.Pointwise`."""
        channels = h_old.shape[1]
        gates = saved.to(h_old.dtype)
        r, z, n, h_n = gates.chunk(4, dim=-1)
        if gates is not saved:
            gates[:, : 2 * channels].sigmoid_()
            n = self._activation(torch.addcmul(n, r, h_n))
        d = d_state.add_(d_output).add_(d_conv)
        d_rzn = d_x if d_x.dtype == h_old.dtype else h_old.new_empty(d_x.shape)
        d_r, d_z, d_n = d_rzn.chunk(3, dim=-1)
        sigmoid_backward((h_old - n).mul_(d), z, grad_input=d_z)
        d_new = torch.addcmul(d, d, z, value=-1)
        if self._leaky:
            leaky_relu_backward(d_new, n, LEAKY_SLOPE, True, grad_input=d_n)
        else:
            tanh_backward(d_new, n, grad_input=d_n)
        d.mul_(z)
        sigmoid_backward(d_n * h_n, r, grad_input=d_r)
        d_hn = torch.mul(d_n, r, out=d_new)
        if d_rzn is not d_x:
            d_x.copy_(d_rzn)
        _write((d_rzn[:, : 2 * channels], d_hn), d_h)
        return torch.cat([d_rzn.sum(0), d_hn.sum(0)]).view(4, channels)

    @in_pixel_blocks
    def reset(self, x: Tensor, h: Tensor, h_old: Tensor, reset_h: Tensor) -> None:
        """See :class:`.pointwise.Pointwise`."""
        channels = h_old.shape[1]
        reset_h.copy_((x[:, :channels].to(h_old.dtype) + h[:, :channels]).sigmoid_().mul_(h_old))

    @in_pixel_blocks
    def update(
        self, x: Tensor, h: Tensor, h_n: Tensor, h_old: Tensor, h_new: Tensor, saved: Tensor | None
    ) -> None:
        """See :class:`.pointwise.Pointwise`."""
        channels, in_state_dtype = h_old.shape[1], saved is not None and saved.dtype == h_old.dtype
        gates = saved if saved is not None and in_state_dtype else h_old.new_empty(x.shape)
        torch.add(x[:, : 2 * channels], h, out=gates[:, : 2 * channels])
        torch.add(x[:, 2 * channels :], h_n, out=gates[:, 2 * channels :])
        if saved is not None and not in_state_dtype:
            saved.copy_(gates)
        _, z, n = self._activate(gates)
        torch.lerp(n, h_old, z, out=h_new)

    @in_pixel_blocks
    def update_backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_conv: Tensor,
        d_state: Tensor,
        d_sums: Tensor,
    ) -> None:
        """See :class:`.pointwise.Pointwise`."""
        gates = saved.to(h_old.dtype)
        _, z, n = gates.chunk(3, dim=-1) if gates is saved else self._activate(gates)
        d_new = d_state.add_(d_output).add_(d_conv)
        d_z, d_n = sigmoid_backward((h_old - n).mul_(d_new), z), tanh_backward(d_new * (1 - z), n)
        d_new.mul_(z)
        _write((d_z, d_n), d_sums[:, h_old.shape[1] :])

    @in_pixel_blocks
    def reset_backward(
        self,
        saved: Tensor,
        h_old: Tensor,
        d_reset_h: Tensor,
        d_state: Tensor,
        d_sums: Tensor,
        reset_h: Tensor,
    ) -> Tensor:
        """See :class:`.pointwise.Pointwise`."""
        channels = h_old.shape[1]
        r = saved[:, :channels]
        if r.dtype != h_old.dtype:
            r = r.to(h_old.dtype).sigmoid_()
        reset_h.copy_(r * h_old)
        d_state.addcmul_(d_reset_h, r)
        d_sums[:, :channels] = sigmoid_backward(d_reset_h * h_old, r)
        return d_sums.sum(0, dtype=h_old.dtype).view(3, channels)

    @staticmethod
    def _activate(gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the gates r, z, n in place."""
        r, z, n = gates.chunk(3, dim=-1)
        gates[:, : 2 * n.shape[1]].sigmoid_()
        return r, z, n.tanh_()


def _write(parts: Sequence[Tensor], target: Tensor) -> None:
    """Concatenate images into memory."""
    start = 0
    for part in parts:
        target[:, start : start + part.shape[1]] = part
        start += part.shape[1]
