"""The ConvGRU with little around its convolutions but passes over the pixels.

What the reference states is computed with less traffic through memory: images lie channels last; batch and
steps are worked through in pieces that stay in the caches, each with one convolution of its input; and of a
step only what makes the gates, and the state before it, are kept for the gradient.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stormcell.nn.ops import by_reference, kernels, memory, reference, refusals
from stormcell.nn.ops.engines import engine
from stormcell.nn.ops.gru_steps import steps
from stormcell.nn.ops.pieces import pieces
from stormcell.nn.ops.pixels import channels_first, channels_last, like, sequence
from stormcell.nn.ops.precision import lowered
from stormcell.nn.ops.terms import Form, GRUWeights, Run, State


def conv_gru(
    x: Tensor | None, state: State, weights: GRUWeights, form: Form, run: Run
) -> tuple[Tensor, State]:
    """Compute what :func:`stormcell.nn.ops.reference.conv_gru` computes, if there is no :func:`refusal`."""
    (h,) = state
    w_x, w_h, b_x, b_h = weights[:4]
    if x is None or w_x is None:
        x = w_x = b_x = None
    tensors = (x, h, w_x, w_h, b_x, b_h)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        output, h = _ConvGRU.apply(run.steps, form.reset, *tensors)  # type: ignore[no-untyped-call]
    else:
        output, h, _ = _forward(run.steps, form.reset, *tensors, keep=False)
    return output, (h,)


def refusal(x: Tensor | None, state: State, weights: GRUWeights, form: Form, run: Run) -> str | None:
    """Tell what of a call is not known here; None if nothing."""
    plain = Form(convolution=form.convolution, reset=form.reset)
    return refusals.first(
        refusals.common(x, state, weights, form, run)
        | {
            "norm": weights.norm_ih is not None or weights.norm_hh is not None,
            "another activation, recurrent_padding_mode or zoneout": form != plain,
        }
    )


class _Kept(NamedTuple):
    """What the gradient needs of the way forward."""

    states: Tensor  # (T - 1, B, *space, C) before each step but the first
    gates: Tensor  # (T, B, *space, n C) before they are


class _Input:
    """What the input gives to the gates."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, real: torch.dtype) -> None:
        self._x, self._weight, self._real = x, weight, real
        self._bias = None if bias is None else bias.to(real)
        self._convolution = engine(kernels.odd(weight).to(real))

    def forward(self, some: slice, piece: slice) -> Tensor:
        """Return it for some steps of a piece of the batch, ``(T', B', *space, 3C)``."""
        x = self._x[some, piece]
        z = self._convolution.forward(channels_last(x.flatten(0, 1), self._real), self._bias)
        return z.reshape(*x.shape[:2], *z.shape[1:])

    def to_input(self, d: Tensor) -> Tensor:
        """Return the gradient of the input, ``(T', B', *space, C_in)``, by that of what it gives."""
        d_x = self._convolution.to_input(d.flatten(0, 1))
        return d_x.reshape(*d.shape[:2], *d_x.shape[1:])

    def to_weight(self, d: Tensor, some: slice, piece: slice) -> None:
        """Add to the gradient of the weight."""
        # Step by step: single precision does not bear sums over them all.
        for d_t, x_t in zip(d, self._x[some, piece], strict=True):
            self._convolution.to_weight(d_t, channels_last(x_t, self._real))

    def d_weight(self) -> Tensor:
        """Return the gradient of the weight, summed up."""
        return kernels.cut(self._convolution.d_weight(), self._weight)


def _forward(
    count: int,
    reset: str,
    x: Tensor | None,
    h: Tensor,
    w_x: Tensor | None,
    w_h: Tensor,
    b_x: Tensor | None,
    b_h: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, _Kept | None]:
    """Return the output, the last h, and, if it is to be kept, what the gradient needs."""
    number, (batch, channels, *space) = w_h.dtype, h.shape
    real = lowered(h.device) or number
    with torch.autocast("cpu", enabled=False):
        of_x = None if x is None or w_x is None else _Input(x, w_x, b_x, real)
        of_h = steps(reset, w_h, b_h, real)
        nothing = h.new_zeros(3 * channels, dtype=real)
        output = sequence(count, h, number)
        kept = None
        if keep:
            states = memory.empty((count - 1, batch, *space, channels), number, h.device)
            gates = memory.empty((count, batch, *space, of_h.keeps * channels), real, h.device)
            kept = _Kept(states, gates)
        for piece in pieces(batch, _size(h, real)):
            old = channels_last(h[piece], number)
            for some in pieces(count, len(old) * _size(h, real)):
                z = None if of_x is None else of_x.forward(some, piece)
                for t in range(some.start, some.stop):
                    new = channels_last(output[t, piece])
                    given = nothing.expand(*old.shape[:-1], -1) if z is None else z[t - some.start]
                    of_h.forward(given, old, new, None if kept is None else kept.gates[t, piece])
                    if kept is not None and t + 1 < count:
                        kept.states[t, piece] = new
                    old = new
    return output, channels_first(memory.copy(output[-1].movedim(1, -1))), kept


def _backward(
    reset: str,
    tensors: tuple[Tensor | None, ...],  # those that _forward was given
    kept: _Kept,  # what it kept
    gradients: tuple[Tensor | None, ...],  # of what it returned; None is zero
    needed: tuple[bool, ...],  # which gradients are asked for
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the tensors."""
    x, h_0, w_x, w_h, b_x, b_h = tensors
    assert h_0 is not None
    assert w_h is not None
    (states, gates), real = kept, kept.gates.dtype
    channels, zero = h_0.shape[1], states.new_zeros(())  # of whatever size
    count = len(gates)
    shapes = (count, *h_0.shape), h_0.shape
    d_output, d_h = (
        zero.expand(shape) if d is None else d for d, shape in zip(gradients, shapes, strict=True)
    )
    needs_x, _, needs_w_x, needs_w_h, *_ = needed
    of_x = None if x is None or w_x is None else _Input(x, w_x, b_x, real)
    of_h = steps(reset, w_h, b_h, real)

    d_x = like(gates, x.shape[2], real) if x is not None and needs_x else None
    d_h = memory.copy(d_h.movedim(1, -1), states.dtype)
    for piece in pieces(len(h_0), _size(h_0, real)):
        d_seen, d_state = zero.to(real).expand(channels).expand_as(d_h[piece]), d_h[piece]
        olds = [channels_last(h_0[piece], states.dtype), *states[:, piece]]
        for some in reversed(pieces(count, len(d_state) * _size(h_0, real))):
            kept_of, d_out = gates[some, piece], d_output[some, piece].movedim(2, -1)
            d = like(kept_of, 3 * channels)
            d_seen = of_h.backward(kept_of, olds[some], d_out, d_seen, d_state, d, needs_w_h)
            if of_x is not None and needs_w_x:
                of_x.to_weight(d, some, piece)
            if of_x is not None and d_x is not None:
                d_x[some, piece] = of_x.to_input(d)
        d_state += d_seen
    return (
        None if d_x is None else d_x.movedim(-1, 2),
        d_h.movedim(-1, 1),
        None if of_x is None or not needs_w_x else of_x.d_weight(),
        of_h.d_weight() if needs_w_h else None,
        None if b_x is None else of_h.sums[:3].flatten(),
        None if b_h is None else of_h.sums[of_h.biased].flatten(),
    )


class _ConvGRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: int, reset: str, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h, kept = _forward(count, reset, *tensors, keep=True)  # type: ignore[arg-type]
        assert kept is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *kept)
        ctx.reset = reset
        ctx.autocast = torch.is_autocast_enabled("cpu")
        return output, h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, states, gates = ctx.saved_tensors  # to be asked for once: a checkpoint computes them then
        with torch.autocast("cpu", torch.bfloat16, enabled=ctx.autocast):
            if by_reference.needed(gradients):
                compute = partial(_reference, len(gates), ctx.reset)
                return None, None, *by_reference.gradients(compute, tensors, gradients)
        needed = ctx.needs_input_grad[2:]
        with torch.autocast("cpu", enabled=False):
            return None, None, *_backward(ctx.reset, tuple(tensors), _Kept(states, gates), gradients, needed)


def _reference(
    count: int, reset: str, x: Tensor | None, h: Tensor, *weights: Tensor
) -> tuple[Tensor, Tensor]:
    output, (h,) = reference.conv_gru(x, (h,), GRUWeights(*weights), Form(reset=reset), Run(count))
    return output, h


def _size(h: Tensor, real: torch.dtype) -> int:
    """Return how many bytes what makes a sample's gates takes, from the input and from the hidden state."""
    return 6 * h[0].numel() * real.itemsize
