"""The ConvLSTM with nothing around its convolutions but one pass over the pixels.

What the reference states is computed with less traffic through memory: input and hidden state are seen side
by side, so that a step is one convolution; images lie channels last; the batch is worked through in pieces
that stay in the caches; and of a step only what makes the gates, and the cell state, are kept for the
gradient.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from stormcell.nn.ops import gates, reference
from stormcell.nn.ops.engines import engine
from stormcell.nn.ops.pixels import channels_last, like, pixels
from stormcell.nn.ops.terms import Form, LSTMWeights, Run, State

_PIECE = 4 << 20  # bytes that the gates of the samples worked through together may have
_PLAIN = Form()


def conv_lstm(
    x: Tensor | None,
    state: State,
    weights: LSTMWeights,
    form: Form,  # noqa: ARG001 - it is the plain one
    run: Run,
) -> tuple[Tensor, State]:
    """Compute what :func:`stormcell.nn.ops.reference.conv_lstm` computes, if there is no :func:`refusal`."""
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


def refusal(x: Tensor | None, state: State, weights: LSTMWeights, form: Form, run: Run) -> str | None:
    """Tell what of a call is not known here; None if nothing."""
    h, c = state
    w_x, w_h, bias, peephole, *others = weights
    how = form.convolution
    dtype, autocast = w_h.dtype, torch.is_autocast_enabled("cpu")
    given = [t for t in (x, h, c, *weights) if t is not None]
    lowered = [t for t in (x, h) if t is not None]  # what a layer under autocast may have made
    checks = {
        "devices other than the CPU": any(t.device.type != "cpu" for t in given),
        "anything without an axis of space": w_h.dim() == 2,
        "a recurrent_kernel_size so unlike the kernel_size": w_x is not None and _wasteful(w_x, w_h),
        "stride or dilation": bool(set(how.stride + how.dilation) - {1}),
        "another padding or padding_mode": not _same(how.padding, (w_h if w_x is None else w_x).shape[2:])
        or how.padding_mode != "zeros",
        "peephole='pixel'": peephole is not None and peephole.dim() > 2,
        "proj_channels or norm": any(t is not None for t in others) or len(w_h) != 4 * w_h.shape[1],
        "another activation, recurrent_padding_mode, cell_clip or zoneout": form
        != _PLAIN._replace(convolution=how),
        "lengths, mask or dropout": run._replace(steps=0, training=False) != Run(0),
        "batches and images of size 0": h.numel() == 0,
        "dtypes other than float32 and float64": dtype not in (torch.float32, torch.float64),
        "tensors of unlike dtype": any(t.dtype != dtype for t in (c, w_x, bias, peephole) if t is not None)
        or any(t.dtype != dtype and not (autocast and t.dtype == torch.bfloat16) for t in lowered),
        "autocast other than from float32 to bfloat16": autocast
        and (dtype, torch.get_autocast_dtype("cpu")) != (torch.float32, torch.bfloat16),
        "tensors that are not plain": any(type(t) not in (Tensor, torch.nn.Parameter) for t in given),
        # Compiled code is unseen by whoever watches PyTorch's operations.
        "tracing and torch.func": torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active(),
        "forward-mode differentiation": forward_ad._current_level >= 0,
    }
    return next((what for what, found in checks.items() if found), None)


def _wasteful(w_x: Tensor, w_h: Tensor) -> bool:
    """Tell whether one convolution in place of two is a quarter more work."""
    needed = w_x[0].numel() + w_h[0].numel()
    return math.prod(_common(w_x, w_h)) * (w_x.shape[1] + w_h.shape[1]) > 1.25 * needed


def _same(padding: tuple[int, ...] | str, kernel: tuple[int, ...]) -> bool:
    """Tell whether an image keeps its size, each pixel its place."""
    return padding == "same" or (padding == tuple(k // 2 for k in kernel) and all(k % 2 for k in kernel))


class _Kept(NamedTuple):
    """What the gradient needs of the way forward."""

    cells: Tensor  # (T + 1, B, *space, C)
    gates: list[
        Tensor
    ]  # (B', *space, 4C), before they are, for each piece of the batch and, in it, each step


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
) -> tuple[Tensor, Tensor, Tensor, _Kept]:
    """Return the output, the last h and c, and, if it is to be kept, what the gradient needs."""
    steps, (batch, channels, *space) = len(x), h.shape
    real = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else w_h.dtype
    with torch.autocast("cpu", enabled=False):
        convolution = engine(_joined(w_x, w_h, real))
        bias = None if bias is None else bias.to(real)
        w = _looks(peephole, c, channels)
        step = gates.gates(real)

        # Channels last, but not a view of what is: callers may write to it.
        size = math.prod(space)
        inner = [math.prod(space[axis + 1 :]) * channels for axis in range(len(space))]
        output = x.new_empty_strided(
            (steps, batch, channels, *space),
            (batch * size * channels, size * channels, 1, *inner),
            dtype=real,
        )
        cells = c.new_empty(steps + 1 if keep else 2, batch, *space, channels)
        cells[0] = c.movedim(1, -1)
        kept: list[Tensor] = []
        for piece in _pieces(h, real):
            seen = channels_last(h[piece].to(real))
            for t in range(steps):
                z = convolution.forward(_side_by_side(x[t, piece], seen), bias)
                old, new = (cells[n if keep else n % 2, piece] for n in (t, t + 1))
                seen = channels_last(output[t, piece])
                step.forward(*map(pixels, (z, old)), w, *map(pixels, (new, seen)))
                if keep:
                    kept.append(z)
        c = cells[steps if keep else steps % 2].movedim(-1, 1)
    return output, output[-1].clone(), c.clone(), _Kept(cells, kept)


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
    step = gates.gates(real)
    # Where nobody asks for the gradient of the input, that of the hidden state alone is less work.
    convolution = engine(_joined(w_x, w_h, real), 0 if needs_x else inputs)

    d_x = like(cells[1:], inputs, real) if needs_x else None
    d_c = d_c.movedim(1, -1).to(cells.dtype, copy=True, memory_format=torch.contiguous_format)
    d_h0 = torch.empty_like(d_c)
    d_rest = cells.new_zeros(7, channels)
    for number, piece in enumerate(_pieces(h_0, real)):
        dh = channels_last(d_h[piece].to(real))
        h = like(dh, channels)
        for t in reversed(range(steps)):
            z = each[number * steps + t]
            d_out = channels_last(d_output[t, piece].to(real))
            # It also writes what the step after has seen, which is not kept.
            state = map(pixels, (z, cells[t, piece], cells[t + 1, piece]))
            d_rest += step.backward(*state, w, *map(pixels, (d_out, dh, d_c[piece], h)))
            if needs_weight and t + 1 < steps:
                convolution.to_weight(each[number * steps + t + 1], _side_by_side(x[t + 1, piece], h))
            d_seen = convolution.to_input(z)
            if d_x is not None:
                d_x[t, piece] = d_seen[..., :inputs]
            dh = d_seen[..., d_seen.shape[-1] - channels :]
        if needs_weight:
            first = channels_last(h_0[piece].to(real))
            convolution.to_weight(each[number * steps], _side_by_side(x[0, piece], first))
        d_h0[piece] = dh
    d_x_weight, d_h_weight = _parted(convolution.d_weight(), w_x, w_h) if needs_weight else (None, None)
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
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, kept.cells, *kept.gates)
        ctx.autocast = torch.is_autocast_enabled("cpu")
        ctx.spent = False
        return output, h, c

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # to be asked for once: a checkpoint computes them then
        tensors, (cells, *written) = saved[:7], saved[7:]
        # What is written over is not what autograd watches for that.
        kept = _Kept(cells, [z.data for z in written])
        with torch.autocast("cpu", torch.bfloat16, enabled=ctx.autocast):
            # A gradient of this gradient will be asked for, or many gradients at once.
            if torch.is_grad_enabled() or any(map(_is_batched, gradients)):
                return _by_reference(tensors, gradients)
            if ctx.spent:  # the first time wrote over what makes the gates
                kept = _forward(*tensors, keep=True)[-1]
        ctx.spent = True
        return _backward(tensors, kept, gradients, ctx.needs_input_grad)


def _by_reference(
    tensors: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Return the gradients by way of operations that can be differentiated and batched."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views, so that the search for gradients ends here: one tensor may have been made of another.
        x, h, c, *weights = (None if t is None else t.view_as(t) for t in tensors)
        output, (h_n, c_n) = reference.conv_lstm(x, (h, c), LSTMWeights(*weights), _PLAIN, Run(len(x)))
    known = [(r, d) for r, d in zip((output, h_n, c_n), gradients, strict=True) if d is not None]
    asked = [t for t in (x, h, c, *weights) if t is not None and t.requires_grad]
    found = torch.autograd.grad(
        [r for r, _ in known], asked, [d for _, d in known], create_graph=create_graph, allow_unused=True
    )
    by_tensor = dict(zip(map(id, asked), found, strict=True))
    return tuple(by_tensor.get(id(t)) for t in (x, h, c, *weights))


def _is_batched(gradient: Tensor | None) -> bool:
    """Tell whether this is many gradients at once, in either of PyTorch's ways."""
    functorch = torch._C._functorch
    return gradient is not None and (
        functorch.is_batchedtensor(gradient) or functorch.is_legacy_batchedtensor(gradient)
    )


def _side_by_side(x: Tensor, h: Tensor) -> list[Tensor]:
    """Return what a step sees, the input ``(B, C_in, *space)`` first, if there is one."""
    return [channels_last(x.to(h.dtype)), h] if x.shape[1] else [h]


def _joined(w_x: Tensor, w_h: Tensor, real: torch.dtype) -> Tensor:
    """Return the weights of the one convolution over input and hidden state."""
    kernel = _common(w_x, w_h)
    return torch.cat([F.pad(w, _around(w, kernel)) for w in (w_x, w_h)], dim=1).to(real)


def _parted(d_weight: Tensor, w_x: Tensor, w_h: Tensor) -> list[Tensor]:
    """Return the gradients of either's weights, by that of the one convolution's."""
    kernel = _common(w_x, w_h)
    each = zip(d_weight.split([w_x.shape[1], w_h.shape[1]], dim=1), (w_x, w_h), strict=True)
    return [F.pad(d, [-n for n in _around(w, kernel)]) for d, w in each]


def _common(w_x: Tensor, w_h: Tensor) -> list[int]:
    """Return the size of the smallest kernel, of odd size, that holds both."""
    return [max(pair) // 2 * 2 + 1 for pair in zip(w_x.shape[2:], w_h.shape[2:], strict=True)]


def _around(weight: Tensor, kernel: list[int]) -> list[int]:
    """Return how many zeros make a kernel as large, as F.pad has them: last axis first, before and after."""
    # Of an even kernel's pixels one more lies after the middle than before it, as TensorFlow has it.
    before = [n // 2 - (k - 1) // 2 for n, k in zip(kernel, weight.shape[2:], strict=True)]
    after = [n - k - b for n, k, b in zip(kernel, weight.shape[2:], before, strict=True)]
    return [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]


def _looks(peephole: Tensor | None, like: Tensor, channels: int) -> Tensor:
    """Return the peepholes as the arithmetic between convolutions takes them: none are zeros."""
    return like.new_zeros(3, channels) if peephole is None else peephole.contiguous()


def _pieces(h: Tensor, real: torch.dtype) -> list[slice]:
    """Cut the batch into pieces by what the gates of a sample take, for which there is a hidden state."""
    batch, *sample = h.shape
    size = max(1, _PIECE // (4 * math.prod(sample) * real.itemsize))
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]
