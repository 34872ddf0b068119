"""The fused ConvLSTM: what the reference computes, with less memory traffic.

Each step is one convolution, of input and hidden state side by side. Images are channels last. The batch is
processed in chunks which fit into the caches. Saved for the backward pass are only the cell states and the
arguments of the gates. On a GPU the batch is one chunk, and nothing waits for the device: once everything is
compiled, a CUDA graph can capture it.
"""

import torch
from torch import Tensor

from stormcell.nn.ops import buffer_pool, conv_backends, driver, kernel_padding
from stormcell.nn.ops.chunking import chunks, chunks_by_bytes
from stormcell.nn.ops.layout import (
    as_pixels,
    channels_first,
    channels_last,
    empty_images,
    empty_sequence,
    sequence_or_empty,
    write_input,
)
from stormcell.nn.ops.lstm import amx, reference
from stormcell.nn.ops.lstm.amx import AMXStep
from stormcell.nn.ops.lstm.pointwise import StepImages
from stormcell.nn.ops.lstm.step import fastest_pointwise, fastest_step
from stormcell.nn.ops.types import CallSpec, LSTMWeights, State, Variant

_MAX_SUMMED_PIXELS = 1 << 17  # in one product for the gradient of the weights: enough to hide its overhead


def conv_lstm(
    x: Tensor | None, state: State, weights: LSTMWeights, variant: Variant, spec: CallSpec
) -> tuple[Tensor, State]:
    """Compute what :func:`.reference.conv_lstm` computes, for arguments which are supported."""
    if weights.weight_hh.dim() > 2:
        return driver.run(LSTM, x, state, weights, variant, spec)
    # Vectors (T, B, C) are lines of one pixel.
    x, h, c, w_x, w_h = (
        None if t is None else t.unsqueeze(-1) for t in (x, *state, weights.weight_ih, weights.weight_hh)
    )
    assert h is not None
    assert c is not None
    assert w_h is not None
    weights = weights._replace(weight_ih=w_x, weight_hh=w_h)
    output, state = driver.run(LSTM, x, (h, c), weights, variant, spec)
    return output.squeeze(-1), tuple(t.squeeze(-1) for t in state)


def _unsupported_option(weights: LSTMWeights, variant: Variant, has_input: bool) -> str | None:
    w_x, w_h, peephole = weights.weight_ih, weights.weight_hh, weights.peephole
    if has_input and w_x is not None and kernel_padding.is_wasteful(w_x.shape, w_h.shape):
        return "a recurrent_kernel_size which differs this much from kernel_size"
    if peephole is not None and peephole.dim() > 2:
        return "peephole='pixel'"
    if any(t is not None for t in weights[4:]) or len(w_h) != 4 * w_h.shape[1]:
        return "proj_channels or norm"
    if variant != Variant(convolution=variant.convolution):
        return "other activations, recurrent_padding_mode, cell_clip or zoneout"
    return None


def _describe(weights: LSTMWeights, variant: Variant, dtype: torch.dtype) -> dict[str, str]:  # noqa: ARG001
    w_x, w_h = _input_and_hidden(weights)
    if w_h.dim() == 2:
        w_x, w_h = w_x.unsqueeze(-1), w_h.unsqueeze(-1)
    joined = kernel_padding.join(w_x, w_h, dtype=dtype)
    pointwise = fastest_pointwise(dtype, w_h.device, peepholes=weights.peephole is not None)
    parts = conv_backends.describe({"input and state": joined}) | {"gates": pointwise.name}
    if amx.is_faster(joined):
        (name, gradients), *_ = parts.items()
        parts |= {name: AMXStep.name, "gradients of the convolution": gradients}
    return parts


def _input_and_hidden(weights: LSTMWeights) -> tuple[Tensor, Tensor]:
    """Return the weights of input and hidden state; without an input, a weight of no channels."""
    w_x, w_h = weights.weight_ih, weights.weight_hh
    return w_h[:, :0] if w_x is None else w_x, w_h


def _forward(call: driver.Call, save: bool) -> tuple[Tensor, State, list[Tensor]]:
    """See :class:`.driver.Recurrence`. Saved are all cell states ``(T + 1, B, *space, C)`` and the gates.

    Those are the gates' arguments, ``(T', B', *space, 4C)``, for each chunk of the batch and group of steps.
    """
    (h, c), weights, dtype = call.state, call.weights, call.dtype
    x = sequence_or_empty(call.x, call.steps, h)
    inputs, channels, peephole = x.shape[2], h.shape[1], weights.peephole
    w = _peepholes(weights, c, channels)
    joined = kernel_padding.join(*_input_and_hidden(weights), dtype=dtype)
    step = fastest_step(joined, weights.bias, w, peepholes=peephole is not None)
    output = empty_sequence(call.steps, h, dtype)
    last = empty_images(output[0].movedim(1, -1), channels)
    first_cell = channels_last(c)
    if save:
        all_cells = buffer_pool.empty((call.steps + 1, *first_cell.shape), c.dtype, c.device)
        all_cells[0] = first_cell
        cells, saved = list(all_cells), [all_cells]
    else:
        two = [empty_images(first_cell, channels) for _ in range(min(call.steps, 2))]
        cells, saved = [first_cell, *(two[t % 2] for t in range(call.steps))], []
    for batch in _batch_chunks(h, dtype):
        xh, next_xh = (empty_images(last[batch], inputs + channels) for _ in range(2))
        xh[..., inputs:] = h[batch].movedim(1, -1)
        for group in _step_groups(call.steps, xh):
            shape = (group.stop - group.start, *xh.shape[:-1], 4 * channels)
            gates = buffer_pool.empty(shape, dtype, h.device) if save and h.device.type == "cpu" else None
            for t in range(group.start, group.stop):
                write_input(x[t, batch], xh)
                out = channels_last(output[t, batch])
                next_h = next_xh[..., inputs:] if t + 1 < call.steps else last[batch]
                images = StepImages(*map(as_pixels, (cells[t][batch], cells[t + 1][batch], out, next_h)))
                z = step(xh, images, None if gates is None else gates[t - group.start])
                xh, next_xh = next_xh, xh
            if save and z is not None:
                saved.append(z.unsqueeze(0) if gates is None else gates)
    c = buffer_pool.copy(cells[-1]) if save else cells[-1]
    return output, (channels_first(last), channels_first(c)), saved


def _backward(call: driver.Call, saved: list[Tensor], upstream: driver.Gradients) -> dict[str, Tensor]:
    """See :class:`.driver.Recurrence`. The saved gates are overwritten by their gradients."""
    (h_0, c_0), weights, needed = call.state, call.weights, upstream.needed
    (cells, *gates), dtype = saved, call.dtype
    x = sequence_or_empty(call.x, call.steps, h_0)
    inputs, channels, peephole = x.shape[2], h_0.shape[1], weights.peephole
    needs_weight = needed["weight_ih"] or needed["weight_hh"]
    w = _peepholes(weights, cells, channels)
    pointwise = fastest_pointwise(dtype, cells.device, peepholes=peephole is not None)
    joined = kernel_padding.join(*_input_and_hidden(weights), dtype=dtype)
    # Without a gradient of the input, only that of the hidden state is computed.
    convolution = conv_backends.conv_backend(joined, 0 if needed["x"] else inputs)

    d_x = empty_images(cells[1:], inputs, dtype) if needed["x"] else None
    d_c = buffer_pool.copy(upstream.state[1].movedim(1, -1), c_0.dtype)
    d_h0 = empty_images(d_c, channels)
    sums = cells.new_zeros(7, channels)
    last_gates = iter(reversed(gates))
    for batch in reversed(_batch_chunks(h_0, dtype)):
        d_h = channels_last(upstream.state[0][batch], dtype)
        # The steps' inputs were not saved: each step writes the hidden state which the next one read.
        h, pending = empty_images(d_h, channels), None
        for group in reversed(_step_groups(call.steps, d_h)):
            z = next(last_gates)
            xh = empty_images(z, inputs + channels)
            for t in reversed(range(group.start, group.stop)):
                d_z, xh_t = z[t - group.start], xh[t - group.start]
                d_out = channels_last(upstream.output[t, batch], dtype)
                c_old, c_new, d_c_t = cells[t, batch], cells[t + 1, batch], d_c[batch]
                z_pixels, old, new, *others = map(as_pixels, (d_z, c_old, c_new, d_out, d_h, d_c_t, h))
                sums += pointwise.backward(z_pixels, old, new, w, *others)
                if pending is not None:
                    convolution.add_weight_gradient(*pending)
                    pending = None
                h = xh_t[..., inputs:]
                if needs_weight:
                    write_input(x[t, batch], xh_t)
                d_xh = convolution.input_gradient(d_z)
                if d_x is not None:
                    d_x[t, batch] = d_xh[..., :inputs]
                d_h = d_xh[..., d_xh.shape[-1] - channels :]
            if needs_weight:
                pending = z.flatten(0, 1), xh.flatten(0, 1)
        if pending is not None:
            h.copy_(h_0[batch].movedim(1, -1))
            convolution.add_weight_gradient(*pending)
        d_h0[batch] = d_h
    found = {"h": d_h0.movedim(-1, 1), "c": d_c.movedim(-1, 1)}
    found |= {"bias": sums[:4].flatten(), "peephole": sums[4:]}
    if d_x is not None:
        found["x"] = d_x.movedim(-1, 2)
    if needs_weight:
        parts = kernel_padding.split_gradient(convolution.weight_gradient(), *_input_and_hidden(weights))
        found["weight_ih"], found["weight_hh"] = parts
    return found


LSTM = driver.Recurrence(
    fused=conv_lstm,
    reference=reference.conv_lstm,
    forward=_forward,
    backward=_backward,
    unsupported_option=_unsupported_option,
    describe=_describe,
    states=("h", "c"),
    devices=("cpu", "cuda"),
    overwrites_saved=True,
)


def _peepholes(weights: LSTMWeights, c: Tensor, channels: int) -> Tensor:
    """Return the peepholes as the gate arithmetic expects them: without any, zeros."""
    return c.new_zeros(3, channels) if weights.peephole is None else weights.peephole.contiguous()


def _step_groups(steps: int, images: Tensor) -> list[slice]:
    """Split the steps into groups which share one product for the gradient of the weights.

    In float32 each step has its own product: longer sums lose digits. Sums of bfloat16 numbers are float32.
    """
    if images.device.type != "cpu" or images.dtype.itemsize > 2:
        return chunks(steps, 1)
    return chunks(steps, max(1, _MAX_SUMMED_PIXELS // images[..., 0].numel()))


def _batch_chunks(h: Tensor, dtype: torch.dtype) -> list[slice]:
    """Split the batch by the size of the gates of a sample."""
    if h.device.type != "cpu":  # a GPU is busy only with the whole batch
        return [slice(len(h))]
    return chunks_by_bytes(len(h), 4 * h[0].numel() * dtype.itemsize)
