"""A ConvGRU's steps, the input's share of them being known: what becomes of the hidden state, in either form.

Images are ``(B, *space, channels)``; over several steps ``(T, B, *space, channels)``.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from stormcell.nn.ops import gru_gates, kernels
from stormcell.nn.ops.engines import engine
from stormcell.nn.ops.pixels import like, pixels


class Steps(Protocol):
    """The steps of one form, forwards and backwards."""

    keeps: ClassVar[int]  # how many numbers per channel are kept of a step
    biased: ClassVar[list[int]]  # which of the sums are the gradient of the bias here
    sums: Tensor  # (n, C), over the steps gone back; the first three are the gradient of the input's bias

    def forward(self, x: Tensor, old: Tensor, new: Tensor, kept: Tensor | None) -> None:
        """Take a step.

        Args:
            x: What the input gives to the gates.
            old: The state before it.
            new: Where the state after it is written.
            kept: Where what the gradient needs is written.
        """
        ...

    def backward(
        self,
        kept: Tensor,
        old: Sequence[Tensor],
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        needs_weight: bool,
    ) -> Tensor:
        """Go back several steps.

        Args:
            kept: What was kept of them.
            old: The states before them.
            d_output: The gradient of the outputs.
            d_seen: That of the last state: through the convolution of the step after,
            d_state: and otherwise; on return that of the first state.
            d_x: Where the gradient of what the input gave is written.
            needs_weight: Whether that of the weight is asked for.

        Returns:
            The gradient of the first state, through the convolution.
        """
        ...

    def d_weight(self) -> Tensor:
        """Return the gradient of the weight, summed up."""
        ...


class After:
    """The reset gate acts after the convolution: see :class:`Steps`."""

    keeps: ClassVar = 4
    biased: ClassVar = [0, 1, 3]

    def __init__(self, weight: Tensor, bias: Tensor | None, real: torch.dtype) -> None:
        self.sums = weight.new_zeros(4, weight.shape[1])
        self._weight, self._bias, self._real = weight, None if bias is None else bias.to(real), real
        self._gates = gru_gates.gates(real)
        self._convolution = engine(kernels.odd(weight).to(real))

    def forward(self, x: Tensor, old: Tensor, new: Tensor, kept: Tensor | None) -> None:
        """See :class:`Steps`."""
        h = self._convolution.forward(old.to(self._real), self._bias)
        where = None if kept is None else pixels(kept)
        self._gates.forward(pixels(x), pixels(h), pixels(old), pixels(new), where)

    def backward(
        self,
        kept: Tensor,
        old: Sequence[Tensor],
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        needs_weight: bool,
    ) -> Tensor:
        """See :class:`Steps`."""
        d_h = like(d_x[0], d_x.shape[-1])
        for t in reversed(range(len(kept))):
            images = (kept[t], old[t], d_output[t], d_seen, d_state, d_x[t], d_h)
            self.sums += self._gates.backward(*map(pixels, images))
            if needs_weight:
                self._convolution.to_weight(d_h, old[t].to(self._real))
            d_seen = self._convolution.to_input(d_h)
        return d_seen

    def d_weight(self) -> Tensor:
        """See :class:`Steps`."""
        return kernels.cut(self._convolution.d_weight(), self._weight)


class Before:
    """The reset gate acts before the convolution, so that n has one for itself: see :class:`Steps`."""

    keeps: ClassVar = 3
    biased: ClassVar = [0, 1, 2]

    def __init__(self, weight: Tensor, bias: Tensor | None, real: torch.dtype) -> None:
        channels = weight.shape[1]
        self._rz, self._n = slice(2 * channels), slice(2 * channels, None)
        self.sums = weight.new_zeros(3, channels)
        self._weight, self._real = weight, real
        self._gates = gru_gates.gates(real)
        whole = kernels.odd(weight).to(real)
        self._of_rz, self._of_n = engine(whole[self._rz]), engine(whole[self._n])
        self._bias_rz = None if bias is None else bias[self._rz].to(real)
        self._bias_n = None if bias is None else bias[self._n].to(real)

    def forward(self, x: Tensor, old: Tensor, new: Tensor, kept: Tensor | None) -> None:
        """See :class:`Steps`."""
        h = self._of_rz.forward(old.to(self._real), self._bias_rz)
        seen = like(h, old.shape[-1])
        self._gates.reset(*map(pixels, (x, h, old, seen)))
        h_n = self._of_n.forward(seen, self._bias_n)
        where = None if kept is None else pixels(kept)
        self._gates.update(pixels(x), pixels(h), pixels(h_n), pixels(old), pixels(new), where)

    def backward(
        self,
        kept: Tensor,
        old: Sequence[Tensor],
        d_output: Tensor,
        d_seen: Tensor,
        d_state: Tensor,
        d_x: Tensor,
        needs_weight: bool,
    ) -> Tensor:
        """See :class:`Steps`."""
        seen = like(d_state, d_state.shape[-1], self._real)  # r ∘ h
        for t in reversed(range(len(kept))):
            d_rz, d_n = d_x[t, ..., self._rz], d_x[t, ..., self._n]
            images = (kept[t], old[t], d_output[t], d_seen, d_state, d_x[t])
            self._gates.update_backward(*map(pixels, images))
            images = (kept[t], old[t], self._of_n.to_input(d_n), d_state, d_x[t], seen)
            self.sums += self._gates.reset_backward(*map(pixels, images))
            if needs_weight:
                self._of_n.to_weight(d_n, seen)
                self._of_rz.to_weight(d_rz, old[t].to(self._real))
            d_seen = self._of_rz.to_input(d_rz)
        return d_seen

    def d_weight(self) -> Tensor:
        """See :class:`Steps`."""
        return kernels.cut(torch.cat([self._of_rz.d_weight(), self._of_n.d_weight()]), self._weight)


def steps(reset: str, weight: Tensor, bias: Tensor | None, real: torch.dtype) -> Steps:
    """Return the steps with the reset gate ``"before"`` the convolution or ``"after"`` it."""
    return (After if reset == "after" else Before)(weight, bias, real)
