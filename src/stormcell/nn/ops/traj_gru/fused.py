"""The fused TrajGRU: what the reference computes, with less memory traffic.

Images are channels last. The warped states have L times as many channels as the state: they are computed for
a chunk of pixels, multiplied by the weight while they are in the caches, and computed again for the gradient.
Saved for the backward pass are only the state before each step, the flows and their hidden layer, and the
arguments of the gates.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from stormcell.nn.activations import LEAKY_SLOPE, leaky_relu
from stormcell.nn.ops import buffer_pool, conv_backends, driver, kernel_padding
from stormcell.nn.ops.chunking import chunks_by_bytes
from stormcell.nn.ops.gru.pointwise import fastest_pointwise
from stormcell.nn.ops.gru.torch_pointwise import leaky_relu_backward
from stormcell.nn.ops.layout import (
    as_pixels,
    channels_first,
    channels_last,
    empty_images,
    empty_sequence,
    sequence_or_empty,
    write_input,
)
from stormcell.nn.ops.traj_gru import reference
from stormcell.nn.ops.traj_gru.warp_project import fastest_warp_project
from stormcell.nn.ops.types import CallSpec, State, TrajGRUWeights, Variant


def traj_gru(
    x: Tensor | None, state: State, weights: TrajGRUWeights, variant: Variant, spec: CallSpec
) -> tuple[Tensor, State]:
    """Compute what :func:`.reference.traj_gru` computes, for arguments which are supported."""
    return driver.run(TRAJ_GRU, x, state, weights, variant, spec)


def _unsupported_option(weights: TrajGRUWeights, variant: Variant, has_input: bool) -> str | None:  # noqa: ARG001
    plain = Variant(convolution=variant.convolution, align_corners=variant.align_corners)
    if variant not in [plain._replace(activation=activation) for activation in (leaky_relu, torch.tanh)]:
        return "other activations or zoneout"
    return None


def _describe(weights: TrajGRUWeights, variant: Variant, dtype: torch.dtype) -> dict[str, str]:
    found = {} if weights.weight_ih is None else {"input": kernel_padding.to_odd(weights.weight_ih).to(dtype)}
    found["input and state for the flows"] = kernel_padding.join(*_flow_weights(weights), dtype=dtype)
    found["the flows' hidden layer"] = kernel_padding.to_odd(weights.flow_weight).to(dtype)
    warp_project = fastest_warp_project(weights, variant.align_corners, dtype)
    parts = {"warp": warp_project.name, "gates": fastest_pointwise(dtype).name}
    return conv_backends.describe(found) | parts


def _flow_weights(weights: TrajGRUWeights) -> tuple[Tensor, Tensor]:
    """Return the flows' weights of input and hidden state; without an input, a weight of no channels."""
    w_x, w_h = weights.flow_weight_ih, weights.flow_weight_hh
    return w_h[:, :0] if w_x is None else w_x, w_h


class _Saved(NamedTuple):
    """The tensors that a step saves, for a chunk of the batch."""

    old: Tensor  # (B', H, W, C), the state before it
    hidden: Tensor  # (B', H, W, F), the hidden layer of the flows
    flows: Tensor  # (B', H, W, 2L)
    gates: Tensor  # (B', H, W, 4C), the arguments of the gates


class _Flows:
    """The two convolutions which compute the flows."""

    def __init__(self, w: TrajGRUWeights, dtype: torch.dtype, needs_x: bool) -> None:
        self._weights = w
        biases = [b for b in (w.flow_bias_ih, w.flow_bias_hh) if b is not None]
        self._bias = torch.stack(biases).sum(0).to(dtype) if biases else None
        self._out_bias = None if w.flow_bias is None else w.flow_bias.to(dtype)
        # Without a gradient of the input, only that of the hidden state is computed.
        w_x, w_h = _flow_weights(w)
        first_channel = 0 if needs_x else w_x.shape[1]
        self._conv = conv_backends.conv_backend(kernel_padding.join(w_x, w_h, dtype=dtype), first_channel)
        self._out_conv = conv_backends.conv_backend(kernel_padding.to_odd(w.flow_weight).to(dtype))
        self._d_bias, self._d_out_bias = w_h.new_zeros(len(w_h)), w_h.new_zeros(len(w.flow_weight))

    def forward(self, xh: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden layer and the flows."""
        hidden = leaky_relu(self._conv.forward(xh, self._bias))
        return hidden, self._out_conv.forward(hidden, self._out_bias)

    def backward(self, d_flows: Tensor, hidden: Tensor, xh: Tensor, needed: Mapping[str, bool]) -> Tensor:
        """Return the gradient of input and hidden state, and add to the gradients of the weights."""
        d_hidden = self._out_conv.input_gradient(d_flows)
        d_hidden = leaky_relu_backward(d_hidden, hidden, LEAKY_SLOPE, True)
        if needed["flow_weight"]:
            self._out_conv.add_weight_gradient(d_flows, hidden)
        if needed["flow_weight_ih"] or needed["flow_weight_hh"]:
            self._conv.add_weight_gradient(d_hidden, xh)
        self._d_out_bias += d_flows.sum((0, 1, 2), dtype=self._d_out_bias.dtype)
        self._d_bias += d_hidden.sum((0, 1, 2), dtype=self._d_bias.dtype)
        return self._conv.input_gradient(d_hidden)

    def gradients(self, needed: Mapping[str, bool]) -> dict[str, Tensor]:
        """Return the gradients of the weights, by name."""
        found = {
            "flow_bias_ih": self._d_bias,
            "flow_bias_hh": self._d_bias.clone(),  # autograd may write to the gradients
            "flow_bias": self._d_out_bias,
        }
        if needed["flow_weight"]:
            d_weight = self._out_conv.weight_gradient()
            found["flow_weight"] = kernel_padding.crop_gradient(d_weight, self._weights.flow_weight)
        if needed["flow_weight_ih"] or needed["flow_weight_hh"]:
            parts = kernel_padding.split_gradient(self._conv.weight_gradient(), *_flow_weights(self._weights))
            found["flow_weight_ih"], found["flow_weight_hh"] = parts
        return found


class _Parts:
    """The parts of a step."""

    def __init__(self, call: driver.Call, needs_x: bool = False) -> None:
        w, dtype = call.weights, call.dtype
        self.flows = _Flows(w, dtype, needs_x)
        self.warp_project = fastest_warp_project(w, call.variant.align_corners, dtype)
        self.pointwise = fastest_pointwise(dtype, leaky=call.variant.activation is leaky_relu)
        self.input = (
            None
            if w.weight_ih is None
            else conv_backends.conv_backend(kernel_padding.to_odd(w.weight_ih).to(dtype))
        )


def _forward(call: driver.Call, save: bool) -> tuple[Tensor, State, list[Tensor]]:
    """See :class:`.driver.Recurrence`. Saved is one :class:`_Saved` per chunk and step, flattened."""
    (h,), weights, dtype = call.state, call.weights, call.dtype
    state_dtype, channels = weights.weight_hh.dtype, h.shape[1]
    x = sequence_or_empty(call.x, call.steps, h)
    inputs, parts = x.shape[2], _Parts(call)
    bias = None if weights.bias_ih is None else weights.bias_ih.to(dtype)
    zeros = h.new_zeros(3 * channels, dtype=dtype)
    output = empty_sequence(call.steps, h, state_dtype)
    saved: list[Tensor] = []
    for batch in _batch_chunks(h, dtype):
        old = channels_last(h[batch], state_dtype).contiguous()
        xh = empty_images(old, inputs + channels, dtype)
        for t in range(call.steps):
            write_input(x[t, batch], xh).copy_(old)
            hidden, flows = parts.flows.forward(xh)
            x_terms = zeros.expand(*flows.shape[:-1], -1)
            if parts.input is not None:
                x_terms = parts.input.forward(xh[..., :inputs], bias)
            h_terms = parts.warp_project.forward(old, as_pixels(flows))
            out = channels_last(output[t, batch])
            new, gates = out, None
            if save:  # a copy of the state, as callers may write to the output
                new, gates = empty_images(old, channels), empty_images(flows, 4 * channels)
                saved += _Saved(old, hidden, flows, gates)
            gate_pixels = None if gates is None else as_pixels(gates)
            parts.pointwise.forward(as_pixels(x_terms), h_terms, as_pixels(old), as_pixels(new), gate_pixels)
            if save:
                out.copy_(new)
            old = new
    return output, (channels_first(buffer_pool.copy(output[-1].movedim(1, -1))),), saved


def _backward(call: driver.Call, saved: list[Tensor], upstream: driver.Gradients) -> dict[str, Tensor]:
    """See :class:`.driver.Recurrence`."""
    (h_0,), weights, needed, dtype = call.state, call.weights, upstream.needed, call.dtype
    state_dtype, channels = weights.weight_hh.dtype, h_0.shape[1]
    x = sequence_or_empty(call.x, call.steps, h_0)
    inputs, parts = x.shape[2], _Parts(call, needed["x"])
    d_x = empty_sequence(call.steps, x[0], dtype) if needed["x"] else None
    d_h = buffer_pool.copy(upstream.state[0].movedim(1, -1), state_dtype)
    sums = h_0.new_zeros(4, channels, dtype=state_dtype)
    fields = len(_Saved._fields)
    for n, batch in enumerate(_batch_chunks(h_0, dtype)):
        d_state = d_h[batch]
        d_conv = d_state.new_zeros((), dtype=dtype).expand(channels).expand_as(d_state)
        d_x_terms, d_h_terms = (empty_images(d_state, 3 * channels, dtype) for _ in range(2))
        xh = empty_images(d_state, inputs + channels, dtype)
        for t in reversed(range(call.steps)):
            start = fields * (n * call.steps + t)
            old, hidden, flows, gates = saved[start : start + fields]
            d_out = channels_last(upstream.output[t, batch], state_dtype)
            images = gates, old, d_out, d_conv, d_state, d_x_terms, d_h_terms
            sums += parts.pointwise.backward(*map(as_pixels, images))
            write_input(x[t, batch], xh).copy_(old)
            d_flows = parts.warp_project.backward(
                as_pixels(d_h_terms), old, as_pixels(flows), d_state, needed["weight_hh"]
            )
            d_xh = parts.flows.backward(d_flows.view_as(flows), hidden, xh, needed)
            d_conv = d_xh[..., d_xh.shape[-1] - channels :]
            if parts.input is not None and needed["weight_ih"]:
                parts.input.add_weight_gradient(d_x_terms, xh[..., :inputs])
            if parts.input is not None and d_x is not None:
                d_x_t = parts.input.input_gradient(d_x_terms) + d_xh[..., :inputs]
                d_x[t, batch] = channels_first(d_x_t)
        d_state += d_conv
    found = parts.flows.gradients(needed) | {"h": d_h.movedim(-1, 1)}
    found |= {"bias_ih": sums[:3].flatten(), "bias_hh": sums[[0, 1, 3]].flatten()}
    if d_x is not None:
        found["x"] = d_x
    if parts.input is not None and needed["weight_ih"]:
        d_weight = parts.input.weight_gradient()
        found["weight_ih"] = kernel_padding.crop_gradient(d_weight, weights.weight_ih)
    if needed["weight_hh"]:
        found["weight_hh"] = parts.warp_project.weight_gradient()
    return found


TRAJ_GRU = driver.Recurrence(
    fused=traj_gru,
    reference=reference.traj_gru,
    forward=_forward,
    backward=_backward,
    unsupported_option=_unsupported_option,
    describe=_describe,
    states=("h",),
)


def _batch_chunks(h: Tensor, dtype: torch.dtype) -> list[slice]:
    """Split the batch by the size of both terms of a sample's gates."""
    return chunks_by_bytes(len(h), 6 * h[0].numel() * dtype.itemsize)
