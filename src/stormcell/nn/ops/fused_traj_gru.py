"""The TrajGRU with little around its convolutions but passes over the pixels.

What the reference states is computed with less traffic through memory: images lie channels last; what the
flows move is many times as much as the state itself, so it is made for some pixels at a time, multiplied
while it is in the caches, and made again for the gradient; and of a step only the state before it, the flows
and what makes them, and what makes the gates are kept.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stormcell.nn.activations import LEAKY_SLOPE, leaky_relu
from stormcell.nn.ops import by_reference, gru_gates, kernels, memory, moved, reference, refusals
from stormcell.nn.ops.engines import engine
from stormcell.nn.ops.gru_gates import leaky_relu_backward
from stormcell.nn.ops.pieces import pieces
from stormcell.nn.ops.pixels import channels_first, channels_last, like, pixels, sequence, show
from stormcell.nn.ops.precision import lowered
from stormcell.nn.ops.terms import Form, Run, State, TrajGRUWeights


def traj_gru(
    x: Tensor | None, state: State, weights: TrajGRUWeights, form: Form, run: Run
) -> tuple[Tensor, State]:
    """Compute what :func:`stormcell.nn.ops.reference.traj_gru` computes, if there is no :func:`refusal`."""
    (h,) = state
    if x is None or weights.weight_ih is None:
        x = None
        weights = weights._replace(weight_ih=None, bias_ih=None, flow_weight_ih=None, flow_bias_ih=None)
    tensors = (x, h, *weights)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        output, h = _TrajGRU.apply(run.steps, form, *tensors)  # type: ignore[no-untyped-call]
    else:
        output, h, _ = _forward(run.steps, form, *tensors, keep=False)
    return output, (h,)


def refusal(x: Tensor | None, state: State, weights: TrajGRUWeights, form: Form, run: Run) -> str | None:
    """Tell what of a call is not known here; None if nothing."""
    plain = Form(leaky_relu, convolution=form.convolution, align_corners=form.align_corners)
    return refusals.first(
        refusals.common(x, state, weights, form, run)
        | {"another activation or zoneout": form not in (plain, plain._replace(activation=torch.tanh))}
    )


class _Step(NamedTuple):
    """What the gradient needs of a step, of a piece of the batch."""

    old: Tensor  # (B', H, W, C), the state before it
    hidden: Tensor  # (B', H, W, F), what makes the flows
    flows: Tensor  # (B', H, W, 2L)
    gates: Tensor  # (B', H, W, 4C), before they are


class _Flows:
    """The convolutions that make the flows."""

    def __init__(self, w: TrajGRUWeights, real: torch.dtype, needs_x: bool) -> None:
        w_h, biases = w.flow_weight_hh, [b for b in (w.flow_bias_ih, w.flow_bias_hh) if b is not None]
        self._w_seen = w_h[:, :0] if w.flow_weight_ih is None else w.flow_weight_ih, w_h
        self._w_hidden = w.flow_weight
        self._b_seen = torch.stack(biases).sum(0).to(real) if biases else None
        self._b_hidden = None if w.flow_bias is None else w.flow_bias.to(real)
        # Where nobody asks for the gradient of the input, that of the hidden state alone is less work.
        first = 0 if needs_x else self._w_seen[0].shape[1]
        self._of_seen = engine(kernels.joined(*self._w_seen, dtype=real), first)
        self._of_hidden = engine(kernels.odd(w.flow_weight).to(real))
        self._d_b_seen, self._d_b_hidden = w_h.new_zeros(len(w_h)), w_h.new_zeros(len(w.flow_weight))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return what makes the flows, and the flows."""
        hidden = leaky_relu(self._of_seen.forward(seen, self._b_seen))
        return hidden, self._of_hidden.forward(hidden, self._b_hidden)

    def backward(self, d_flows: Tensor, hidden: Tensor, seen: Tensor, needs: dict[str, bool]) -> Tensor:
        """Return the gradient of what was seen, and add to those of the weights."""
        d_hidden = self._of_hidden.to_input(d_flows)
        d_hidden = leaky_relu_backward(d_hidden, hidden, LEAKY_SLOPE, True)
        if needs["flow_weight"]:
            self._of_hidden.to_weight(d_flows, hidden)
        if needs["flow_weight_ih"] or needs["flow_weight_hh"]:
            self._of_seen.to_weight(d_hidden, seen)
        self._d_b_hidden += d_flows.sum((0, 1, 2), dtype=self._d_b_hidden.dtype)
        self._d_b_seen += d_hidden.sum((0, 1, 2), dtype=self._d_b_seen.dtype)
        return self._of_seen.to_input(d_hidden)

    def gradients(self, needs: dict[str, bool]) -> dict[str, Tensor]:
        """Return the gradients, by name, of the weights that need one."""
        found = {
            "flow_bias_ih": self._d_b_seen,
            "flow_bias_hh": self._d_b_seen.clone(),  # gradients of two may not be one tensor
            "flow_bias": self._d_b_hidden,
        }
        if needs["flow_weight"]:
            found["flow_weight"] = kernels.cut(self._of_hidden.d_weight(), self._w_hidden)
        if needs["flow_weight_ih"] or needs["flow_weight_hh"]:
            parts = kernels.parted(self._of_seen.d_weight(), *self._w_seen)
            found["flow_weight_ih"], found["flow_weight_hh"] = parts
        return found


class _Parts:
    """What a step is computed by."""

    def __init__(self, w: TrajGRUWeights, form: Form, real: torch.dtype, needs_x: bool = False) -> None:
        self.flows = _Flows(w, real, needs_x)
        self.moved = moved.moved(w, form.align_corners, real)
        self.gates = gru_gates.gates(real, leaky=form.activation is leaky_relu)
        self.input = None if w.weight_ih is None else engine(kernels.odd(w.weight_ih).to(real))


def _forward(
    steps: int, form: Form, x: Tensor | None, h: Tensor, *weights: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, list[_Step]]:
    """Return the output, the last h, and, if it is to be kept, what the gradient needs."""
    w = TrajGRUWeights(*weights)  # type: ignore[arg-type]
    number, x = w.weight_hh.dtype, _frames(x, steps, h)
    inputs = x.shape[2]
    real = lowered(h.device) or number
    kept: list[_Step] = []
    with torch.autocast("cpu", enabled=False):
        parts = _Parts(w, form, real)
        bias = None if w.bias_ih is None else w.bias_ih.to(real)
        nothing = h.new_zeros(3 * h.shape[1], dtype=real)
        output = sequence(steps, h, number)
        for piece in _pieces(h, real):
            old = channels_last(h[piece], number).contiguous()
            seen = like(old, inputs + old.shape[-1], real)
            for t in range(steps):
                show(x[t, piece], seen).copy_(old)
                hidden, flows = parts.flows.forward(seen)
                of_x = nothing.expand(*flows.shape[:-1], -1)
                if parts.input is not None:
                    of_x = parts.input.forward(seen[..., :inputs], bias)
                of_h = parts.moved.forward(old, pixels(flows))
                out = channels_last(output[t, piece])
                # What is kept is not what callers may write to.
                channels = old.shape[-1]
                new, before = (like(old, channels), like(flows, 4 * channels)) if keep else (out, None)
                images = pixels(of_x), of_h, pixels(old), pixels(new)
                parts.gates.forward(*images, None if before is None else pixels(before))
                if before is not None:
                    kept.append(_Step(old, hidden, flows, before))
                    out.copy_(new)
                old = new
    return output, channels_first(memory.copy(output[-1].movedim(1, -1))), kept


def _backward(
    form: Form,
    tensors: tuple[Tensor | None, ...],  # those that _forward was given
    kept: list[_Step],
    gradients: tuple[Tensor | None, ...],  # of what it returned; None is zero
    needed: tuple[bool, ...],  # which gradients are asked for
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the tensors."""
    x, h, *weights = tensors
    assert h is not None
    w, (needs_x, _, *rest) = TrajGRUWeights(*weights), needed  # type: ignore[arg-type]
    needs = dict(zip(TrajGRUWeights._fields, rest, strict=True))
    number, real, channels = w.weight_hh.dtype, kept[0].flows.dtype, h.shape[1]
    cut = _pieces(h, real)
    steps, zero = len(kept) // len(cut), h.new_zeros((), dtype=number)  # of whatever size
    shapes = (steps, *h.shape), h.shape
    d_output, d_h = (
        zero.expand(shape) if d is None else d for d, shape in zip(gradients, shapes, strict=True)
    )
    parts, x = _Parts(w, form, real, needs_x), _frames(x, steps, h)
    inputs = x.shape[2]

    d_x = sequence(steps, x[0], real) if needs_x else None
    d_h = memory.copy(d_h.movedim(1, -1), number)
    sums = h.new_zeros(4, channels, dtype=number)
    for n, piece in enumerate(cut):
        d_state = d_h[piece]
        d_seen = zero.to(real).expand(channels).expand_as(d_state)
        d_of_x, d_of_h = (like(d_state, 3 * channels, real) for _ in range(2))
        seen = like(d_state, inputs + channels, real)
        for t in reversed(range(steps)):
            old, hidden, flows, before = kept[n * steps + t]
            d_out = channels_last(d_output[t, piece], number)
            sums += parts.gates.backward(*map(pixels, (before, old, d_out, d_seen, d_state, d_of_x, d_of_h)))
            show(x[t, piece], seen).copy_(old)
            d_flows = parts.moved.backward(pixels(d_of_h), old, pixels(flows), d_state, needs["weight_hh"])
            d_both = parts.flows.backward(d_flows.view_as(flows), hidden, seen, needs)
            d_seen = d_both[..., d_both.shape[-1] - channels :]
            if parts.input is not None and needs["weight_ih"]:
                parts.input.to_weight(d_of_x, seen[..., :inputs])
            if parts.input is not None and d_x is not None:
                d_x[t, piece] = channels_first(parts.input.to_input(d_of_x) + d_both[..., :inputs])
        d_state += d_seen
    found = parts.flows.gradients(needs)
    found |= {"bias_ih": sums[:3].flatten(), "bias_hh": sums[[0, 1, 3]].flatten()}
    if parts.input is not None and w.weight_ih is not None and needs["weight_ih"]:
        found["weight_ih"] = kernels.cut(parts.input.d_weight(), w.weight_ih)
    if needs["weight_hh"]:
        found["weight_hh"] = parts.moved.d_weight()
    each = (found[name] if needs[name] else None for name in needs)
    return d_x, d_h.movedim(-1, 1), *each


class _TrajGRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: int, form: Form, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h, kept = _forward(steps, form, *tensors, keep=True)  # type: ignore[arg-type]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *(each for step in kept for each in step))
        ctx.steps, ctx.form, ctx.given = steps, form, len(tensors)
        ctx.autocast = torch.is_autocast_enabled("cpu")
        return output, h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # to be asked for once: a checkpoint computes them then
        tensors, each = saved[: ctx.given], iter(saved[ctx.given :])
        with torch.autocast("cpu", torch.bfloat16, enabled=ctx.autocast):
            if by_reference.needed(gradients):
                compute = partial(_reference, ctx.steps, ctx.form)
                return None, None, *by_reference.gradients(compute, tensors, gradients)
        kept = list(map(_Step._make, zip(each, each, each, each, strict=True)))
        with torch.autocast("cpu", enabled=False):
            return None, None, *_backward(ctx.form, tensors, kept, gradients, ctx.needs_input_grad[2:])


def _reference(
    steps: int, form: Form, x: Tensor | None, h: Tensor, *weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    w = TrajGRUWeights(*weights)  # type: ignore[arg-type]
    output, (h,) = reference.traj_gru(x, (h,), w, form, Run(steps))
    return output, h


def _frames(x: Tensor | None, steps: int, h: Tensor) -> Tensor:
    """Return the input, of no channels if there is none."""
    return h.new_empty(steps, len(h), 0, *h.shape[2:]) if x is None else x


def _pieces(h: Tensor, real: torch.dtype) -> list[slice]:
    """Cut the batch into pieces by what makes the gates, from the input and from what was moved."""
    return pieces(len(h), 6 * h[0].numel() * real.itemsize)
