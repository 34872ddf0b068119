"""The fused ConvGRU: what the reference computes, with less memory traffic.

Images are channels last. Batch and steps are processed in chunks which fit into the caches; the input of a
chunk is convolved at once. Saved for the backward pass are only the states and the arguments of the gates.
"""

import torch
from torch import Tensor

from stormcell.nn.ops import buffer_pool, conv_backends, driver, kernel_padding
from stormcell.nn.ops.chunking import chunks_by_bytes
from stormcell.nn.ops.gru import reference
from stormcell.nn.ops.gru.pointwise import fastest_pointwise
from stormcell.nn.ops.gru.step import fastest_steps
from stormcell.nn.ops.layout import channels_first, channels_last, empty_images, empty_sequence
from stormcell.nn.ops.types import CallSpec, GRUWeights, State, Variant


def conv_gru(
    x: Tensor | None, state: State, weights: GRUWeights, variant: Variant, spec: CallSpec
) -> tuple[Tensor, State]:
    """Compute what :func:`.reference.conv_gru` computes, for arguments which are supported."""
    return driver.run(GRU, x, state, weights, variant, spec)


def _unsupported_option(weights: GRUWeights, variant: Variant, has_input: bool) -> str | None:  # noqa: ARG001
    if weights.norm_ih is not None or weights.norm_hh is not None:
        return "norm"
    if variant != Variant(convolution=variant.convolution, reset=variant.reset):
        return "other activations, recurrent_padding_mode or zoneout"
    return None


def _describe(weights: GRUWeights, variant: Variant, dtype: torch.dtype) -> dict[str, str]:
    found = {} if weights.weight_ih is None else {"input": weights.weight_ih}
    w_h, channels = weights.weight_hh, weights.weight_hh.shape[1]
    if variant.reset == "after":
        found |= {"state": w_h}
    else:
        found |= {"state": w_h[: 2 * channels], "reset state": w_h[2 * channels :]}
    padded = {name: kernel_padding.to_odd(weight).to(dtype) for name, weight in found.items()}
    return conv_backends.describe(padded) | {"gates": fastest_pointwise(dtype).name}


class _Input:
    """The convolution of the input, for many steps at once."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self._x, self._weight, self._dtype = x, weight, dtype
        self._bias = None if bias is None else bias.to(dtype)
        self._convolution = conv_backends.conv_backend(kernel_padding.to_odd(weight).to(dtype))

    def forward(self, steps: slice, batch: slice) -> Tensor:
        """Return the input's terms of the gates, ``(T', B', *space, 3C)``."""
        x = self._x[steps, batch]
        z = self._convolution.forward(channels_last(x.flatten(0, 1), self._dtype), self._bias)
        return z.reshape(*x.shape[:2], *z.shape[1:])

    def input_gradient(self, d_z: Tensor) -> Tensor:
        """Return the gradient of the input, ``(T', B', *space, C_in)``, given that of its terms."""
        d_x = self._convolution.input_gradient(d_z.flatten(0, 1))
        return d_x.reshape(*d_z.shape[:2], *d_x.shape[1:])

    def add_weight_gradient(self, d_z: Tensor, steps: slice, batch: slice) -> None:
        """Add to the gradient of the weight."""
        # Step by step: longer sums lose digits in float32.
        for d_z_t, x_t in zip(d_z, self._x[steps, batch], strict=True):
            self._convolution.add_weight_gradient(d_z_t, channels_last(x_t, self._dtype))

    def weight_gradient(self) -> Tensor:
        """Return the sum of all weight gradients added so far."""
        return kernel_padding.crop_gradient(self._convolution.weight_gradient(), self._weight)


def _input(call: driver.Call) -> _Input | None:
    w = call.weights
    return None if call.x is None else _Input(call.x, w.weight_ih, w.bias_ih, call.dtype)


def _forward(call: driver.Call, save: bool) -> tuple[Tensor, State, list[Tensor]]:
    """See :class:`.driver.Recurrence`.

    Saved are the states ``(T - 1, B, *space, C)`` before each step but the first, and the arguments of the
    gates ``(T, B, *space, n·C)``.
    """
    (h,), weights, dtype, count = call.state, call.weights, call.dtype, call.steps
    state_dtype, (batch_size, channels, *space) = weights.weight_hh.dtype, h.shape
    of_input = _input(call)
    of_state = fastest_steps(call.variant.reset, weights.weight_hh, weights.bias_hh, dtype)
    zeros = h.new_zeros(3 * channels, dtype=dtype)
    output = empty_sequence(count, h, state_dtype)
    saved = []
    if save:
        states = buffer_pool.empty((count - 1, batch_size, *space, channels), state_dtype, h.device)
        gates_shape = (count, batch_size, *space, of_state.saved_per_channel * channels)
        gates = buffer_pool.empty(gates_shape, dtype, h.device)
        saved = [states, gates]
    for batch in chunks_by_bytes(batch_size, _sample_bytes(h, dtype)):
        old = channels_last(h[batch], state_dtype)
        for steps in chunks_by_bytes(count, len(old) * _sample_bytes(h, dtype)):
            z = None if of_input is None else of_input.forward(steps, batch)
            for t in range(steps.start, steps.stop):
                new = channels_last(output[t, batch])
                z_t = zeros.expand(*old.shape[:-1], -1) if z is None else z[t - steps.start]
                of_state.forward(z_t, old, new, gates[t, batch] if save else None)
                if save and t + 1 < count:
                    states[t, batch] = new
                old = new
    return output, (channels_first(buffer_pool.copy(output[-1].movedim(1, -1))),), saved


def _backward(call: driver.Call, saved: list[Tensor], upstream: driver.Gradients) -> dict[str, Tensor]:
    """See :class:`.driver.Recurrence`."""
    (h_0,), weights, needed, count = call.state, call.weights, upstream.needed, call.steps
    (states, gates), dtype, channels = saved, call.dtype, h_0.shape[1]
    of_input = _input(call)
    of_state = fastest_steps(call.variant.reset, weights.weight_hh, weights.bias_hh, dtype)
    d_x = empty_images(gates, call.x.shape[2], dtype) if call.x is not None and needed["x"] else None
    d_h = buffer_pool.copy(upstream.state[0].movedim(1, -1), states.dtype)
    for batch in chunks_by_bytes(len(h_0), _sample_bytes(h_0, dtype)):
        d_state = d_h[batch]
        d_conv = d_state.new_zeros((), dtype=dtype).expand(channels).expand_as(d_state)
        olds = [channels_last(h_0[batch], states.dtype), *states[:, batch]]
        for steps in reversed(chunks_by_bytes(count, len(d_state) * _sample_bytes(h_0, dtype))):
            gates_of_steps, d_output = gates[steps, batch], upstream.output[steps, batch].movedim(2, -1)
            d_z = empty_images(gates_of_steps, 3 * channels)
            d_conv = of_state.backward(
                gates_of_steps, olds[steps], d_output, d_conv, d_state, d_z, needed["weight_hh"]
            )
            if of_input is not None and needed["weight_ih"]:
                of_input.add_weight_gradient(d_z, steps, batch)
            if of_input is not None and d_x is not None:
                d_x[steps, batch] = of_input.input_gradient(d_z)
        d_state += d_conv
    sums = of_state.sums
    found = {"h": d_h.movedim(-1, 1), "bias_ih": sums[:3].flatten()}
    found["bias_hh"] = sums[of_state.bias_rows].flatten()
    if d_x is not None:
        found["x"] = d_x.movedim(-1, 2)
    if of_input is not None and needed["weight_ih"]:
        found["weight_ih"] = of_input.weight_gradient()
    if needed["weight_hh"]:
        found["weight_hh"] = of_state.weight_gradient()
    return found


GRU = driver.Recurrence(
    fused=conv_gru,
    reference=reference.conv_gru,
    forward=_forward,
    backward=_backward,
    unsupported_option=_unsupported_option,
    describe=_describe,
    states=("h",),
)


def _sample_bytes(h: Tensor, dtype: torch.dtype) -> int:
    """Return the size of both terms of a sample's gates, of the input and of the hidden state."""
    return 6 * h[0].numel() * dtype.itemsize
