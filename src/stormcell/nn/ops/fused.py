"""The ConvLSTM with nothing around its convolutions but one pass over the pixels.

What the reference states is computed with less traffic through memory: input and hidden state lie side by
side, so that a step is one convolution; images lie channels last; the batch is worked through in pieces
that stay in the caches; and of a step only what makes the gates, and the cell state, are kept for the
gradient.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from stormcell.nn.ops import gates, reference
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
    kernel, how = w_h.shape[2:], form.convolution
    same = tuple(k // 2 for k in kernel)
    dtype, autocast = w_h.dtype, torch.is_autocast_enabled("cpu")
    given = [t for t in (x, h, c, *weights) if t is not None]
    lowered = [t for t in (x, h) if t is not None]  # what a layer under autocast may have made
    checks = {
        "devices other than the CPU": any(t.device.type != "cpu" for t in given),
        "anything but images": len(kernel) != 2,
        "even kernels": any(k % 2 == 0 for k in kernel),
        "another recurrent_kernel_size": w_x is not None and w_x.shape[2:] != kernel,
        "stride or dilation": bool(set(how.stride + how.dilation) - {1}),
        "another padding or padding_mode": how.padding not in ("same", same) or how.padding_mode != "zeros",
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


class _Kept(NamedTuple):
    """What the gradient needs of the way forward."""

    cells: Tensor  # (T + 1, B, H, W, C)
    gates: list[Tensor]  # (B', H, W, 4C), before they are, for each piece of the batch and, in it, each step


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
    steps, batch, inputs, height, width = x.shape
    channels = h.shape[1]
    real = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else w_h.dtype
    with torch.autocast("cpu", enabled=False):
        weight = _joined(w_x, w_h, real)
        bias = None if bias is None else bias.to(real)
        w = _looks(peephole, c, channels)
        step = gates.gates(real)
        padding = [k // 2 for k in weight.shape[2:]]

        # Channels last, but not a view of what is: callers may write to it.
        row, image = width * channels, height * width * channels
        output = x.new_empty_strided(
            (steps, batch, channels, height, width), (batch * image, image, 1, row, channels), dtype=real
        )
        cells = c.new_empty(steps + 1 if keep else 2, batch, height, width, channels)
        cells[0] = c.movedim(1, -1)
        kept: list[Tensor] = []
        for piece in _pieces(h, real):
            samples = len(range(*piece.indices(batch)))
            seen = x.new_empty(samples, height, width, inputs + channels, dtype=real)
            seen[..., inputs:] = h[piece].movedim(1, -1)
            for t in range(steps):
                seen[..., :inputs] = x[t, piece].movedim(1, -1)
                z = _last(torch.conv2d(seen.movedim(-1, 1), weight, bias, 1, padding)).movedim(1, -1)
                old, new = (cells[n if keep else n % 2, piece] for n in (t, t + 1))
                step.forward(z, old, w, new, seen[..., inputs:], output[t, piece].movedim(1, -1))
                if keep:
                    kept.append(z)
        c = cells[steps if keep else steps % 2].movedim(-1, -3)
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
    steps, batch, inputs, height, width = x.shape
    channels, real = h_0.shape[1], each[0].dtype
    zero = each[0].new_zeros(())  # of whatever size
    shapes = (steps, *h_0.shape), h_0.shape, c_0.shape
    d_output, d_h, d_c = (
        (zero.expand(shape) if d is None else d).movedim(-3, -1)
        for d, shape in zip(gradients, shapes, strict=True)
    )
    needs_x, needs_weight = needed[0], needed[3] or needed[4]
    weight = _joined(w_x, w_h, real)
    w = _looks(peephole, cells, channels)
    step = gates.gates(real)
    # Where nobody asks for the gradient of the input, that of the hidden state alone is less work.
    backwards = weight if needs_x else _last(weight[:, inputs:])

    d_x = x.new_empty(steps, batch, height, width, inputs, dtype=real) if needs_x else None
    d_c = d_c.to(cells.dtype, copy=True, memory_format=torch.contiguous_format)
    d_h0 = torch.empty_like(d_c)
    d_weight = torch.zeros_like(weight, dtype=cells.dtype)
    d_rest = cells.new_zeros(7, channels)
    for number, piece in enumerate(_pieces(h_0, real)):
        dh = d_h[piece].to(real).contiguous()
        seen = dh.new_empty(*dh.shape[:3], inputs + channels)
        for t in reversed(range(steps)):
            z = each[number * steps + t]
            old, new = cells[t, piece], cells[t + 1, piece]
            d_out = _rows(d_output[t, piece].to(real))
            # It also writes what the step after has seen, which is not kept.
            d_rest += step.backward(z, old, new, w, d_out, dh, d_c[piece], seen[..., inputs:])
            if needs_weight and t + 1 < steps:
                after = each[number * steps + t + 1]
                seen[..., :inputs] = x[t + 1, piece].movedim(1, -1)
                d_weight += _to_weight(after, seen, weight)
            d_seen = _to_input(z, seen if needs_x else dh, backwards)
            if d_x is not None:
                d_x[t, piece] = d_seen[..., :inputs]
            dh = d_seen[..., d_seen.shape[-1] - channels :]
        if needs_weight:
            seen[..., :inputs] = x[0, piece].movedim(1, -1)
            seen[..., inputs:] = h_0[piece].movedim(1, -1)
            d_weight += _to_weight(z, seen, weight)
        d_h0[piece] = dh
    return (
        None if d_x is None else d_x.movedim(-1, -3),
        d_h0.movedim(-1, -3),
        d_c.movedim(-1, -3),
        d_weight[:, :inputs],
        d_weight[:, inputs:],
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


def _joined(w_x: Tensor, w_h: Tensor, real: torch.dtype) -> Tensor:
    """Return the weights of the one convolution over input and hidden state."""
    return _last(torch.cat([w_x, w_h], dim=1).to(real))


def _looks(peephole: Tensor | None, like: Tensor, channels: int) -> Tensor:
    """Return the peepholes as the arithmetic between convolutions takes them: none are zeros."""
    return like.new_zeros(3, channels) if peephole is None else peephole.contiguous()


def _pieces(h: Tensor, real: torch.dtype) -> list[slice]:
    """Cut the batch into pieces by what the gates of a sample take, for which there is a hidden state."""
    batch, *sample = h.shape
    size = max(1, _PIECE // (4 * math.prod(sample) * real.itemsize))
    return [slice(start, min(start + size, batch)) for start in range(0, batch, size)]


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _rows(images: Tensor) -> Tensor:
    """Return images (B, H, W, C) whose pixels are equally far apart in memory, as they are if they are so."""
    _, height, width, channels = images.shape
    apart = gates.apart(images)
    strides = (height * width * apart, width * apart, apart, 1)
    # The stride of an axis of one pixel may be anything.
    regular = all(n == 1 or s == t for n, s, t in zip(images.shape, images.stride(), strides, strict=True))
    return images if regular and apart >= channels else images.contiguous()


def _to_input(d_z: Tensor, seen: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of what a convolution has seen; of that only the shape matters. Channels last."""
    return _convolution_backward(d_z, seen, weight, 0).movedim(1, -1)


def _to_weight(d_z: Tensor, seen: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a convolution's weight."""
    return _convolution_backward(d_z, seen, weight, 1)


def _convolution_backward(d_z: Tensor, seen: Tensor, weight: Tensor, which: int) -> Tensor:
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        d_z.movedim(-1, 1),
        seen.movedim(-1, 1),
        weight,
        None,
        [1, 1],
        [k // 2 for k in weight.shape[2:]],
        [1, 1],
        False,
        [0, 0],
        1,
        [which == 0, which == 1, False],
    )
    return found[which]
