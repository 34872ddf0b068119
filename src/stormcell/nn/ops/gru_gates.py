"""What a GRU step does around its convolutions: compiled, or else in PyTorch's own operations.

Images are pixels in a row, ``(P, C)``, each in one piece; what makes its gates r, z, n is C numbers each.
Where the reset gate acts after the convolution, a step is one pass over them; where it acts before, two.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from stormcell.nn.activations import LEAKY_SLOPE, leaky_relu
from stormcell.nn.ops import compiler
from stormcell.nn.ops.blocks import in_blocks
from stormcell.nn.ops.gates import sigmoid_backward, tanh_backward
from stormcell.nn.ops.pixels import BLOCK, located, room_for_sums


class Gates(Protocol):
    """The arithmetic of a step, forwards and backwards.

    With x_r, x_z, x_n and h_r, h_z, h_n what the convolutions of the input and of the hidden state gave::

        r = σ(x_r + h_r)
        z = σ(x_z + h_z)
        n = φ(x_n + r ∘ h_n), or φ(x_n + h_n) with h_n made of r ∘ h
        h = (1 - z) ∘ n + z ∘ h

    where φ is tanh, or the leaky ReLU if :func:`gates` was told so, but only in the first of the two forms.
    What convolutions read and write has the precision ``real``, states and their gradients have ``number``.
    """

    def forward(self, x: Tensor, h: Tensor, h_old: Tensor, h_new: Tensor, kept: Tensor | None) -> None:
        """Write the new state, where the reset gate acts after the convolution.

        Args:
            x: (P, 3C), x_r, x_z, x_n; real. Without an input, zeros.
            h: (P, 3C), h_r, h_z, h_n; real.
            h_old: (P, C), number.
            h_new: (P, C), number.
            kept: (P, 4C), where x_r + h_r, x_z + h_z, x_n, h_n are written for the gradient; real.
        """
        ...

    def backward(
        self,
        kept: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        d_h: Tensor,
    ) -> Tensor:
        """Undo :meth:`forward`: the gradient of the new h is d_output + d_seen + d_state.

        Args:
            kept: (P, 4C), as it was written; real.
            h_old: (P, C), number.
            d_output: (P, C), the gradient of the output; number.
            d_seen: (P, C), what came to it through the convolution of the step after; real.
            d_state: (P, C), what came to it otherwise; on return that of the old h, but for what comes
                through the convolution; number.
            d_x: (P, 3C), where the gradient of x is written; real.
            d_h: (P, 3C), where that of h is written; real.

        Returns:
            (4, C): the sums over the pixels of the gradients of x_r, x_z, x_n and h_n, for the biases.
        """
        ...

    def reset(self, x: Tensor, h: Tensor, h_old: Tensor, seen: Tensor) -> None:
        """Write what the second convolution sees, where the reset gate acts before it: r ∘ h.

        Args:
            x: (P, 3C), x_r, x_z, x_n; real.
            h: (P, 2C), h_r, h_z; real.
            h_old: (P, C), number.
            seen: (P, C), real.
        """
        ...

    def update(
        self, x: Tensor, h: Tensor, h_n: Tensor, h_old: Tensor, h_new: Tensor, kept: Tensor | None
    ) -> None:
        """Write the new state, when the second convolution is done.

        Args:
            x: (P, 3C), x_r, x_z, x_n; real.
            h: (P, 2C), h_r, h_z; real.
            h_n: (P, C), real.
            h_old: (P, C), number.
            h_new: (P, C), number.
            kept: (P, 3C), where the sums x_r + h_r, x_z + h_z, x_n + h_n are written; real.
        """
        ...

    def update_backward(
        self,
        kept: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d: Tensor,
    ) -> None:
        """Undo :meth:`update`: the gradient of the new h is d_output + d_seen + d_state.

        Args:
            kept: (P, 3C), as it was written; real.
            h_old: (P, C), number.
            d_output: (P, C), the gradient of the output; number.
            d_seen: (P, C), what came to it through the convolutions of the step after; real.
            d_state: (P, C), what came to it otherwise; on return that of the old h, but for what comes
                through the convolutions; number.
            d: (P, 3C), where the gradients of the sums for z and n are written; real.
        """
        ...

    def reset_backward(
        self, kept: Tensor, h_old: Tensor, d_seen: Tensor, d_state: Tensor, d: Tensor, seen: Tensor
    ) -> Tensor:
        """Undo :meth:`reset`.

        Args:
            kept: (P, 3C), as it was written; real.
            h_old: (P, C), number.
            d_seen: (P, C), the gradient of what the second convolution saw; real.
            d_state: (P, C), that of the old h, to which what comes by way of r ∘ h is added; number.
            d: (P, 3C), as :meth:`update_backward` wrote it; where that for r is written; real.
            seen: (P, C), where what the second convolution saw is written once more; real.

        Returns:
            (3, C): the sums of the gradients over the pixels, for the biases.
        """
        ...


class Compiled:
    """The arithmetic in compiled passes over the pixels."""

    def __init__(self, library: ctypes.CDLL, leaky: bool = False) -> None:
        self._leaky = leaky
        self._forward = _pass(library.gru_forward, sizes=3, images=5)
        self._backward = _pass(library.gru_backward, sizes=4, images=7, sums=1)
        self._reset = _pass(library.gru_reset, sizes=2, images=4)
        self._update = _pass(library.gru_update, sizes=2, images=6)
        self._update_backward = _pass(library.gru_update_backward, sizes=2, images=6)
        self._reset_backward = _pass(library.gru_reset_backward, sizes=3, images=6, sums=1)

    def forward(self, x: Tensor, h: Tensor, h_old: Tensor, h_new: Tensor, kept: Tensor | None) -> None:
        """See :class:`Gates`."""
        self._forward(*h_old.shape, self._leaky, *located(x, h, h_old, h_new, kept))

    def backward(
        self,
        kept: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        d_h: Tensor,
    ) -> Tensor:
        """See :class:`Gates`."""
        images = located(kept, h_old, d_output, d_seen, d_state, d_x, d_h)
        sums = room_for_sums(h_old, 4)
        self._backward(*h_old.shape, BLOCK, self._leaky, *images, sums.data_ptr())
        return sums.sum(0)

    def reset(self, x: Tensor, h: Tensor, h_old: Tensor, seen: Tensor) -> None:
        """See :class:`Gates`."""
        self._reset(*h_old.shape, *located(x, h, h_old, seen))

    def update(
        self, x: Tensor, h: Tensor, h_n: Tensor, h_old: Tensor, h_new: Tensor, kept: Tensor | None
    ) -> None:
        """See :class:`Gates`."""
        self._update(*h_old.shape, *located(x, h, h_n, h_old, h_new, kept))

    def update_backward(
        self,
        kept: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d: Tensor,
    ) -> None:
        """See :class:`Gates`."""
        self._update_backward(*h_old.shape, *located(kept, h_old, d_output, d_seen, d_state, d))

    def reset_backward(
        self, kept: Tensor, h_old: Tensor, d_seen: Tensor, d_state: Tensor, d: Tensor, seen: Tensor
    ) -> Tensor:
        """See :class:`Gates`."""
        images = located(kept, h_old, d_seen, d_state, d, seen)
        sums = room_for_sums(h_old, 3)
        self._reset_backward(*h_old.shape, BLOCK, *images, sums.data_ptr())
        return sums.sum(0)


leaky_relu_backward = torch.ops.aten.leaky_relu_backward


class Plain:
    """The arithmetic in PyTorch's operations.

    In single precision the gates themselves are kept. Of rounded ones little of 1 - z would be left when z
    is near 1, so that in bfloat16 they are made again of what made them.
    """

    def __init__(self, leaky: bool = False) -> None:
        self._leaky = leaky
        self._activation: Callable[[Tensor], Tensor] = leaky_relu if leaky else torch.tanh

    @in_blocks
    def forward(self, x: Tensor, h: Tensor, h_old: Tensor, h_new: Tensor, kept: Tensor | None) -> None:
        """See :class:`Gates`; in single precision r, z, n, h_n are kept."""
        channels, whole = h_old.shape[1], kept is not None and kept.dtype == h_old.dtype
        x, h_n = x.to(h_old.dtype), h[:, 2 * channels :]
        both = torch.add(x[:, : 2 * channels], h[:, : 2 * channels])
        if kept is not None and not whole:
            _write((both, x[:, 2 * channels :], h_n), kept)
        r, z = both.sigmoid_().chunk(2, dim=-1)
        n = self._activation(torch.addcmul(x[:, 2 * channels :], r, h_n))
        torch.lerp(n, h_old, z, out=h_new)
        if kept is not None and whole:
            _write((both, n, h_n), kept)

    @in_blocks
    def backward(
        self,
        kept: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        d_h: Tensor,
    ) -> Tensor:
        """See :class:`Gates`."""
        channels = h_old.shape[1]
        gates = kept.to(h_old.dtype)
        r, z, n, h_n = gates.chunk(4, dim=-1)
        if gates is not kept:
            gates[:, : 2 * channels].sigmoid_()
            n = self._activation(torch.addcmul(n, r, h_n))
        d = d_state.add_(d_output).add_(d_seen)
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

    @in_blocks
    def reset(self, x: Tensor, h: Tensor, h_old: Tensor, seen: Tensor) -> None:
        """See :class:`Gates`."""
        channels = h_old.shape[1]
        seen.copy_((x[:, :channels].to(h_old.dtype) + h[:, :channels]).sigmoid_().mul_(h_old))

    @in_blocks
    def update(
        self, x: Tensor, h: Tensor, h_n: Tensor, h_old: Tensor, h_new: Tensor, kept: Tensor | None
    ) -> None:
        """See :class:`Gates`; in single precision r, z, n are kept."""
        channels, whole = h_old.shape[1], kept is not None and kept.dtype == h_old.dtype
        gates = kept if kept is not None and whole else h_old.new_empty(x.shape)
        torch.add(x[:, : 2 * channels], h, out=gates[:, : 2 * channels])
        torch.add(x[:, 2 * channels :], h_n, out=gates[:, 2 * channels :])
        if kept is not None and not whole:
            kept.copy_(gates)
        _, z, n = self._opened(gates)
        torch.lerp(n, h_old, z, out=h_new)

    @in_blocks
    def update_backward(
        self,
        kept: Tensor,
        h_old: Tensor,
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d: Tensor,
    ) -> None:
        """See :class:`Gates`."""
        gates = kept.to(h_old.dtype)
        _, z, n = gates.chunk(3, dim=-1) if gates is kept else self._opened(gates)
        d_new = d_state.add_(d_output).add_(d_seen)
        d_z, d_n = sigmoid_backward((h_old - n).mul_(d_new), z), tanh_backward(d_new * (1 - z), n)
        d_new.mul_(z)
        _write((d_z, d_n), d[:, h_old.shape[1] :])

    @in_blocks
    def reset_backward(
        self, kept: Tensor, h_old: Tensor, d_seen: Tensor, d_state: Tensor, d: Tensor, seen: Tensor
    ) -> Tensor:
        """See :class:`Gates`."""
        channels = h_old.shape[1]
        r = kept[:, :channels]
        if r.dtype != h_old.dtype:
            r = r.to(h_old.dtype).sigmoid_()
        seen.copy_(r * h_old)
        d_state.addcmul_(d_seen, r)
        d[:, :channels] = sigmoid_backward(d_seen * h_old, r)
        return d.sum(0, dtype=h_old.dtype).view(3, channels)

    @staticmethod
    def _opened(gates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn what makes the gates r, z, n into them, in place."""
        r, z, n = gates.chunk(3, dim=-1)
        gates[:, : 2 * n.shape[1]].sigmoid_()
        return r, z, n.tanh_()


def gates(dtype: torch.dtype, *, leaky: bool = False) -> Gates:
    """Return the fastest arithmetic that there is here for activations of this type."""
    compiled = compiler.library(dtype)
    return Plain(leaky) if compiled is None else Compiled(compiled, leaky)


def _pass(function: Any, *, sizes: int, images: int, sums: int = 0) -> Callable[..., None]:
    """Return a compiled function, which is told sizes, where images are, and where sums go."""
    size, place = ctypes.c_int64, ctypes.c_void_p
    function.argtypes = [*[size] * sizes, *[place, size] * images, *[place] * sums]
    function.restype = None
    compiled: Callable[..., None] = function
    return compiled


def _write(parts: Sequence[Tensor], whole: Tensor) -> None:
    """Write images side by side."""
    start = 0
    for part in parts:
        whole[:, start : start + part.shape[1]] = part
        start += part.shape[1]
