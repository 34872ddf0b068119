"""The ConvLSTM with nothing around its convolutions but one pass over the pixels.

What the reference states is computed with less traffic through memory: input and hidden state are seen side
by side, so that a step is one convolution; images lie channels last; the batch is worked through in pieces
that stay in the caches; and of a step only what makes the gates, and the cell state, are kept for the
gradient. On a GPU the batch is one piece, and nothing waits for the device: what has run once, so that it
is compiled, a CUDA graph can hold.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from stormcell.nn.ops import by_reference, gates, kernels, lstm_steps, memory, reference, refusals
from stormcell.nn.ops.engines import engine
from stormcell.nn.ops.gates import Images
from stormcell.nn.ops.pieces import cut, pieces
from stormcell.nn.ops.pixels import channels_first, channels_last, like, pixels, sequence, show
from stormcell.nn.ops.precision import lowered
from stormcell.nn.ops.terms import Form, LSTMWeights, Run, State

_PLAIN = Form()
# Pixels over which the gradient of the weights is summed at once: as many as make the sum worth writing.
_SUMMED = 1 << 17


def conv_lstm(
    x: Tensor | None,
    state: State,
    weights: LSTMWeights,
    form: Form,  # the plain one
    run: Run,
) -> tuple[Tensor, State]:
    """Compute what :func:`stormcell.nn.ops.reference.conv_lstm` computes, if there is no :func:`refusal`."""
    if weights.weight_hh.dim() == 2:
        return _of_vectors(x, state, weights, form, run)
    h, c = state
    w_x, w_h, bias, peephole = weights[:4]
    if x is None or w_x is None:
        x, w_x = h.new_empty(run.steps, len(h), 0, *h.shape[2:]), w_h[:, :0]
    tensors = (x, h, c, w_x, w_h, bias, peephole)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        output, h, c = _ConvLSTM.apply(*tensors)  # type: ignore[no-untyped-call]
    else:
        output, h, c, _ = _forward(*tensors, keep=False)
    return output, (h, c)


def _of_vectors(
    x: Tensor | None, state: State, weights: LSTMWeights, form: Form, run: Run
) -> tuple[Tensor, State]:
    """Compute vectors ``(T, B, C)`` as lines of one pixel."""
    x, h, c, w_x, w_h = (
        None if t is None else t.unsqueeze(-1) for t in (x, *state, weights.weight_ih, weights.weight_hh)
    )
    assert h is not None
    assert c is not None
    assert w_h is not None
    output, state = conv_lstm(x, (h, c), weights._replace(weight_ih=w_x, weight_hh=w_h), form, run)
    return output.squeeze(-1), tuple(t.squeeze(-1) for t in state)


def refusal(x: Tensor | None, state: State, weights: LSTMWeights, form: Form, run: Run) -> str | None:
    """Tell what of a call is not known here; None if nothing."""
    w_x, w_h, _, peephole, *others = weights
    return refusals.first(
        refusals.common(x, state, weights, form, run, devices=("cpu", "cuda"))
        | {
            "a recurrent_kernel_size so unlike the kernel_size": x is not None
            and w_x is not None
            and kernels.wasteful(w_x, w_h),
            "peephole='pixel'": peephole is not None and peephole.dim() > 2,
            "proj_channels or norm": any(t is not None for t in others) or len(w_h) != 4 * w_h.shape[1],
            "another activation, recurrent_padding_mode, cell_clip or zoneout": form
            != _PLAIN._replace(convolution=form.convolution),
        }
    )


class _Kept(NamedTuple):
    """What the gradient needs of the way forward."""

    cells: Tensor  # (T + 1, B, *space, C)
    # (T', B', *space, 4C), what makes them, for each piece of the batch and, in it, each few steps
    gates: list[Tensor]


def _forward(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w_x: Tensor,
    w_h: Tensor,
    bias: Tensor | None,
    peephole: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, _Kept | None]:
    """Return the output, the last h and c, and, if it is to be kept, what the gradient needs."""
    steps, inputs, channels = len(x), x.shape[2], h.shape[1]
    real = lowered(h.device) or w_h.dtype
    with torch.autocast(h.device.type, enabled=False):
        w, joined = _looks(peephole, c, channels), kernels.joined(w_x, w_h, dtype=real)
        take = lstm_steps.step(joined, bias, w, peepholes=peephole is not None)
        # Channels last, but not a view of what is: callers may write to it.
        output = sequence(steps, h, real)
        last = like(output[0].movedim(1, -1), channels)
        first = channels_last(c)
        if keep:
            whole = memory.empty((steps + 1, *first.shape), c.dtype, c.device)
            whole[0] = first
            cells = list(whole)
        else:
            turns = [like(first, channels) for _ in range(min(steps, 2))]
            cells = [first, *(turns[t % 2] for t in range(steps))]
        kept: list[Tensor] = []
        for piece in _pieces(h, real):
            seen, next_seen = (like(last[piece], inputs + channels) for _ in range(2))
            seen[..., inputs:] = h[piece].movedim(1, -1)
            for some in _steps(steps, seen):
                shape = (some.stop - some.start, *seen.shape[:-1], 4 * channels)
                room = memory.empty(shape, real, h.device) if keep and h.device.type == "cpu" else None
                for t in range(some.start, some.stop):
                    show(x[t, piece], seen)
                    out, to = channels_last(output[t, piece]), next_seen[..., inputs:]
                    images = cells[t][piece], cells[t + 1][piece], out, to if t + 1 < steps else last[piece]
                    at = None if room is None else room[t - some.start]
                    z = take(seen, Images(*map(pixels, images)), at)
                    seen, next_seen = next_seen, seen
                if keep and z is not None:
                    kept.append(z.unsqueeze(0) if room is None else room)
        c = memory.copy(cells[steps]) if keep else cells[steps]
    return output, channels_first(last), channels_first(c), _Kept(whole, kept) if keep else None


def _backward(
    tensors: tuple[Tensor, ...],  # those that _forward was given
    kept: _Kept,  # what it kept; what makes the gates is written over
    gradients: tuple[Tensor | None, ...],  # of what it returned; None is zero
    needed: tuple[bool, ...],  # which gradients are asked for
) -> tuple[Tensor | None, ...]:
    """Return the gradients of the tensors."""
    x, h_0, c_0, w_x, w_h, bias, peephole = tensors
    cells, each = kept
    steps, inputs, channels, real = len(x), x.shape[2], h_0.shape[1], each[0].dtype
    zero = each[0].new_zeros(())  # of whatever size
    shapes = (steps, *h_0.shape), h_0.shape, c_0.shape
    d_output, d_h, d_c = (
        zero.expand(shape) if d is None else d for d, shape in zip(gradients, shapes, strict=True)
    )
    needs_x, needs_weight = needed[0], needed[3] or needed[4]
    w = _looks(peephole, cells, channels)
    step = gates.gates(real, cells.device, peepholes=peephole is not None)
    # Where nobody asks for the gradient of the input, that of the hidden state alone is less work.
    convolution = engine(kernels.joined(w_x, w_h, dtype=real), 0 if needs_x else inputs)

    d_x = like(cells[1:], inputs, real) if needs_x else None
    d_c = memory.copy(d_c.movedim(1, -1), cells.dtype)
    d_h0 = like(d_c, channels)
    d_rest = cells.new_zeros(7, channels)
    kept_of = iter(reversed(each))
    for piece in reversed(_pieces(h_0, real)):
        dh = channels_last(d_h[piece], real)
        # What the steps saw is not kept: a step writes the hidden state that the one after it saw.
        h, later = like(dh, channels), None
        for some in reversed(_steps(steps, dh)):
            z = next(kept_of)
            seen = like(z, inputs + channels)
            for t in reversed(range(some.start, some.stop)):
                d_out = channels_last(d_output[t, piece], real)
                d_rest += step.backward(
                    pixels(z[t - some.start]),
                    pixels(cells[t, piece]),
                    pixels(cells[t + 1, piece]),
                    w,
                    pixels(d_out),
                    pixels(dh),
                    pixels(d_c[piece]),
                    pixels(h),
                )
                if later is not None:
                    convolution.to_weight(*later)
                    later = None
                h = seen[t - some.start, ..., inputs:]
                if needs_weight:
                    show(x[t, piece], seen[t - some.start])
                d_seen = convolution.to_input(z[t - some.start])
                if d_x is not None:
                    d_x[t, piece] = d_seen[..., :inputs]
                dh = d_seen[..., d_seen.shape[-1] - channels :]
            if needs_weight:
                later = z.flatten(0, 1), seen.flatten(0, 1)
        if later is not None:
            h.copy_(h_0[piece].movedim(1, -1))
            convolution.to_weight(*later)
        d_h0[piece] = dh
    d_x_weight, d_h_weight = (
        kernels.parted(convolution.d_weight(), w_x, w_h) if needs_weight else (None, None)
    )
    return (
        None if d_x is None else d_x.movedim(-1, 2),
        d_h0.movedim(-1, 1),
        d_c.movedim(-1, 1),
        d_x_weight,
        d_h_weight,
        None if bias is None else d_rest[:4].flatten(),
        None if peephole is None else d_rest[4:],
    )


class _ConvLSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        output, h, c, kept = _forward(*tensors, keep=True)  # type: ignore[arg-type]
        assert kept is not None
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, kept.cells, *kept.gates)
        ctx.lowered = lowered(output.device)
        ctx.spent = False
        return output, h, c

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # to be asked for once: a checkpoint computes them then
        tensors, (cells, *written) = saved[:7], saved[7:]
        # What is written over is not what autograd watches for that.
        kept = _Kept(cells, [z.data for z in written])
        with torch.autocast(cells.device.type, ctx.lowered, enabled=ctx.lowered is not None):
            if by_reference.needed(gradients):
                return by_reference.gradients(_reference, tensors, gradients)
            if ctx.spent:  # the first time wrote over what makes the gates
                kept = _forward(*tensors, keep=True)[-1] or kept
        ctx.spent = True
        return _backward(tensors, kept, gradients, ctx.needs_input_grad)


def _reference(x: Tensor, h: Tensor, c: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    output, state = reference.conv_lstm(x, (h, c), LSTMWeights(*weights), _PLAIN, Run(len(x)))
    return output, *state


def _looks(peephole: Tensor | None, like: Tensor, channels: int) -> Tensor:
    """Return the peepholes as the arithmetic between convolutions takes them: none are zeros."""
    return like.new_zeros(3, channels) if peephole is None else peephole.contiguous()


def _steps(count: int, images: Tensor) -> list[slice]:
    """Cut so many steps of images ``(B, *space, …)`` into those that one sum over pixels is for.

    In single precision that is each by itself, for of longer sums less is left. What is rounded is summed in
    single precision.
    """
    if images.device.type != "cpu" or images.dtype.itemsize > 2:
        return cut(count, 1)
    return cut(count, max(1, _SUMMED // images[..., 0].numel()))


def _pieces(h: Tensor, real: torch.dtype) -> list[slice]:
    """Cut the batch into pieces by what the gates of a sample take, for which there is a hidden state."""
    if h.device.type != "cpu":  # a GPU has more to do at once than caches to keep it in
        return [slice(len(h))]
    return pieces(len(h), 4 * h[0].numel() * real.itemsize)
